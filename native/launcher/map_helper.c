// Id maps that this user may not write: newuidmap(1) and newgidmap(1) write them, which have that privilege, and ask
// /etc/subuid and /etc/subgid. They are opened by an absolute path of Node's fixed list, verified, and executed by that
// descriptor: no PATH, no shell, no environment, and arguments that are numbers.
#include "containers.h"
#include <linux/sched.h>

enum { SIG_SETMASK = 2, POLL_IN = 1, WALL = 0x40000000, S_ISUID = 04000, S_NOT_OURS = 022 };
enum { MAX_MAP_RANGES = 64, WORD = 12, HELPER_PATIENCE_MS = 5000, ETIMEDOUT = 110, CAPABILITY_WORDS = 6 };
enum { CAP_SETGID = 6, CAP_SETUID = 7, VFS_CAP_EFFECTIVE = 1, VFS_CAP_REVISION_2 = 0x02000000 };

struct helper {
  int pid, process, words; // process: a pidfd; words: what it says
  long error;              // of the exec, by the child that shares this memory
};

static char said[256];

// A file that only root can change, and that is root's in effect, or has the one capability.
static long verify_helper(int file, u64 capability) {
  struct stat_facts facts;
  long rc = stat_of(file, "", AT_EMPTY_PATH, &facts);
  if (rc < 0)
    return rc;
  if ((facts.mode & S_IFMT) != S_IFREG || facts.uid != 0 || facts.mode & S_NOT_OURS)
    return -EACCES;
  if (facts.mode & S_ISUID)
    return 0;
  char path[64];
  number_append(path, sizeof path, text_append(path, sizeof path, 0, "/proc/self/fd/"), (u64)file);
  u32 words[CAPABILITY_WORDS] = {0}; // struct vfs_ns_cap_data: flags, then permitted and inheritable
  rc = sys(getxattr, path, "security.capability", words, sizeof words);
  bool has = rc >= 12 && words[0] == (VFS_CAP_REVISION_2 | VFS_CAP_EFFECTIVE) && words[1] >> capability & 1;
  return has ? 0 : -EACCES;
}

