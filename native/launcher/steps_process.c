// Steps that give a process its identity and limits. What can be read back is read back: a drop of privilege that the
// kernel accepted but did not apply must stop the start (security rules 20 to 25).
#include "steps.h"
#include <linux/capability.h>

enum {
  PR_SET_DUMPABLE = 4,
  PR_CAPBSET_READ = 23,
  PR_CAPBSET_DROP = 24,
  PR_CAP_AMBIENT = 47,
  PR_CAP_AMBIENT_IS_SET = 1,
  PR_CAP_AMBIENT_RAISE = 2,
  PR_CAP_AMBIENT_CLEAR_ALL = 4
};
enum { KEYCTL_JOIN_SESSION_KEYRING = 1, TIOCSCTTY = 0x540E };
enum { AF_INET = 2, SOCK_DGRAM = 2, SOCK_CLOEXEC = 02000000, SIOCGIFFLAGS = 0x8913, SIOCSIFFLAGS = 0x8914, IFF_UP = 1 };
enum { MAX_POINTERS = 131072 };

long step_set_hostname(struct plan_context* context, const struct record* step) {
  (void)context;
  return sys(sethostname, step->blobs[0].data, step->blobs[0].length);
}

// A new network namespace has loopback, but down (netdevice(7)).
long step_loopback_up(struct plan_context* context, const struct record* step) {
  (void)context, (void)step;
  struct {
    char name[16];
    u16 flags;
    char rest[22];
  } request = {.name = "lo"};
  long fd = sys(socket, AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0)
    return fd;
  long rc = sys(ioctl, fd, SIOCGIFFLAGS, &request);
  if (rc >= 0) {
    request.flags |= IFF_UP;
    rc = sys(ioctl, fd, SIOCSIFFLAGS, &request);
  }
  sys(close, fd);
  return rc;
}

// blobs: the exact list of supplementary groups, u32 each
long step_set_groups(struct plan_context* context, const struct record* step) {
  size_t count = step->blobs[0].length / 4;
  long rc = sys(setgroups, count, step->blobs[0].data);
  if (rc < 0)
    return rc;
  if (sys(getgroups, 0, 0) != (long)count) {
    explain(context, DETAIL_NOT_APPLIED, "groups");
    return -EPERM;
  }
  return 0;
}

