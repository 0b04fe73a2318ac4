// The interpreter of plans: runs steps one after another and stops at the first that fails.
#pragma once

#include "wire.h"
#include "protocol.h"

enum { FAILURE_TEXT = 256 };

// Why a plan stopped. It lives in memory that the parent of a starting process shares with it.
struct failure {
  u32 step; // position from 0
  u32 error;
  u32 detail;
  u32 failed;
  char text[FAILURE_TEXT];
};

enum failure_detail {
  DETAIL_NONE = 0,
  DETAIL_NOT_FOUND = 1,           // no such program
  DETAIL_NOT_EXECUTABLE = 2,      // there, but not executable
  DETAIL_INTERPRETER_MISSING = 3, // there and executable, but its interpreter is not
  DETAIL_IS_DIRECTORY = 4,
  DETAIL_BAD_TYPE = 5,   // a node is not what was expected
  DETAIL_NOT_APPLIED = 6 // the kernel accepted a change that reading back does not show
};

struct plan_context {
  int slots[SLOT_COUNT];
  struct failure* failure;
  const char* state_name; // the container's own directory name in the state directory
  int state_dir;
  u64 owner, group; // the host ids of the container's root
  int bounded;      // the root of a file system that was made for the container, host steps only
  int node;         // the container's socket, init only
  int home;         // where else than in state_dir the directory of that name is, host steps only
};

void reset_context(struct plan_context* context, struct failure* failure);
// 0, or the negative error of the step that failed, described in context->failure.
long run_steps(struct plan_context* context, const struct blob* steps);
u32 count_steps(const struct blob* steps);

typedef long step_function(struct plan_context* context, const struct record* step);
step_function step_open_tree, step_fsopen, step_fsconfig, step_fsmount, step_mount_setattr, step_move_mount,
    step_pivot_root, step_mask, step_make_directory, step_write_file, step_symlink, step_open, step_close,
    step_change_directory, step_verify_root, step_fchdir, step_state_directory, step_own_state_directory,
    step_set_hostname, step_loopback_up, step_unshare, step_set_groups, step_set_gid, step_set_uid, step_bounding_set,
    step_capabilities, step_prctl, step_session_keyring, step_rlimit, step_umask, step_scheduling, step_seccomp,
    step_stdio, step_setsid, step_controlling_tty, step_close_range, step_unblock_signals, step_exec, step_affinity,
    step_io_priority, step_personality, step_oom_score_adjust, step_setns, step_join_cgroup, step_fork;
step_function step_fsconfig_layers, step_unmount, step_detach, step_discard;
step_function step_sparse_file, step_loop_device, step_fsconfig_device, step_layer_directories;
step_function step_subvolume, step_subvolume_limit, step_remove_tree, step_root_directory, step_reclaim;
step_function step_pack, step_copy_tree, step_lend;
step_function step_directory_inside;
step_function step_unpack;
step_function step_socket;
step_function step_sysctl, step_set_domain_name, step_time_offsets;
step_function step_landlock_ruleset, step_landlock_path, step_landlock_port, step_landlock_restrict, step_label_on_exec;

// Gives this process the score that one of these steps asks for, so that a child is forked with it. `fd` is its own
// oom_score_adj; returns what it was, or NO_SCORE where no step asks.
enum { NO_SCORE = -1001 };
i64 lend_oom_score(const struct blob* steps, int fd);
void restore_oom_score(int fd, i64 score);

// A descriptor of a slot number, AT_FDCWD for all ones; -EBADF where there is none.
int slot_fd(const struct plan_context* context, u64 slot);
long set_slot(struct plan_context* context, u64 slot, long fd);
// steps_storage.c. Makes `upper` and `work`, owned by the container's root, in a directory, which becomes its too.
long make_layer_directories(const struct plan_context* context, int dir);
// The kernel's own words about what was refused to a configuration context (fsopen(2)).
void explain_configuration(struct plan_context* context, int fd);
void explain(struct plan_context* context, u32 detail, const char* text);
// procfs.c. The private procfs, or the one at /proc where there is none; -ENODEV where that is something else.
long open_procfs(const struct plan_context* context);
// A file of this very process, by the number that this procfs knows it by, on this very mount, following no link;
// -ENODEV where it is of a pid namespace that does not know this process. `name` starts with a slash.
long open_own_file(int proc, const char* name, u64 flags);
// After a child was started: its rulesets are not this process's.
void forget_rulesets(struct plan_context* context);
