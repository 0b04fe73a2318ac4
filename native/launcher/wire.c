#include "wire.h"
#include "protocol.h"
#include <linux/memfd.h>
#include <linux/uio.h>

enum { MFD_FLAGS = MFD_CLOEXEC | MFD_ALLOW_SEALING };
enum { F_ADD_SEALS = 1033, F_GET_SEALS = 1034, SEAL_SEAL = 1, SEAL_SHRINK = 2, SEAL_GROW = 4, SEAL_WRITE = 8 };
enum { ALL_SEALS = SEAL_SEAL | SEAL_SHRINK | SEAL_GROW | SEAL_WRITE };
enum {
  SOL_SOCKET = 1,
  SCM_RIGHTS = 1,
  MSG_NOSIGNAL = 0x4000,
  MSG_CMSG_CLOEXEC = 0x40000000,
  MSG_TRUNC = 0x20,
  MSG_CTRUNC = 8,
  MSG_DONTWAIT = 0x40
};

struct message_header {
  void* name;
  u32 namelen;
  struct iovec* iov;
  size_t iovlen;
  void* control;
  size_t controllen;
  u32 flags;
};

struct control {
  u64 len;
  u32 level, type;
  int fds[MAX_FDS];
};

bool is_text(const struct blob* blob) {
  for (u32 i = 0; i < blob->length; i++)
    if (!blob->data[i])
      return false;
  return true;
}

bool keep_blob(const struct blob* from, char* to, size_t cap, struct blob* kept) {
  if (from->length >= cap)
    return false;
  memcpy(to, from->data, from->length + 1);
  *kept = (struct blob){.data = to, .length = from->length};
  return true;
}

int next_record(struct cursor* cursor, struct record* record) {
  size_t left = (size_t)(cursor->end - cursor->at);
  if (left == 0)
    return 0;
  if (left < 8)
    return -EBADMSG;
  const char* at = cursor->at;
  u32 size;
  memcpy(&record->op, at, 2);
  record->nints = (u8)at[2];
  record->nblobs = (u8)at[3];
  memcpy(&size, at + 4, 4);
  if (size % 8 || size < 8 || size > left || record->nblobs > MAX_BLOBS)
    return -EBADMSG;
  const char* end = at + size;
  at += 8;
  if ((size_t)(end - at) < (size_t)record->nints * 8)
    return -EBADMSG;
  record->ints = (const u64*)at; // records start at multiples of 8, from a buffer that is aligned
  at += (size_t)record->nints * 8;
  for (int i = 0; i < record->nblobs; i++) {
    u32 length;
    if (end - at < 8)
      return -EBADMSG;
    memcpy(&length, at, 4);
    at += 8;
    if ((size_t)(end - at) < (size_t)length + 1 || at[length])
      return -EBADMSG;
    record->blobs[i] = (struct blob){.data = at, .length = length};
    size_t padded = ((size_t)length + 8) & ~(size_t)7;
    if ((size_t)(end - at) < padded)
      return -EBADMSG;
    at += padded;
  }
  if (at != end)
    return -EBADMSG;
  cursor->at = end;
  return 1;
}

void put_record(struct writer* w, u16 op, u8 nints, const u64* ints, u8 nblobs, const struct blob* blobs) {
  size_t size = 8 + (size_t)nints * 8;
  for (int i = 0; i < nblobs; i++)
    size += 8 + (((size_t)blobs[i].length + 8) & ~(size_t)7);
  if (w->overflow || w->cap - w->len < size) {
    w->overflow = true;
    return;
  }
  char* at = w->buf + w->len;
  memset(at, 0, size);
  u32 size32 = (u32)size;
  memcpy(at, &op, 2);
  at[2] = (char)nints;
  at[3] = (char)nblobs;
  memcpy(at + 4, &size32, 4);
  at += 8;
  if (nints)
    memcpy(at, ints, (size_t)nints * 8);
  at += (size_t)nints * 8;
  for (int i = 0; i < nblobs; i++) {
    memcpy(at, &blobs[i].length, 4);
    memcpy(at + 8, blobs[i].data, blobs[i].length);
    at += 8 + (((size_t)blobs[i].length + 8) & ~(size_t)7);
  }
  w->len += size;
}

// A long message is a memfd: sealed by the sender, so that what was checked here cannot change or shrink afterwards.
static int map_large(struct message* message) {
  const struct record* stub = &message->record;
  if (stub->nints != 1 || message->nfds < 1)
    return -EBADMSG;
  u64 size = stub->ints[0];
  int fd = message->fds[--message->nfds];
  struct stat_facts facts;
  bool sealed = sys(fcntl, fd, F_GET_SEALS, 0) == ALL_SEALS;
  bool sized = stat_of(fd, "", AT_EMPTY_PATH, &facts) == 0 && facts.size == size;
  long map = -EBADMSG;
  if (sealed && sized && size >= 8 && size <= MAX_MESSAGE)
    map = sys(mmap, 0, size, 1 /* PROT_READ */, 2 /* MAP_PRIVATE */, fd, 0);
  sys(close, fd);
  if (map < 0 && map > -4096)
    return (int)map;
  message->mapped = (void*)map;
  message->mapped_size = size;
  struct cursor cursor = {.at = (char*)map, .end = (char*)map + size};
  if (next_record(&cursor, &message->record) != 1 || cursor.at != cursor.end)
    return -EBADMSG;
  return 1;
}

