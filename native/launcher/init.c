// Pid 1 of a container: runs the plan, then starts what Node asks for, reaps everything, and reports. It never executes
// a program with its own privileges, and what it forks starts from the frozen profile that comes with each request. An
// *agent* is the same outside of containers, in any namespaces, also the host's own; it runs steps for Node too.
#include "init.h"
#include <linux/sched.h>
#include <linux/time_types.h>

enum {
  SETUP_FD = 3,
  SIGCHLD = 17,
  SIGKILL = 9,
  PR_SET_PDEATHSIG = 1,
  PR_SET_DUMPABLE = 4,
  PR_SET_CHILD_SUBREAPER = 36,
  POLL_IN = 1
};
enum { WNOHANG = 1, WUNTRACED = 2, WALL = 0x40000000, MAX_EXECS = 4096 };
enum { MAX_RUN_FDS = 64, MAX_RUN_SLOTS = 8 };
enum { F_DUPFD_CLOEXEC = 1030 };
enum { TIOCGPTPEER = 0x5441, TIOCSPTLCK = 0x40045431, TIOCSWINSZ = 0x5414 };

struct usage {
  struct {
    i64 sec, usec;
  } user, system;
  i64 maxrss, unused1[3], minflt, majflt, nswap, inblock, oublock, unused2[3], nvcsw, nivcsw;
};

struct running {
  int pid; // 0: free
  u32 number;
  bool last, file;
};

static int container = -1;         // the socket that Node holds the other end of
static bool agent, hidden, handed; // handed: descriptors have come from the host's side
static char name[NAME_LENGTH];     // what the launcher calls it
static struct running execs[MAX_EXECS];
static int exec_high;
static struct plan_context context;
static struct failure failure; // written by a child too, until it executes its program
static _Alignas(8) char message_buffer[MAX_INLINE + 4096];

static struct running* remember(int pid, u64 number, bool last, bool file) {
  for (int i = 0; i < MAX_EXECS; i++)
    if (!execs[i].pid) {
      execs[i] = (struct running){.pid = pid, .number = (u32)number, .last = last, .file = file};
      if (i >= exec_high)
        exec_high = i + 1;
      return &execs[i];
    }
  return 0;
}

static void report_failure(u16 op, u64 exec, long error) {
  u64 ints[] = {exec, failure.step, error < 0 ? (u64)-error : failure.error, failure.detail};
  failure.text[FAILURE_TEXT - 1] = 0;
  struct blob text = {.data = failure.text, .length = (u32)text_length(failure.text)};
  send_record(container, op, 4, ints, 1, &text, 0, 0);
}

