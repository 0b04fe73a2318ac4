#include "rmtree.h"
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <linux/openat2.h>

enum { MAX_DEPTH = 64, RENAME_NOREPLACE = 1 };

// How deep a tree may go is up to whoever made it; how deep we go is not. A directory that lies too deep is moved up to
// the top of the tree, where it is found again.
struct removal {
  int top; // the directory that is being removed, once it is open
  u64 moved;
};

static bool is_dot(const char* name) {
  return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

static long move_up(struct removal* removal, int dir, const char* name) {
  char fresh[32];
  long rc;
  do
    number_append(fresh, sizeof fresh, text_append(fresh, sizeof fresh, 0, "removed-"), ++removal->moved);
  while ((rc = sys(renameat2, dir, name, removal->top, fresh, RENAME_NOREPLACE)) == -EEXIST);
  return rc;
}

// The root of a subvolume of btrfs has this number, as the first of a file system may have elsewhere.
static bool is_subvolume(int fd) {
  struct stat_facts facts;
  return stat_of(fd, "", AT_EMPTY_PATH, &facts) == 0 && facts.ino == BTRFS_FIRST_FREE_OBJECTID;
}

// All of it at once. One that has others in it is not taken; it is made writable, and emptied as a directory is.
static long remove_subvolume(int dir, const char* name, int fd) {
  struct btrfs_ioctl_vol_args args = {.fd = 0};
  u64 flags = 0;
  if (text_append(args.name, sizeof args.name, 0, name) >= sizeof args.name)
    return -ENAMETOOLONG;
  long rc = sys(ioctl, dir, BTRFS_IOC_SNAP_DESTROY, &args);
  if (rc < 0)
    sys(ioctl, fd, BTRFS_IOC_SUBVOL_SETFLAGS, &flags);
  return rc;
}

static long remove_entry(struct removal* removal, int dir, const char* name, int depth);

static long empty_directory(struct removal* removal, int fd, int depth) {
  _Alignas(8) char buf[2048];
  long got;
  // Removing while listing may make a file system skip entries: start again until a pass finds nothing to remove.
  for (bool removed = true; removed;) {
    removed = false;
    sys(lseek, fd, 0, 0);
    while ((got = sys(getdents64, fd, buf, sizeof buf)) > 0)
      for (long at = 0; at < got;) {
        struct directory_entry* entry = (struct directory_entry*)(buf + at);
        at += entry->reclen;
        if (is_dot(entry->name))
          continue;
        long rc = remove_entry(removal, fd, entry->name, depth);
        if (rc < 0 && rc != -ENOENT)
          return rc;
        removed = true;
      }
  }
  return 0;
}

static long remove_entry(struct removal* removal, int dir, const char* name, int depth) {
  long rc = sys(unlinkat, dir, name, 0);
  if (rc != -EISDIR && rc != -EPERM)
    return rc;
  if (depth > MAX_DEPTH)
    return move_up(removal, dir, name);
  long fd =
      open_beneath(dir, name, O_DIRECTORY | O_NOFOLLOW, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV);
  if (fd < 0)
    return fd;
  if (is_subvolume((int)fd) && remove_subvolume(dir, name, (int)fd) >= 0) {
    sys(close, fd);
    return 0;
  }
  if (removal->top < 0)
    removal->top = (int)fd;
  rc = empty_directory(removal, (int)fd, depth + 1);
  sys(close, fd);
  return rc < 0 ? rc : sys(unlinkat, dir, name, AT_REMOVEDIR);
}

long remove_tree(int dir, const char* name) {
  struct removal removal = {.top = -1};
  return remove_entry(&removal, dir, name, 0);
}
