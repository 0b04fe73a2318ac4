// The start of a container: cgroups, clone, id maps, the mounts that only the host's root can make, and init's plan.
#include "containers.h"
#include <linux/sched.h>

enum {
  NAMESPACES = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |
               CLONE_NEWCGROUP | CLONE_NEWTIME
};
enum { F_DUPFD_CLOEXEC = 1030 };

static struct plan_context context;
static struct failure failure;
static u64 next_number;

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
    // The directory was removed by another launcher, which was the last one then: make it again.
    if ((fd == -ENOENT || fd == -ENODEV) && configure_again())
      fd = cgroup_make(h, c->name);
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
  // What an agent writes for a container counts as that one's.
  const int* dirs = creation->into ? creation->into->dirs : c->dirs;
  int pair[2];
  long rc = sys(socketpair, 1 /* AF_UNIX */, 5 | O_CLOEXEC /* SOCK_SEQPACKET */, 0, pair);
  if (rc < 0)
    return fail(creation, STAGE_CLONE, 0, rc, "socketpair");
  int tasks[MAX_HIERARCHIES], ntasks = 0, into = -1;
  for (int h = 0; h < hierarchy_count; h++) {
    if (dirs[h] < 0)
      continue;
    if (hierarchies[h].version == 2)
      into = dirs[h];
    else
      tasks[ntasks++] = (int)sys(openat, dirs[h], "tasks", O_WRONLY | O_CLOEXEC, 0);
  }
  struct birth birth = {
      .setup = pair[1],
      .tasks = tasks,
      .ntasks = ntasks,
      .agent = c->agent,
      // The files that a process writes about itself in /proc are root's while it is hidden. An ordinary user's agent
      // needs them while it makes and enters its namespaces; it hides after that.
      .hidden = !c->agent || sys(geteuid) == 0,
  };
  memcpy(birth.name, c->name, sizeof birth.name);
  struct clone_args args = {.flags = c->clone_flags, .exit_signal = SIGCHLD};
  if (into >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = (u64)into;
  }
  long pid = sys(clone3, &args, sizeof args);
  if (pid == 0)
    init_main(&birth);
  for (int i = 0; i < ntasks; i++)
    sys(close, tasks[i]);
  sys(close, pair[1]);
  if (pid < 0) {
    sys(close, pair[0]);
    return fail(creation, STAGE_CLONE, 0, pid, "clone3");
  }
  c->pid = (int)pid;
  c->setup = pair[0];
  if (!(c->clone_flags & CLONE_NEWNS))
    return 0;
  char path[64];
  process_path(path, c->pid, "/ns/mnt");
  c->mounts = (int)sys(openat, AT_FDCWD, path, O_CLOEXEC, 0);
  return 0;
}

// A file of /proc/<pid>; the process is our child and not reaped, so its number is its own.
static long write_process_file(int pid, const char* file, const char* data, size_t length) {
  char path[64];
  process_path(path, pid, file);
  return write_file(AT_FDCWD, path, data, length);
}

// "<first inside> <first host id> <count>"
static size_t map_line(char line[128], size_t n, u64 inside, u64 host, u64 count) {
  n = text_append(line, 128, number_append(line, 128, n, inside), " ");
  n = text_append(line, 128, number_append(line, 128, n, host), " ");
  return text_append(line, 128, number_append(line, 128, n, count), "\n");
}

static long write_map(int pid, const char* file, u64 host, u64 count) {
  char line[128];
  return write_process_file(pid, file, line, map_line(line, 0, 0, host, count));
}

static long write_both_maps(struct creation* creation) {
  const struct container *into = creation->into, *from = creation->from;
  if (!into || !from || into->range < 0 || from->range < 0)
    return fail(creation, STAGE_MAP, 0, -EINVAL, "uid_map");
  char lines[128];
  size_t n = map_line(lines, 0, 0, range_base(into->range), range_size());
  n = map_line(lines, n, range_size(), range_base(from->range), range_size());
  int pid = creation->container->pid;
  long rc = write_process_file(pid, "/uid_map", lines, n);
  if (rc >= 0)
    rc = write_process_file(pid, "/gid_map", lines, n);
  return rc < 0 ? fail(creation, STAGE_MAP, 0, rc, "uid_map") : 0;
}

