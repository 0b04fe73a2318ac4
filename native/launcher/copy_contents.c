#include "copy_contents.h"
#include "copy_ids.h"

enum { ENODATA = 61, EOPNOTSUPP = 95, BUFFER = 256 * 1024 };
enum { SEEK_DATA = 3, SEEK_HOLE = 4, ENXIO = 6, FICLONE = 0x40049409 };

long contents_open(struct contents* contents) {
  long rc = arena_open(&contents->memory, BUFFER + 2 * TREE_VALUE);
  if (rc < 0)
    return rc;
  contents->buffer = arena_take(&contents->memory, BUFFER);
  contents->list = arena_take(&contents->memory, TREE_VALUE);
  contents->value = arena_take(&contents->memory, TREE_VALUE);
  return 0;
}

void contents_close(struct contents* contents) {
  arena_close(&contents->memory);
}

// ---- what is known about a file
// ---------------------------------------------------------------------------------------

static bool is_copied(const struct contents* contents, const char* name) {
  if (is_overlay_attribute(name))
    return contents->flags & COPY_MARKS && starts_with(name, "user.");
  return starts_with(name, "user.") || text_equal(name, "security.capability") ||
         starts_with(name, "system.posix_acl_");
}

static long copy_attributes(struct contents* contents, int from, int to) {
  long n = sys(flistxattr, from, contents->list, TREE_VALUE);
  if (n < 0)
    return n == -EOPNOTSUPP ? 0 : n;
  for (long at = 0; at < n; at += (long)text_length(contents->list + at) + 1) {
    const char* name = contents->list + at;
    if (!is_copied(contents, name))
      continue;
    long size = sys(fgetxattr, from, name, contents->value, TREE_VALUE);
    if (size == -ENODATA)
      continue;
    long rc = size < 0 ? size : shift_attribute(contents->shift, name, contents->value, size);
    if (rc >= 0)
      rc = sys(fsetxattr, to, name, contents->value, size, 0);
    if (rc < 0)
      return rc;
  }
  return 0;
}

struct time {
  i64 seconds, nanoseconds;
};

static long shifted_ids(const struct contents* contents, const struct facts* facts, u32 ids[2]) {
  ids[0] = facts->uid;
  ids[1] = facts->gid;
  long rc = shift_id(contents->shift, &ids[0]);
  return rc < 0 ? rc : shift_id(contents->shift, &ids[1]);
}

// The owner first, since changing it takes set-user-ID bits and capabilities away; the time last.
long copy_facts(struct contents* contents, int from, int to, const struct facts* facts) {
  struct time times[2] = {{facts->seconds, facts->nanoseconds}, {facts->seconds, facts->nanoseconds}};
  u32 ids[2];
  long rc = shifted_ids(contents, facts, ids);
  if (rc >= 0)
    rc = sys(fchown, to, ids[0], ids[1]);
  if (rc >= 0)
    rc = copy_attributes(contents, from, to);
  if (rc >= 0)
    rc = sys(fchmod, to, facts->mode & 07777);
  return rc < 0 ? rc : sys(utimensat, to, 0, times, 0);
}

long copy_facts_by_name(const struct contents* contents, int dir, const char* name, const struct facts* facts) {
  struct time times[2] = {{facts->seconds, facts->nanoseconds}, {facts->seconds, facts->nanoseconds}};
  u32 ids[2];
  long rc = shifted_ids(contents, facts, ids);
  if (rc >= 0)
    rc = sys(fchownat, dir, name, ids[0], ids[1], AT_SYMLINK_NOFOLLOW);
  if (rc >= 0 && type_of(facts) != 0120000)
    rc = sys(fchmodat, dir, name, facts->mode & 07777); // our own node, new, in a directory of ours
  return rc < 0 ? rc : sys(utimensat, dir, name, times, AT_SYMLINK_NOFOLLOW);
}

// ---- content
// ----------------------------------------------------------------------------------------------------------

static long copy_bytes(struct contents* contents, int from, int to, u64 at, u64 end) {
  i64 in = (i64)at, out = (i64)at;
  while (!contents->no_range && (u64)in < end) {
    long got = sys(copy_file_range, from, &in, to, &out, end - (u64)in, 0);
    if (got == 0)
      return 0;
    if (got < 0 && (u64)in > at)
      return got;
    if (got < 0)
      contents->no_range = true;
  }
  while ((u64)in < end) {
    u64 left = end - (u64)in;
    long got = sys(pread64, from, contents->buffer, left < BUFFER ? left : BUFFER, in);
    if (got <= 0)
      return got;
    for (long done = 0; done < got;) {
      long wrote = sys(pwrite64, to, contents->buffer + done, got - done, in + done);
      if (wrote < 0)
        return wrote;
      done += wrote;
    }
    in += got;
  }
  return 0;
}

static long copy_segments(struct contents* contents, int from, int to, u64 size) {
  u64 at = 0;
  long rc = 0;
  while (at < size && rc >= 0) {
    long data = sys(lseek, from, at, SEEK_DATA);
    if (data == -ENXIO)
      break;
    long hole = data < 0 ? data : sys(lseek, from, data, SEEK_HOLE);
    if (hole < 0)
      return hole;
    rc = copy_bytes(contents, from, to, (u64)data, (u64)hole < size ? (u64)hole : size);
    at = (u64)hole;
  }
  return rc < 0 ? rc : sys(ftruncate, to, size);
}

static long copy_content(struct contents* contents, int from, int to, const struct facts* facts) {
  if (!facts->size)
    return 0;
  if (!contents->no_clone) {
    if (sys(ioctl, to, FICLONE, from) >= 0) {
      contents->shared += facts->size;
      return 0;
    }
    contents->no_clone = true;
  }
  contents->bytes += facts->size;
  bool sparse = facts->blocks * 512 < facts->size;
  return sparse ? copy_segments(contents, from, to, facts->size) : copy_bytes(contents, from, to, 0, facts->size);
}

long copy_file_contents(struct contents* contents, int from, int to, const struct facts* facts) {
  long rc = copy_content(contents, from, to, facts);
  return rc < 0 ? rc : copy_facts(contents, from, to, facts);
}
