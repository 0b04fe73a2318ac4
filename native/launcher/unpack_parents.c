// Directories that an archive's members are in. Each is opened anew, beneath the layer's own descriptor and following
// no link (security I2): nothing is remembered that a later member could change. A directory that the archive does not
// name takes its attributes from the layers below, since an overlay shows those of the topmost.
#include "unpack.h"
#include <linux/openat2.h>

enum { BENEATH = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV, ENODATA = 61 };

static const char opaque_name[] = "user.overlay.opaque";

long unpack_open(int dir, const char* path, u64 flags) {
  return open_beneath(dir, *path ? path : ".", flags | O_NOFOLLOW, 0, BENEATH);
}

bool unpack_is_whiteout(int dir, const char* name) {
  struct stat_facts facts;
  return stat_of(dir, name, AT_SYMLINK_NOFOLLOW, &facts) == 0 && (facts.mode & S_IFMT) == S_IFCHR &&
         !facts.rdev_major && !facts.rdev_minor;
}

long unpack_make_opaque(struct unpack* unpack, int dir) {
  long rc = sys(fsetxattr, dir, opaque_name, "y", 1, 0);
  return rc < 0 ? unpack_error(unpack, rc, "fsetxattr") : 0;
}

static bool is_opaque(int dir) {
  char value[2];
  return sys(fgetxattr, dir, opaque_name, value, sizeof value) == 1 && value[0] == 'y';
}

// user.*, but for the overlay's own.
static bool may_copy(const char* name) {
  return memcmp(name, "user.", 5) == 0 && memcmp(name, "user.overlay.", 13) != 0;
}

static void copy_xattrs(int from, int to) {
  static char names[65536], value[65536];
  long got = sys(flistxattr, from, names, sizeof names - 16);
  for (long at = 0; at < got; at += (long)text_length(names + at) + 1) {
    memset(names + got, 0, 16);
    long length = may_copy(names + at) ? sys(fgetxattr, from, names + at, value, sizeof value) : -1;
    if (length >= 0)
      sys(fsetxattr, to, names + at, value, length, 0);
  }
}

static long copy_attributes(struct unpack* unpack, int from, int to, const char* path) {
  struct stat_facts facts;
  long rc = stat_of(from, "", AT_EMPTY_PATH, &facts);
  if (rc < 0)
    return unpack_error(unpack, rc, "statx");
  if (!(unpack->flags & UNPACK_ONE_OWNER) && (rc = sys(fchown, to, facts.uid, facts.gid)) < 0)
    return unpack_error(unpack, rc, "fchown");
  if ((rc = sys(fchmod, to, facts.mode & 07777)) < 0)
    return unpack_error(unpack, rc, "fchmod");
  copy_xattrs(from, to);
  return unpack_keep_time(unpack, path, facts.mtime, (u32)(facts.mtime_ns - (u64)facts.mtime * 1000000000u));
}

// The topmost of the first `below` layers that has the directory, or -ENOENT; `below` becomes how many count for what
// is in it.
static long find_below(struct unpack* unpack, const char* path, int* below) {
  for (int i = 0; i < *below; i++) {
    long fd = unpack_open(unpack->parents[i], path, O_DIRECTORY);
    if (fd >= 0) {
      if (is_opaque((int)fd))
        *below = i + 1;
      return fd;
    }
    if (fd == -ENOTDIR || fd == -ELOOP) { // a whiteout, or something that is no directory: it hides what is below
      *below = i;
      break;
    }
    if (fd != -ENOENT)
      return unpack_error(unpack, fd, "openat2");
  }
  return -ENOENT;
}

// One name of a layer below. What this layer has there hides it already, unless both are directories.
static long hide(struct unpack* unpack, const char* name) {
  struct stat_facts facts;
  long rc = stat_of(unpack->root, name, AT_SYMLINK_NOFOLLOW, &facts);
  if (rc == -ENOENT) {
    rc = sys(mknodat, unpack->root, name, S_IFCHR, 0);
    return rc < 0 ? unpack_error(unpack, rc, "mknodat") : 0;
  }
  if (rc < 0)
    return unpack_error(unpack, rc, "statx");
  if ((facts.mode & S_IFMT) != S_IFDIR)
    return 0;
  long fd = unpack_open(unpack->root, name, O_DIRECTORY);
  if (fd < 0)
    return unpack_error(unpack, fd, "openat2");
  rc = unpack_make_opaque(unpack, (int)fd);
  sys(close, fd);
  return rc;
}

static long hide_layer(struct unpack* unpack, int layer) {
  static _Alignas(8) char entries[32768];
  long got, rc = 0, fd = unpack_open(layer, ".", O_DIRECTORY);
  if (fd < 0)
    return unpack_error(unpack, fd, "openat2");
  while (rc >= 0 && (got = sys(getdents64, fd, entries, sizeof entries)) != 0) {
    if (got < 0)
      rc = unpack_error(unpack, got, "getdents64");
    for (long at = 0; at < got && rc >= 0;) {
      const struct directory_entry* entry = (const struct directory_entry*)(entries + at);
      at += entry->reclen;
      if (!text_equal(entry->name, ".") && !text_equal(entry->name, ".."))
        rc = hide(unpack, entry->name);
    }
  }
  sys(close, fd);
  return rc;
}

long unpack_hide_below(struct unpack* unpack) {
  long rc = 0;
  for (int i = 0; i < unpack->nparents && rc >= 0; i++)
    rc = hide_layer(unpack, unpack->parents[i]);
  return rc;
}