// An ordinary user's agent is not hidden from the start (launcher/creation.c). It is when anything can be in the same
// namespaces as it or its child: a process of a namespace that it has entered, or a program of its own.
static void hide(void) {
  sys(prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
}

// ---- start
// -----------------------------------------------------------------------------------------------------------

// Waits for the launcher: the id maps are written by then, and the mounts that only it could make have come.
static void receive_plan(long joined) {
  u32 done = 0; // steps of the common part
  long rc = joined;
  if (joined < 0) {
    failure.step = ~0u; // before the first one
    explain(&context, DETAIL_NONE, "joining its cgroups");
  }
  for (;;) {
    struct message message;
    if (receive_message(SETUP_FD, message_buffer, sizeof message_buffer, 0, &message) <= 0)
      exit_now(1);
    const struct record* r = &message.record;
    bool start = r->op == MSG_START && r->nblobs == 1 && message.nfds == 1;
    bool prepare = r->op == MSG_PREPARE && r->nblobs == 1;
    if (r->op == MSG_SLOTS && r->nints == message.nfds) {
      for (int i = 0; i < message.nfds; i++)
        set_slot(&context, r->ints[i], message.fds[i]);
      handed = handed || message.nfds > 0;
      message.nfds = 0;
    }
    if (start) {
      container = context.node = message.fds[0];
      message.nfds = 0;
    }
    if ((start || prepare) && rc >= 0) {
      if (hidden) // the id maps are written: from here on nothing may look in
        hide();
      rc = run_steps(&context, &r->blobs[0]);
      failure.step += done;
      done += count_steps(&r->blobs[0]);
    }
    release_message(&message);
    if (!start)
      continue;
    if (rc < 0) { // in the common part, maybe: only now there is someone to tell
      report_failure(MSG_FAILED, 0, joined);
      exit_now(1);
    }
    return;
  }
}

// Everything that only the plan needed is closed: what stays is the container's own null, terminals and procfs.
static void close_plan_slots(void) {
  for (int slot = 0; slot < SLOT_NULL; slot++)
    close_fd(&context.slots[slot]);
}

// An agent's streams are the host's null device, which the launcher has opened.
static void use_own_null(void) {
  if (agent && context.slots[SLOT_NULL] < 0)
    set_slot(&context, SLOT_NULL, sys(fcntl, 0, F_DUPFD_CLOEXEC, SETUP_FD + 1));
  int null = context.slots[SLOT_NULL];
  for (int fd = 0; fd < 3 && null >= 0; fd++)
    sys(dup3, null, fd, O_CLOEXEC);
}

// ---- exec
// ------------------------------------------------------------------------------------------------------------

struct request {
  u64 number, flags, columns, rows, owner;
  const struct blob* steps;
  int cgroup;
};

// A terminal of the container's own devpts: verified to be one (5:2), its other side taken from the descriptor and not
// by name (TIOCGPTPEER), so that no link in the image can stand in for it.
static long open_terminal(const struct request* request) {
  int devpts = slot_fd(&context, SLOT_PTMX);
  long master = devpts < 0 ? -EBADF : open_beneath(devpts, "ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK, 0, 0);
  if (master < 0)
    return master;
  struct stat_facts facts;
  int unlock = 0;
  u16 size[4] = {(u16)request->rows, (u16)request->columns, 0, 0};
  long rc = stat_of((int)master, "", AT_EMPTY_PATH, &facts);
  if (rc >= 0 && (facts.rdev_major != 5 || facts.rdev_minor != 2))
    rc = -ENODEV;
  if (rc >= 0)
    rc = sys(ioctl, master, TIOCSPTLCK, &unlock);
  if (rc >= 0)
    rc = sys(ioctl, master, TIOCSWINSZ, size);
  if (rc >= 0)
    rc = sys(ioctl, master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (rc >= 0) {
    set_slot(&context, SLOT_TTY, rc);
    rc = sys(fchownat, context.slots[SLOT_TTY], "", request->owner, (u64)-1, AT_EMPTY_PATH);
  }
  if (rc < 0) {
    sys(close, master);
    return rc;
  }
  return master;
}

static _Noreturn void run_child(const struct blob* steps) {
  run_steps(&context, steps); // ends in execve
  exit_now(127);
}

// As vfork(2): the child borrows init's memory, and init sleeps until the program runs or the plan has failed. Copying
// even this little memory, and faulting it in again, costs more than all the steps together. What the child has while
// its privileges go is init's own memory, and nobody can reach in: the memory is not dumpable and belongs to the user
// namespace that the launcher was started in, so that ptrace(2) and /proc/<pid>/mem ask for CAP_SYS_PTRACE there
// (mm->user_ns). A handler of signals, which vfork is feared for, does not exist in init.
static __attribute__((noinline)) long start_child(const struct request* request) {
  struct clone_args args = {.flags = CLONE_VM | CLONE_VFORK, .exit_signal = SIGCHLD};
  if (request->cgroup >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = (u64)request->cgroup;
  }
  if (agent)
    hide();
  long pid = sys(clone3, &args, sizeof args);
  if (pid == 0)
    run_child(request->steps);
  return pid;
}

static void on_exec(struct message* message) {
  const struct record* r = &message->record;
  struct request request = {
      .number = r->ints[0],
      .flags = r->ints[1],
      .columns = r->ints[2],
      .rows = r->ints[3],
      .owner = r->ints[4],
      .steps = &r->blobs[0],
      .cgroup = -1,
  };
  failure = (struct failure){0};
  if (request.flags & EXEC_GROUP && message->nfds > 0)
    request.cgroup = message->fds[message->nfds - 1];
  for (int i = 0; i < message->nfds; i++)
    context.slots[i] = message->fds[i];
  long master = request.flags & EXEC_TTY ? open_terminal(&request) : -1;
  bool ready = !(request.flags & EXEC_TTY) || master >= 0;
  int score_file = context.slots[SLOT_OOM_SCORE];
  i64 score = lend_oom_score(request.steps, score_file);
  long pid = ready ? start_child(&request) : master;
  restore_oom_score(score_file, score);
  forget_rulesets(&context);
  for (int i = 0; i < message->nfds; i++)
    context.slots[i] = -1; // released with the message
  close_fd(&context.slots[SLOT_TTY]);
  if (pid < 0) {
    explain(&context, DETAIL_NONE, ready ? "clone3" : "ptmx");
    failure.step = ~0u;
    report_failure(MSG_EXEC_FAILED, request.number, pid);
  } else if (failure.failed) {
    report_failure(MSG_EXEC_FAILED, request.number, 0);
    pid = -1;
  } else if (!remember((int)pid, request.number, request.flags & EXEC_LAST, false)) {
    sys(kill, pid, SIGKILL);
    report_failure(MSG_EXEC_FAILED, request.number, -ENFILE);
  } else if (request.flags & (EXEC_REPORT | EXEC_TTY)) {
    u64 ints[] = {request.number, (u64)pid};
    int fd = (int)master;
    send_record(container, MSG_STARTED, 2, ints, 0, 0, &fd, master >= 0 ? 1 : 0);
  }
  if (master >= 0)
    sys(close, master);
  if (pid < 0 && request.flags & EXEC_LAST)
    exit_now(1);
}

static void on_signal(u64 number, u64 signal) {
  for (int i = 0; i < exec_high; i++)
    if (execs[i].pid && !execs[i].file && execs[i].number == number)
      sys(kill, execs[i].pid, signal); // our own child, not reaped: the number is still its
}

// ---- reaping
// ---------------------------------------------------------------------------------------------------------

static void report_exit(const struct running* exec, int status, const struct usage* usage) {
  if (exec->file) { // a file operation that died before it could answer
    u64 ints[] = {exec->number, status ? ENOMEM : 0, 0};
    if (status)
      send_record(container, MSG_FILE_REPLY, 3, ints, 0, 0, 0, 0);
    return;
  }
  u64 ints[] = {
      exec->number,
      (u64)(u32)status,
      (u64)(usage->user.sec * 1000000 + usage->user.usec),
      (u64)(usage->system.sec * 1000000 + usage->system.usec),
      (u64)usage->maxrss,
      (u64)usage->inblock,
      (u64)usage->oublock,
  };
  send_record(container, MSG_EXITED, 7, ints, 0, 0, 0, 0);
}

static void reap(void) {
  int status;
  struct usage usage;
  long pid;
  while ((pid = sys(wait4, -1, &status, WNOHANG | WUNTRACED | WALL, &usage)) > 0)
    for (int i = 0; i < exec_high; i++)
      if (execs[i].pid == pid) {
        if ((status & 0xff) == 0x7f) { // stopped: a program may be, but one of ours that Node waits for may not
          if (execs[i].file)
            sys(kill, pid, SIGKILL);
          break;
        }
        report_exit(&execs[i], status, &usage);
        if (execs[i].last)
          exit_now(0); // the kernel ends whatever is left in the pid namespace
        execs[i].pid = 0;
        while (exec_high > 0 && !execs[exec_high - 1].pid)
          exec_high--;
        break;
      }
}

// ---- lending
// ---------------------------------------------------------------------------------------------------------

// ints: slot. In the middle of the plan: Node gets the descriptor, and the plan stands still until Node is done with
// it.
long step_lend(struct plan_context* plan, const struct record* step) {
  int fd = slot_fd(plan, step->ints[0]);
  if (fd < 0 || plan->node < 0)
    return -EBADF;
  long rc = send_record(plan->node, MSG_LENT, 0, 0, 0, 0, &fd, 1);
  if (rc < 0)
    return rc;
  static _Alignas(8) char answer[4096]; // the plan is still in message_buffer
  struct message message;
  if (receive_message(plan->node, answer, sizeof answer, 0, &message) <= 0)
    exit_now(0); // Node has let go of the container
  bool returned = message.record.op == MSG_RETURN;
  release_message(&message);
  return returned ? 0 : -EBADMSG;
}

// ---- the loop
// --------------------------------------------------------------------------------------------------------

// Steps for Node, and the descriptors that it wants of them. Nothing of them stays in the slots for the next ones. A
// container's init does nothing else meanwhile, so it is asked for short ones only: to hand out descriptors.
static void on_run(struct message* message) {
  const struct record* r = &message->record;
  int fds[MAX_RUN_FDS], nfds = 0;
  failure = (struct failure){0};
  for (int i = 0; i < message->nfds; i++)
    set_slot(&context, (u64)i, message->fds[i]);
  message->nfds = 0;
  long rc = run_steps(&context, &r->blobs[0]);
  hide();
  for (int i = 1; i < r->nints && rc >= 0; i++) {
    bool given = r->ints[i] < SLOT_NULL || (r->ints[i] >= SLOT_UPPER && r->ints[i] <= SLOT_COPIED);
    int fd = given ? context.slots[r->ints[i]] : -1;
    if (fd < 0) {
      failure.step = ~0u;
      explain(&context, DETAIL_NONE, "slot");
      rc = -EBADF;
    } else {
      fds[nfds++] = fd;
    }
  }
  u64 ints[] = {r->ints[0], failure.step, rc < 0 ? (u64)-rc : 0, failure.detail};
  failure.text[FAILURE_TEXT - 1] = 0;
  struct blob text = {.data = failure.text, .length = (u32)text_length(failure.text)};
  rc = send_record(container, MSG_RAN, 4, ints, 1, &text, fds, rc < 0 ? 0 : nfds);
  if (rc < 0) { // descriptors that cannot be sent, such as too many on their way (unix(7), ETOOMANYREFS)
    ints[1] = ~0u;
    ints[2] = (u64)-rc;
    send_record(container, MSG_RAN, 4, ints, 1, &text, 0, 0);
  }
  close_plan_slots();
}

static void on_message(struct message* message) {
  const struct record* r = &message->record;
  if (r->op == MSG_EXEC && r->nints == 5 && r->nblobs == 1)
    on_exec(message);
  else if (r->op == MSG_SIGNAL && r->nints == 2)
    on_signal(r->ints[0], r->ints[1]);
  else if (r->op == MSG_RUN && r->nints >= 1 && r->nints <= 1 + MAX_RUN_FDS && r->nblobs == 1 &&
           message->nfds <= MAX_RUN_SLOTS)
    on_run(message);
  else if (r->op == MSG_FILE && r->nints == 5 && r->nblobs == 2) {
    struct clone_args args = {.exit_signal = SIGCHLD};
    long pid = sys(clone3, &args, sizeof args);
    if (pid == 0)
      file_operation(container, r);
    if (pid < 0 || !remember((int)pid, r->ints[0], false, true)) {
      u64 ints[] = {r->ints[0], pid < 0 ? (u64)-pid : ENFILE, 0};
      send_record(container, MSG_FILE_REPLY, 3, ints, 0, 0, 0, 0);
    }
  }
}

static void serve(int signals) {
  struct {
    int fd;
    u16 events, revents;
  } polls[] = {{container, POLL_IN, 0}, {signals, POLL_IN, 0}, {SETUP_FD, POLL_IN, 0}};
  for (;;) {
    long n = sys(ppoll, polls, 3, 0, 0, 8);
    if (n <= 0)
      continue;
    struct message message;
    if (polls[1].revents) {
      char info[128 * 4];
      sys(read, signals, info, sizeof info);
      reap();
    }
    if (polls[2].revents) {
      if (receive_message(SETUP_FD, message_buffer, sizeof message_buffer, 0, &message) <= 0)
        exit_now(1); // the launcher is gone
      // Everything in the pid namespace but init itself. Without one of its own that would be everything on the host.
      if (message.record.op == MSG_KILL_ALL && sys(getpid) == 1)
        sys(kill, -1, SIGKILL);
      release_message(&message);
    }
    if (polls[0].revents) {
      if (receive_message(container, message_buffer, sizeof message_buffer, 0, &message) <= 0)
        exit_now(0); // Node has let go of the container
      on_message(&message);
      release_message(&message);
    }
  }
}

_Noreturn void init_main(const struct birth* birth) {
  sys(prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  own_memory();
  reset_context(&context, &failure);
  agent = birth->agent;
  hidden = birth->hidden;
  memcpy(name, birth->name, sizeof name);
  context.state_name = name;
  // What has lost its parent stays with the agent (strays.c has the rest of it).
  if (agent)
    sys(prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  long joined = 0;
  // "0" written by the process itself into `tasks` of a v1 hierarchy: the one form of migration that does not take the
  // kernel's global threadgroup lock (kernel/cgroup/cgroup.c, cgroup_procs_write_start).
  for (int i = 0; i < birth->ntasks && joined >= 0; i++)
    joined = sys(write, birth->tasks[i], "0", 1);
  sys(dup3, birth->setup, SETUP_FD, O_CLOEXEC);
  sys(close_range, SETUP_FD + 1, ~0u, 0);
  // While this is still the launcher's user, whose file it is; through the host's procfs, which it has until it pivots.
  set_slot(&context, SLOT_OOM_SCORE, sys(openat, AT_FDCWD, "/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC, 0));
  u64 mask = (u64)1 << (SIGCHLD - 1);
  receive_plan(joined);
  // What an agent was given from the host's side is for the first steps that Node asks of it.
  if (!agent || !handed)
    close_plan_slots();
  use_own_null();
  // Changing ids has cleared it (prctl(2)).
  sys(prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  long signals = sys(signalfd4, -1, &mask, 8, O_CLOEXEC | O_NONBLOCK);
  send_record(container, MSG_READY, 0, 0, 0, 0, 0, 0);
  serve((int)signals);
  exit_now(0);
}