// The file itself, in a directory that only root can change too.
static long open_helper(const char* path, u64 capability) {
  char folder[256];
  size_t n = text_append(folder, sizeof folder, 0, path);
  if (path[0] != '/' || n >= sizeof folder)
    return -EINVAL;
  while (folder[n - 1] != '/')
    n--;
  folder[n] = 0;
  long dir = sys(openat, AT_FDCWD, folder, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
  if (dir < 0)
    return dir;
  struct stat_facts facts;
  long rc = stat_of((int)dir, "", AT_EMPTY_PATH, &facts);
  if (rc >= 0 && (facts.uid != 0 || facts.mode & S_NOT_OURS))
    rc = -EACCES;
  long file = rc < 0 ? rc : sys(openat, dir, path + n, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
  sys(close, dir);
  if (file >= 0 && (rc = verify_helper((int)file, capability)) < 0) {
    sys(close, file);
    return rc;
  }
  return file;
}

// "inside outside count" for each line, as words. Only digits get that far.
static long split_map(const struct blob* map, char words[][WORD], const char** argv, int cap) {
  int n = 0;
  u32 at = 0, length = 0;
  for (; at < map->length; at++) {
    char c = map->data[at];
    if (c >= '0' && c <= '9') {
      if (n == cap || length + 1 >= WORD)
        return -E2BIG;
      words[n][length++] = c;
    } else if (c != ' ' && c != '\n') {
      return -EINVAL;
    }
    if (length && (c == ' ' || c == '\n' || at + 1 == map->length)) {
      words[n][length] = 0;
      argv[n] = words[n];
      n++;
      length = 0;
    }
  }
  return n && n % 3 == 0 ? n : -EINVAL;
}

static _Noreturn void run_helper(struct helper* helper, int file, int words, const char* const* argv) {
  int policy = 0;
  u64 none = 0;
  const char* environment[] = {0};
  sys(sched_setscheduler, 0, 0 /* SCHED_OTHER */, &policy);
  sys(umask, 022);
  sys(dup3, words, 2, 0);
  sys(rt_sigprocmask, SIG_SETMASK, &none, 0, 8);
  helper->error = sys(execveat, file, "", argv, environment, AT_EMPTY_PATH);
  exit_now(127);
}

static __attribute__((noinline)) long start_helper(struct helper* helper, const char* path, const char* name,
                                                   u64 capability, int pid, const struct blob* map) {
  char words[MAX_MAP_RANGES * 3][WORD], target[WORD];
  const char* argv[MAX_MAP_RANGES * 3 + 3] = {name, target};
  number_append(target, sizeof target, 0, (u64)pid);
  long rc = split_map(map, words, argv + 2, MAX_MAP_RANGES * 3);
  long file = rc < 0 ? rc : open_helper(path, capability);
  if (file < 0)
    return file;
  int pair[2];
  rc = sys(pipe2, pair, O_CLOEXEC);
  if (rc >= 0) {
    struct clone_args args = {
        .flags = CLONE_VM | CLONE_VFORK | CLONE_PIDFD, .pidfd = (u64)&helper->process, .exit_signal = SIGCHLD};
    helper->words = pair[0];
    rc = sys(clone3, &args, sizeof args);
    if (rc == 0)
      run_helper(helper, (int)file, pair[1], argv);
    sys(close, pair[1]);
    helper->pid = rc > 0 ? (int)rc : 0;
  }
  sys(close, file);
  return rc;
}

// Until it has ended, or the time is over; what it says is kept, as far as there is room.
static void await_helper(struct helper* helper, u64 deadline) {
  size_t n = 0;
  for (bool ended = false; !ended;) {
    u64 time = now(), left = deadline > time ? deadline - time : 0;
    i64 patience[] = {(i64)left / 1000, (i64)left % 1000 * 1000000};
    struct {
      int fd;
      u16 events, revents;
    } polls[] = {{helper->process, POLL_IN, 0}, {helper->words, POLL_IN, 0}};
    if (sys(ppoll, polls, 2, patience, 0, 8) == 0) {
      helper->error = -ETIMEDOUT;
      sys(kill, helper->pid, SIGKILL); // its real user is still this one (kill(2))
      return;
    }
    ended = polls[0].revents;
    char more[256];
    long got = polls[1].revents ? sys(read, helper->words, more, sizeof more) : 0;
    if (got <= 0 && polls[1].revents)
      close_fd(&helper->words);
    for (long i = 0; i < got && n + 1 < sizeof said; i++)
      said[n++] = more[i] == '\n' ? ' ' : more[i] < ' ' || more[i] > '~' ? '?' : more[i];
    said[n] = 0;
  }
  while (n && said[n - 1] == ' ')
    said[--n] = 0;
}

static long finish_helper(struct helper* helper, u64 deadline) {
  int status = -1;
  if (helper->pid) {
    await_helper(helper, deadline);
    sys(wait4, helper->pid, &status, WALL, 0);
  }
  close_fd(&helper->process);
  close_fd(&helper->words);
  if (helper->error < 0)
    return helper->error;
  return status ? -EPERM : 0;
}

static bool read_number(const char** at, const char* end, u64* number) {
  while (*at < end && (**at < '0' || **at > '9'))
    (*at)++;
  *number = number_parse(*at, end);
  const char* first = *at;
  while (*at < end && **at >= '0' && **at <= '9')
    (*at)++;
  return *at > first;
}

// What the kernel has is what was asked for, line by line (security E5).
static long compare_map(int pid, const char* file, const struct blob* map) {
  char path[64], text[MAX_MAP_RANGES * 40];
  text_append(path, sizeof path,
              number_append(path, sizeof path, text_append(path, sizeof path, 0, "/proc/"), (u64)pid), file);
  long n = read_file(AT_FDCWD, path, text, sizeof text);
  if (n < 0)
    return n;
  const char *a = text, *b = map->data;
  u64 one, other;
  for (;;) {
    bool more = read_number(&a, text + n, &one), wanted = read_number(&b, map->data + map->length, &other);
    if (more != wanted || (more && one != other))
      return -EINVAL;
    if (!more)
      return 0;
  }
}

const char* map_helper_said(void) {
  return said;
}

// blobs: the maps of users and groups, and the paths of the two programs. Both run at the same time.
long map_by_helpers(int pid, const struct record* r, const char** file) {
  struct helper users = {.process = -1, .words = -1}, groups = {.process = -1, .words = -1};
  said[0] = 0;
  u64 deadline = now() + HELPER_PATIENCE_MS;
  long rc = start_helper(&users, r->blobs[2].data, "newuidmap", CAP_SETUID, pid, &r->blobs[0]);
  long second = rc < 0 ? rc : start_helper(&groups, r->blobs[3].data, "newgidmap", CAP_SETGID, pid, &r->blobs[1]);
  *file = rc < 0 ? "newuidmap" : "newgidmap";
  long first = finish_helper(&users, deadline);
  rc = rc < 0 ? rc : first;
  if (rc < 0)
    *file = "newuidmap";
  if (groups.pid && rc < 0) { // what the first one said is kept
    sys(kill, groups.pid, SIGKILL);
    sys(wait4, groups.pid, 0, WALL, 0);
    close_fd(&groups.process);
    close_fd(&groups.words);
    return rc;
  }
  long last = second < 0 ? second : finish_helper(&groups, deadline);
  close_fd(&groups.words);
  rc = rc < 0 ? rc : last;
  if (rc >= 0 && (rc = compare_map(pid, "/uid_map", &r->blobs[0])) < 0)
    *file = "uid_map";
  if (rc >= 0 && (rc = compare_map(pid, "/gid_map", &r->blobs[1])) < 0)
    *file = "gid_map";
  return rc;
}
