// Steps that give a process its attributes: limits, scheduling, personality, its score for the out-of-memory killer.
// Each reads back what the kernel made of it.
#include "steps.h"

enum { READ_PERSONALITY = 0xffffffff, IOPRIO_WHO_PROCESS = 1, MAX_PROCESSOR_BYTES = 1024, SCHED_IDLE = 5 };

static long not_applied(struct plan_context* context, const char* what) {
  explain(context, DETAIL_NOT_APPLIED, what);
  return -EPERM;
}

// ints: resource, soft, hard; all ones is RLIM_INFINITY
long step_rlimit(struct plan_context* context, const struct record* step) {
  u64 limit[2] = {step->ints[1], step->ints[2]}, now[2];
  long rc = sys(prlimit64, 0, step->ints[0], limit, 0);
  if (rc >= 0)
    rc = sys(prlimit64, 0, step->ints[0], 0, now);
  return rc >= 0 && memcmp(limit, now, sizeof now) != 0 ? not_applied(context, "limit") : rc;
}

// sched_setattr(2), version 0 of its structure
struct scheduling {
  u32 size, policy;
  u64 flags;
  i32 nice;
  u32 priority;
  u64 runtime, deadline, period;
};

// ints: policy, flags, nice, priority; runtime, deadline, period in nanoseconds. The normal policy is asked for too:
// the launcher has left it.
long step_scheduling(struct plan_context* context, const struct record* step) {
  const u64* n = step->ints;
  struct scheduling wanted = {
      .size = sizeof wanted,
      .policy = (u32)n[0],
      .flags = n[1],
      .nice = (i32)n[2],
      .priority = (u32)n[3],
      .runtime = n[4],
      .deadline = n[5],
      .period = n[6],
  };
  struct scheduling now = {.size = sizeof now};
  long rc = sys(sched_setattr, 0, &wanted, 0);
  // Of SCHED_IDLE the call ignores the nice value, which is kept all the same, for when the policy changes.
  if (rc >= 0 && wanted.policy == SCHED_IDLE)
    rc = sys(setpriority, 0, 0, wanted.nice);
  if (rc >= 0)
    rc = sys(sched_getattr, 0, &now, sizeof now, 0);
  if (rc < 0)
    return rc;
  bool same = now.policy == wanted.policy && now.nice == wanted.nice && now.priority == wanted.priority &&
              (now.flags & wanted.flags) == wanted.flags;
  // Of a policy that is not SCHED_DEADLINE the kernel tells other times since Linux 6.12 (its slice).
  if (wanted.deadline)
    same = same && now.runtime == wanted.runtime && now.deadline == wanted.deadline && now.period == wanted.period;
  return same ? 0 : not_applied(context, "scheduling");
}

// blobs: mask of processors in whole words, exactly; empty is all of them, which the cpuset cgroup narrows to what is
// allowed (sched_setaffinity(2)).
long step_affinity(struct plan_context* context, const struct record* step) {
  const struct blob* wanted = &step->blobs[0];
  u8 mask[MAX_PROCESSOR_BYTES];
  if (wanted->length > sizeof mask || wanted->length % 8)
    return -EINVAL;
  if (!wanted->length) {
    memset(mask, 0xff, sizeof mask);
    return sys(sched_setaffinity, 0, sizeof mask, mask);
  }
  long rc = sys(sched_setaffinity, 0, wanted->length, wanted->data);
  if (rc >= 0)
    rc = sys(sched_getaffinity, 0, sizeof mask, mask);
  if (rc < 0)
    return rc;
  size_t got = (size_t)rc; // what lies beyond it is zero
  for (size_t i = 0; i < sizeof mask; i++)
    if ((i < got ? mask[i] : 0) != (i < wanted->length ? (u8)wanted->data[i] : 0))
      return not_applied(context, "processors");
  return 0;
}

// ints: class and level, as ioprio_set(2) has them
long step_io_priority(struct plan_context* context, const struct record* step) {
  long rc = sys(ioprio_set, IOPRIO_WHO_PROCESS, 0, step->ints[0]);
  if (rc >= 0)
    rc = sys(ioprio_get, IOPRIO_WHO_PROCESS, 0);
  if (rc < 0)
    return rc;
  // Without a class of its own a process is told what its nice value stands for.
  return step->ints[0] && rc != (long)step->ints[0] ? not_applied(context, "block device priority") : 0;
}

// ints: value
long step_personality(struct plan_context* context, const struct record* step) {
  long rc = sys(personality, step->ints[0]);
  if (rc < 0)
    return rc;
  return (u32)sys(personality, READ_PERSONALITY) != (u32)step->ints[0] ? not_applied(context, "personality") : 0;
}

static size_t signed_number(char text[24], i64 value) {
  size_t n = text_append(text, 24, 0, value < 0 ? "-" : "");
  return number_append(text, 24, n, value < 0 ? (u64)-value : (u64)value);
}

static i64 read_oom_score(int fd) {
  char text[24];
  long n = sys(pread64, fd, text, sizeof text - 1, 0);
  if (n <= 0)
    return NO_SCORE;
  i64 value = (i64)number_parse(text + (text[0] == '-'), text + n);
  return text[0] == '-' ? -value : value;
}

void restore_oom_score(int fd, i64 score) {
  char text[24];
  if (score != NO_SCORE)
    sys(write, fd, text, signed_number(text, score));
}

// A child of init cannot write its own file: its memory is init's, which is not dumpable, and so the file is host
// root's (proc(5)). But it is forked with init's score, and init holds its own file open from when it was still allowed
// to.
i64 lend_oom_score(const struct blob* steps, int fd) {
  struct cursor cursor = {.at = steps->data, .end = steps->data + steps->length};
  struct record step;
  i64 before = NO_SCORE;
  while (fd >= 0 && next_record(&cursor, &step) == 1)
    if (step.op == STEP_OOM_SCORE_ADJUST && step.nints == 1) {
      before = read_oom_score(fd);
      restore_oom_score(fd, (i64)step.ints[0]);
    }
  return before;
}

// ints: value. Init's child has it already; a process that may, gives it to itself. Read back from its own file.
long step_oom_score_adjust(struct plan_context* context, const struct record* step) {
  char text[24];
  long proc = open_procfs(context);
  if (proc < 0)
    return proc;
  i64 wanted = (i64)step->ints[0];
  long fd = open_own_file((int)proc, "/oom_score_adj", O_CLOEXEC);
  long rc = fd < 0 ? fd : 0;
  if (fd >= 0 && read_oom_score((int)fd) != wanted) {
    long writable = open_own_file((int)proc, "/oom_score_adj", O_RDWR);
    rc = writable < 0 ? writable : sys(write, writable, text, signed_number(text, wanted));
    if (rc >= 0 && read_oom_score((int)fd) != wanted)
      rc = not_applied(context, "oom_score_adj");
    if (writable >= 0)
      sys(close, writable);
  }
  if (fd >= 0)
    sys(close, fd);
  sys(close, proc);
  return rc < 0 ? rc : 0;
}
