// Steps of roots that are plain directories: subvolumes of btrfs and their snapshots, and directories that were filled
// before. Such a root is called what its container is called, so that it can be told whose it is, and goes with it.
#include "steps.h"
#include "launcher.h"
#include "rmtree.h"
#include <linux/btrfs.h>

enum { NO_SLOT_GIVEN = -1, RENAME_NOREPLACE = 1, OPEN_TREE_CLONE_FLAG = 1 };

static long set_name(char* to, size_t cap, const char* name) {
  return text_append(to, cap, 0, name) < cap ? 0 : -ENAMETOOLONG;
}

// A new subvolume in a directory, empty or a snapshot of another one; both take descriptors that are open in earnest.
static long make_subvolume(int dir, int source, const char* name) {
  struct btrfs_ioctl_vol_args_v2 args = {.fd = source};
  long rc = set_name(args.name, sizeof args.name, name);
  if (rc < 0)
    return rc;
  return sys(ioctl, dir, source < 0 ? BTRFS_IOC_SUBVOL_CREATE_V2 : BTRFS_IOC_SNAP_CREATE_V2, &args);
}

static int source_of(const struct plan_context* context, u64 slot) {
  return slot == ~(u64)0 ? NO_SLOT_GIVEN : slot_fd(context, slot);
}

// ints: dir, slot of the subvolume to take a snapshot of or all ones; blobs: name
long step_subvolume(struct plan_context* context, const struct record* step) {
  int dir = slot_fd(context, step->ints[0]), source = source_of(context, step->ints[1]);
  if (dir < 0 || source == -EBADF)
    return -EBADF;
  return make_subvolume(dir, source, step->blobs[0].data);
}

// ints: slot of a subvolume, bytes that it may have to itself. Qgroup 0 is that of the subvolume.
long step_subvolume_limit(struct plan_context* context, const struct record* step) {
  int fd = slot_fd(context, step->ints[0]);
  if (fd < 0)
    return -EBADF;
  struct btrfs_ioctl_qgroup_limit_args args = {
      .lim = {.flags = BTRFS_QGROUP_LIMIT_MAX_EXCL, .max_excl = step->ints[1]},
  };
  return sys(ioctl, fd, BTRFS_IOC_QGROUP_LIMIT, &args);
}

// ints: dir; blobs: name. What is not there is no failure.
long step_remove_tree(struct plan_context* context, const struct record* step) {
  int dir = slot_fd(context, step->ints[0]);
  long rc = dir < 0 ? -EBADF : remove_tree(dir, step->blobs[0].data);
  return rc == -ENOENT ? 0 : rc;
}

// A root has set-user-ID files of the image's, and host root's ids: nobody else may reach what holds it (security A17).
static long expect_private(struct plan_context* context, int dir) {
  struct stat_facts facts;
  long rc = stat_of(dir, "", AT_EMPTY_PATH, &facts);
  if (rc < 0 || (facts.uid == (u32)sys(geteuid) && !(facts.mode & 077)))
    return rc;
  explain(context, DETAIL_BAD_TYPE, "it must be this user's, with mode 0700");
  return -EPERM;
}

// ints: slot, dir, slot of the subvolume to take a snapshot of or all ones; blobs: name of the directory in dir to
// take. The root is given the container's name, and the slot a detached mount of it.
long step_root_directory(struct plan_context* context, const struct record* step) {
  int dir = slot_fd(context, step->ints[1]), source = source_of(context, step->ints[2]);
  if (dir < 0 || source == -EBADF || !context->state_name)
    return -EBADF;
  close_fd(&context->home);
  // Before anything is made: what is there when a later step fails is found by it.
  long home = sys(openat, dir, ".", O_DIRECTORY | O_CLOEXEC, 0);
  if (home < 0)
    return home;
  long rc = expect_private(context, (int)home);
  if (rc < 0) {
    sys(close, home);
    return rc;
  }
  context->home = (int)home;
  rc = source >= 0 ? make_subvolume((int)home, source, context->state_name)
                   : sys(renameat2, home, step->blobs[0].data, home, context->state_name, RENAME_NOREPLACE);
  if (rc < 0)
    return rc;
  long root = sys(openat, home, context->state_name, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
  long tree = root < 0 ? root : sys(open_tree, root, "", OPEN_TREE_CLONE_FLAG | O_CLOEXEC | AT_EMPTY_PATH);
  if (root >= 0)
    sys(close, root);
  return set_slot(context, step->ints[0], tree);
}

// ints: dir. Removes what containers of dead launchers have left in it.
long step_reclaim(struct plan_context* context, const struct record* step) {
  int dir = slot_fd(context, step->ints[0]);
  if (dir < 0)
    return -EBADF;
  reclaim_trees(dir);
  return 0;
}
