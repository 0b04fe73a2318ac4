// File operations that Node asks for, done inside the container: every path is resolved in the container's own mount
// namespace, below its root, without magic links, and only regular files are handed out as descriptors.
#include "init.h"
#include "rmtree.h"
#include <linux/capability.h>
#include <linux/openat2.h>

enum { IN_ROOT = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS, MAX_ENTRIES_BYTES = 16 * 1024 * 1024 };

enum file_op {
  FILE_OPEN = 1,     // a: flags, b: mode; answers with a descriptor, and the size
  FILE_STAT = 2,     // a: follow the last link
  FILE_MKDIR = 3,    // a: mode, b: recursive
  FILE_READDIR = 4,  // answers in parts
  FILE_REMOVE = 5,   // a: recursive
  FILE_RENAME = 6,   // second path
  FILE_SYMLINK = 7,  // second path: what it points to
  FILE_READLINK = 8, //
  FILE_CHMOD = 9,    // a: mode
  FILE_CHOWN = 10,   // a: uid, b: gid
};

static int channel;
static u64 request_number;
static int root = -1;

static _Noreturn void answer(long rc, u8 nvalues, const u64* values, const struct blob* data, const int* fd) {
  u64 ints[16] = {request_number, rc < 0 ? (u64)-rc : 0, 0};
  for (int i = 0; i < nvalues; i++)
    ints[3 + i] = values[i];
  long sent = send_record(channel, MSG_FILE_REPLY, (u8)(3 + nvalues), ints, data ? 1 : 0, data, fd, fd ? 1 : 0);
  exit_now(sent < 0);
}

static _Noreturn void done(long rc) {
  answer(rc, 0, 0, 0, 0);
}

// The directory that holds the last component of a path, links followed below the root; the component goes to `name`.
static long open_parent(const char* path, char name[256]) {
  static char parent[4096];
  size_t length = text_length(path);
  while (length > 1 && path[length - 1] == '/')
    length--;
  size_t cut = length;
  while (cut && path[cut - 1] != '/')
    cut--;
  size_t n = length - cut;
  if (n == 0 || n > 255 || length >= sizeof parent)
    return n ? -ENAMETOOLONG : -EINVAL;
  memcpy(name, path + cut, n);
  name[n] = 0;
  if (text_equal(name, ".") || text_equal(name, ".."))
    return -EINVAL;
  memcpy(parent, path, cut);
  parent[cut] = 0;
  return open_beneath(root, cut ? parent : ".", O_PATH | O_DIRECTORY, 0, IN_ROOT);
}

// Files of procfs and its like check who writes, and that would be Node, with the host's privileges. A link of the
// container's must not lead it there.
static bool is_kernel_file(int fd) {
  struct {
    i64 type;
    u64 rest[24];
  } facts = {0};
  static const i64 types[] = {0x9fa0 /* procfs */, 0x62656572 /* sysfs */, 0x63677270 /* cgroup2 */};
  if (sys(fstatfs, fd, &facts) < 0)
    return true;
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    if (facts.type == types[i])
      return true;
  return false;
}

static _Noreturn void open_file(const char* path, u64 flags, u64 mode) {
  const u64 allowed = 3 | O_CREAT | O_EXCL | O_TRUNC | 02000 /* O_APPEND */ | O_NOFOLLOW;
  u64 create_mode = flags & O_CREAT ? mode & 07777 : 0;
  sys(umask, 0022);
  long fd = open_beneath(root, path, (flags & allowed & ~(u64)O_TRUNC) | O_NONBLOCK | O_NOCTTY, create_mode, IN_ROOT);
  struct stat_facts facts;
  if (fd < 0)
    done(fd);
  stat_of((int)fd, "", AT_EMPTY_PATH, &facts);
  if ((facts.mode & S_IFMT) != S_IFREG)
    done((facts.mode & S_IFMT) == S_IFDIR ? -EISDIR : -EINVAL);
  if ((flags & 3) != 0 && is_kernel_file((int)fd))
    done(-EPERM);
  if (flags & O_TRUNC)
    sys(ftruncate, fd, 0);
  u64 size = facts.size;
  int out = (int)fd;
  answer(0, 1, &size, 0, &out);
}

static _Noreturn void stat_file(const char* path, bool follow) {
  long fd = open_beneath(root, path, O_PATH | (follow ? 0 : O_NOFOLLOW), 0, IN_ROOT);
  struct stat_facts f;
  long rc = fd < 0 ? fd : stat_of((int)fd, "", AT_EMPTY_PATH, &f);
  if (rc < 0)
    done(rc);
  u64 values[] = {f.mode, f.uid, f.gid, f.size, f.mtime_ns, f.ino, f.nlink};
  answer(0, 7, values, 0, 0);
}

static long make_directory(const char* path, u64 mode) {
  char name[256];
  long parent = open_parent(path, name);
  if (parent < 0)
    return parent;
  long rc = sys(mkdirat, parent, name, mode & 07777);
  sys(close, parent);
  return rc;
}

