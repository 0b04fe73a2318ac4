// The wire format, shared by every message and by every step of a plan: a *record*.
//
//   u16 op | u8 nints | u8 nblobs | u32 size          size covers the whole record, a multiple of 8
//   u64 ints[nints]
//   nblobs times: u32 length | u32 0 | bytes | NUL | zero to the next multiple of 8
//
// A plan is a blob that holds records. lib/launcher/wire.ts is the other half. Nothing read here is trusted: every
// length is checked against what is left, so that a wrong message is refused, never misread.
#pragma once

#include "sys.h"

enum { MAX_BLOBS = 6, MAX_INLINE = 64 * 1024, MAX_MESSAGE = 8 * 1024 * 1024, MAX_FDS = 200 };

struct blob {
  const char* data; // NUL-terminated beyond its length
  u32 length;
};

struct record {
  u16 op;
  u8 nints, nblobs;
  const u64* ints;
  struct blob blobs[MAX_BLOBS];
};

struct cursor {
  const char* at;
  const char* end;
};

// 1: a record, 0: the end, negative: malformed.
int next_record(struct cursor* cursor, struct record* record);

// Builds records into a fixed buffer; `overflow` is sticky and checked once, at the end.
struct writer {
  char* buf;
  size_t cap, len;
  bool overflow;
};
void put_record(struct writer* w, u16 op, u8 nints, const u64* ints, u8 nblobs, const struct blob* blobs);

// A received message. `mapped` is set when it came in a memfd and must be unmapped.
struct message {
  struct record record;
  int fds[MAX_FDS];
  int nfds;
  void* mapped;
  size_t mapped_size;
};

// 1: a message, 0: the peer is gone, negative: error (-EBADMSG: malformed). The caller owns fds and calls
// release_message.
int receive_message(int socket, char* buf, size_t cap, int flags, struct message* message);
void release_message(struct message* message);
// Sends one encoded record of at most MAX_INLINE bytes, without waiting: -EAGAIN when there is no room.
long try_send(int socket, const char* data, size_t n, const int* fds, int nfds);
// Sends one encoded record; long ones travel in a sealed memfd.
long send_bytes(int socket, const char* data, size_t n, const int* fds, int nfds);
long send_record(int socket, u16 op, u8 nints, const u64* ints, u8 nblobs, const struct blob* blobs, const int* fds,
                 int nfds);

// A blob that must be text for the kernel: no NUL inside.
bool is_text(const struct blob* blob);
// A copy that outlives the message, in a buffer of `cap` bytes; false where it does not fit.
bool keep_blob(const struct blob* from, char* to, size_t cap, struct blob* kept);
