// Walking trees whose content is not trusted, by descriptors: one component at a time, no link is followed, and what
// was opened is what is used. Names come sorted by their bytes, so that the same tree is always walked in one order.
#pragma once
#include "arena.h"

enum { TREE_DEPTH = 512, TREE_PATH = 64 * 1024, TREE_VALUE = 64 * 1024 /* XATTR_SIZE_MAX, XATTR_LIST_MAX */ };

struct facts {
  u32 mode, uid, gid, nlink;
  u64 ino, size, blocks;
  i64 seconds;
  u32 nanoseconds;
  u32 rdev_major, rdev_minor, dev_major, dev_minor;
};
long facts_of(int dir, const char* name, struct facts* facts);

static inline u32 type_of(const struct facts* facts) {
  return facts->mode & S_IFMT;
}

// What an overlay's layer has in the place of a deleted file.
static inline bool is_whiteout(const struct facts* facts) {
  return type_of(facts) == S_IFCHR && facts->rdev_major == 0 && facts->rdev_minor == 0;
}

struct listing {
  const char** names;
  u32 count;
};
// The names of an open directory, sorted. Their memory is the arena's: reset `used` when done.
long list_names(struct arena* arena, int fd, struct listing* listing);
void sort_names(const char** names, const char** spare, u32 count);
int compare_names(const char* a, const char* b);

// Opens a file of one name for reading if it is a regular one, and looks again at what was opened: waiting for no FIFO.
// `same_mount`: a mount in its place is -EXDEV. -ESTALE where it is another kind of file by now.
long open_regular(int dir, const char* name, bool same_mount, struct facts* facts);
long open_directory(int dir, const char* name, bool same_mount, struct facts* facts);
// A directory of a relative path of any length; an empty path is `root` itself.
long open_directory_path(int root, const char* path, size_t length);

// Files with several names, each with the path that was met first.
struct links {
  struct arena arena;
  struct link_entry {
    u64 ino, dev;
    const char* path;
  } * table;
  u32 count, capacity;
};
long links_open(struct links* links);
void links_close(struct links* links);
// The earlier path of the same file, or null and `path` is remembered; -ENOMEM in `rc` where there are too many.
const char* links_find(struct links* links, const struct facts* facts, const char* path, long* rc);

// A path that grows and shrinks with the walk.
struct path {
  size_t length;
  char text[TREE_PATH];
};
// Appends a component; the former length, or -ENAMETOOLONG.
long path_enter(struct path* path, const char* name);
static inline void path_leave(struct path* path, long length) {
  path->length = (size_t)length;
  path->text[length] = 0;
}

bool starts_with(const char* text, const char* prefix);
// What overlays note for themselves; no attribute of a file as its user sees it.
static inline bool is_overlay_attribute(const char* name) {
  return starts_with(name, "user.overlay.") || starts_with(name, "trusted.overlay.");
}
