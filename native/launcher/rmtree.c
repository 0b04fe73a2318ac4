#include "rmtree.h"
#include <linux/openat2.h>

enum { MAX_DEPTH = 256 };

static bool is_dot(const char* name) {
  return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

long remove_tree(int dir, const char* name, int depth) {
  if (depth > MAX_DEPTH)
    return -ELOOP;
  long rc = sys(unlinkat, dir, name, 0);
  if (rc != -EISDIR && rc != -EPERM)
    return rc;
  long fd =
      open_beneath(dir, name, O_DIRECTORY | O_NOFOLLOW, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV);
  if (fd < 0)
    return fd;
  _Alignas(8) char buf[2048];
  long got;
  // Removing while listing may make a file system skip entries: start again until a pass finds nothing to remove.
  for (bool removed = true; removed;) {
    removed = false;
    sys(lseek, fd, 0, 0);
    while ((got = sys(getdents64, fd, buf, sizeof buf)) > 0) {
      for (long at = 0; at < got;) {
        struct directory_entry* entry = (struct directory_entry*)(buf + at);
        at += entry->reclen;
        if (is_dot(entry->name))
          continue;
        rc = remove_tree((int)fd, entry->name, depth + 1);
        if (rc < 0 && rc != -ENOENT) {
          sys(close, fd);
          return rc;
        }
        removed = true;
      }
    }
  }
  sys(close, fd);
  return sys(unlinkat, dir, name, AT_REMOVEDIR);
}
