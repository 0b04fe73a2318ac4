// Steps that build the mount tree. Everything is mounted by descriptor with the mount API of Linux 5.2: a path is
// resolved once, to a descriptor, and what was checked is what is used (security rule 1 and 2).
#include "steps.h"
#include <linux/openat2.h>

enum { FSCONFIG_SET_FD_COMMAND = 5, MOVE_MOUNT_F_EMPTY = 0x04, MOVE_MOUNT_T_EMPTY = 0x40, MNT_DETACH = 2 };
enum { MOUNT_ATTRIBUTE_IDMAP = 0x100000 };
enum { RESOLVE_SETUP = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS };

struct mount_attributes {
  u64 set, clear, propagation, userns;
};

// ints: dst, dir, flags, type, rdev; blobs: path. `type` (S_IFMT bits) and `rdev` are what the node must be; 0 is any.
long step_open_tree(struct plan_context* context, const struct record* step) {
  int dir = slot_fd(context, step->ints[1]);
  if (dir == -EBADF)
    return -EBADF;
  u64 flags = step->ints[2] | O_CLOEXEC | (step->blobs[0].length ? 0 : AT_EMPTY_PATH);
  long fd = sys(open_tree, dir, step->blobs[0].data, flags);
  if (fd < 0)
    return fd;
  struct stat_facts facts;
  long rc = stat_of((int)fd, "", AT_EMPTY_PATH, &facts);
  u64 rdev = (u64)facts.rdev_major << 32 | facts.rdev_minor;
  if (rc == 0 && step->ints[3] && ((facts.mode & S_IFMT) != step->ints[3] || rdev != step->ints[4])) {
    explain(context, DETAIL_BAD_TYPE, step->blobs[0].data);
    rc = -ENODEV;
  }
  if (rc < 0) {
    sys(close, fd);
    return rc;
  }
  return set_slot(context, step->ints[0], fd);
}

// ints: dst; blobs: file system type
long step_fsopen(struct plan_context* context, const struct record* step) {
  return set_slot(context, step->ints[0], sys(fsopen, step->blobs[0].data, 1 /* FSOPEN_CLOEXEC */));
}

// The kernel's own words about a refused option (fsopen(2), "Message retrieval interface").
void explain_configuration(struct plan_context* context, int fd) {
  char line[FAILURE_TEXT];
  long got = sys(read, fd, line, sizeof line - 1);
  if (got <= 0)
    return;
  line[got] = 0;
  explain(context, context->failure->detail, line);
}

// ints: slot, command, slot of a descriptor; blobs: key, value
long step_fsconfig(struct plan_context* context, const struct record* step) {
  int fd = slot_fd(context, step->ints[0]);
  const struct blob *key = &step->blobs[0], *value = &step->blobs[1];
  int aux = 0;
  if (step->ints[1] == FSCONFIG_SET_FD_COMMAND && (aux = slot_fd(context, step->ints[2])) < 0)
    return -EBADF;
  long rc = sys(fsconfig, fd, step->ints[1], key->length ? key->data : 0, value->length ? value->data : 0, aux);
  if (rc < 0)
    explain_configuration(context, fd);
  return rc;
}

// ints: dst, slot, attributes. The configuration context is used up.
long step_fsmount(struct plan_context* context, const struct record* step) {
  int fd = slot_fd(context, step->ints[1]);
  long mount = sys(fsmount, fd, 1 /* FSMOUNT_CLOEXEC */, step->ints[2]);
  if (mount < 0)
    explain_configuration(context, fd);
  else if (step->ints[1] < SLOT_COUNT)
    close_fd(&context->slots[step->ints[1]]);
  return set_slot(context, step->ints[0], mount);
}

// ints: slot, how (1 recursive, 2 without the id shift where the file system cannot), set, clear, propagation, slot of
// a user namespace or all ones; blobs: path or empty
long step_mount_setattr(struct plan_context* context, const struct record* step) {
  int fd = slot_fd(context, step->ints[0]);
  if (fd == -EBADF)
    return -EBADF;
  struct mount_attributes attributes = {.set = step->ints[2], .clear = step->ints[3], .propagation = step->ints[4]};
  if (step->ints[5] != ~(u64)0) {
    int userns = slot_fd(context, step->ints[5]);
    if (userns < 0)
      return -EBADF;
    attributes.userns = (u64)userns;
  }
  unsigned flags = (step->ints[1] & 1 ? AT_RECURSIVE : 0) | (step->blobs[0].length ? 0 : AT_EMPTY_PATH);
  long rc = sys(mount_setattr, fd, step->blobs[0].data, flags, &attributes, sizeof attributes);
  if (rc == -EINVAL && step->ints[1] & 2) {
    attributes.set &= ~(u64)MOUNT_ATTRIBUTE_IDMAP;
    attributes.userns = 0;
    rc = sys(mount_setattr, fd, step->blobs[0].data, flags, &attributes, sizeof attributes);
  }
  return rc;
}

