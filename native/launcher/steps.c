#include "steps.h"

struct step_kind {
  step_function* run;
  u8 nints, nblobs;
};

// How many numbers and blobs each step must have; a record that differs is refused before anything is called.
static const struct step_kind kinds[] = {
    [STEP_OPEN_TREE] = {step_open_tree, 5, 1},
    [STEP_FSOPEN] = {step_fsopen, 1, 1},
    [STEP_FSCONFIG] = {step_fsconfig, 3, 2},
    [STEP_FSMOUNT] = {step_fsmount, 3, 0},
    [STEP_MOUNT_SETATTR] = {step_mount_setattr, 6, 1},
    [STEP_MOVE_MOUNT] = {step_move_mount, 3, 1},
    [STEP_PIVOT_ROOT] = {step_pivot_root, 1, 0},
    [STEP_MASK] = {step_mask, 4, 1},
    [STEP_MAKE_DIRECTORY] = {step_make_directory, 3, 1},
    [STEP_WRITE_FILE] = {step_write_file, 3, 2},
    [STEP_SYMLINK] = {step_symlink, 2, 2},
    [STEP_OPEN] = {step_open, 5, 1},
    [STEP_CLOSE] = {step_close, 1, 0},
    [STEP_CHANGE_DIRECTORY] = {step_change_directory, 1, 1},
    [STEP_VERIFY_ROOT] = {step_verify_root, 0, 0},
    [STEP_FCHDIR] = {step_fchdir, 1, 0},
    [STEP_STATE_DIRECTORY] = {step_state_directory, 3, 0},
    [STEP_DIRECTORY_INSIDE] = {step_directory_inside, 3, 1},
    [STEP_OWN_STATE_DIRECTORY] = {step_own_state_directory, 2, 1},
    [STEP_FSCONFIG_LAYERS] = {step_fsconfig_layers, 1, 3},
    [STEP_UNMOUNT] = {step_unmount, 2, 1},
    [STEP_DETACH] = {step_detach, 1, 0},
    [STEP_DISCARD] = {step_discard, 2, 0},
    [STEP_SET_HOSTNAME] = {step_set_hostname, 0, 1},
    [STEP_LOOPBACK_UP] = {step_loopback_up, 0, 0},
    [STEP_UNSHARE] = {step_unshare, 1, 0},
    [STEP_SET_GROUPS] = {step_set_groups, 0, 1},
    [STEP_SET_GID] = {step_set_gid, 1, 0},
    [STEP_SET_UID] = {step_set_uid, 1, 0},
    [STEP_BOUNDING_SET] = {step_bounding_set, 1, 0},
    [STEP_CAPABILITIES] = {step_capabilities, 4, 0},
    [STEP_PRCTL] = {step_prctl, 5, 0},
    [STEP_SESSION_KEYRING] = {step_session_keyring, 0, 0},
    [STEP_RLIMIT] = {step_rlimit, 3, 0},
    [STEP_UMASK] = {step_umask, 1, 0},
    [STEP_SCHEDULING] = {step_scheduling, 7, 0},
    [STEP_SECCOMP] = {step_seccomp, 3, 1},
    [STEP_STDIO] = {step_stdio, 3, 0},
    [STEP_SETSID] = {step_setsid, 0, 0},
    [STEP_CONTROLLING_TTY] = {step_controlling_tty, 1, 0},
    [STEP_CLOSE_RANGE] = {step_close_range, 2, 0},
    [STEP_UNBLOCK_SIGNALS] = {step_unblock_signals, 0, 0},
    [STEP_EXEC] = {step_exec, 2, 4},
    [STEP_AFFINITY] = {step_affinity, 0, 1},
    [STEP_IO_PRIORITY] = {step_io_priority, 1, 0},
    [STEP_PERSONALITY] = {step_personality, 1, 0},
    [STEP_OOM_SCORE_ADJUST] = {step_oom_score_adjust, 1, 0},
    [STEP_LANDLOCK_RULESET] = {step_landlock_ruleset, 4, 0},
    [STEP_LANDLOCK_PATH] = {step_landlock_path, 3, 1},
    [STEP_LANDLOCK_PORT] = {step_landlock_port, 3, 0},
    [STEP_LANDLOCK_RESTRICT] = {step_landlock_restrict, 2, 0},
    [STEP_LABEL_ON_EXEC] = {step_label_on_exec, 2, 1},
    [STEP_SETNS] = {step_setns, 2, 0},
    [STEP_FORK] = {step_fork, 0, 0},
    [STEP_SYSCTL] = {step_sysctl, 2, 2},
    [STEP_SET_DOMAIN_NAME] = {step_set_domain_name, 0, 1},
    [STEP_TIME_OFFSETS] = {step_time_offsets, 5, 0},
    [STEP_PACK] = {step_pack, 5, 1},
    [STEP_COPY_TREE] = {step_copy_tree, 4, 1},
    [STEP_LEND] = {step_lend, 1, 0},
    [STEP_UNPACK] = {step_unpack, 8, 1},
    [STEP_JOIN_CGROUP] = {step_join_cgroup, 1, 0},
    [STEP_SPARSE_FILE] = {step_sparse_file, 2, 1},
    [STEP_LOOP_DEVICE] = {step_loop_device, 2, 0},
    [STEP_FSCONFIG_DEVICE] = {step_fsconfig_device, 2, 1},
    [STEP_LAYER_DIRECTORIES] = {step_layer_directories, 1, 0},
    [STEP_SUBVOLUME] = {step_subvolume, 2, 1},
    [STEP_SUBVOLUME_LIMIT] = {step_subvolume_limit, 2, 0},
    [STEP_REMOVE_TREE] = {step_remove_tree, 1, 1},
    [STEP_ROOT_DIRECTORY] = {step_root_directory, 3, 0},
    [STEP_RECLAIM] = {step_reclaim, 1, 0},
    [STEP_SOCKET] = {step_socket, 4, 0},
};

