// Headers of tar archives, written: ustar (POSIX.1-1988) where everything fits, with a pax header before it
// (POSIX.1-2001) where something does not. No system calls and no allocation. The same facts always give the same
// bytes: there is no time but that of modification, and no name of a user.
#pragma once
#include "sys.h"

enum { TAR_BLOCK = 512, TAR_RECORDS = 1024 * 1024 };

struct tar_entry {
  char type; // '0' file, '1' hard link, '2' symbolic link, '3' character device, '4' block device, '5' directory, '6'
             // FIFO
  const char* path;
  const char* target;
  u32 mode;
  u64 uid, gid, size;
  i64 seconds;
  u32 nanoseconds;
  u32 major, minor;
};

// The records of a pax header, gathered before the header is written.
struct tar_records {
  char* text;
  size_t length, capacity;
  bool overflow;
};
void tar_record(struct tar_records* records, const char* prefix, const char* key, const char* value, size_t length);
// Records for what ustar cannot say.
void tar_describe(struct tar_records* records, const struct tar_entry* entry);
void tar_header(char block[TAR_BLOCK], const struct tar_entry* entry);
// The header of the records themselves; they follow, padded with zeros.
void tar_records_header(char block[TAR_BLOCK], size_t length);
static inline size_t tar_padding(u64 size) {
  return (size_t)(-size & (TAR_BLOCK - 1));
}
