// The launcher's loop and the life of a container as seen from outside: made, reported, gone, cleaned up.
#include "launcher.h"
#include "rmtree.h"
#include <linux/sched.h>

enum { EPOLL_ADD = 1, EPOLL_DEL = 2, EPOLL_IN = 1, EPOLL_PRI = 2, EPOLL_HANGUP = 16, SIGCHLD = 17, SIGKILL = 9 };
enum { WNOHANG = 1, WALL = 0x40000000, MAX_STAT_FILES = 48, STAT_BUFFER = 60 * 1024, CLEANUP_INTERVAL_MS = 2 };
enum { CLEANUP_TRIES = 5000 }; // ten seconds of a cgroup that does not empty

struct epoll_entry {
  u32 events;
  u64 tag;
}
#if defined(__x86_64__)
__attribute__((packed))
#endif
;

enum tag { TAG_CONTROL = 1, TAG_SIGNAL = 2, TAG_CLIENT = 3, TAG_OOM = 4 };

struct client {
  int socket;
  bool gone;
};

// A spare is a container that nobody has asked for yet: namespaces, id maps and cgroups, and an init that waits.
enum container_state { FREE, SPARE, RUNNING, DEAD };
enum { MAX_SPARES = 2, SPARE_LIFE_MS = 1000, MAX_BUSY_GROUPS = 64 };

struct container {
  u8 state;
  bool reported; // Node has been told, or must not be
  int client;
  u32 id;
  int pid;
  int setup; // socket to init
  int mounts; // its mount namespace, held so that taking it apart is not part of init's exit
  long range;
  // What a spare was made for; a request with the same three can have it.
  u64 clone_flags;
  u32 mask;
  u64 map_mode;
  int dirs[MAX_HIERARCHIES];
  int oom, oom_counter;
  bool stored; // has a directory on disk
  u32 next_group;
  u32 busy_groups[MAX_BUSY_GROUPS]; // of execs that have ended, and something they started has not
  u32 tries;
  int wait_status;
  char name[NAME_LENGTH];
};

struct stat_file {
  u8 hierarchy;
  char name[63];
};

static struct client clients[MAX_CLIENTS];
static struct container containers[MAX_CONTAINERS];
static int container_high;
static struct stat_file stat_files[MAX_STAT_FILES];
static int stat_file_count;
static int epoll = -1, state_dir = -1, signal_fd = -1;
static bool configured, control_gone;
static u64 next_number;
static int spares;
static u64 spares_until; // when they are given up, in milliseconds of CLOCK_MONOTONIC
static struct container last_request; // what the next one will probably be like
static _Alignas(8) char message_buffer[MAX_INLINE + 4096];
static struct plan_context context;
static struct failure failure;

static void watch(int fd, enum tag tag, u32 index, u32 events) {
  struct epoll_entry entry = {.events = events, .tag = (u64)tag << 32 | index};
  sys(epoll_ctl, epoll, EPOLL_ADD, fd, &entry);
}

static void send_to(const struct container* c, u16 op, u8 nints, const u64* ints, u8 nblobs, const struct blob* blobs) {
  if (c->client >= 0 && !clients[c->client].gone)
    send_record(clients[c->client].socket, op, nints, ints, nblobs, blobs, 0, 0);
}

static void reply(int client, u64 request, long result, const struct blob* content, const int* fd) {
  u64 ints[] = {request, result < 0 ? (u64)-result : 0, result < 0 ? 0 : (u64)result};
  send_record(clients[client].socket, MSG_REPLY, 3, ints, content ? 1 : 0, content, fd, fd ? 1 : 0);
}

static struct container* find(int client, u64 id) {
  for (int i = 0; i < container_high; i++)
    if (containers[i].state == RUNNING && containers[i].client == client && containers[i].id == id)
      return &containers[i];
  return 0;
}

// ---- configuration ---------------------------------------------------------------------------------------------------

