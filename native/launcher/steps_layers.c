// Steps of overlays and of mounts that end: layers by descriptor, unmounting exactly what is ours, emptying a layer.
#include "steps.h"
#include "rmtree.h"
#include <linux/openat2.h>
#include <linux/stat.h>

enum { SET_STRING = 1, MNT_DETACH = 2, UMOUNT_NOFOLLOW = 8, ESTALE = 116 };
enum { MOUNT_ID = 0x1000 /* Linux 5.8 */, MOUNT_ID_UNIQUE = 0x4000 /* Linux 6.8 */ };
enum { LONGEST_VALUE = 256 }; // with the NUL byte: what fsconfig(2) takes as a string

// ints: slot of the context; blobs: key, prefix, slots (u32 each). Sets the key to the prefix and the number of each
// descriptor, separated by colons: a value of digits that means the same whatever the layers are called.
long step_fsconfig_layers(struct plan_context* context, const struct record* step) {
  int fd = slot_fd(context, step->ints[0]);
  const struct blob* slots = &step->blobs[2];
  char value[LONGEST_VALUE];
  size_t n = 0;
  value[0] = 0;
  for (u32 at = 0; at + 4 <= slots->length; at += 4) {
    u32 slot;
    memcpy(&slot, slots->data + at, 4);
    int layer = slot_fd(context, slot);
    if (layer < 0)
      return -EBADF;
    if (at)
      n = text_append(value, sizeof value, n, ":");
    n = text_append(value, sizeof value, n, step->blobs[1].data);
    n = number_append(value, sizeof value, n, (u64)layer);
    if (n >= sizeof value)
      return -E2BIG;
  }
  long rc = sys(fsconfig, fd, SET_STRING, step->blobs[0].data, value, 0);
  if (rc < 0)
    explain_configuration(context, fd);
  return rc;
}

// struct statx as of Linux 5.8; our headers may be older than the field.
struct mount_facts {
  u32 mask;
  char before[140];
  u64 mount;
  char after[104];
};
_Static_assert(sizeof(struct mount_facts) == 256, "struct statx");

// ints: dir, number of the mount; blobs: name in dir. Unmounts only if the mount there is that one: another may have
// been mounted over it, or in its place.
long step_unmount(struct plan_context* context, const struct record* step) {
  int dir = slot_fd(context, step->ints[0]);
  const char* name = step->blobs[0].data;
  if (dir == -EBADF)
    return -EBADF;
  struct mount_facts facts = {0};
  long rc =
      sys(statx, dir, name, AT_SYMLINK_NOFOLLOW | 0x800 /* AT_NO_AUTOMOUNT */, MOUNT_ID | MOUNT_ID_UNIQUE, &facts);
  if (rc < 0)
    return rc;
  if (!(facts.mask & (MOUNT_ID | MOUNT_ID_UNIQUE)))
    return -ENOSYS;
  if (facts.mount != step->ints[1]) {
    explain(context, DETAIL_BAD_TYPE, "another mount is there");
    return -ESTALE;
  }
  rc = sys(fchdir, dir);
  return rc < 0 ? rc : sys(umount2, name, UMOUNT_NOFOLLOW);
}

// ints: slot. The mount that the descriptor is of, and all mounted below it, leave the tree now and end when the last
// user of a file in them does. The link in /proc leads to the mount itself, whatever lies over it.
long step_detach(struct plan_context* context, const struct record* step) {
  int fd = slot_fd(context, step->ints[0]);
  if (fd < 0)
    return -EBADF;
  char path[64];
  number_append(path, sizeof path, text_append(path, sizeof path, 0, "/proc/self/fd/"), (u64)fd);
  return sys(umount2, path, MNT_DETACH);
}

static bool is_dot(const char* name) {
  return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

// Calls for each entry until a pass finds none: a file system may skip entries while others are removed.
static long for_each_entry(int dir, long (*visit)(int dir, const char* name, int other), int other) {
  _Alignas(8) char buf[2048];
  long got = 0;
  for (bool found = true; found;) {
    found = false;
    sys(lseek, dir, 0, 0);
    while ((got = sys(getdents64, dir, buf, sizeof buf)) > 0)
      for (long at = 0; at < got;) {
        struct directory_entry* entry = (struct directory_entry*)(buf + at);
        at += entry->reclen;
        if (is_dot(entry->name))
          continue;
        long rc = visit(dir, entry->name, other);
        if (rc < 0 && rc != -ENOENT)
          return rc;
        found = found || rc >= 0;
      }
  }
  return got;
}

static u64 moved;

static long move_aside(int dir, const char* name, int aside) {
  char fresh[32];
  long rc;
  do
    number_append(fresh, sizeof fresh, text_append(fresh, sizeof fresh, 0, "discarded-"), ++moved);
  while ((rc = sys(renameat2, dir, name, aside, fresh, 1 /* RENAME_NOREPLACE */)) == -EEXIST);
  // Nothing is found in a directory that was removed either, and then it is not the entry that is gone.
  struct stat_facts facts;
  return rc == -ENOENT && stat_of(dir, name, AT_SYMLINK_NOFOLLOW, &facts) == 0 ? -ESTALE : rc;
}

static long remove_one(int dir, const char* name, int other) {
  (void)other;
  return remove_tree(dir, name);
}

// ints: slot of the upper directory, slot of the work directory. What is in the first is moved to the second, which is
// quick however much it is, and removed there.
long step_discard(struct plan_context* context, const struct record* step) {
  int upper = slot_fd(context, step->ints[0]), work = slot_fd(context, step->ints[1]);
  if (upper < 0 || work < 0)
    return -EBADF;
  long rc = for_each_entry(upper, move_aside, work);
  return rc < 0 ? rc : for_each_entry(work, remove_one, 0);
}
