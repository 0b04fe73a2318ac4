// Steps of what a container has on disk: a subvolume of btrfs that is a snapshot, or a directory. It is called what its
// container is called, so that it can be told whose it is, and goes with it.
#include "steps.h"
#include "launcher.h"
#include "rmtree.h"
#include <linux/btrfs.h>

enum { NO_SLOT_GIVEN = -1, OPEN_TREE_CLONE_FLAG = 1 };

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

// Where the container's directory is from now on. Before anything is made there: what is there when a later step fails
// is found by it.
static long enter_home(struct plan_context* context, u64 slot) {
  int dir = slot_fd(context, slot);
  if (dir < 0 || !context->state_name)
    return -EBADF;
  close_fd(&context->home);
  long home = sys(openat, dir, ".", O_DIRECTORY | O_CLOEXEC, 0);
  if (home < 0)
    return home;
  long rc = expect_private(context, (int)home);
  if (rc < 0) {
    sys(close, home);
    return rc;
  }
  context->home = (int)home;
  return 0;
}

// A detached mount of the container's directory as a slot, or the directory itself.
static long own_directory(struct plan_context* context, u64 slot, int parent, bool layers, bool detached) {
  long dir = sys(openat, parent, context->state_name, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
  if (dir < 0)
    return dir;
  long rc = layers ? make_layer_directories(context, (int)dir) : 0;
  if (rc >= 0 && !detached)
    return set_slot(context, slot, dir);
  long tree = rc < 0 ? rc : sys(open_tree, dir, "", OPEN_TREE_CLONE_FLAG | O_CLOEXEC | AT_EMPTY_PATH);
  sys(close, dir);
  return set_slot(context, slot, tree);
}

// ints: slot, dir, slot of the subvolume to take a snapshot of. The root is given the container's name, and the slot a
// detached mount of it.
long step_root_directory(struct plan_context* context, const struct record* step) {
  int source = slot_fd(context, step->ints[2]);
  long rc = source < 0 ? -EBADF : enter_home(context, step->ints[1]);
  if (rc >= 0)
    rc = make_subvolume(context->home, source, context->state_name);
  return rc < 0 ? rc : own_directory(context, step->ints[0], context->home, false, true);
}

// ints: slot, whether the slot gets a detached mount of it or just the directory, dir or all ones for the launcher's
// own. Host side: the container's private directory on disk, with `upper` and `work` in it, owned by the container's
// root.
long step_state_directory(struct plan_context* context, const struct record* step) {
  bool elsewhere = step->ints[2] != ~(u64)0;
  long rc = elsewhere ? enter_home(context, step->ints[2]) : 0;
  int parent = elsewhere ? context->home : context->state_dir;
  if (rc >= 0)
    rc = parent < 0 || !context->state_name ? -EBADF : sys(mkdirat, parent, context->state_name, 0700);
  return rc < 0 ? rc : own_directory(context, step->ints[0], parent, true, step->ints[1]);
}

// ints: dir. Removes what containers of dead launchers have left in it.
long step_reclaim(struct plan_context* context, const struct record* step) {
  int dir = slot_fd(context, step->ints[0]);
  if (dir < 0)
    return -EBADF;
  reclaim_trees(dir);
  return 0;
}
