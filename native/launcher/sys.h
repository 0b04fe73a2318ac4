// Raw system calls, without a C library: the launcher and init are a few dozen kilobytes of address space, which is
// what makes forking them cheap, and there is no library whose environment variables or caches could change what they
// do.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <asm/unistd.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t i32;
typedef int64_t i64;

// Newer than the oldest headers that we build with (Linux 5.10); the numbers are the same on every architecture we
// know.
#ifndef __NR_close_range
#define __NR_close_range 436
#endif
#ifndef __NR_mount_setattr
#define __NR_mount_setattr 442
#endif

static inline long sys6(long n, long a, long b, long c, long d, long e, long f) {
#if defined(__x86_64__)
  long ret;
  register long r10 __asm__("r10") = d;
  register long r8 __asm__("r8") = e;
  register long r9 __asm__("r9") = f;
  __asm__ volatile("syscall"
                   : "=a"(ret)
                   : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                   : "rcx", "r11", "memory");
  return ret;
#elif defined(__aarch64__)
  register long x8 __asm__("x8") = n;
  register long x0 __asm__("x0") = a;
  register long x1 __asm__("x1") = b;
  register long x2 __asm__("x2") = c;
  register long x3 __asm__("x3") = d;
  register long x4 __asm__("x4") = e;
  register long x5 __asm__("x5") = f;
  __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
  return x0;
#else
#error "tscontain knows x86_64 and aarch64"
#endif
}

#define SYS_PICK(_0, _1, _2, _3, _4, _5, _6, NAME, ...) NAME
#define SYS0(n) sys6(n, 0, 0, 0, 0, 0, 0)
#define SYS1(n, a) sys6(n, (long)(a), 0, 0, 0, 0, 0)
#define SYS2(n, a, b) sys6(n, (long)(a), (long)(b), 0, 0, 0, 0)
#define SYS3(n, a, b, c) sys6(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define SYS4(n, a, b, c, d) sys6(n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define SYS5(n, a, b, c, d, e) sys6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)
#define SYS6(n, a, b, c, d, e, f) sys6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
// sys(openat, …): the result is the kernel's, negative numbers are errors.
#define sys(name, ...) SYS_PICK(_, ##__VA_ARGS__, SYS6, SYS5, SYS4, SYS3, SYS2, SYS1, SYS0)(__NR_##name, ##__VA_ARGS__)

// The few constants of the kernel interface whose headers clash with each other or differ between releases.
#define AT_FDCWD (-100)
#define AT_SYMLINK_NOFOLLOW 0x100
#define AT_REMOVEDIR 0x200
#define AT_EMPTY_PATH 0x1000
#define AT_RECURSIVE 0x8000
#define O_WRONLY 01
#define O_RDWR 02
#define O_CREAT 0100
#define O_EXCL 0200
#define O_NOCTTY 0400
#define O_TRUNC 01000
#define O_NONBLOCK 04000
#define O_CLOEXEC 02000000
#define O_PATH 010000000
#if defined(__x86_64__)
#define O_DIRECTORY 0200000
#define O_NOFOLLOW 0400000
#else
#define O_DIRECTORY 040000
#define O_NOFOLLOW 0100000
#endif
#define S_IFMT 0170000
#define S_IFDIR 0040000
#define S_IFREG 0100000
#define S_IFCHR 0020000
#define S_IFIFO 0010000
#define S_IFLNK 0120000

enum {
  EPERM = 1,
  ENOENT = 2,
  EINTR = 4,
  ESRCH = 3,
  E2BIG = 7,
  ENOEXEC = 8,
  EBADF = 9,
  EAGAIN = 11,
  ENOMEM = 12,
  EACCES = 13,
  EFAULT = 14,
  EBUSY = 16,
  EEXIST = 17,
  ENODEV = 19,
  ENOTDIR = 20,
  EISDIR = 21,
  EINVAL = 22,
  ENFILE = 23,
  EFBIG = 27,
  ENOSPC = 28,
  EPIPE = 32,
  ENAMETOOLONG = 36,
  ENOSYS = 38,
  ENOTEMPTY = 39,
  ELOOP = 40,
  EBADMSG = 74,
  EOVERFLOW = 75,
};

// One memory page of text is plenty for anything that we format.
void* memcpy(void* to, const void* from, size_t n);
void* memset(void* to, int byte, size_t n);
int memcmp(const void* a, const void* b, size_t n);
size_t text_length(const char* s);
bool text_equal(const char* a, const char* b);
// Appends to a bounded buffer and keeps it NUL-terminated; returns the new length. What does not fit is an error of the
// caller's size, so the result is `cap` then, never a cut name that looks whole.
size_t text_append(char* buf, size_t cap, size_t len, const char* s);
size_t number_append(char* buf, size_t cap, size_t len, u64 value);
u64 number_parse(const char* s, const char* end);

struct stat_facts {
  u32 mode;
  u32 uid, gid;
  u64 ino, size, mtime_ns;
  i64 mtime; // seconds: before 1970, and after 2554, mtime_ns cannot tell
  u32 rdev_major, rdev_minor;
  u32 dev_major, dev_minor;
  u32 nlink;
};
long stat_of(int dir, const char* path, int flags, struct stat_facts* facts);

// getdents64(2)
struct directory_entry {
  u64 ino;
  i64 off;
  u16 reclen;
  u8 type; // DT_DIR is 4
  char name[];
};

long open_beneath(int dir, const char* path, u64 flags, u64 mode, u64 resolve);
long write_file(int dir, const char* path, const char* data, size_t n);
long read_file(int dir, const char* path, char* buf, size_t cap);
static inline void close_fd(int* fd) {
  if (*fd >= 0)
    sys(close, *fd);
  *fd = -1;
}
_Noreturn void exit_now(int code);