static long write_given_maps(struct creation* creation, const struct blob* maps) {
  int pid = creation->container->pid;
  struct cursor cursor = {.at = maps->data, .end = maps->data + maps->length};
  struct record r;
  if (next_record(&cursor, &r) != 1 || r.nints != 1 || r.nblobs != 2)
    return fail(creation, STAGE_MAP, 0, -EBADMSG, "uid_map");
  const char* file = "setgroups";
  long rc = r.ints[0] ? write_process_file(pid, "/setgroups", "deny", 4) : 0;
  if (rc >= 0)
    rc = write_process_file(pid, "/uid_map", r.blobs[0].data, r.blobs[0].length), file = "uid_map";
  if (rc >= 0)
    rc = write_process_file(pid, "/gid_map", r.blobs[1].data, r.blobs[1].length), file = "gid_map";
  return rc < 0 ? fail(creation, STAGE_MAP, 0, rc, file) : 0;
}

static long have_maps_written(struct creation* creation, const struct blob* maps) {
  struct cursor cursor = {.at = maps->data, .end = maps->data + maps->length};
  struct record r;
  if (next_record(&cursor, &r) != 1 || r.nints != 1 || r.nblobs != 4)
    return fail(creation, STAGE_MAP, 0, -EBADMSG, "uid_map");
  const char* file = "";
  long rc = map_by_helpers(creation->container->pid, &r, &file);
  return rc < 0 ? fail(creation, STAGE_MAP, 0, rc, *map_helper_said() ? map_helper_said() : file) : 0;
}

static long map_ids(struct creation* creation, const struct blob* maps) {
  struct container* c = creation->container;
  if ((c->map_mode == MAP_NONE) != !(c->clone_flags & CLONE_NEWUSER))
    return fail(creation, STAGE_MAP, 0, -EINVAL, "uid_map");
  if (c->map_mode == MAP_NONE)
    return 0;
  if (c->map_mode == MAP_GIVEN)
    return write_given_maps(creation, maps);
  if (c->map_mode == MAP_HELPED)
    return have_maps_written(creation, maps);
  if (c->map_mode == MAP_BOTH)
    return write_both_maps(creation);
  bool single = c->map_mode == MAP_SINGLE;
  long rc = 0;
  // user_namespaces(7): a single map made without privilege needs setgroups switched off first (CVE-2014-8989).
  if (single)
    rc = write_process_file(c->pid, "/setgroups", "deny", 4);
  u64 uid = single ? (u64)sys(geteuid) : range_base(c->range), gid = single ? (u64)sys(getegid) : uid;
  u64 count = single ? 1 : range_size();
  if (rc >= 0)
    rc = write_map(c->pid, "/uid_map", uid, count);
  if (rc >= 0)
    rc = write_map(c->pid, "/gid_map", gid, count);
  return rc < 0 ? fail(creation, STAGE_MAP, 0, rc, "uid_map") : 0;
}

// Steps that need the host's privileges, above all mounts shifted into the container's ids. What they open goes to
// init.
static long run_host_steps(struct creation* creation, const struct blob* steps) {
  struct container* c = creation->container;
  reset_context(&context, &failure);
  failure = (struct failure){0};
  context.state_dir = state_dir;
  context.state_name = c->name;
  context.owner = c->range >= 0 ? range_base(c->range) : (u64)sys(geteuid);
  context.group = c->range >= 0 ? context.owner : (u64)sys(getegid);
  if (!steps->length)
    return 0;
  char path[64];
  process_path(path, c->pid, "/ns/user");
  long rc = set_slot(&context, SLOT_USERNS, sys(openat, AT_FDCWD, path, O_CLOEXEC, 0));
  if (rc >= 0)
    rc = run_steps(&context, steps);
  if (context.bounded >= 0)
    close_fd(&c->bounded), c->bounded = context.bounded;
  if (context.home >= 0)
    close_fd(&c->home), c->home = context.home;
  struct stat_facts facts;
  int home = c->home >= 0 ? c->home : state_dir;
  c->stored = home >= 0 && stat_of(home, c->name, AT_SYMLINK_NOFOLLOW, &facts) == 0;
  // An ordinary user may remove what is left only as root of this user namespace, which is kept for that.
  if (c->stored && c->users < 0 && sys(geteuid) != 0)
    c->users = (int)sys(fcntl, slot_fd(&context, SLOT_USERNS), F_DUPFD_CLOEXEC, 3);
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

struct container* new_container(const struct recipe* recipe) {
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
      .clone_flags = recipe->clone_flags,
      .mask = recipe->mask,
      .map_mode = recipe->map_mode,
      .agent = recipe->agent,
      .setup = -1,
      .mounts = -1,
      .bounded = -1,
      .home = -1,
      .users = -1,
      .oom = -1,
      .oom_counter = -1,
      .range = -1,
  };
  for (int h = 0; h < MAX_HIERARCHIES; h++)
    c->dirs[h] = -1;
  identity_name(c->name, ++next_number);
  return c;
}

