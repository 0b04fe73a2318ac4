// Members of archives whose holes are left out: the old GNU format, and PAX GNU.sparse 0.0, 0.1 and 1.0 (tar.info,
// "Storing Sparse Files"). Pure, as tar.c, whose part it is.
#pragma once

#include "tar.h"

// Every function gives 0, or the reason why not.

// A record GNU.sparse.<key> of a PAX header; the buffer that `value` is in stays, and may be written to behind it.
const char* tar_sparse_record(struct tar* tar, const char* key, u32 key_length, char* value, u32 length);
// What the records have told of a member with `stored` bytes in the archive.
const char* tar_sparse_begin(struct tar* tar, bool is_file, u64 stored);
// A header of the type 'S', and a block after it; `more` is whether another follows.
const char* tar_sparse_gnu_header(struct tar* tar, const u8* block, bool* more);
const char* tar_sparse_gnu_block(struct tar* tar, const u8* block, bool* more);
// A block of the map that content of version 1.0 begins with.
const char* tar_sparse_map_block(struct tar* tar, const u8* block, bool* more);
// Once the map is whole: it must be of exactly the `stored` bytes that follow, and within the file.
const char* tar_sparse_finish(struct tar* tar, u64 stored);
