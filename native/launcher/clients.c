// The threads of Node that this launcher works for. One that does not read must not hold up the others: what its socket
// does not take waits in a queue of its own, and a client that lets that grow without end is let go.
#include "containers.h"

enum { MAX_QUEUED = 16 * 1024 * 1024 };

struct queued {
  struct queued* next;
  size_t mapped, length;
  int fd; // one descriptor that goes with it, or -1
  char bytes[];
};

struct client {
  int socket;
  struct queued *first, *last;
  size_t queued;
};

static struct client clients[MAX_CLIENTS];

void clients_start(void) {
  for (int i = 0; i < MAX_CLIENTS; i++)
    clients[i].socket = -1;
}

int client_socket(int client) {
  return clients[client].socket;
}

bool any_client(void) {
  for (int i = 0; i < MAX_CLIENTS; i++)
    if (clients[i].socket >= 0)
      return true;
  return false;
}

bool client_add(int socket) {
  for (int i = 0; i < MAX_CLIENTS; i++)
    if (clients[i].socket < 0) {
      clients[i] = (struct client){.socket = socket};
      watch(socket, TAG_CLIENT, (u32)i, EPOLL_IN);
      return true;
    }
  return false;
}

static void forget_first(struct client* c) {
  struct queued* message = c->first;
  c->first = message->next;
  c->queued -= message->mapped;
  close_fd(&message->fd);
  sys(munmap, message, message->mapped);
}

static void queue(int client, const char* bytes, size_t length, const int* fd) {
  struct client* c = &clients[client];
  size_t mapped = (sizeof(struct queued) + length + 4095) & ~(size_t)4095;
  long memory =
      c->queued + mapped > MAX_QUEUED ? -ENOMEM : sys(mmap, 0, mapped, 3, 0x22 /* private, anonymous */, -1, 0);
  if (memory < 0 && memory > -4096)
    return drop_client(client);
  struct queued* message = (struct queued*)memory;
  *message = (struct queued){.mapped = mapped, .length = length, .fd = -1};
  if (fd)
    message->fd = (int)sys(fcntl, *fd, 1030 /* F_DUPFD_CLOEXEC */, 0);
  memcpy(message->bytes, bytes, length);
  if (c->first)
    c->last->next = message;
  else
    c->first = message;
  c->last = message;
  c->queued += mapped;
  rewatch(c->socket, TAG_CLIENT, (u32)client, EPOLL_IN | EPOLL_OUT);
}

void client_send(int client, u16 op, u8 nints, const u64* ints, u8 nblobs, const struct blob* blobs, const int* fd) {
  static _Alignas(8) char buf[MAX_INLINE];
  struct writer w = {.buf = buf, .cap = sizeof buf};
  if (client < 0 || clients[client].socket < 0)
    return;
  put_record(&w, op, nints, ints, nblobs, blobs);
  if (w.overflow)
    return;
  long rc = clients[client].first ? -EAGAIN : try_send(clients[client].socket, buf, w.len, fd, fd ? 1 : 0);
  if (rc == -EAGAIN)
    queue(client, buf, w.len, fd);
}

// The client reads again.
void client_flush(int client) {
  struct client* c = &clients[client];
  while (c->first) {
    struct queued* message = c->first;
    if (try_send(c->socket, message->bytes, message->length, &message->fd, message->fd >= 0 ? 1 : 0) == -EAGAIN)
      return;
    forget_first(c);
  }
  rewatch(c->socket, TAG_CLIENT, (u32)client, EPOLL_IN);
}

// Whoever asked for its containers is gone, so nobody could ever stop them: they end now.
void drop_client(int client) {
  struct client* c = &clients[client];
  unwatch(c->socket);
  close_fd(&c->socket);
  while (c->first)
    forget_first(c);
  for (int i = 0; i < container_high; i++)
    if (containers[i].state == RUNNING && containers[i].client == client) {
      containers[i].reported = true;
      containers[i].client = -1;
      kill_container(&containers[i]);
    }
  if (!any_client())
    give_up_spares();
}
