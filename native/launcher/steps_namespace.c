// Steps that move a process of ours between namespaces.
#include "steps.h"
#include <linux/sched.h>

enum { PR_SET_PDEATHSIG = 1, SIGCHLD = 17, SIGKILL = 9, WALL = 0x40000000, SOCK_CLOEXEC = 02000000 };

long step_unshare(struct plan_context* context, const struct record* step) {
  (void)context;
  return sys(unshare, step->ints[0]);
}

// ints: slot, the kind of namespace it must be (a flag of clone(2)). One of processes, or of time, is only entered by
// children; a process may enter one of time itself by entering what its children have (time_namespaces(7)).
long step_setns(struct plan_context* context, const struct record* step) {
  int fd = slot_fd(context, step->ints[0]);
  return fd < 0 ? -EBADF : sys(setns, fd, step->ints[1]);
}

// ints: slot for the socket, its domain, type and protocol. It belongs to the network namespace that this process is
// in, wherever it is used.
long step_socket(struct plan_context* context, const struct record* step) {
  return set_slot(context, step->ints[0], sys(socket, step->ints[1], step->ints[2] | SOCK_CLOEXEC, step->ints[3]));
}

// ints: `tasks` of a v1 cgroup, or `cgroup.procs` of a v2 one. "0" is whoever writes; the rights are those of whoever
// has opened the file.
long step_join_cgroup(struct plan_context* context, const struct record* step) {
  int fd = slot_fd(context, step->ints[0]);
  long rc = fd < 0 ? -EBADF : sys(write, fd, "0", 1);
  return rc < 0 ? rc : 0;
}

// Goes on as a child, the first process of the pid namespace that was entered or made before. The parent has nothing
// any more, and is there to be waited for and killed in its place.
long step_fork(struct plan_context* context, const struct record* step) {
  (void)step;
  struct clone_args args = {.exit_signal = SIGCHLD};
  long pid = sys(clone3, &args, sizeof args);
  if (pid < 0)
    return pid;
  if (pid > 0) {
    int status = 0;
    long rc;
    sys(close_range, 0, ~0u, 0);
    do
      rc = sys(wait4, pid, &status, WALL, 0);
    while (rc == -EINTR);
    exit_now(status ? 1 : 0);
  }
  // Were the parent gone already, the launcher would have closed the setup socket by now: its end says so.
  sys(prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  // It was the parent's file.
  close_fd(&context->slots[SLOT_OOM_SCORE]);
  long proc = open_procfs(context);
  if (proc >= 0) {
    set_slot(context, SLOT_OOM_SCORE, open_own_file((int)proc, "/oom_score_adj", O_RDWR));
    sys(close, proc);
  }
  return 0;
}