// Splits off the next component. Empty, "." and ".." never come from a checked plan and are refused.
static bool next_component(const char** path, char name[256]) {
  while (**path == '/')
    (*path)++;
  size_t n = 0;
  while ((*path)[n] && (*path)[n] != '/') {
    if (n == 255)
      return false;
    name[n] = (*path)[n];
    n++;
  }
  name[n] = 0;
  *path += n;
  return n > 0 && !text_equal(name, ".") && !text_equal(name, "..");
}

static bool at_end(const char* path) {
  while (*path == '/')
    path++;
  return !*path;
}

// Opens a directory beneath `root`, making what is missing, one component at a time and following no link. Returns an
// O_PATH descriptor.
static long make_directories(int root, const char* path, u32 mode) {
  while (*path == '/')
    path++;
  // Most often it is there; the walk is for what is not.
  long dir = open_beneath(root, *path ? path : ".", O_PATH | O_NOFOLLOW | O_DIRECTORY, 0, RESOLVE_SETUP);
  if (dir != -ENOENT)
    return dir;
  dir = open_beneath(root, ".", O_PATH | O_DIRECTORY, 0, RESOLVE_SETUP);
  char name[256];
  while (dir >= 0 && !at_end(path)) {
    long next = -EINVAL;
    if (next_component(&path, name)) {
      next = open_beneath((int)dir, name, O_PATH | O_NOFOLLOW | O_DIRECTORY, 0, RESOLVE_SETUP);
      if (next == -ENOENT) {
        next = sys(mkdirat, dir, name, mode);
        if (next >= 0 || next == -EEXIST)
          next = open_beneath((int)dir, name, O_PATH | O_NOFOLLOW | O_DIRECTORY, 0, RESOLVE_SETUP);
      }
    }
    sys(close, dir);
    dir = next;
  }
  return dir;
}

// The parent directory of `path` beneath `root`, made if missing, and the last component.
static long open_parent(int root, const char* path, u32 mode, char name[256]) {
  size_t cut = text_length(path);
  while (cut && path[cut - 1] == '/')
    cut--;
  while (cut && path[cut - 1] != '/')
    cut--;
  static char parent[4096];
  if (cut >= sizeof parent)
    return -ENAMETOOLONG;
  memcpy(parent, path, cut);
  parent[cut] = 0;
  const char* last = path + cut;
  if (!next_component(&last, name) || !at_end(last))
    return -EINVAL;
  return make_directories(root, parent, mode);
}

