// The launcher's loop: who talks to it, what wakes it, and what it does when it is left alone.
#include "containers.h"

enum { EPOLL_ADD = 1, EPOLL_DEL = 2, EPOLL_MOD = 3, CLEANUP_INTERVAL_MS = 2 };

struct epoll_entry {
  u32 events;
  u64 tag;
}
#if defined(__x86_64__)
__attribute__((packed))
#endif
;

struct container containers[MAX_CONTAINERS];
int container_high;
static int epoll = -1, signal_fd = -1;
static bool control_gone;
static _Alignas(8) char message_buffer[MAX_INLINE + 4096];

static void control_watch(int operation, int fd, enum tag tag, u32 index, u32 events) {
  struct epoll_entry entry = {.events = events, .tag = (u64)tag << 32 | index};
  sys(epoll_ctl, epoll, operation, fd, &entry);
}

void watch(int fd, enum tag tag, u32 index, u32 events) {
  control_watch(EPOLL_ADD, fd, tag, index, events);
}

void rewatch(int fd, enum tag tag, u32 index, u32 events) {
  control_watch(EPOLL_MOD, fd, tag, index, events);
}

// Closing is not enough: a child that was forked just before may hold the file open for a moment longer (epoll(7), Q6).
void unwatch(int fd) {
  struct epoll_entry none = {0};
  if (fd >= 0)
    sys(epoll_ctl, epoll, EPOLL_DEL, fd, &none);
}

void send_to(const struct container* c, u16 op, u8 nints, const u64* ints, u8 nblobs, const struct blob* blobs) {
  client_send(c->client, op, nints, ints, nblobs, blobs, 0);
}

void reply(int client, u64 request, long result, const struct blob* content, const int* fd) {
  u64 ints[] = {request, result < 0 ? (u64)-result : 0, result < 0 ? 0 : (u64)result};
  client_send(client, MSG_REPLY, 3, ints, content ? 1 : 0, content, fd);
}

u64 now(void) {
  struct {
    i64 sec, nsec;
  } time;
  sys(clock_gettime, 1 /* CLOCK_MONOTONIC */, &time);
  return (u64)time.sec * 1000 + (u64)time.nsec / 1000000;
}

struct container* find(int client, u64 id) {
  for (int i = 0; i < container_high; i++)
    if (containers[i].state == RUNNING && containers[i].client == client && containers[i].id == id)
      return &containers[i];
  return 0;
}

static void on_hello(int client, const struct record* r) {
  configure(r);
  u64 ints[] = {(u64)sys(getpid)};
  client_send(client, MSG_WELCOME, 1, ints, 0, 0, 0);
}

static void on_write(int client, struct container* c, const struct record* r) {
  u64 h = r->ints[2];
  long rc = -ENOENT;
  if (c && h < MAX_HIERARCHIES && c->dirs[h] >= 0)
    rc = write_file(c->dirs[h], r->blobs[0].data, r->blobs[1].data, r->blobs[1].length);
  reply(client, r->ints[1], rc, 0, 0);
}

struct shape {
  u8 nints, nblobs;
};
static const struct shape shapes[] = {
    [MSG_HELLO] = {3, 5}, [MSG_CREATE] = {7, 6}, [MSG_KILL] = {1, 0},    [MSG_STATS] = {2, 0},
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
    // The kernel may hold the notice of a kill back for 10 ms (mm/memcontrol.c, CGROUP_FILE_NOTIFY_MIN_INTV). Whoever
    // reads the counters must have heard of it by then, and what it still ends must not be what is started next.
    if (c && c->state == RUNNING && c->oom >= 0)
      on_oom(c);
    struct blob stats = c ? read_stats(c) : (struct blob){.data = "", .length = 0};
    reply(client, r->ints[1], c ? 0 : -ENOENT, &stats, 0);
  }
}

static void on_client(int client) {
  struct message message;
  int rc = receive_message(client_socket(client), message_buffer, sizeof message_buffer, 0, &message);
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
    unwatch(control);
    return;
  }
  if (message.nfds == 1 && client_add(message.fds[0]))
    message.nfds = 0;
  release_message(&message);
}

static bool anything_left(void) {
  return !control_gone || container_high > 0 || any_client() || strays_left();
}

// How long to sleep, in milliseconds: not at all while a spare should be made, forever when there is nothing to do.
static int patience(bool cleaning) {
  u64 expire = spares_expire();
  if (!expire)
    return cleaning ? CLEANUP_INTERVAL_MS : -1;
  u64 time = now();
  if (time >= expire) {
    give_up_spares();
    return CLEANUP_INTERVAL_MS;
  }
  if (spares_wanted())
    return 0;
  return cleaning ? CLEANUP_INTERVAL_MS : (int)(expire - time);
}

_Noreturn void launcher_main(int control) {
  clients_start();
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
        if (events[i].events & EPOLL_OUT && client_socket((int)index) >= 0)
          client_flush((int)index);
        if (events[i].events & ~(u32)EPOLL_OUT && client_socket((int)index) >= 0)
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
  leave_host();
  exit_now(0);
}