// Mounts and steps for init: first what the container has in common with others, then what is its own.
static long hand_over(struct creation* creation, u32 index, const struct blob* host, const struct blob* init, u16 op,
                      const int* socket) {
  long rc = run_host_steps(creation, host);
  creation->index += index;
  if (rc >= 0)
    rc = send_slots(creation);
  if (rc >= 0 && (rc = send_record(creation->container->setup, op, 0, 0, 1, init, socket, socket ? 1 : 0)) < 0)
    fail(creation, STAGE_START, 0, rc, "");
  return rc;
}

// Everything about a container that it has in common with others of its kind; with the limits, if they are known
// already.
long give_birth(struct creation* creation, const struct recipe* recipe, const struct blob* writes) {
  struct container* c = creation->container;
  if (c->clone_flags & ~(u64)NAMESPACES || c->map_mode > MAP_HELPED)
    return fail(creation, STAGE_CLONE, 0, -EINVAL, "clone3");
  if (c->map_mode == MAP_RANGE && (c->range = range_take()) < 0)
    return fail(creation, STAGE_RANGE, 0, c->range, "");
  long rc = make_cgroups(creation);
  if (rc >= 0 && writes)
    rc = set_limits(creation, writes);
  if (rc >= 0)
    rc = clone_init(creation);
  if (rc >= 0)
    rc = map_ids(creation, &recipe->maps);
  return rc < 0 ? rc : hand_over(creation, 0, &recipe->host, &recipe->init, MSG_PREPARE, 0);
}

static long create(struct creation* creation, const struct recipe* recipe, const struct record* r, const int* socket) {
  struct container* c = creation->container;
  const struct blob* writes = &r->blobs[0];
  long rc = c->pid ? set_limits(creation, writes) : give_birth(creation, recipe, writes);
  watch_memory(c);
  return rc < 0 ? rc : hand_over(creation, count_steps(&recipe->host), &r->blobs[3], &r->blobs[4], MSG_START, socket);
}

void on_create(int client, struct message* message) {
  const struct record* r = &message->record;
  struct recipe recipe = {
      .clone_flags = r->ints[1],
      .mask = (u32)r->ints[2],
      .map_mode = r->ints[3],
      .agent = r->ints[4] & CREATE_AGENT,
      .host = r->blobs[1],
      .init = r->blobs[2],
      .maps = r->blobs[5],
  };
  struct container* c = recipe.agent ? 0 : take_spare(&recipe);
  if (!c)
    c = new_container(&recipe);
  u64 into = r->ints[5], from = r->ints[6];
  struct creation creation = {.container = c, .into = find(client, into), .from = find(client, from)};
  long rc = -ENFILE;
  if (c) {
    c->state = RUNNING;
    c->client = client;
    c->id = (u32)r->ints[0];
    if (recipe.agent)
      strays_expect();
    else
      expect_another(&recipe);
  }
  if (!c)
    fail(&creation, STAGE_RANGE, 0, rc, "");
  else if ((into != ~(u64)0 && !creation.into) || (from != ~(u64)0 && !creation.from)) // it has ended
    rc = fail(&creation, STAGE_CGROUP, 0, -ESRCH, "");
  else if (message->nfds != 1)
    rc = fail(&creation, STAGE_START, 0, -EBADMSG, "");
  else
    rc = create(&creation, &recipe, r, &message->fds[0]);
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
  client_send(client, MSG_CREATE_FAILED, 4, ints, 1, &text, 0);
  if (c)
    give_up(c);
}