int receive_message(int socket, char* buf, size_t cap, int flags, struct message* message) {
  static struct control control;
  struct iovec iov = {.iov_base = buf, .iov_len = cap};
  struct message_header header = {.iov = &iov, .iovlen = 1, .control = &control, .controllen = sizeof control};
  message->nfds = 0;
  message->mapped = 0;
  long got;
  do
    got = sys(recvmsg, socket, &header, flags | MSG_CMSG_CLOEXEC);
  while (got == -EINTR);
  if (got <= 0)
    return (int)got;
  if (header.controllen >= 16 && control.level == SOL_SOCKET && control.type == SCM_RIGHTS) {
    message->nfds = (int)((control.len - 16) / 4);
    memcpy(message->fds, control.fds, (size_t)message->nfds * 4);
  }
  struct cursor cursor = {.at = buf, .end = buf + got};
  int rc = -EBADMSG;
  if (!(header.flags & (MSG_TRUNC | MSG_CTRUNC)) && next_record(&cursor, &message->record) == 1 &&
      cursor.at == cursor.end)
    rc = message->record.op == MSG_LARGE ? map_large(message) : 1;
  if (rc < 0)
    release_message(message);
  return rc;
}

void release_message(struct message* message) {
  for (int i = 0; i < message->nfds; i++)
    close_fd(&message->fds[i]);
  message->nfds = 0;
  if (message->mapped)
    sys(munmap, message->mapped, message->mapped_size);
  message->mapped = 0;
}

static long send_raw(int socket, const char* data, size_t n, const int* fds, int nfds, int flags) {
  static struct control control;
  struct iovec iov = {.iov_base = (void*)data, .iov_len = n};
  struct message_header header = {.iov = &iov, .iovlen = 1};
  if (nfds > 0) {
    control.len = 16 + (u64)nfds * 4;
    control.level = SOL_SOCKET;
    control.type = SCM_RIGHTS;
    memcpy(control.fds, fds, (size_t)nfds * 4);
    header.control = &control;
    header.controllen = (16 + (size_t)nfds * 4 + 7) & ~(size_t)7;
  }
  long rc;
  do
    rc = sys(sendmsg, socket, &header, MSG_NOSIGNAL | flags);
  while (rc == -EINTR);
  return rc < 0 ? rc : 0;
}

long try_send(int socket, const char* data, size_t n, const int* fds, int nfds) {
  return send_raw(socket, data, n, fds, nfds, MSG_DONTWAIT);
}

long send_bytes(int socket, const char* data, size_t n, const int* fds, int nfds) {
  if (n <= MAX_INLINE)
    return send_raw(socket, data, n, fds, nfds, 0);
  if (nfds >= MAX_FDS)
    return -EINVAL;
  int all[MAX_FDS];
  if (nfds > 0)
    memcpy(all, fds, (size_t)nfds * 4);
  long memfd = sys(memfd_create, "tscontain-message", MFD_FLAGS);
  if (memfd < 0)
    return memfd;
  all[nfds] = (int)memfd;
  long rc = 0;
  for (size_t done = 0; done < n && rc >= 0; done += (size_t)rc)
    rc = sys(write, memfd, data + done, n - done);
  if (rc >= 0)
    rc = sys(fcntl, memfd, F_ADD_SEALS, ALL_SEALS);
  if (rc >= 0) {
    char stub[32];
    struct writer w = {.buf = stub, .cap = sizeof stub};
    u64 size = n;
    put_record(&w, MSG_LARGE, 1, &size, 0, 0);
    rc = send_raw(socket, stub, w.len, all, nfds + 1, 0);
  }
  sys(close, memfd);
  return rc;
}

static size_t record_size(u8 nints, u8 nblobs, const struct blob* blobs) {
  size_t size = 8 + (size_t)nints * 8;
  for (int i = 0; i < nblobs; i++)
    size += (8 + (size_t)blobs[i].length + 1 + 7) & ~(size_t)7;
  return size;
}

long send_record(int socket, u16 op, u8 nints, const u64* ints, u8 nblobs, const struct blob* blobs, const int* fds,
                 int nfds) {
  static _Alignas(8) char buf[MAX_INLINE];
  struct writer w = {.buf = buf, .cap = sizeof buf};
  size_t size = record_size(nints, nblobs, blobs);
  if (size > MAX_MESSAGE)
    return -E2BIG;
  if (size > sizeof buf) { // as the plan of a container of hundreds of layers
    long at = sys(mmap, 0, size, 3 /* PROT_READ | PROT_WRITE */, 0x22 /* MAP_PRIVATE | MAP_ANONYMOUS */, -1, 0);
    if (at < 0 && at > -4096)
      return at;
    w = (struct writer){.buf = (char*)at, .cap = size};
  }
  put_record(&w, op, nints, ints, nblobs, blobs);
  long rc = w.overflow ? -E2BIG : send_bytes(socket, w.buf, w.len, fds, nfds);
  if (w.buf != buf)
    sys(munmap, w.buf, size);
  return rc;
}