// The place to mount at, as a descriptor: the directory or file itself, made where it is missing.
static long open_target(int root, const char* path, bool directory) {
  if (directory)
    return make_directories(root, path, 0755);
  char name[256];
  long parent = open_parent(root, path, 0755, name);
  if (parent < 0)
    return parent;
  long made = sys(openat, parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (made >= 0)
    sys(close, made);
  long fd = made < 0 && made != -EEXIST ? made : open_beneath((int)parent, name, O_PATH | O_NOFOLLOW, 0, RESOLVE_SETUP);
  sys(close, parent);
  struct stat_facts facts;
  if (fd >= 0 && stat_of((int)fd, "", AT_EMPTY_PATH, &facts) == 0 && (facts.mode & S_IFMT) == S_IFDIR) {
    sys(close, fd);
    return -EISDIR;
  }
  return fd;
}

// ints: slot of the mount, dir, directory (1) or file (0); blobs: path beneath dir, or empty for dir itself
long step_move_mount(struct plan_context* context, const struct record* step) {
  int mount = slot_fd(context, step->ints[0]), root = slot_fd(context, step->ints[1]);
  if (mount < 0 || root == -EBADF)
    return -EBADF;
  if (root == AT_FDCWD) // only the very first mount of a namespace, over its old root
    return sys(move_mount, mount, "", AT_FDCWD, step->blobs[0].data, MOVE_MOUNT_F_EMPTY);
  long target = root;
  if (step->blobs[0].length)
    target = open_target(root, step->blobs[0].data, step->ints[2]);
  if (target < 0)
    return target;
  long rc = sys(move_mount, mount, "", target, "", MOVE_MOUNT_F_EMPTY | MOVE_MOUNT_T_EMPTY);
  if (step->blobs[0].length)
    sys(close, target);
  return rc;
}

// Hides a path if it is there. ints: dir, slot of the null device, slot of an empty directory, mode (0 hide, 1
// read-only); blobs: path. What is not there needs no mask; a mask that cannot be made is fatal. The two sources are
// attached already: a detached mount cannot be copied before Linux 6.15.
long step_mask(struct plan_context* context, const struct record* step) {
  int root = slot_fd(context, step->ints[0]);
  if (root < 0)
    return -EBADF;
  long target = open_beneath(root, step->blobs[0].data, O_PATH | O_NOFOLLOW, 0, RESOLVE_SETUP);
  if (target == -ENOENT || target == -ENOTDIR)
    return 0;
  if (target < 0)
    return target;
  struct stat_facts facts;
  long rc = stat_of((int)target, "", AT_EMPTY_PATH, &facts);
  bool directory = rc == 0 && (facts.mode & S_IFMT) == S_IFDIR;
  long from = step->ints[3] == 1 ? target : slot_fd(context, step->ints[directory ? 2 : 1]);
  long mount =
      rc < 0 ? rc : sys(open_tree, from, "", 1 /* OPEN_TREE_CLONE */ | O_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
  if (mount >= 0) {
    struct mount_attributes attributes = {.set = 1 | 2 | 8}; // read-only, nosuid, noexec
    if (step->ints[3] == 1 || directory)
      attributes.set |= 4; // nodev; the null device itself must still open
    rc = sys(mount_setattr, mount, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof attributes);
    if (rc >= 0)
      rc = sys(move_mount, mount, "", target, "", MOVE_MOUNT_F_EMPTY | MOVE_MOUNT_T_EMPTY);
    sys(close, mount);
  } else {
    rc = mount;
  }
  sys(close, target);
  return rc;
}

// ints: slot of the new root. pivot_root(2), "pivot_root(".", ".")": the old root ends on top of the new one and is
// detached from there, so that no directory for it is ever needed and no moment exists in which it could be reached by
// name. The stage lies over the old root, and umount2 takes the topmost first: hence two of them, exactly.
long step_pivot_root(struct plan_context* context, const struct record* step) {
  int fd = slot_fd(context, step->ints[0]);
  long rc = fd < 0 ? -EBADF : sys(fchdir, fd);
  if (rc >= 0)
    rc = sys(pivot_root, ".", ".");
  for (int layer = 0; layer < 2 && rc >= 0; layer++)
    rc = sys(umount2, ".", MNT_DETACH);
  return rc >= 0 ? sys(chdir, "/") : rc;
}

// After the pivot: "/" is its own parent, and the working directory is it.
long step_verify_root(struct plan_context* context, const struct record* step) {
  (void)step;
  struct stat_facts root, above, here;
  if (stat_of(AT_FDCWD, "/", 0, &root) < 0 || stat_of(AT_FDCWD, "/..", 0, &above) < 0 ||
      stat_of(AT_FDCWD, ".", 0, &here) < 0)
    return -EINVAL;
  bool same = root.ino == above.ino && root.dev_minor == above.dev_minor && root.dev_major == above.dev_major &&
              root.ino == here.ino && root.dev_minor == here.dev_minor && root.dev_major == here.dev_major;
  if (!same)
    explain(context, DETAIL_NOT_APPLIED, "/");
  return same ? 0 : -EINVAL;
}

// ints: dir, mode of missing parents, mode of the last; blobs: path. An existing directory keeps its mode.
long step_make_directory(struct plan_context* context, const struct record* step) {
  int root = slot_fd(context, step->ints[0]);
  if (root < 0)
    return -EBADF;
  char name[256];
  long parent = open_parent(root, step->blobs[0].data, (u32)step->ints[1], name);
  if (parent < 0)
    return parent;
  long rc = sys(mkdirat, parent, name, step->ints[2]);
  if (rc == -EEXIST) {
    // It may be a link into the image or out of it; only a real directory counts as made.
    rc = open_beneath((int)parent, name, O_PATH | O_NOFOLLOW | O_DIRECTORY, 0, RESOLVE_SETUP);
    if (rc >= 0)
      sys(close, rc), rc = 0;
  }
  sys(close, parent);
  return rc;
}

// ints: dir, mode, how (0 new, 1 replace, 2 keep what is there, 3 existing kernel file); blobs: path, content
long step_write_file(struct plan_context* context, const struct record* step) {
  int root = slot_fd(context, step->ints[0]);
  if (root < 0)
    return -EBADF;
  u64 how = step->ints[2];
  long fd;
  if (how == 3) {
    // A file of procfs: the same mount all the way, so that nothing bound inside it can stand in for it.
    fd = open_beneath(root, step->blobs[0].data, O_WRONLY | O_NOFOLLOW, 0, RESOLVE_SETUP | RESOLVE_NO_XDEV);
  } else {
    char name[256];
    long parent = open_parent(root, step->blobs[0].data, 0755, name);
    if (parent < 0)
      return parent;
    if (how == 1)
      sys(unlinkat, parent, name, 0);
    fd = sys(openat, parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, step->ints[1]);
    sys(close, parent);
    if (fd == -EEXIST && how == 2)
      return 0;
  }
  if (fd < 0)
    return fd;
  const struct blob* content = &step->blobs[1];
  long rc = 0;
  for (size_t done = 0; done < content->length && rc >= 0; done += (size_t)rc)
    rc = sys(write, fd, content->data + done, content->length - done);
  sys(close, fd);
  return rc < 0 ? rc : 0;
}

// ints: dir, keep what is there; blobs: path, target
long step_symlink(struct plan_context* context, const struct record* step) {
  int root = slot_fd(context, step->ints[0]);
  if (root < 0)
    return -EBADF;
  char name[256];
  long parent = open_parent(root, step->blobs[0].data, 0755, name);
  if (parent < 0)
    return parent;
  long rc = sys(symlinkat, step->blobs[1].data, parent, name);
  sys(close, parent);
  return rc == -EEXIST && step->ints[1] ? 0 : rc;
}

// ints: dst, dir, flags, mode, resolve; blobs: path
long step_open(struct plan_context* context, const struct record* step) {
  int dir = slot_fd(context, step->ints[1]);
  if (dir == -EBADF)
    return -EBADF;
  return set_slot(context, step->ints[0],
                  open_beneath(dir, step->blobs[0].data, step->ints[2], step->ints[3], step->ints[4]));
}

long step_close(struct plan_context* context, const struct record* step) {
  if (step->ints[0] >= SLOT_COUNT)
    return -EBADF;
  close_fd(&context->slots[step->ints[0]]);
  return 0;
}

long step_fchdir(struct plan_context* context, const struct record* step) {
  int fd = slot_fd(context, step->ints[0]);
  return fd < 0 ? -EBADF : sys(fchdir, fd);
}

enum { OPEN_TREE_CLONE_FLAG = 1, ESTALE_ERROR = 116 };

// ints: slot, slot of the directory that the launcher has made; blobs: path of what it is in. Inside, for a launcher
// that may not mount: a detached mount of that very directory. Its descriptor is of no use for that, as it belongs to
// the launcher's mount namespace, whose mounts cannot be copied here (open_tree(2)).
long step_own_state_directory(struct plan_context* context, const struct record* step) {
  int made = slot_fd(context, step->ints[1]);
  if (made < 0 || !context->state_name)
    return -EBADF;
  long parent = sys(openat, AT_FDCWD, step->blobs[0].data, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
  if (parent < 0)
    return parent;
  long tree = sys(open_tree, parent, context->state_name, OPEN_TREE_CLONE_FLAG | O_CLOEXEC | AT_SYMLINK_NOFOLLOW);
  sys(close, parent);
  struct stat_facts wanted, found;
  long rc = tree < 0 ? tree : stat_of(made, "", AT_EMPTY_PATH, &wanted);
  if (rc >= 0)
    rc = stat_of((int)tree, "", AT_EMPTY_PATH, &found);
  if (rc >= 0 &&
      (wanted.ino != found.ino || wanted.dev_major != found.dev_major || wanted.dev_minor != found.dev_minor)) {
    explain(context, DETAIL_BAD_TYPE, "another directory is there");
    rc = -ESTALE_ERROR;
  }
  if (rc < 0) {
    if (tree >= 0)
      sys(close, tree);
    return rc;
  }
  return set_slot(context, step->ints[0], tree);
}