void reset_context(struct plan_context* context, struct failure* failure) {
  memset(context, 0, sizeof *context);
  for (int i = 0; i < SLOT_COUNT; i++)
    context->slots[i] = -1;
  context->failure = failure;
  context->state_dir = -1;
  context->bounded = -1;
  context->home = -1;
  context->node = -1;
}

int slot_fd(const struct plan_context* context, u64 slot) {
  if (slot == ~(u64)0)
    return AT_FDCWD;
  if (slot >= SLOT_COUNT || context->slots[slot] < 0)
    return -EBADF;
  return context->slots[slot];
}

long set_slot(struct plan_context* context, u64 slot, long fd) {
  if (fd < 0)
    return fd;
  if (slot >= SLOT_COUNT) {
    sys(close, fd);
    return -EINVAL;
  }
  close_fd(&context->slots[slot]);
  context->slots[slot] = (int)fd;
  return 0;
}

void explain(struct plan_context* context, u32 detail, const char* text) {
  context->failure->detail = detail;
  text_append(context->failure->text, FAILURE_TEXT, 0, text);
}

static long run_step(struct plan_context* context, const struct record* step) {
  if (step->op >= sizeof kinds / sizeof *kinds || !kinds[step->op].run)
    return -ENOSYS;
  const struct step_kind* kind = &kinds[step->op];
  if (step->nints != kind->nints || step->nblobs != kind->nblobs)
    return -EBADMSG;
  return kind->run(context, step);
}

long run_steps(struct plan_context* context, const struct blob* steps) {
  struct cursor cursor = {.at = steps->data, .end = steps->data + steps->length};
  struct record step;
  u32 index = 0;
  int more;
  for (; (more = next_record(&cursor, &step)) == 1; index++) {
    long rc = run_step(context, &step);
    if (rc >= 0)
      continue;
    context->failure->step = index;
    context->failure->error = (u32)-rc;
    context->failure->failed = 1;
    return rc;
  }
  if (more < 0) {
    context->failure->step = index;
    context->failure->error = EBADMSG;
    context->failure->failed = 1;
  }
  return more;
}

u32 count_steps(const struct blob* steps) {
  struct cursor cursor = {.at = steps->data, .end = steps->data + steps->length};
  struct record step;
  u32 count = 0;
  while (next_record(&cursor, &step) == 1)
    count++;
  return count;
}