static long make_implied(struct unpack* unpack, int dir, const char* name, const char* path, int* below) {
  bool hides = unpack_is_whiteout(dir, name);
  long rc = hides ? sys(unlinkat, dir, name, 0) : 0;
  if (rc >= 0)
    rc = sys(mkdirat, dir, name, 0755);
  if (rc < 0)
    return unpack_error(unpack, rc, "mkdirat");
  long fd = unpack_open(dir, name, O_DIRECTORY);
  if (fd < 0)
    return unpack_error(unpack, fd, "openat2");
  long from = -ENOENT;
  if (hides)
    *below = 0;
  else
    from = find_below(unpack, path, below);
  rc = sys(fchmod, fd, 0755); // a directory with the set-group-ID bit passes that on
  if (rc >= 0 && !(unpack->flags & UNPACK_ONE_OWNER))
    rc = sys(fchown, fd, 0, 0);
  if (rc < 0)
    rc = unpack_error(unpack, rc, "fchown");
  else if (from >= 0)
    rc = copy_attributes(unpack, (int)from, (int)fd, path);
  else
    rc = from == -ENOENT ? unpack_keep_time(unpack, path, 0, 0) : from;
  if (rc >= 0 && hides)
    rc = unpack_make_opaque(unpack, (int)fd);
  if (from >= 0)
    sys(close, from);
  if (rc >= 0)
    return fd;
  sys(close, fd);
  return rc;
}

// One component after another, as most often only the last ones are missing; `path` is changed and restored.
static long make_directories(struct unpack* unpack, char* path) {
  long dir = unpack_open(unpack->root, ".", O_DIRECTORY);
  if (dir < 0)
    return unpack_error(unpack, dir, "openat2");
  int below = unpack->opaque_root ? 0 : unpack->nparents;
  char* start = path;
  while (dir >= 0 && *start) {
    char* end = start;
    while (*end && *end != '/')
      end++;
    char kept = *end;
    *end = 0;
    long next = unpack_open((int)dir, start, O_DIRECTORY);
    if (next >= 0) {
      long from = is_opaque((int)next) ? (below = 0, -ENOENT) : find_below(unpack, path, &below);
      if (from >= 0)
        sys(close, from);
      if (from < 0 && from != -ENOENT) {
        sys(close, next);
        next = from;
      }
    } else if (next == -ENOENT || unpack_is_whiteout((int)dir, start)) {
      next = make_implied(unpack, (int)dir, start, path, &below);
    } else if (next == -ENOTDIR || next == -ELOOP) {
      next = unpack_refuse(unpack, UNPACK_BAD, "a member below something that is no directory");
    } else {
      next = unpack_error(unpack, next, "openat2");
    }
    *end = kept;
    sys(close, dir);
    dir = next;
    start = kept ? end + 1 : end;
  }
  return dir;
}

long unpack_parent(struct unpack* unpack, const char* path, const char** name) {
  static char parent[TAR_PATH];
  size_t cut = text_length(path);
  while (cut && path[cut - 1] != '/')
    cut--;
  *name = path + cut;
  if (cut)
    cut--;
  memcpy(parent, path, cut);
  parent[cut] = 0;
  long dir = unpack_open(unpack->root, parent, O_PATH | O_DIRECTORY);
  if (dir >= 0)
    return dir;
  if (dir != -ENOENT && dir != -ENOTDIR && dir != -ELOOP)
    return unpack_error(unpack, dir, "openat2");
  return make_directories(unpack, parent);
}

long unpack_root_attributes(struct unpack* unpack) {
  int below = unpack->nparents;
  long from = find_below(unpack, "", &below);
  long rc = 0;
  if (from >= 0) {
    rc = copy_attributes(unpack, (int)from, unpack->root, "");
    sys(close, from);
    return rc;
  }
  if (from != -ENOENT)
    return from;
  rc = sys(fchmod, unpack->root, 0755);
  return rc < 0 ? unpack_error(unpack, rc, "fchmod") : unpack_keep_time(unpack, "", 0, 0);
}

long unpack_keep_time(struct unpack* unpack, const char* path, i64 seconds, u32 nanoseconds) {
  u32 length = (u32)text_length(path);
  size_t size = (16 + (size_t)length + 1 + 7) & ~(size_t)7;
  if (unpack->times_used + size > DIRECTORY_TIMES)
    return unpack_refuse(unpack, UNPACK_LIMIT, "more directories than their names may take memory for");
  char* at = unpack->times + unpack->times_used;
  memcpy(at, &seconds, 8);
  memcpy(at + 8, &nanoseconds, 4);
  memcpy(at + 12, &length, 4);
  memcpy(at + 16, path, length + 1);
  unpack->times_used += size;
  return 0;
}

// In their order, so that of two members for one directory the later counts. One that something else has replaced is
// not there any more.
long unpack_times(struct unpack* unpack) {
  for (size_t at = 0; at < unpack->times_used;) {
    const char* record = unpack->times + at;
    struct {
      i64 sec, nsec;
    } times[2] = {{0, 0x3ffffffe /* UTIME_OMIT */}, {0, 0}};
    u32 nanoseconds, length;
    memcpy(&times[1].sec, record, 8);
    memcpy(&nanoseconds, record + 8, 4);
    memcpy(&length, record + 12, 4);
    times[1].nsec = nanoseconds;
    at += (16 + (size_t)length + 1 + 7) & ~(size_t)7;
    long fd = unpack_open(unpack->root, record + 16, O_DIRECTORY);
    if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
      continue;
    long rc = fd < 0 ? fd : sys(utimensat, fd, 0, times, 0);
    if (fd >= 0)
      sys(close, fd);
    if (rc < 0)
      return unpack_error(unpack, rc, "utimensat");
  }
  return 0;
}
