// What programs of agents have left running. An agent without a pid namespace cannot end all that its programs have
// started: what has lost its parent belongs to the agent (a subreaper, prctl(2)), and when the agent ends, to the
// launcher, which is one too and ends it.
#include "containers.h"

enum { PR_SET_CHILD_SUBREAPER = 36 };

static int children = -1; // lists this process's children (proc(5), with CONFIG_PROC_CHILDREN)
static bool left;

void strays_expect(void) {
  if (children >= 0)
    return;
  sys(prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  children = (int)sys(openat, AT_FDCWD, "/proc/thread-self/children", O_CLOEXEC, 0);
}

static bool is_ours(u64 pid) {
  for (int i = 0; i < container_high; i++)
    if ((u64)containers[i].pid == pid || (u64)containers[i].remover == pid)
      return true;
  return false;
}

// Called after every reaping: each that ends may hand its own children over.
void strays_end(void) {
  static char text[16 * 1024];
  left = false;
  if (children < 0 || sys(lseek, children, 0, 0) < 0)
    return;
  u64 pid = 0;
  long got;
  while ((got = sys(read, children, text, sizeof text)) > 0)
    for (long i = 0; i < got; i++) {
      if (text[i] >= '0' && text[i] <= '9') {
        pid = pid * 10 + (u64)(text[i] - '0');
        continue;
      }
      if (pid && !is_ours(pid)) {
        left = true;
        sys(kill, pid, SIGKILL); // our own child, not reaped: the number is its
      }
      pid = 0;
    }
}

bool strays_left(void) {
  return left;
}