static _Noreturn void make_directories(char* path, u64 mode, bool recursive) {
  sys(umask, 0022);
  if (!recursive)
    done(make_directory(path, mode));
  long rc = 0;
  for (size_t i = 1;; i++) {
    char end = path[i];
    if (end && end != '/')
      continue;
    path[i] = 0;
    rc = make_directory(path, mode);
    if (rc == -EEXIST || rc == -EINVAL) { // EINVAL: "/" or a doubled slash
      long fd = open_beneath(root, path, O_PATH | O_DIRECTORY, 0, IN_ROOT);
      rc = fd < 0 ? -ENOTDIR : 0;
      if (fd >= 0)
        sys(close, fd);
    }
    path[i] = end;
    if (rc < 0 || !end)
      done(rc);
  }
}

static _Noreturn void read_directory(const char* path) {
  long fd = open_beneath(root, path, O_DIRECTORY, 0, IN_ROOT);
  if (fd < 0)
    done(fd);
  static _Alignas(8) char buf[32 * 1024];
  long got, total = 0;
  while ((got = sys(getdents64, fd, buf, sizeof buf)) > 0) {
    if ((total += got) > MAX_ENTRIES_BYTES)
      done(-EFBIG);
    u64 ints[] = {request_number, 0, 1};
    struct blob part = {.data = buf, .length = (u32)got};
    if (send_record(channel, MSG_FILE_REPLY, 3, ints, 1, &part, 0, 0) < 0)
      exit_now(1);
  }
  done(got);
}

static _Noreturn void remove_path(const char* path, bool recursive) {
  char name[256];
  long parent = open_parent(path, name);
  if (parent < 0)
    done(parent);
  long dir = open_beneath((int)parent, ".", O_DIRECTORY, 0, RESOLVE_BENEATH);
  if (dir < 0)
    done(dir);
  if (recursive)
    done(remove_tree((int)dir, name));
  long rc = sys(unlinkat, dir, name, 0);
  done(rc);
}

static _Noreturn void rename_path(const char* from, const char* to) {
  char from_name[256], to_name[256];
  long from_dir = open_parent(from, from_name), to_dir = open_parent(to, to_name);
  if (from_dir < 0 || to_dir < 0)
    done(from_dir < 0 ? from_dir : to_dir);
  done(sys(renameat2, from_dir, from_name, to_dir, to_name, 0));
}

static _Noreturn void make_symlink(const char* path, const char* target) {
  char name[256];
  long parent = open_parent(path, name);
  done(parent < 0 ? parent : sys(symlinkat, target, parent, name));
}

static _Noreturn void read_link(const char* path) {
  char name[256];
  static char target[4096];
  long parent = open_parent(path, name);
  long n = parent < 0 ? parent : sys(readlinkat, parent, name, target, sizeof target);
  if (n < 0)
    done(n);
  struct blob data = {.data = target, .length = (u32)n};
  answer(0, 0, 0, &data, 0);
}

// By descriptor: what is changed is what was resolved (fchmodat2 is Linux 6.6, so a mode needs a real open).
static _Noreturn void change_mode(const char* path, u64 mode) {
  long fd = open_beneath(root, path, O_NONBLOCK | O_NOCTTY, 0, IN_ROOT);
  done(fd < 0 ? fd : sys(fchmod, fd, mode & 07777));
}

static _Noreturn void change_owner(const char* path, u64 uid, u64 gid) {
  long fd = open_beneath(root, path, O_PATH, 0, IN_ROOT);
  done(fd < 0 ? fd : sys(fchownat, fd, "", uid, gid, AT_EMPTY_PATH));
}

// Root of the container, with what root needs for files and nothing else of init's.
static void drop_privileges(void) {
  u32 mask = 1u << CAP_CHOWN | 1u << CAP_DAC_OVERRIDE | 1u << CAP_FOWNER | 1u << CAP_FSETID;
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[2] = {{.effective = mask, .permitted = mask}, {0}};
  if (sys(capset, &header, data) < 0)
    done(-EPERM);
}

_Noreturn void file_operation(int socket, const struct record* r) {
  channel = socket;
  request_number = r->ints[0];
  drop_privileges();
  root = (int)sys(openat, AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
  char* path = (char*)r->blobs[0].data;
  const char* second = r->blobs[1].data;
  u64 a = r->ints[2], b = r->ints[3];
  if (!is_text(&r->blobs[0]) || !is_text(&r->blobs[1]) || path[0] != '/')
    done(-EINVAL);
  switch (r->ints[1]) {
  case FILE_OPEN:
    open_file(path, a, b);
  case FILE_STAT:
    stat_file(path, a);
  case FILE_MKDIR:
    make_directories(path, a, b);
  case FILE_READDIR:
    read_directory(path);
  case FILE_REMOVE:
    remove_path(path, a);
  case FILE_RENAME:
    rename_path(path, second);
  case FILE_SYMLINK:
    make_symlink(path, second);
  case FILE_READLINK:
    read_link(path);
  case FILE_CHMOD:
    change_mode(path, a);
  case FILE_CHOWN:
    change_owner(path, a, b);
  }
  done(-ENOSYS);
}