static void prepare(const struct blob* records) {
  struct cursor cursor = {.at = records->data, .end = records->data + records->length};
  struct record r;
  // op 1: make a directory; op 2: write a file. Failures show when a container needs what is missing.
  while (next_record(&cursor, &r) == 1)
    if (r.op == 1 && r.nblobs == 1)
      sys(mkdirat, AT_FDCWD, r.blobs[0].data, r.nints ? r.ints[0] : 0755);
    else if (r.op == 2 && r.nblobs == 2)
      write_file(AT_FDCWD, r.blobs[0].data, r.blobs[1].data, r.blobs[1].length);
}

static void open_hierarchies(const struct blob* records) {
  struct cursor cursor = {.at = records->data, .end = records->data + records->length};
  struct record r;
  while (next_record(&cursor, &r) == 1 && hierarchy_count < MAX_HIERARCHIES && r.nints == 2 && r.nblobs == 1) {
    struct hierarchy* h = &hierarchies[hierarchy_count++];
    *h = (struct hierarchy){.base = -1, .version = (u8)r.ints[0], .memory = r.ints[1] & 1, .late = r.ints[1] & 2};
    if (r.blobs[0].length)
      h->base = (int)sys(openat, AT_FDCWD, r.blobs[0].data, O_DIRECTORY | O_CLOEXEC, 0);
  }
}

static void remember_stat_files(const struct blob* records) {
  struct cursor cursor = {.at = records->data, .end = records->data + records->length};
  struct record r;
  while (next_record(&cursor, &r) == 1 && stat_file_count < MAX_STAT_FILES && r.nints == 1 && r.nblobs == 1)
    if (r.blobs[0].length < sizeof stat_files[0].name) {
      stat_files[stat_file_count].hierarchy = (u8)r.ints[0];
      memcpy(stat_files[stat_file_count++].name, r.blobs[0].data, r.blobs[0].length + 1);
    }
}

