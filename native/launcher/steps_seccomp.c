// The filter of a program, and how its listener gets out where calls are to be decided in Node (seccomp_unotify(2)).
//
// A listener is made by the very call that loads the filter, in the process that is filtered; from then on any call of
// that process may be one that waits for an answer, sendmsg(2) included. So nothing is sent by it. Before it loads the
// filter it makes a *courier*: a second process without a filter, which shares its memory and its descriptors, sees the
// listener appear, sends it to Node, and ends. The filtered process waits for that end, asleep if the filter allows
// futex(2) for sure and else without any call; and goes on to execve(2), which gives it memory and descriptors of its
// own, only if the listener is on its way. The courier is init's child (CLONE_PARENT), so the program finds no child
// that it has not made.
#include "steps.h"
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/uio.h>

#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5) // Linux 5.19
#endif

enum { SOL_SOCKET = 1, SCM_RIGHTS = 1, MSG_NOSIGNAL = 0x4000, MSG_DONTWAIT = 0x40 };
enum { NOT_YET = -1000000, COURIER_STACK = 8192 };
enum { FUTEX_WAIT = 0, FUTEX_WAKE = 1 };
enum { CHECK_NS = 5 * 1000 * 1000, LOOK_NS = 20 * 1000, MOST_LOOKS = 100 * 1000, MOST_CHECKS = 200 };

// In init's memory, which all three share. A courier that outlives its program for a moment still uses it: `courier` is
// cleared, and whoever waits for that woken, by the kernel when it is gone (CLONE_CHILD_CLEARTID); nobody starts a
// second one before.
static struct {
  int courier;  // its process id, 0: none
  int listener; // a descriptor, a negative error, or NOT_YET
  int sent;     // 0, a negative error, or NOT_YET
  int socket;
  int program; // the process that is to be filtered
  bool woken;  // it can say when it has the listener
} handover;
static _Alignas(16) char courier_stack[COURIER_STACK];

