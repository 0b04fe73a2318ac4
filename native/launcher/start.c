// The entry point, and the launcher's own preparation: it keeps nothing of what Node happened to have.
#include "launcher.h"

enum { PR_SET_DUMPABLE = 4, PR_SET_NAME = 15, PR_SET_TIMERSLACK = 29, CONTROL_FD = 3, SCHED_BATCH = 3 };
enum { MADV_WIPEONFORK = 18, MADV_KEEPONFORK = 19 };
enum { RLIMIT_STACK = 3, RLIMIT_NOFILE = 7, DEFAULT_STACK = 8 * 1024 * 1024, DEFAULT_SLACK_NS = 50000 };

static void set_soft_limit(u64 resource, u64 most) {
  u64 limit[2];
  if (sys(prlimit64, 0, resource, 0, limit) < 0)
    return;
  limit[0] = limit[1] < most ? limit[1] : most;
  sys(prlimit64, 0, resource, limit, 0);
}

// What every process below takes over, and what no step of a plan sets again: Node may run without address
// randomisation (setarch -R), with a stack that changes the memory layout, or spared by the out-of-memory killer, which
// would spare what runs in a container too, and its limit would end nothing (proc_pid_oom_score_adj(5)).
static void reset_inherited(void) {
  sys(personality, 0);
  sys(prctl, PR_SET_TIMERSLACK, DEFAULT_SLACK_NS, 0, 0, 0);
  set_soft_limit(RLIMIT_STACK, DEFAULT_STACK);
  set_soft_limit(RLIMIT_NOFILE, ~(u64)0);
  char score[16];
  if (read_file(AT_FDCWD, "/proc/self/oom_score_adj", score, sizeof score) > 0 && score[0] == '-')
    write_file(AT_FDCWD, "/proc/self/oom_score_adj", "0", 1);
}

extern char __bss_start[], _end[]; // of the linker

// The launcher's data is none of init's business, and copying it, page by page as either writes, is most of what a fork
// would cost: a new init finds zeros (madvise(2), MADV_WIPEONFORK, Linux 4.14).
static void advise_memory(int advice) {
  const size_t page = 4096 * 16; // the largest that Linux uses on the architectures we know
  size_t first = ((size_t)__bss_start + page - 1) & ~(page - 1), last = (size_t)_end & ~(page - 1);
  if (first < last)
    sys(madvise, first, last - first, advice);
}

void own_memory(void) {
  advise_memory(MADV_KEEPONFORK);
}

// Node ignores SIGPIPE, for one, and ignored signals stay ignored across exec (signal(7)).
static void default_signals(void) {
  struct {
    void* handler;
    u64 flags;
    void* restorer;
    u64 mask;
  } fallback = {0};                             // SIG_DFL
  for (int signal = 1; signal <= 64; signal++)  //
    sys(rt_sigaction, signal, &fallback, 0, 8); // refused for SIGKILL and SIGSTOP, which cannot differ
}

static void become_quiet(void) {
  advise_memory(MADV_WIPEONFORK);
  default_signals();
  sys(close_range, CONTROL_FD + 1, ~0u, 0);
  // Nobody may look into it or trace it. An ordinary user's launcher stays as it is: the kernel gives the id map files
  // of a process that is not dumpable to root, and its child's must be written. What could look in is that same user.
  if (sys(geteuid) == 0)
    sys(prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
  sys(prctl, PR_SET_NAME, "tscontain", 0, 0, 0);
  sys(setsid);
  sys(chdir, "/");
  sys(umask, 0);
  sys(setpriority, 0, 0, 0);
  // Woken by a message, a batch process takes a free processor, but never preempts Node in the middle of its turn of
  // the event loop (sched(7)). Programs go back to the normal policy before they are executed.
  int priority = 0;
  sys(sched_setscheduler, 0, SCHED_BATCH, &priority);
  u64 all = ~(u64)0;
  sys(rt_sigprocmask, 2 /* SIG_SETMASK */, &all, 0, 8);
  reset_inherited();
  long null = sys(openat, AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC, 0);
  for (int fd = 0; fd < 3; fd++)
    if (null >= 0 && null != fd)
      sys(dup3, null, fd, 0);
  if (null > 2)
    sys(close, null);
  // Without a connection this is not a launcher: a program of a container was given its own starter's name
  // (/proc/self/exe).
  if (sys(fcntl, CONTROL_FD, 2 /* F_SETFD */, 1 /* FD_CLOEXEC */) < 0)
    exit_now(1);
}

__attribute__((used)) _Noreturn void start(void) {
  become_quiet();
  launcher_main(CONTROL_FD);
}

// The kernel starts a program with the stack pointer aligned to 16 and no return address; C expects the state after a
// call.
#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n  xor %ebp, %ebp\n  and $-16, %rsp\n  call start\n");
#else
__asm__(".globl _start\n_start:\n  mov x29, #0\n  mov x30, #0\n  bl start\n");
#endif
