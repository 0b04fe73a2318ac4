// This process's own files in a procfs, which may be in the hands of whoever is in the namespaces that were entered:
// what lies at /proc need not be one, and one of another pid namespace has other processes under our number (security
// B1).
#include "steps.h"
#include <linux/openat2.h>

enum { PROC_SUPER_MAGIC = 0x9fa0, PROC_ROOT_INO = 1 };

// Whether a descriptor is the root of a procfs, and not of something that was mounted in its place (security B1).
static bool is_procfs(int fd) {
  u64 facts[32]; // struct statfs, whose first field is the type
  struct stat_facts root;
  return sys(fstatfs, fd, facts) == 0 && facts[0] == PROC_SUPER_MAGIC && stat_of(fd, "", AT_EMPTY_PATH, &root) == 0 &&
         root.ino == PROC_ROOT_INO;
}

long open_procfs(const struct plan_context* context) {
  int kept = context->slots[SLOT_PROC];
  long fd = kept >= 0 ? open_beneath(kept, ".", O_PATH | O_DIRECTORY, 0, RESOLVE_BENEATH)
                      : open_beneath(AT_FDCWD, "/proc", O_PATH | O_DIRECTORY, 0, RESOLVE_NO_SYMLINKS);
  if (fd >= 0 && !is_procfs((int)fd)) {
    sys(close, fd);
    return -ENODEV;
  }
  return fd;
}

long open_own_file(int proc, const char* name, u64 flags) {
  char path[64];
  long n = sys(readlinkat, proc, "self", path, 16);
  if (n <= 0 || n >= 16)
    return -ENODEV; // a procfs of another pid namespace, which does not know this process
  path[n] = 0;
  text_append(path, sizeof path, (size_t)n, name);
  return open_beneath(proc, path, flags, 0,
                      RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV);
}