static int read_word(const int* word) {
  return __atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static void write_word(int* word, int value) {
  __atomic_store_n(word, value, __ATOMIC_RELEASE);
}

// Returns when the word has another value, or some time later.
static void wait_while(const int* word, int value, i64 nanoseconds) {
  struct {
    i64 sec, nsec;
  } time = {0, nanoseconds};
  sys(futex, word, FUTEX_WAIT, value, nanoseconds ? &time : 0, 0, 0);
}

// Everything on its own stack: init may be awake again by then, if the program was killed.
static long send_listener(int socket, int listener) {
  struct {
    u64 length;
    u32 level, type;
    int fd, padding;
  } control = {20, SOL_SOCKET, SCM_RIGHTS, listener, 0};
  struct {
    u16 op;
    u8 nints, nblobs;
    u32 size;
  } record = {MSG_LISTENER, 0, 0, 8};
  struct iovec iov = {&record, sizeof record};
  struct {
    void* name;
    u64 namelen;
    struct iovec* iov;
    u64 iovlen;
    void* control;
    u64 controllen, flags;
  } header = {0, 0, &iov, 1, &control, sizeof control, 0};
  long rc;
  do
    rc = sys(sendmsg, socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
  while (rc == -EINTR);
  return rc < 0 ? rc : 0;
}

static __attribute__((used)) _Noreturn void courier_main(void) {
  int listener;
  bool woken = handover.woken;
  int check = woken ? 1 : 256; // looks between two questions whether there still is a program
  for (int i = 1; (listener = read_word(&handover.listener)) == NOT_YET && i < MOST_LOOKS; i++) {
    if (i % check == 0 && sys(kill, handover.program, 0) == -ESRCH)
      break; // killed in the middle of it
    wait_while(&handover.listener, NOT_YET, woken ? CHECK_NS : LOOK_NS);
  }
  long rc = listener == NOT_YET ? -EAGAIN : listener;
  if (listener >= 0)
    rc = send_listener(handover.socket, listener);
  write_word(&handover.sent, (int)rc);
  exit_now(0);
}

// clone3(2) with a stack: the child returns from the call onto an empty one, so what it does next is not C's to say.
long start_courier(struct clone_args* args, size_t size);
#if defined(__x86_64__)
__asm__(".text\nstart_courier:\n"
        "  mov $435, %eax\n"
        "  syscall\n"
        "  test %rax, %rax\n"
        "  jnz 1f\n"
        "  xor %ebp, %ebp\n"
        "  call courier_main\n"
        "1: ret\n");
#else
__asm__(".text\nstart_courier:\n"
        "  mov x8, #435\n"
        "  svc 0\n"
        "  cbnz x0, 1f\n"
        "  mov x29, #0\n"
        "  mov x30, #0\n"
        "  bl courier_main\n"
        "1: ret\n");
#endif

static long make_courier(int socket, bool woken) {
  int stale;
  for (int i = 0; (stale = read_word(&handover.courier)) != 0; i++) {
    if (i == MOST_CHECKS)
      return -EBUSY;
    wait_while(&handover.courier, stale, CHECK_NS);
  }
  handover.listener = handover.sent = NOT_YET;
  handover.socket = socket;
  handover.program = (int)sys(getpid);
  handover.woken = woken;
  struct clone_args args = {
      .flags = CLONE_VM | CLONE_FILES | CLONE_PARENT | CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID,
      .parent_tid = (u64)&handover.courier,
      .child_tid = (u64)&handover.courier,
      .stack = (u64)courier_stack,
      .stack_size = sizeof courier_stack,
  };
  long pid = start_courier(&args, sizeof args);
  return pid < 0 ? pid : 0;
}

static void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  __asm__ volatile("yield");
#endif
}

// The courier's end, by whatever: one that was killed has sent nothing. Asleep only if no call of futex(2) can be one
// that the filter stops.
static long await_courier(bool asleep) {
  if (asleep)
    sys(futex, &handover.listener, FUTEX_WAKE, 1, 0, 0, 0);
  int courier;
  while ((courier = read_word(&handover.courier)) != 0)
    if (asleep)
      wait_while(&handover.courier, courier, 0);
    else
      relax();
  return handover.sent == NOT_YET ? -EPIPE : handover.sent;
}

// WAIT_KILLABLE_RECV: a call that the supervisor has seen is not taken back by a signal and made again, so nothing that
// was decided happens twice.
static long load_with_listener(u64 flags, struct sock_fprog* filter) {
  flags |= SECCOMP_FILTER_FLAG_NEW_LISTENER;
  long rc = sys(seccomp, SECCOMP_SET_MODE_FILTER, flags | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, filter);
  return rc == -EINVAL ? sys(seccomp, SECCOMP_SET_MODE_FILTER, flags, filter) : rc;
}

// ints: flags of seccomp(2), slot of the socket that the listener goes to (all ones: there is no listener), whether the
// program allows futex(2) whatever its arguments; blobs: program. The last thing before exec: no_new_privs is already
// on, and from here on only what the filter allows can be called.
long step_seccomp(struct plan_context* context, const struct record* step) {
  const struct blob* program = &step->blobs[0];
  if (program->length == 0 || program->length % 8 || program->length / 8 > BPF_MAXINSNS)
    return -EINVAL;
  struct sock_fprog filter = {.len = (u16)(program->length / 8), .filter = (struct sock_filter*)program->data};
  if (step->ints[1] == ~(u64)0)
    return sys(seccomp, SECCOMP_SET_MODE_FILTER, step->ints[0], &filter);
  int socket = slot_fd(context, step->ints[1]);
  if (socket < 0)
    return -EBADF;
  bool asleep = step->ints[2] == 1;
  long rc = make_courier(socket, asleep);
  if (rc < 0) {
    explain(context, DETAIL_NONE, "starting the courier of the listener");
    return rc;
  }
  rc = load_with_listener(step->ints[0], &filter);
  write_word(&handover.listener, (int)rc);
  long sent = await_courier(asleep);
  if (rc < 0)
    return rc;
  if (sent < 0)
    explain(context, DETAIL_NONE, "sending the listener");
  return sent < 0 ? sent : 0;
}
