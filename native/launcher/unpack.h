// Unpacking of an archive into a directory: what the step (unpack.c) and the making of members (unpack_member.c,
// unpack_parents.c) share.
#pragma once

#include "steps.h"
#include "tar.h"

enum { MOST_PARENTS = 499 }; // an overlay has 500 lower layers at most

enum unpack_flags {
  UNPACK_ARCHIVE = 1,      // not a layer: no whiteouts, attributes, xattrs, nothing but files, directories and links
  UNPACK_SKIP_DEVICES = 2, // device nodes are left out, not refused
  UNPACK_FILE_CAPABILITIES = 4, // security.capability is kept
  UNPACK_ONE_OWNER = 8,         // there is one id: owners are not kept
};

enum unpack_kind {
  UNPACK_DONE = 0,
  UNPACK_BAD = 1,    // the archive is not what it should be
  UNPACK_LIMIT = 2,  // it is too much
  UNPACK_SYSTEM = 3, // the kernel has refused something
};

struct unpack {
  int root;
  u64 flags;
  int parents[MOST_PARENTS]; // the layers below, topmost first
  int nparents;
  bool opaque_root; // nothing of the layers below is to be seen
  u64 most_bytes, most_entries, most_depth;
  u64 bytes, entries, devices, xattrs, owners; // made, and left out
  int file;                                    // the file that content goes to, or -1
  const char* doing;                           // the system call, for errors
  // Times of directories, set at the end: i64 seconds, u32 nanoseconds, u32 length, the path and zeros up to 8 bytes.
  char* times;
  size_t times_used;
  enum unpack_kind kind;
  long error;
  const char* reason;
};

enum { DIRECTORY_TIMES = 256 << 20 };

// -1 and why; the kind is UNPACK_BAD, UNPACK_LIMIT, or UNPACK_SYSTEM with the kernel's error.
long unpack_refuse(struct unpack* unpack, enum unpack_kind kind, const char* reason);
long unpack_error(struct unpack* unpack, long error, const char* call);

long unpack_member(struct unpack* unpack, const struct tar_entry* entry);
long unpack_close(struct unpack* unpack, const struct tar_entry* entry);
long unpack_root_attributes(struct unpack* unpack);
long unpack_times(struct unpack* unpack);
// The parent directory of a path, made where it is missing, and the last component.
long unpack_parent(struct unpack* unpack, const char* path, const char** name);
// Whether there is one of our own whiteouts: nothing else in a layer is a device.
bool unpack_is_whiteout(int dir, const char* name);
// A directory that takes the place of a whiteout hides what is below it.
long unpack_make_opaque(struct unpack* unpack, int dir);
// Hides what the layers below have, name by name: overlayfs does not heed an opaque root (Linux 6.18).
long unpack_hide_below(struct unpack* unpack);
long unpack_keep_time(struct unpack* unpack, const char* path, i64 seconds, u32 nanoseconds);
long unpack_open(int dir, const char* path, u64 flags);
