// The handful of functions that a C library would have given us.
#include "sys.h"
#include <linux/openat2.h>
#include <linux/stat.h>

__attribute__((optimize("no-tree-loop-distribute-patterns"))) void* memcpy(void* to, const void* from, size_t n) {
  char* t = to;
  const char* f = from;
  while (n >= 8) {
    u64 word;
    __builtin_memcpy(&word, f, 8);
    __builtin_memcpy(t, &word, 8);
    t += 8, f += 8, n -= 8;
  }
  while (n--)
    *t++ = *f++;
  return to;
}

__attribute__((optimize("no-tree-loop-distribute-patterns"))) void* memset(void* to, int byte, size_t n) {
  char* t = to;
  while (n--)
    *t++ = (char)byte;
  return to;
}

int memcmp(const void* a, const void* b, size_t n) {
  const u8 *x = a, *y = b;
  for (; n--; x++, y++)
    if (*x != *y)
      return *x - *y;
  return 0;
}

size_t text_length(const char* s) {
  size_t n = 0;
  while (s[n])
    n++;
  return n;
}

bool text_equal(const char* a, const char* b) {
  while (*a && *a == *b)
    a++, b++;
  return *a == *b;
}

size_t text_append(char* buf, size_t cap, size_t len, const char* s) {
  while (*s && len + 1 < cap)
    buf[len++] = *s++;
  if (len < cap)
    buf[len] = 0;
  return *s ? cap : len;
}

size_t number_append(char* buf, size_t cap, size_t len, u64 value) {
  char digits[24];
  int n = sizeof digits - 1;
  digits[n] = 0;
  do
    digits[--n] = (char)('0' + value % 10);
  while (value /= 10);
  return text_append(buf, cap, len, digits + n);
}

u64 number_parse(const char* s, const char* end) {
  u64 value = 0;
  while (s < end && *s >= '0' && *s <= '9')
    value = value * 10 + (u64)(*s++ - '0');
  return value;
}

long stat_of(int dir, const char* path, int flags, struct stat_facts* facts) {
  struct statx s;
  long rc = sys(statx, dir, path, flags, STATX_BASIC_STATS, &s);
  if (rc < 0)
    return rc;
  *facts = (struct stat_facts){
      .mode = s.stx_mode,
      .uid = s.stx_uid,
      .gid = s.stx_gid,
      .ino = s.stx_ino,
      .size = s.stx_size,
      .mtime_ns = (u64)s.stx_mtime.tv_sec * 1000000000u + s.stx_mtime.tv_nsec,
      .mtime = s.stx_mtime.tv_sec,
      .rdev_major = s.stx_rdev_major,
      .rdev_minor = s.stx_rdev_minor,
      .dev_major = s.stx_dev_major,
      .dev_minor = s.stx_dev_minor,
      .nlink = s.stx_nlink,
  };
  return 0;
}

long open_beneath(int dir, const char* path, u64 flags, u64 mode, u64 resolve) {
  struct open_how how = {.flags = flags | O_CLOEXEC, .mode = mode, .resolve = resolve};
  long fd;
  // openat2(2): EAGAIN when a rename raced with a ".." lookup; trying again is the documented answer.
  int tries = 0;
  do
    fd = sys(openat2, dir, path, &how, sizeof how);
  while ((fd == -EAGAIN || fd == -EINTR) && ++tries < 128);
  return fd;
}

long write_file(int dir, const char* path, const char* data, size_t n) {
  long fd = sys(openat, dir, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0);
  if (fd < 0)
    return fd;
  // Kernel files take a value in one write or not at all.
  long wrote;
  do
    wrote = sys(write, fd, data, n);
  while (wrote == -EINTR);
  sys(close, fd);
  if (wrote < 0)
    return wrote;
  return (size_t)wrote == n ? 0 : -EINVAL;
}

long read_file(int dir, const char* path, char* buf, size_t cap) {
  long fd = sys(openat, dir, path, O_CLOEXEC | O_NOFOLLOW, 0);
  if (fd < 0)
    return fd;
  size_t len = 0;
  long got = 0;
  while (len + 1 < cap && (got = sys(read, fd, buf + len, cap - 1 - len)) > 0)
    len += (size_t)got;
  sys(close, fd);
  if (got < 0)
    return got;
  buf[len] = 0;
  return (long)len;
}

_Noreturn void exit_now(int code) {
  sys(exit_group, code);
  // A filter may refuse that, even to a program that was to end for want of an exec: a fault ends it nevertheless.
  __builtin_trap();
}
