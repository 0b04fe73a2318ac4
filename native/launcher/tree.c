#include "tree.h"
#include <linux/openat2.h>
#include <linux/stat.h>

enum { ALONE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS, NO_AUTOMOUNT = 0x800, ESTALE = 116 };

long facts_of(int dir, const char* name, struct facts* facts) {
  struct statx s;
  long rc =
      sys(statx, dir, name, AT_SYMLINK_NOFOLLOW | NO_AUTOMOUNT | (*name ? 0 : AT_EMPTY_PATH), STATX_BASIC_STATS, &s);
  if (rc < 0)
    return rc;
  *facts = (struct facts){
      .mode = s.stx_mode,
      .uid = s.stx_uid,
      .gid = s.stx_gid,
      .nlink = s.stx_nlink,
      .ino = s.stx_ino,
      .size = s.stx_size,
      .blocks = s.stx_blocks,
      .seconds = s.stx_mtime.tv_sec,
      .nanoseconds = s.stx_mtime.tv_nsec,
      .rdev_major = s.stx_rdev_major,
      .rdev_minor = s.stx_rdev_minor,
      .dev_major = s.stx_dev_major,
      .dev_minor = s.stx_dev_minor,
  };
  return 0;
}

int compare_names(const char* a, const char* b) {
  while (*a && *a == *b)
    a++, b++;
  return (u8)*a - (u8)*b;
}

// Merge sort, from the bottom up: it is stable, and never slow for an order that somebody has chosen.
void sort_names(const char** names, const char** spare, u32 count) {
  const char **from = names, **to = spare;
  for (u32 width = 1; width < count; width *= 2) {
    for (u32 start = 0; start < count; start += 2 * width) {
      u32 middle = start + width < count ? start + width : count;
      u32 end = middle + width < count ? middle + width : count;
      u32 left = start, right = middle;
      for (u32 at = start; at < end; at++)
        to[at] = left < middle && (right >= end || compare_names(from[left], from[right]) <= 0) ? from[left++]
                                                                                                : from[right++];
    }
    const char** other = from;
    from = to, to = other;
  }
  if (from != names)
    memcpy(names, from, count * sizeof *names);
}

static bool is_dot(const char* name) {
  return name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2]));
}

long list_names(struct arena* arena, int fd, struct listing* listing) {
  static _Alignas(8) char buf[32 * 1024];
  size_t start = arena->used;
  u32 count = 0;
  long got;
  while ((got = sys(getdents64, fd, buf, sizeof buf)) > 0)
    for (long at = 0; at < got;) {
      const struct directory_entry* entry = (const struct directory_entry*)(buf + at);
      at += entry->reclen;
      if (is_dot(entry->name))
        continue;
      size_t n = text_length(entry->name) + 1;
      char* name = arena_take(arena, n);
      if (!name)
        return -ENOMEM;
      memcpy(name, entry->name, n);
      count++;
    }
  if (got < 0)
    return got;
  const char** names = arena_take(arena, (size_t)count * 2 * sizeof *names);
  if (!names)
    return -ENOMEM;
  const char* name = arena->base + start;
  for (u32 i = 0; i < count; i++) {
    names[i] = name;
    name += (text_length(name) + 1 + 7) & ~(size_t)7;
  }
  sort_names(names, names + count, count);
  *listing = (struct listing){.names = names, .count = count};
  return 0;
}

// A device cannot be opened by this either where its mount is nodev, as those of containers and agents are; elsewhere
// it would take root of the host to put one in the place of a file.
long open_regular(int dir, const char* name, bool same_mount, struct facts* facts) {
  if (type_of(facts) != S_IFREG)
    return -ESTALE;
  u64 resolve = ALONE | (same_mount ? RESOLVE_NO_XDEV : 0);
  long fd = open_beneath(dir, name, O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0, resolve);
  if (fd < 0)
    return fd == -ELOOP ? -ESTALE : fd;
  long rc = facts_of((int)fd, "", facts);
  if (rc >= 0 && type_of(facts) != S_IFREG)
    rc = -ESTALE;
  if (rc < 0)
    sys(close, fd);
  return rc < 0 ? rc : fd;
}

long open_directory(int dir, const char* name, bool same_mount, struct facts* facts) {
  u64 resolve = ALONE | (same_mount ? RESOLVE_NO_XDEV : 0);
  long fd = open_beneath(dir, name, O_NOFOLLOW | O_DIRECTORY, 0, resolve);
  if (fd < 0)
    return fd == -ELOOP || fd == -ENOTDIR ? -ESTALE : fd;
  long rc = facts_of((int)fd, "", facts);
  if (rc < 0)
    sys(close, fd);
  return rc < 0 ? rc : fd;
}

long open_directory_path(int root, const char* path, size_t length) {
  static char piece[4096];
  int here = root;
  size_t at = 0;
  do {
    size_t end = length;
    if (length - at >= sizeof piece) {
      end = at + sizeof piece - 1;
      while (path[end] != '/')
        end--;
    }
    memcpy(piece, path + at, end - at);
    piece[end - at] = 0;
    long fd = open_beneath(here, end == at ? "." : piece, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0, ALONE);
    if (here != root)
      sys(close, here);
    if (fd < 0)
      return fd;
    here = (int)fd;
    at = end < length ? end + 1 : end;
  } while (at < length);
  return here;
}

long links_open(struct links* links) {
  *links = (struct links){0};
  return arena_open(&links->arena, ARENA_MOST);
}

void links_close(struct links* links) {
  arena_close(&links->arena);
}

static struct link_entry* place_of(struct link_entry* table, u32 capacity, u64 ino, u64 dev) {
  u64 hash = (ino ^ dev << 40) * 0x9e3779b97f4a7c15u;
  u32 at = (u32)(hash >> 32) & (capacity - 1);
  while (table[at].path && (table[at].ino != ino || table[at].dev != dev))
    at = (at + 1) & (capacity - 1);
  return &table[at];
}

static bool grow(struct links* links) {
  u32 capacity = links->capacity ? links->capacity * 2 : 256;
  struct link_entry* table = arena_take(&links->arena, (size_t)capacity * sizeof *table);
  if (!table)
    return false;
  for (u32 i = 0; i < links->capacity; i++)
    if (links->table[i].path)
      *place_of(table, capacity, links->table[i].ino, links->table[i].dev) = links->table[i];
  links->table = table;
  links->capacity = capacity;
  return true;
}

const char* links_find(struct links* links, const struct facts* facts, const char* path, long* rc) {
  u64 dev = (u64)facts->dev_major << 32 | facts->dev_minor;
  if (links->count * 2 >= links->capacity && !grow(links)) {
    *rc = -ENOMEM;
    return 0;
  }
  struct link_entry* entry = place_of(links->table, links->capacity, facts->ino, dev);
  if (entry->path)
    return entry->path;
  size_t n = text_length(path) + 1;
  char* kept = arena_take(&links->arena, n);
  if (!kept) {
    *rc = -ENOMEM;
    return 0;
  }
  memcpy(kept, path, n);
  *entry = (struct link_entry){.ino = facts->ino, .dev = dev, .path = kept};
  links->count++;
  return 0;
}

long path_enter(struct path* path, const char* name) {
  size_t before = path->length, n = text_length(name);
  if (before + n + 2 > sizeof path->text)
    return -ENAMETOOLONG;
  if (before)
    path->text[path->length++] = '/';
  memcpy(path->text + path->length, name, n + 1);
  path->length += n;
  return (long)before;
}

bool starts_with(const char* text, const char* prefix) {
  while (*prefix && *text == *prefix)
    text++, prefix++;
  return !*prefix;
}
