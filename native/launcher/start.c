// The entry point, and the launcher's own preparation: it keeps nothing of what Node happened to have.
#include "launcher.h"

enum { PR_SET_DUMPABLE = 4, PR_SET_NAME = 15, RLIMIT_NOFILE = 7, CONTROL_FD = 3, SCHED_BATCH = 3 };

static void become_quiet(void) {
  sys(close_range, CONTROL_FD + 1, ~0u, 0);
  // Nobody may look into it or trace it. An ordinary user's launcher stays as it is: the kernel gives the id map files of a
  // process that is not dumpable to root, and its child's must be written. What could look in is that same user.
  if (sys(geteuid) == 0)
    sys(prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
  sys(prctl, PR_SET_NAME, "tscontain", 0, 0, 0);
  sys(setsid);
  sys(chdir, "/");
  sys(umask, 0);
  sys(setpriority, 0, 0, 0);
  // Woken by a message, a batch process takes a free processor, but never preempts Node in the middle of its turn of the
  // event loop (sched(7)). Programs go back to the normal policy before they are executed.
  int priority = 0;
  sys(sched_setscheduler, 0, SCHED_BATCH, &priority);
  u64 all = ~(u64)0;
  sys(rt_sigprocmask, 2 /* SIG_SETMASK */, &all, 0, 8);
  u64 limit[2];
  if (sys(prlimit64, 0, RLIMIT_NOFILE, 0, limit) == 0) {
    limit[0] = limit[1];
    sys(prlimit64, 0, RLIMIT_NOFILE, limit, 0);
  }
  long null = sys(openat, AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC, 0);
  for (int fd = 0; fd < 3; fd++)
    if (null >= 0 && null != fd)
      sys(dup3, null, fd, 0);
  if (null > 2)
    sys(close, null);
  sys(fcntl, CONTROL_FD, 2 /* F_SETFD */, 1 /* FD_CLOEXEC */);
}

__attribute__((used)) _Noreturn void start(void) {
  become_quiet();
  launcher_main(CONTROL_FD);
}

// The kernel starts a program with the stack pointer aligned to 16 and no return address; C expects the state after a call.
#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n  xor %ebp, %ebp\n  and $-16, %rsp\n  call start\n");
#else
__asm__(".globl _start\n_start:\n  mov x29, #0\n  mov x30, #0\n  bl start\n");
#endif
