// A strict, streaming parser of tar archives: ustar and PAX (pax(1)), GNU's long names, base 256 and sparse files, v7.
// Pure: no system call and no memory but what the caller gives. What two readers could understand differently is an
// error with a reason, and nothing is ever skipped.
#pragma once

#include "sys.h"

enum {
  TAR_BLOCK = 512,
  TAR_PATH = 4096,        // with the NUL byte
  TAR_COMPONENT = 255,    // bytes of one name
  TAR_DEPTH = 256,        // components of a path
  TAR_EXTENDED = 1 << 20, // bytes of the extended header of one member
  TAR_XATTRS = 256,       // of one member
  TAR_SPANS = 1 << 16,    // pieces of a sparse file
};

static const u64 TAR_MOST_SIZE = (u64)1 << 60;

enum tar_type {
  TAR_FILE = '0',
  TAR_HARD_LINK = '1',
  TAR_SYMLINK = '2',
  TAR_CHARACTER = '3',
  TAR_BLOCK_DEVICE = '4',
  TAR_DIRECTORY = '5',
  TAR_FIFO = '6',
};

struct tar_xattr {
  const char* name; // NUL-terminated
  const char* value;
  u32 length;
};

// A member. Paths are normal: no slash at either end, no empty component, no "." and no ".."; empty is the root.
struct tar_entry {
  enum tar_type type;
  u32 mode; // the lower 12 bits
  u32 uid, gid;
  u64 size;    // of the file, with its holes
  bool sparse; // what is between pieces of its content, and after the last, is zeros
  i64 mtime;
  u32 mtime_ns;
  u64 offset;       // of its header in the archive
  const char* path; // NUL-terminated, as all strings here
  const char* link; // a path for a hard link; the bytes as they are for a symbolic one
  const struct tar_xattr* xattrs;
  u32 nxattrs;
};

struct tar_span {
  u64 at, length;
};

// What is known of a sparse file before its content (tar_sparse.c).
struct tar_sparse {
  u32 seen;
  u64 major, minor, size, blocks;
  const char* name;
  bool mapped; // its map was in records
  // Of the map in the content that is being read: the number at hand, and how many there were.
  u64 number, numbers, offset;
  bool digits;
  u32 nspans;
};

enum tar_event {
  TAR_MORE,  // everything was taken, and more is needed
  TAR_ENTRY, // `entry` is the next member
  TAR_DATA,  // `data` and `length` are of its content, from `position` of the file on
  TAR_CLOSE, // its content is complete
  TAR_BAD,   // `reason`, and `limit` where it is too much rather than wrong
};

struct tar {
  struct tar_entry entry;
  const u8* data;
  size_t length;
  u64 position;
  const char* reason;
  bool limit;
  u64 offset; // bytes taken

  // The rest is the parser's own.
  int state;
  u64 left, padding; // bytes of content, and after it
  u64 next;          // position of what follows in the file
  u32 span;          // of the sparse file that is being read
  struct tar_sparse sparse;
  u8 kind;             // typeflag of the extended header that is being read
  u32 extended_length; // bytes of it so far
  u32 extended_limit;
  u32 seen; // what the extended headers before this member have said
  i64 pax_mtime;
  u64 pax_size, pax_uid, pax_gid;
  u32 pax_mtime_ns;
  u64 member; // offset of the first header of this member
  u32 block_length;
  u32 nxattrs;
  u8 block[TAR_BLOCK];
  char path[TAR_PATH + 256 + 2], link[TAR_PATH + 256 + 2];
  struct tar_xattr xattrs[TAR_XATTRS];
  struct tar_span spans[TAR_SPANS];
  char extended[TAR_EXTENDED + 1];
};

// `extended` bounds the bytes of one member's extended headers, at most TAR_EXTENDED.
void tar_begin(struct tar* tar, u32 extended);
// Takes from *at up to `end`. After TAR_BAD it must not be called again.
enum tar_event tar_next(struct tar* tar, const u8** at, const u8* end);
// At the end of the input: whether that is between two members, or at the end; false sets `reason`.
bool tar_finish(struct tar* tar);

// For tar_sparse.c: a number in a header, and one in decimal digits.
bool tar_number(const u8* at, u32 length, u64 most, u64* value);
bool tar_decimal(const char* at, const char* end, u64 most, u64* value);
