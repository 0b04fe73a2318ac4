// The step that unpacks an archive: reads it from a pipe, in large pieces, and makes what is in it beneath a directory.
// It is for agents, whose user namespace has no power outside of that directory; the archive may be anybody's.
#include "unpack.h"

enum { INPUT = 1 << 20, F_SETPIPE_SZ = 1031, PROT_READ_WRITE = 3, PRIVATE_ANONYMOUS = 0x22, NORESERVE = 0x4000 };
enum { REPORT_TEXT = TAR_PATH + 1024 };

long unpack_refuse(struct unpack* unpack, enum unpack_kind kind, const char* reason) {
  unpack->kind = kind;
  unpack->reason = reason;
  return -1;
}

long unpack_error(struct unpack* unpack, long error, const char* call) {
  unpack->error = -error;
  return unpack_refuse(unpack, UNPACK_SYSTEM, call);
}

static void* map(size_t size) {
  long at = sys(mmap, 0, size, PROT_READ_WRITE, PRIVATE_ANONYMOUS | NORESERVE, -1, 0);
  return at < 0 && at > -4096 ? 0 : (void*)at;
}

static long write_content(struct unpack* unpack, const u8* data, size_t length, u64 at) {
  if (unpack->file < 0)
    return 0;
  while (length) {
    long wrote = sys(pwrite64, unpack->file, data, length, at);
    if (wrote == -EINTR)
      continue;
    if (wrote <= 0)
      return unpack_error(unpack, wrote ? wrote : -ENOSPC, "write");
    data += wrote;
    at += (u64)wrote;
    length -= (size_t)wrote;
  }
  return 0;
}

static long take_piece(struct unpack* unpack, struct tar* tar, const u8* at, const u8* end) {
  for (;;) {
    long rc = 0;
    switch (tar_next(tar, &at, end)) {
    case TAR_MORE:
      return 0;
    case TAR_ENTRY:
      rc = unpack_member(unpack, &tar->entry);
      break;
    case TAR_DATA:
      rc = write_content(unpack, tar->data, tar->length, tar->position);
      break;
    case TAR_CLOSE:
      rc = unpack_close(unpack, &tar->entry);
      tar->entry.path = 0; // what is wrong from here on is not wrong with it
      break;
    case TAR_BAD:
      return unpack_refuse(unpack, tar->limit ? UNPACK_LIMIT : UNPACK_BAD, tar->reason);
    }
    if (rc < 0)
      return rc;
  }
}

static long take_all(struct unpack* unpack, struct tar* tar, int source, u8* input) {
  for (;;) {
    long got = sys(read, source, input, INPUT);
    if (got == -EINTR)
      continue;
    if (got < 0)
      return unpack_error(unpack, got, "read");
    if (!got)
      return tar_finish(tar) ? 0 : unpack_refuse(unpack, UNPACK_BAD, tar->reason);
    // What is no content counts too: headers, and what follows the end.
    if (tar->offset > unpack->most_bytes &&
        tar->offset - unpack->most_bytes > (unpack->entries + 64) * (TAR_EXTENDED / 16))
      return unpack_refuse(unpack, UNPACK_LIMIT, "more bytes than allowed");
    long rc = take_piece(unpack, tar, input, input + got);
    if (rc < 0)
      return rc;
  }
}

// One record into a pipe, whose capacity it never exceeds.
static long report(const struct unpack* unpack, const struct tar* tar, int to) {
  static _Alignas(8) char buffer[REPORT_TEXT];
  const char *name = tar->entry.path ? tar->entry.path : "", *reason = unpack->reason ? unpack->reason : "";
  u64 ints[] = {unpack->kind,  (u64)unpack->error, tar->offset,    unpack->entries,
                unpack->bytes, unpack->devices,    unpack->xattrs, unpack->owners};
  struct blob blobs[] = {{name, (u32)text_length(name)}, {reason, (u32)text_length(reason)}};
  struct writer writer = {.buf = buffer, .cap = sizeof buffer};
  put_record(&writer, 1, 8, ints, 2, blobs);
  if (writer.overflow)
    return -EOVERFLOW;
  long rc = sys(write, to, buffer, writer.len);
  return rc < 0 ? rc : 0;
}

static long run(struct unpack* unpack, struct tar* tar, int source, u8* input) {
  long rc = unpack->flags & UNPACK_ARCHIVE ? 0 : unpack_root_attributes(unpack);
  if (rc >= 0)
    rc = take_all(unpack, tar, source, input);
  close_fd(&unpack->file);
  if (rc >= 0 && unpack->opaque_root)
    rc = unpack_hide_below(unpack);
  if (rc >= 0)
    rc = unpack_times(unpack);
  // What has failed is never told as done.
  return rc < 0 && unpack->kind == UNPACK_DONE ? unpack_error(unpack, rc, "unpacking") : rc;
}

// ints: slots of the archive, the directory and the report, flags, most bytes, entries, components, bytes of an
// extended header; blobs: slots of the layers below (u32 each). What becomes of the archive is told by the report; the
// step fails only where there could be none.
long step_unpack(struct plan_context* context, const struct record* step) {
  int source = slot_fd(context, step->ints[0]), target = slot_fd(context, step->ints[1]);
  int to = slot_fd(context, step->ints[2]);
  const struct blob* below = &step->blobs[0];
  if (source < 0 || target < 0 || to < 0)
    return -EBADF;
  static struct unpack unpack;
  unpack = (struct unpack){
      .flags = step->ints[3],
      .most_bytes = step->ints[4],
      .most_entries = step->ints[5],
      .most_depth = step->ints[6],
      .file = -1,
  };
  for (u32 at = 0; at + 4 <= below->length; at += 4) {
    u32 slot;
    memcpy(&slot, below->data + at, 4);
    if (unpack.nparents == MOST_PARENTS)
      return -E2BIG;
    int fd = slot_fd(context, slot);
    if (fd < 0)
      return -EBADF;
    unpack.parents[unpack.nparents++] = fd;
  }
  long root = unpack_open(target, ".", O_DIRECTORY);
  if (root < 0)
    return root;
  unpack.root = (int)root;
  sys(fcntl, source, F_SETPIPE_SZ, INPUT); // fewer turns; a smaller pipe works too
  sys(umask, 0);
  struct tar* tar = map(sizeof *tar);
  u8* input = map(INPUT);
  unpack.times = map(DIRECTORY_TIMES);
  long rc = tar && input && unpack.times ? 0 : -ENOMEM;
  if (rc >= 0) {
    tar_begin(tar, step->ints[7] < TAR_EXTENDED ? (u32)step->ints[7] : TAR_EXTENDED);
    run(&unpack, tar, source, input);
    rc = report(&unpack, tar, to);
  }
  if (tar)
    sys(munmap, tar, sizeof *tar);
  if (input)
    sys(munmap, input, INPUT);
  if (unpack.times)
    sys(munmap, unpack.times, DIRECTORY_TIMES);
  close_fd(&unpack.root);
  return rc;
}