static long verify_ids(struct plan_context* context, long rc, const u32 ids[3], u64 wanted, const char* what) {
  // A change of ids makes the memory as dumpable as the sysctl fs.suid_dumpable says, and init's memory must never be.
  sys(prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
  if (rc < 0)
    return rc;
  for (int i = 0; i < 3; i++)
    if (ids[i] != wanted) {
      explain(context, DETAIL_NOT_APPLIED, what);
      return -EPERM;
    }
  return 0;
}

long step_set_gid(struct plan_context* context, const struct record* step) {
  u64 id = step->ints[0];
  u32 ids[3];
  long rc = sys(setresgid, id, id, id);
  if (rc >= 0)
    rc = sys(getresgid, &ids[0], &ids[1], &ids[2]);
  return verify_ids(context, rc, ids, id, "group");
}

long step_set_uid(struct plan_context* context, const struct record* step) {
  u64 id = step->ints[0];
  u32 ids[3];
  long rc = sys(setresuid, id, id, id);
  if (rc >= 0)
    rc = sys(getresuid, &ids[0], &ids[1], &ids[2]);
  return verify_ids(context, rc, ids, id, "user");
}

// ints: mask of the capabilities that stay. EINVAL ends the walk: it is the first number the kernel does not know.
long step_bounding_set(struct plan_context* context, const struct record* step) {
  for (u64 cap = 0; cap < 64; cap++) {
    if (step->ints[0] >> cap & 1)
      continue;
    long rc = sys(prctl, PR_CAPBSET_DROP, cap, 0, 0, 0);
    if (rc == -EINVAL)
      break;
    if (rc >= 0 && sys(prctl, PR_CAPBSET_READ, cap, 0, 0, 0) != 0) {
      explain(context, DETAIL_NOT_APPLIED, "bounding set");
      rc = -EPERM;
    }
    if (rc < 0)
      return rc;
  }
  return 0;
}

// ints: effective, permitted, inheritable, ambient. Exactly these: what is not named is given up.
long step_capabilities(struct plan_context* context, const struct record* step) {
  const u64 *n = step->ints, ambient = n[3];
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[2] = {
      {.effective = (u32)n[0], .permitted = (u32)n[1], .inheritable = (u32)n[2]},
      {.effective = (u32)(n[0] >> 32), .permitted = (u32)(n[1] >> 32), .inheritable = (u32)(n[2] >> 32)},
  };
  long rc = sys(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  if (rc >= 0)
    rc = sys(capset, &header, data);
  for (u64 cap = 0; cap < 64 && rc >= 0; cap++)
    if (ambient >> cap & 1)
      rc = sys(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0);
  struct __user_cap_data_struct now[2];
  if (rc >= 0)
    rc = sys(capget, &header, now);
  bool same = rc >= 0 && memcmp(data, now, sizeof data) == 0;
  for (u64 cap = 0; cap < 64 && same; cap++) {
    long raised = sys(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, cap, 0, 0);
    same = raised == -EINVAL || raised == (long)(ambient >> cap & 1); // EINVAL: the kernel has no such capability
  }
  if (rc >= 0 && !same) {
    explain(context, DETAIL_NOT_APPLIED, "capabilities");
    return -EPERM;
  }
  return rc;
}

long step_prctl(struct plan_context* context, const struct record* step) {
  (void)context;
  const u64* n = step->ints;
  return sys(prctl, n[0], n[1], n[2], n[3], n[4]);
}

// A kernel without key management (ENOSYS) has no keyring to share.
long step_session_keyring(struct plan_context* context, const struct record* step) {
  (void)context, (void)step;
  long rc = sys(keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0);
  return rc == -ENOSYS ? 0 : rc;
}

long step_umask(struct plan_context* context, const struct record* step) {
  (void)context;
  sys(umask, step->ints[0]);
  return 0;
}

// ints: slots of stdin, stdout, stderr; all ones is the private null device
long step_stdio(struct plan_context* context, const struct record* step) {
  for (int target = 0; target < 3; target++) {
    int fd = slot_fd(context, step->ints[target] == ~(u64)0 ? SLOT_NULL : step->ints[target]);
    if (fd < 0)
      return -EBADF;
    long rc = sys(dup3, fd, target, 0);
    if (rc < 0)
      return rc;
  }
  return 0;
}

long step_setsid(struct plan_context* context, const struct record* step) {
  (void)context, (void)step;
  return sys(setsid);
}

// ints: slot
long step_controlling_tty(struct plan_context* context, const struct record* step) {
  int fd = slot_fd(context, step->ints[0]);
  return fd < 0 ? -EBADF : sys(ioctl, fd, TIOCSCTTY, 0);
}

// ints: the first descriptor to close, the slot of one that moves there and stays (all ones: none)
long step_close_range(struct plan_context* context, const struct record* step) {
  u64 first = step->ints[0];
  if (step->ints[1] == ~(u64)0)
    return sys(close_range, first, ~0u, 0);
  int kept = slot_fd(context, step->ints[1]);
  if (kept < 0)
    return -EBADF;
  if ((u64)kept != first) {
    long rc = sys(dup3, kept, first, O_CLOEXEC);
    if (rc < 0)
      return rc;
  }
  // The slots are init's memory, which is borrowed; init forgets this one itself.
  context->slots[step->ints[1]] = (int)first;
  return sys(close_range, first + 1, ~0u, 0);
}

// The launcher has set every signal to its default, and init has no handler; what is left is what init blocks.
long step_unblock_signals(struct plan_context* context, const struct record* step) {
  (void)context, (void)step;
  u64 none = 0;
  return sys(rt_sigprocmask, 2 /* SIG_SETMASK */, &none, 0, 8);
}

// ints: make it if missing; blobs: path. The directory must lie in the new root: getcwd(2) gives a path that starts
// with
// "(unreachable)" for one that does not.
long step_change_directory(struct plan_context* context, const struct record* step) {
  const char* path = step->blobs[0].data;
  long rc = sys(chdir, path);
  char where[4096];
  if (rc >= 0)
    rc = sys(getcwd, where, sizeof where);
  if (rc >= 0 && where[0] != '/') {
    explain(context, DETAIL_NOT_APPLIED, path);
    return -EINVAL;
  }
  return rc < 0 ? rc : 0;
}

static char* pointers[MAX_POINTERS];

// NUL-separated strings into a list of pointers that starts at `at`; returns the place after its end, or 0.
static u64 split_strings(const struct blob* strings, u64 count, u64 at) {
  const char* next = strings->data;
  const char* end = strings->data + strings->length;
  for (u64 i = 0; i < count; i++) {
    if (at + 2 >= MAX_POINTERS || next >= end)
      return 0;
    pointers[at++] = (char*)next;
    next += text_length(next) + 1;
  }
  pointers[at++] = 0;
  return next >= end ? at : 0;
}

// Which of the three reasons of execve(2)'s ENOENT it was: the file is there, so what is missing is what its first line
// or its ELF header names.
static void explain_missing_interpreter(struct plan_context* context, const char* path) {
  char head[128] = {0};
  long fd = sys(openat, AT_FDCWD, path, O_CLOEXEC | O_NONBLOCK, 0);
  if (fd < 0 || sys(read, fd, head, sizeof head - 1) < 2 || head[0] != '#' || head[1] != '!') {
    explain(context, DETAIL_INTERPRETER_MISSING, "");
    return;
  }
  char* name = head + 2;
  while (*name == ' ' || *name == '\t')
    name++;
  char* end = name;
  while (*end && *end != ' ' && *end != '\t' && *end != '\n' && *end != '\r')
    end++;
  *end = 0;
  explain(context, DETAIL_INTERPRETER_MISSING, name);
}

static long exec_file(struct plan_context* context, const char* path, char** argv, char** envp) {
  long rc = sys(execve, path, argv, envp);
  struct stat_facts facts;
  bool there = stat_of(AT_FDCWD, path, 0, &facts) == 0;
  if (rc == -ENOENT && there)
    explain_missing_interpreter(context, path);
  else if (rc == -ENOENT || rc == -ENOTDIR)
    explain(context, DETAIL_NOT_FOUND, path);
  else if (there && (facts.mode & S_IFMT) == S_IFDIR)
    explain(context, DETAIL_IS_DIRECTORY, path);
  else if (rc == -EACCES)
    explain(context, DETAIL_NOT_EXECUTABLE, path);
  else
    explain(context, DETAIL_NONE, path);
  return rc;
}

// ints: number of arguments, of variables; blobs: program, arguments, variables, search path (empty: the name is a
// path). The search is execvp(3)'s: EACCES is remembered while later directories are tried.
long step_exec(struct plan_context* context, const struct record* step) {
  u64 env_at = split_strings(&step->blobs[1], step->ints[0], 0);
  if (!env_at || !split_strings(&step->blobs[2], step->ints[1], env_at))
    return -E2BIG;
  char **argv = pointers, **envp = pointers + env_at;
  const char* program = step->blobs[0].data;
  const char* search = step->blobs[3].data;
  if (!step->blobs[3].length)
    return exec_file(context, program, argv, envp);
  long rc = -ENOENT, refused = 0;
  explain(context, DETAIL_NOT_FOUND, program);
  while (*search) {
    static char path[4096];
    size_t n = 0;
    while (search[n] && search[n] != ':' && n + 1 < sizeof path) {
      path[n] = search[n];
      n++;
    }
    path[n] = 0;
    search += n + (search[n] == ':');
    n = text_append(path, sizeof path, text_append(path, sizeof path, n, "/"), program);
    if (n >= sizeof path)
      continue;
    struct stat_facts facts;
    if (stat_of(AT_FDCWD, path, 0, &facts) < 0)
      continue;
    rc = exec_file(context, path, argv, envp);
    if (rc != -EACCES)
      return rc;
    refused = rc;
  }
  if (!refused)
    explain(context, DETAIL_NOT_FOUND, program);
  return refused ? refused : -ENOENT;
}