static void on_hello(int client, const struct record* r) {
  if (!configured) {
    configured = true;
    prepare(&r->blobs[0]);
    open_hierarchies(&r->blobs[1]);
    remember_stat_files(&r->blobs[2]);
    ranges_configure(r->ints[0], r->ints[1], r->ints[2], r->blobs[3].data);
    if (r->blobs[4].length)
      state_dir = (int)sys(openat, AT_FDCWD, r->blobs[4].data, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
  }
  u64 ints[] = {(u64)sys(getpid)};
  send_record(clients[client].socket, MSG_WELCOME, 1, ints, 0, 0, 0, 0);
}

// ---- reading and writing a container's cgroups -----------------------------------------------------------------------

static struct blob read_stats(const struct container* c) {
  static _Alignas(8) char out[STAT_BUFFER];
  static char text[16 * 1024];
  struct writer w = {.buf = out, .cap = sizeof out};
  for (int i = 0; i < stat_file_count; i++) {
    const struct stat_file* file = &stat_files[i];
    if (file->hierarchy >= MAX_HIERARCHIES || c->dirs[file->hierarchy] < 0)
      continue;
    long n = read_file(c->dirs[file->hierarchy], file->name, text, sizeof text);
    u64 index = (u64)i;
    struct blob content = {.data = text, .length = (u32)n};
    if (n >= 0)
      put_record(&w, 1, 1, &index, 1, &content);
  }
  return (struct blob){.data = out, .length = (u32)w.len};
}

static void on_write(int client, struct container* c, const struct record* r) {
  u64 h = r->ints[2];
  long rc = -ENOENT;
  if (c && h < MAX_HIERARCHIES && c->dirs[h] >= 0)
    rc = write_file(c->dirs[h], r->blobs[0].data, r->blobs[1].data, r->blobs[1].length);
  reply(client, r->ints[1], rc, 0, 0);
}

static int unified(void) {
  for (int i = 0; i < hierarchy_count; i++)
    if (hierarchies[i].version == 2 && hierarchies[i].base >= 0)
      return i;
  return -1;
}

static size_t group_name(char name[32], u64 number) {
  return number_append(name, 32, text_append(name, 32, 0, "x"), number);
}

// A cgroup of its own for one exec, so that all that it starts can be ended, wherever it hides. It belongs to the container's
// root for one purpose: clone3(CLONE_INTO_CGROUP) by init asks for write access to `cgroup.procs` of both ends. Inside, the
// cgroup file system is mounted read-only, so nothing there can use that.
static void on_group(int client, struct container* c, u64 request) {
  int h = unified();
  long rc = -ENOENT, dir = -1;
  if (c && h >= 0 && c->dirs[h] >= 0) {
    char name[32];
    group_name(name, ++c->next_group);
    rc = sys(mkdirat, c->dirs[h], name, 0755);
    dir = rc < 0 ? rc : sys(openat, c->dirs[h], name, O_DIRECTORY | O_CLOEXEC, 0);
    u64 owner = range_base(c->range);
    if (dir >= 0 && c->range >= 0) {
      sys(fchownat, dir, "cgroup.procs", owner, owner, AT_SYMLINK_NOFOLLOW);
      sys(fchownat, c->dirs[h], "cgroup.procs", owner, owner, AT_SYMLINK_NOFOLLOW);
    }
    rc = dir < 0 ? dir : (long)c->next_group;
  }
  int fd = (int)dir;
  reply(client, request, rc, 0, dir >= 0 ? &fd : 0);
  close_fd(&fd);
}

static bool remove_group(int dir, u64 number) {
  char name[32];
  group_name(name, number);
  long rc = sys(unlinkat, dir, name, AT_REMOVEDIR);
  return rc >= 0 || rc == -ENOENT;
}

// What is still busy is tried again with the next one; what never empties goes with the container.
static void on_ungroup(struct container* c, u64 number) {
  int h = unified();
  if (!c || h < 0 || c->dirs[h] < 0)
    return;
  bool kept = remove_group(c->dirs[h], number);
  for (int i = 0; i < MAX_BUSY_GROUPS; i++) {
    u32* busy = &c->busy_groups[i];
    if (*busy && remove_group(c->dirs[h], *busy))
      *busy = 0;
    if (!*busy && !kept) {
      *busy = (u32)number;
      kept = true;
    }
  }
}

// ---- end of a container ----------------------------------------------------------------------------------------------

static void kill_container(const struct container* c) {
  int h = unified();
  if (h >= 0 && c->dirs[h] >= 0)
    cgroup_kill(c->dirs[h]);
  // Our own unreaped child: the number cannot have been given to another process.
  if (c->pid > 0)
    sys(kill, c->pid, SIGKILL);
}

static bool clean_up(struct container* c) {
  bool done = true;
  close_fd(&c->mounts);
  for (int h = 0; h < hierarchy_count; h++) {
    if (c->dirs[h] < 0)
      continue;
    if (cgroup_remove(hierarchies[h].base, c->name) < 0)
      done = false;
    else
      close_fd(&c->dirs[h]);
  }
  if (c->stored && remove_tree(state_dir, c->name, 0) >= 0)
    c->stored = false;
  if ((!done || c->stored) && ++c->tries < CLEANUP_TRIES)
    return false;
  for (int h = 0; h < hierarchy_count; h++)
    close_fd(&c->dirs[h]);
  range_release(c->range);
  c->state = FREE;
  while (container_high > 0 && containers[container_high - 1].state == FREE)
    container_high--;
  return true;
}

static bool clean_up_dead(void) {
  bool left = false;
  for (int i = 0; i < container_high; i++)
    if (containers[i].state == DEAD && containers[i].pid == 0 && !clean_up(&containers[i]))
      left = true;
  return left;
}

static void forget_watches(struct container* c) {
  close_fd(&c->oom);
  close_fd(&c->oom_counter);
  close_fd(&c->setup);
}

static void report_gone(struct container* c) {
  struct blob stats = read_stats(c);
  u64 ints[] = {c->id, (u64)(u32)c->wait_status};
  if (!c->reported)
    send_to(c, MSG_GONE, 2, ints, 1, &stats);
  c->reported = true;
}

static void reap(void) {
  int status;
  long pid;
  while ((pid = sys(wait4, -1, &status, WNOHANG | WALL, 0)) > 0)
    for (int i = 0; i < container_high; i++) {
      struct container* c = &containers[i];
      if (c->state == FREE || c->pid != pid)
        continue;
      c->pid = 0;
      c->wait_status = status;
      if (c->state == SPARE)
        spares--, c->reported = true;
      forget_watches(c);
      report_gone(c);
      c->state = DEAD;
      break;
    }
}

// ---- start of a container --------------------------------------------------------------------------------------------

struct creation {
  struct container* container;
  u32 stage, index;
  long error;
  const char* text;
};

static long fail(struct creation* creation, u32 stage, u32 index, long error, const char* text) {
  creation->stage = stage;
  creation->index = index;
  creation->error = error;
  creation->text = text;
  return error;
}

static long make_cgroups(struct creation* creation) {
  struct container* c = creation->container;
  for (int h = 0; h < hierarchy_count; h++) {
    if (!(c->mask >> h & 1))
      continue;
    long fd = cgroup_make(h, c->name);
    if (fd < 0)
      return fail(creation, STAGE_CGROUP, (u32)h, fd, c->name);
    c->dirs[h] = (int)fd;
  }
  return 0;
}

static long set_limits(struct creation* creation, const struct blob* writes) {
  struct container* c = creation->container;
  struct cursor cursor = {.at = writes->data, .end = writes->data + writes->length};
  struct record w;
  u32 index = 0;
  for (; next_record(&cursor, &w) == 1; index++) {
    if (w.nints != 2 || w.nblobs != 2 || w.ints[0] >= MAX_HIERARCHIES)
      return fail(creation, STAGE_LIMIT, index, -EBADMSG, "");
    int dir = c->dirs[w.ints[0]];
    long rc = dir < 0 ? -ENODEV : write_file(dir, w.blobs[0].data, w.blobs[1].data, w.blobs[1].length);
    // Optional: the kernel may be built without this file. Every other refusal is a failure.
    if (rc < 0 && !(w.ints[1] && rc == -ENOENT))
      return fail(creation, STAGE_LIMIT, index, rc, w.blobs[0].data);
  }
  return 0;
}

static void watch_memory(struct container* c) {
  for (int h = 0; h < hierarchy_count; h++)
    if (hierarchies[h].memory && c->dirs[h] >= 0) {
      long watch_fd = cgroup_watch_oom(h, c->dirs[h], &c->oom_counter);
      if (watch_fd >= 0) {
        c->oom = (int)watch_fd;
        watch(c->oom, TAG_OOM, (u32)(c - containers), hierarchies[h].version == 2 ? EPOLL_PRI : EPOLL_IN);
      }
    }
}

static size_t process_path(char path[64], int pid, const char* file) {
  size_t n = number_append(path, 64, text_append(path, 64, 0, "/proc/"), (u64)pid);
  return text_append(path, 64, n, file);
}

static long clone_init(struct creation* creation) {
  struct container* c = creation->container;
  int pair[2];
  long rc = sys(socketpair, 1 /* AF_UNIX */, 5 | O_CLOEXEC /* SOCK_SEQPACKET */, 0, pair);
  if (rc < 0)
    return fail(creation, STAGE_CLONE, 0, rc, "socketpair");
  int tasks[MAX_HIERARCHIES], ntasks = 0, into = -1;
  for (int h = 0; h < hierarchy_count; h++) {
    if (c->dirs[h] < 0)
      continue;
    if (hierarchies[h].version == 2)
      into = c->dirs[h];
    else
      tasks[ntasks++] = (int)sys(openat, c->dirs[h], "tasks", O_WRONLY | O_CLOEXEC, 0);
  }
  struct clone_args args = {.flags = c->clone_flags, .exit_signal = SIGCHLD};
  if (into >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = (u64)into;
  }
  long pid = sys(clone3, &args, sizeof args);
  if (pid == 0)
    init_main(pair[1], tasks, ntasks);
  for (int i = 0; i < ntasks; i++)
    sys(close, tasks[i]);
  sys(close, pair[1]);
  if (pid < 0) {
    sys(close, pair[0]);
    return fail(creation, STAGE_CLONE, 0, pid, "clone3");
  }
  c->pid = (int)pid;
  c->setup = pair[0];
  char path[64];
  process_path(path, c->pid, "/ns/mnt");
  c->mounts = (int)sys(openat, AT_FDCWD, path, O_CLOEXEC, 0);
  return 0;
}

// "0 <first host id> <count>"; the process is our child and not reaped, so its number is its own.
static long write_map(int pid, const char* file, u64 host, u64 count) {
  char path[64], line[64];
  process_path(path, pid, file);
  size_t n = number_append(line, sizeof line, text_append(line, sizeof line, 0, "0 "), host);
  n = number_append(line, sizeof line, text_append(line, sizeof line, n, " "), count);
  return write_file(AT_FDCWD, path, line, n);
}

static long map_ids(struct creation* creation) {
  struct container* c = creation->container;
  bool single = c->map_mode == 1;
  long rc = 0;
  if (single) {
    // user_namespaces(7): a single map made without privilege needs setgroups switched off first (CVE-2014-8989).
    char path[64];
    process_path(path, c->pid, "/setgroups");
    rc = write_file(AT_FDCWD, path, "deny", 4);
  }
  u64 uid = single ? (u64)sys(geteuid) : range_base(c->range), gid = single ? (u64)sys(getegid) : uid;
  u64 count = single ? 1 : range_size();
  if (rc >= 0)
    rc = write_map(c->pid, "/uid_map", uid, count);
  if (rc >= 0)
    rc = write_map(c->pid, "/gid_map", gid, count);
  return rc < 0 ? fail(creation, STAGE_MAP, 0, rc, "uid_map") : 0;
}

// Steps that need the host's privileges, above all mounts shifted into the container's ids. What they open goes to init.
static long run_host_steps(struct creation* creation, const struct blob* steps) {
  struct container* c = creation->container;
  reset_context(&context, &failure);
  failure = (struct failure){0};
  context.state_dir = state_dir;
  context.state_name = c->name;
  context.owner = c->range >= 0 ? range_base(c->range) : (u64)sys(geteuid);
  if (!steps->length)
    return 0;
  char path[64];
  process_path(path, c->pid, "/ns/user");
  long rc = set_slot(&context, SLOT_USERNS, sys(openat, AT_FDCWD, path, O_CLOEXEC, 0));
  if (rc >= 0)
    rc = run_steps(&context, steps);
  struct stat_facts facts;
  c->stored = state_dir >= 0 && stat_of(state_dir, c->name, AT_SYMLINK_NOFOLLOW, &facts) == 0;
  return rc < 0 ? fail(creation, STAGE_HOST_STEP, failure.step, rc, failure.text) : 0;
}

static long send_slots(struct creation* creation) {
  struct container* c = creation->container;
  u64 numbers[MAX_FDS];
  int fds[MAX_FDS], n = 0;
  long rc = 0;
  for (int slot = 0; slot <= SLOT_COUNT && rc >= 0; slot++) {
    bool have = slot < SLOT_COUNT && slot != SLOT_USERNS && context.slots[slot] >= 0;
    if (have) {
      numbers[n] = (u64)slot;
      fds[n++] = context.slots[slot];
    }
    if (n == MAX_FDS || (slot == SLOT_COUNT && n)) {
      rc = send_record(c->setup, MSG_SLOTS, (u8)n, numbers, 0, 0, fds, n);
      n = 0;
    }
  }
  for (int slot = 0; slot < SLOT_COUNT; slot++)
    close_fd(&context.slots[slot]);
  return rc < 0 ? fail(creation, STAGE_START, 0, rc, "") : 0;
}

static struct container* new_container(u64 clone_flags, u32 mask, u64 map_mode) {
  int i = 0;
  while (i < MAX_CONTAINERS && containers[i].state != FREE)
    i++;
  if (i == MAX_CONTAINERS)
    return 0;
  if (i >= container_high)
    container_high = i + 1;
  struct container* c = &containers[i];
  *c = (struct container){
      .state = SPARE,
      .client = -1,
      .clone_flags = clone_flags,
      .mask = mask,
      .map_mode = map_mode,
      .setup = -1,
      .mounts = -1,
      .oom = -1,
      .oom_counter = -1,
      .range = -1,
  };
  for (int h = 0; h < MAX_HIERARCHIES; h++)
    c->dirs[h] = -1;
  identity_name(c->name, ++next_number);
  return c;
}

// Everything about a container that does not depend on what will run in it; with the limits, if they are known already.
static long give_birth(struct creation* creation, const struct blob* writes) {
  struct container* c = creation->container;
  if (c->map_mode == 0 && (c->range = range_take()) < 0)
    return fail(creation, STAGE_RANGE, 0, c->range, "");
  long rc = make_cgroups(creation);
  if (rc >= 0 && writes)
    rc = set_limits(creation, writes);
  if (rc >= 0)
    rc = clone_init(creation);
  if (rc >= 0)
    rc = map_ids(creation);
  return rc;
}

static void give_up(struct container* c) {
  c->reported = true;
  kill_container(c);
  if (c->pid == 0) {
    forget_watches(c);
    c->state = DEAD;
  }
}

static u64 now(void) {
  struct {
    i64 sec, nsec;
  } time;
  sys(clock_gettime, 1 /* CLOCK_MONOTONIC */, &time);
  return (u64)time.sec * 1000 + (u64)time.nsec / 1000000;
}

// Called when there is nothing else to do: the next container then starts with the slow half of its making done.
static void make_spare(void) {
  struct creation creation = {
      .container = new_container(last_request.clone_flags, last_request.mask, last_request.map_mode)};
  if (!creation.container) {
    spares_until = 0;
    return;
  }
  if (give_birth(&creation, 0) < 0) {
    give_up(creation.container);
    spares_until = 0; // no sense in trying again; a real request will report why
    return;
  }
  spares++;
}

static void give_up_spares(void) {
  for (int i = 0; i < container_high; i++)
    if (containers[i].state == SPARE)
      give_up(&containers[i]), containers[i].state = containers[i].pid ? RUNNING : DEAD;
  spares = 0;
  spares_until = 0;
}

static struct container* take_spare(u64 clone_flags, u32 mask, u64 map_mode) {
  for (int i = 0; i < container_high; i++) {
    struct container* c = &containers[i];
    if (c->state != SPARE || c->clone_flags != clone_flags || c->mask != mask || c->map_mode != map_mode)
      continue;
    spares--;
    return c;
  }
  return 0;
}

static long create(struct creation* creation, const struct record* r, int* socket) {
  struct container* c = creation->container;
  long rc = c->pid ? set_limits(creation, &r->blobs[0]) : give_birth(creation, &r->blobs[0]);
  watch_memory(c);
  if (rc >= 0)
    rc = run_host_steps(creation, &r->blobs[1]);
  if (rc >= 0)
    rc = send_slots(creation);
  if (rc >= 0 && (rc = send_record(c->setup, MSG_START, 0, 0, 1, &r->blobs[2], socket, 1)) < 0)
    fail(creation, STAGE_START, 0, rc, "");
  return rc;
}

// The next request will probably be like this one. A v1 cpuset cannot be joined before it is configured, so a container that
// is placed in one has no spare.
static void expect_another(const struct container* c) {
  for (int h = 0; h < hierarchy_count; h++)
    if (c->mask >> h & 1 && hierarchies[h].late)
      return;
  last_request = *c;
  spares_until = now() + SPARE_LIFE_MS;
}

static void on_create(int client, struct message* message) {
  const struct record* r = &message->record;
  u64 clone_flags = r->ints[1], map_mode = r->ints[3];
  u32 mask = (u32)r->ints[2];
  struct container* c = take_spare(clone_flags, mask, map_mode);
  if (!c)
    c = new_container(clone_flags, mask, map_mode);
  struct creation creation = {.container = c};
  long rc = -ENFILE;
  if (c) {
    c->state = RUNNING;
    c->client = client;
    c->id = (u32)r->ints[0];
    expect_another(c);
  }
  if (!c)
    fail(&creation, STAGE_RANGE, 0, rc, "");
  else
    rc = message->nfds == 1 ? create(&creation, r, &message->fds[0]) : fail(&creation, STAGE_START, 0, -EBADMSG, "");
  if (rc >= 0) {
    u64 ints[] = {r->ints[0], (u64)c->pid, c->range >= 0 ? range_base(c->range) : (u64)sys(geteuid)};
    struct blob name = {.data = c->name, .length = (u32)text_length(c->name)};
    send_to(c, MSG_CREATED, 3, ints, 1, &name);
    return;
  }
  for (int slot = 0; slot < SLOT_COUNT; slot++)
    close_fd(&context.slots[slot]);
  u64 ints[] = {r->ints[0], creation.stage, creation.index, (u64)-creation.error};
  struct blob text = {.data = creation.text, .length = (u32)text_length(creation.text)};
  send_record(clients[client].socket, MSG_CREATE_FAILED, 4, ints, 1, &text, 0, 0);
  if (c)
    give_up(c);
}

// ---- out of memory ---------------------------------------------------------------------------------------------------

// The kernel has killed one process of the container, or is about to. The others go with it: half a job is worse than none.
static void on_oom(struct container* c) {
  u64 count;
  bool v2 = c->oom_counter < 0;
  if (v2) {
    static char events[1024];
    sys(lseek, c->oom, 0, 0);
    long n = sys(read, c->oom, events, sizeof events - 1);
    const char* at = events;
    events[n > 0 ? n : 0] = 0;
    while (*at && memcmp(at, "\noom_kill ", 10) != 0)
      at++;
    if (!*at || at[10] == '0')
      return; // a limit was touched, nobody killed
  } else {
    sys(read, c->oom, &count, sizeof count);
  }
  send_record(c->setup, MSG_KILL_ALL, 0, 0, 0, 0, 0, 0);
  u64 id = c->id;
  send_to(c, MSG_OOM, 1, &id, 0, 0);
}

// ---- what dead launchers left ----------------------------------------------------------------------------------------

static void reclaim_directory(int base, bool cgroup, u64* removed) {
  long dir = sys(openat, base, ".", O_DIRECTORY | O_CLOEXEC, 0);
  if (dir < 0)
    return;
  struct {
    u64 ino;
    i64 off;
    u16 reclen;
    u8 type;
    char name[256];
  } const* entry;
  static _Alignas(8) char buf[32 * 1024];
  long got;
  while ((got = sys(getdents64, dir, buf, sizeof buf)) > 0)
    for (long at = 0; at < got; at += entry->reclen) {
      entry = (const void*)(buf + at);
      if (!identity_is_dead(entry->name))
        continue;
      long rc;
      if (cgroup) {
        long victim = sys(openat, base, entry->name, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
        cgroup_kill((int)victim);
        sys(close, victim);
        rc = cgroup_remove(base, entry->name);
      } else {
        rc = remove_tree(base, entry->name, 0);
      }
      *removed += rc >= 0;
    }
  sys(close, dir);
}

static void on_reclaim(int client, u64 request) {
  u64 removed = 0;
  for (int h = 0; h < hierarchy_count; h++)
    if (hierarchies[h].base >= 0)
      reclaim_directory(hierarchies[h].base, true, &removed);
  if (state_dir >= 0)
    reclaim_directory(state_dir, false, &removed);
  reply(client, request, (long)removed, 0, 0);
}

// ---- the loop --------------------------------------------------------------------------------------------------------

struct shape {
  u8 nints, nblobs;
};
static const struct shape shapes[] = {
    [MSG_HELLO] = {3, 5}, [MSG_CREATE] = {4, 3}, [MSG_KILL] = {1, 0},    [MSG_STATS] = {2, 0},
    [MSG_WRITE] = {3, 2}, [MSG_GROUP] = {2, 0},  [MSG_UNGROUP] = {2, 0}, [MSG_RECLAIM] = {1, 0},
};

static void on_request(int client, struct message* message) {
  const struct record* r = &message->record;
  if (r->op >= sizeof shapes / sizeof *shapes || r->nints != shapes[r->op].nints || r->nblobs != shapes[r->op].nblobs)
    return;
  if (r->op == MSG_HELLO)
    return on_hello(client, r);
  if (r->op == MSG_CREATE)
    return on_create(client, message);
  if (r->op == MSG_RECLAIM)
    return on_reclaim(client, r->ints[0]);
  struct container* c = find(client, r->ints[0]);
  if (r->op == MSG_KILL && c)
    kill_container(c);
  if (r->op == MSG_WRITE)
    on_write(client, c, r);
  if (r->op == MSG_GROUP)
    on_group(client, c, r->ints[1]);
  if (r->op == MSG_UNGROUP)
    on_ungroup(c, r->ints[1]);
  if (r->op == MSG_STATS) {
    struct blob stats = c ? read_stats(c) : (struct blob){.data = "", .length = 0};
    reply(client, r->ints[1], c ? 0 : -ENOENT, &stats, 0);
  }
}

static bool any_client(void) {
  for (int i = 0; i < MAX_CLIENTS; i++)
    if (clients[i].socket >= 0)
      return true;
  return false;
}

// Whoever asked for them is gone, so nobody could ever stop them: they end now.
static void drop_client(int client) {
  clients[client].gone = true;
  close_fd(&clients[client].socket);
  for (int i = 0; i < container_high; i++)
    if (containers[i].state == RUNNING && containers[i].client == client) {
      containers[i].reported = true;
      containers[i].client = -1;
      kill_container(&containers[i]);
    }
  clients[client].gone = false;
  if (!any_client())
    give_up_spares();
}

static void on_client(int client) {
  struct message message;
  int rc = receive_message(clients[client].socket, message_buffer, sizeof message_buffer, 0, &message);
  if (rc <= 0)
    return drop_client(client);
  on_request(client, &message);
  release_message(&message);
}

static void on_control(int control) {
  struct message message;
  int rc = receive_message(control, message_buffer, sizeof message_buffer, 0, &message);
  if (rc <= 0) {
    control_gone = true;
    struct epoll_entry none = {0};
    sys(epoll_ctl, epoll, EPOLL_DEL, control, &none);
    return;
  }
  for (int i = 0; i < MAX_CLIENTS && message.nfds == 1; i++)
    if (clients[i].socket < 0) {
      clients[i].socket = message.fds[0];
      message.nfds = 0;
      watch(clients[i].socket, TAG_CLIENT, (u32)i, EPOLL_IN);
    }
  release_message(&message);
}

static bool anything_left(void) {
  return !control_gone || container_high > 0 || any_client();
}

// How long to sleep, in milliseconds: not at all while a spare should be made, forever when there is nothing to do.
static int patience(bool cleaning) {
  if (!spares_until)
    return cleaning ? CLEANUP_INTERVAL_MS : -1;
  u64 time = now();
  if (time >= spares_until) {
    give_up_spares();
    return CLEANUP_INTERVAL_MS;
  }
  if (spares < MAX_SPARES)
    return 0;
  return cleaning ? CLEANUP_INTERVAL_MS : (int)(spares_until - time);
}

_Noreturn void launcher_main(int control) {
  for (int i = 0; i < MAX_CLIENTS; i++)
    clients[i].socket = -1;
  for (int h = 0; h < MAX_HIERARCHIES; h++)
    hierarchies[h].base = -1;
  identity_start();
  epoll = (int)sys(epoll_create1, O_CLOEXEC);
  u64 mask = (u64)1 << (SIGCHLD - 1);
  signal_fd = (int)sys(signalfd4, -1, &mask, 8, O_CLOEXEC | O_NONBLOCK);
  watch(signal_fd, TAG_SIGNAL, 0, EPOLL_IN);
  watch(control, TAG_CONTROL, 0, EPOLL_IN);
  bool left = false;
  while (anything_left()) {
    struct epoll_entry events[32];
    int timeout = patience(left);
    long n = sys(epoll_pwait, epoll, events, 32, timeout, 0, 8);
    if (n == 0 && timeout == 0)
      make_spare();
    for (long i = 0; i < n; i++) {
      u32 index = (u32)events[i].tag;
      switch (events[i].tag >> 32) {
      case TAG_SIGNAL: {
        char info[128 * 4];
        sys(read, signal_fd, info, sizeof info);
        reap();
        break;
      }
      case TAG_CONTROL:
        on_control(control);
        break;
      case TAG_CLIENT:
        if (clients[index].socket >= 0)
          on_client((int)index);
        break;
      case TAG_OOM:
        if (containers[index].state == RUNNING && containers[index].oom >= 0)
          on_oom(&containers[index]);
        break;
      }
    }
    left = clean_up_dead();
  }
  exit_now(0);
}
