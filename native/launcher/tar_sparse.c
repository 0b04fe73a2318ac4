#include "tar_sparse.h"

// What records have said.
enum { MAJOR = 1, MINOR = 2, NAME = 4, SIZE = 8, BLOCKS = 16, MAP = 32, PAIRS = 64, OFFSET = 128 };

static const char *two_values = "two different values of one key in a PAX header",
                  *no_number = "a number in the map of a sparse file that is none, or is out of range";

static const char* add_span(struct tar* tar, u64 at, u64 length) {
  struct tar_sparse* sparse = &tar->sparse;
  if (sparse->nspans == TAR_SPANS) {
    tar->limit = true;
    return "a sparse file with more than 65536 pieces";
  }
  if (sparse->nspans) {
    const struct tar_span* last = &tar->spans[sparse->nspans - 1];
    if (at < last->at + last->length)
      return "a sparse file whose map is out of order, or overlaps itself";
  }
  tar->spans[sparse->nspans++] = (struct tar_span){at, length};
  return 0;
}

// ---- PAX

static bool same(const char* at, u32 length, const char* key) {
  return length == text_length(key) && memcmp(at, key, length) == 0;
}

static const char* take(struct tar* tar, u64* to, u32 bit, const char* value, u32 length) {
  u64 number;
  if (!tar_decimal(value, value + length, TAR_MOST_SIZE, &number))
    return no_number;
  if (tar->sparse.seen & bit && *to != number)
    return two_values;
  *to = number;
  tar->sparse.seen |= bit;
  return 0;
}

static const char* take_name(struct tar* tar, char* value, u32 length) {
  struct tar_sparse* sparse = &tar->sparse;
  if (!length)
    return "an empty path in a PAX header";
  if (length >= TAR_PATH) {
    tar->limit = true;
    return "a path of 4096 bytes or more";
  }
  if (sparse->seen & NAME && !same(value, length, sparse->name))
    return two_values;
  value[length] = 0; // the end of the record, which has been looked at
  sparse->name = value;
  sparse->seen |= NAME;
  return 0;
}

// Version 0.0: pairs of records, in this order.
static const char* take_offset(struct tar* tar, const char* value, u32 length) {
  if (tar->sparse.seen & OFFSET)
    return "a sparse file whose map has an offset without a length";
  tar->sparse.seen |= OFFSET | PAIRS;
  return tar_decimal(value, value + length, TAR_MOST_SIZE, &tar->sparse.number) ? 0 : no_number;
}

static const char* take_length(struct tar* tar, const char* value, u32 length) {
  u64 number;
  if (!(tar->sparse.seen & OFFSET))
    return "a sparse file whose map has a length without an offset";
  tar->sparse.seen &= ~(u32)OFFSET;
  if (!tar_decimal(value, value + length, TAR_MOST_SIZE, &number))
    return no_number;
  return add_span(tar, tar->sparse.number, number);
}

// Version 0.1: "offset,length,offset,length".
static const char* take_map(struct tar* tar, const char* at, u32 length) {
  const char* end = at + length;
  if (tar->sparse.seen & MAP)
    return "a sparse file with two maps";
  tar->sparse.seen |= MAP;
  u64 numbers[2];
  for (u32 n = 0; at <= end; n = !n, at++) {
    const char* from = at;
    while (at < end && *at != ',')
      at++;
    if (!tar_decimal(from, at, TAR_MOST_SIZE, &numbers[n]))
      return no_number;
    if (at == end && !n)
      return "a sparse file whose map has an offset without a length";
    const char* reason = n ? add_span(tar, numbers[0], numbers[1]) : 0;
    if (reason)
      return reason;
  }
  return 0;
}

const char* tar_sparse_record(struct tar* tar, const char* key, u32 key_length, char* value, u32 length) {
  struct tar_sparse* sparse = &tar->sparse;
  if (same(key, key_length, "major"))
    return take(tar, &sparse->major, MAJOR, value, length);
  if (same(key, key_length, "minor"))
    return take(tar, &sparse->minor, MINOR, value, length);
  if (same(key, key_length, "name"))
    return take_name(tar, value, length);
  if (same(key, key_length, "size") || same(key, key_length, "realsize"))
    return take(tar, &sparse->size, SIZE, value, length);
  if (same(key, key_length, "numblocks"))
    return take(tar, &sparse->blocks, BLOCKS, value, length);
  if (same(key, key_length, "offset"))
    return take_offset(tar, value, length);
  if (same(key, key_length, "numbytes"))
    return take_length(tar, value, length);
  if (same(key, key_length, "map"))
    return take_map(tar, value, length);
  return "a sparse file of an unknown kind";
}

const char* tar_sparse_begin(struct tar* tar, bool is_file, u64 stored) {
  struct tar_sparse* sparse = &tar->sparse;
  u32 seen = sparse->seen, version = seen & (MAJOR | MINOR), map = seen & (MAP | PAIRS);
  if (!is_file)
    return "a sparse file that is no file";
  if (!(seen & SIZE))
    return "a sparse file without a size";
  if (version && version != (MAJOR | MINOR))
    return "a sparse file of an unknown version";
  if (version && sparse->major == 1 && sparse->minor == 0) {
    if (map || seen & BLOCKS)
      return "a sparse file with two maps";
    sparse->numbers = 0;
    sparse->digits = false;
    sparse->number = 0;
    return 0;
  }
  if (version && (sparse->major != 0 || sparse->minor > 1))
    return "a sparse file of an unknown version";
  if (!map)
    return "a sparse file without a map";
  if (map == (MAP | PAIRS))
    return "a sparse file with two maps";
  if (seen & OFFSET)
    return "a sparse file whose map has an offset without a length";
  if (!(seen & BLOCKS) || sparse->blocks != sparse->nspans)
    return "a sparse file whose map has not the length that is told";
  sparse->mapped = true;
  return tar_sparse_finish(tar, stored);
}

// ---- version 1.0

// Numbers with a line feed after each: how many pieces there are, then offset and length of each.
const char* tar_sparse_map_block(struct tar* tar, const u8* block, bool* more) {
  struct tar_sparse* sparse = &tar->sparse;
  for (u32 i = 0; i < TAR_BLOCK; i++) {
    u8 c = block[i];
    if (c >= '0' && c <= '9') {
      if (sparse->number > TAR_MOST_SIZE / 10)
        return no_number;
      sparse->number = sparse->number * 10 + (u64)(c - '0');
      sparse->digits = true;
      continue;
    }
    if (c != '\n' || !sparse->digits || sparse->number > TAR_MOST_SIZE)
      return no_number;
    const char* reason = 0;
    if (!sparse->numbers)
      sparse->blocks = sparse->number;
    else if (sparse->numbers % 2)
      sparse->offset = sparse->number;
    else
      reason = add_span(tar, sparse->offset, sparse->number);
    if (reason)
      return reason;
    if (sparse->blocks > TAR_SPANS) {
      tar->limit = true;
      return "a sparse file with more than 65536 pieces";
    }
    sparse->numbers++;
    sparse->number = 0;
    sparse->digits = false;
    if (sparse->numbers == 1 + 2 * sparse->blocks) { // what the block has after it is nobody's
      *more = false;
      return 0;
    }
  }
  *more = true;
  return 0;
}

// ---- the old format

enum { IN_HEADER = 4, HEADER_MAP = 386, HEADER_MORE = 482, HEADER_SIZE = 483, IN_BLOCK = 21, BLOCK_MORE = 504 };

static bool empty(const u8* at, u32 length) {
  for (; length && !*at; length--)
    at++;
  return !length;
}

// GNU tar takes a piece for the last if its length is empty, Go one whose offset is: here both are, and nothing
// follows.
static const char* take_pieces(struct tar* tar, const u8* at, u32 most, u8 follows, bool* more) {
  *more = follows != 0;
  for (u32 i = 0; i < most; i++, at += 24) {
    u64 offset, length;
    if (!at[0] && !at[12])
      return empty(at, (most - i) * 24) && !*more ? 0 : "a sparse file whose map goes on after its end";
    if (!at[0] || !at[12] || !tar_number(at, 12, TAR_MOST_SIZE, &offset) ||
        !tar_number(at + 12, 12, TAR_MOST_SIZE, &length))
      return no_number;
    const char* reason = add_span(tar, offset, length);
    if (reason)
      return reason;
  }
  return 0;
}

const char* tar_sparse_gnu_header(struct tar* tar, const u8* block, bool* more) {
  if (!tar_number(block + HEADER_SIZE, 12, TAR_MOST_SIZE, &tar->sparse.size))
    return "a size that is no number, or is out of range";
  return take_pieces(tar, block + HEADER_MAP, IN_HEADER, block[HEADER_MORE], more);
}

const char* tar_sparse_gnu_block(struct tar* tar, const u8* block, bool* more) {
  return take_pieces(tar, block, IN_BLOCK, block[BLOCK_MORE], more);
}

const char* tar_sparse_finish(struct tar* tar, u64 stored) {
  const struct tar_sparse* sparse = &tar->sparse;
  u64 sum = 0;
  for (u32 i = 0; i < sparse->nspans; i++)
    sum += tar->spans[i].length;
  if (sparse->nspans) {
    const struct tar_span* last = &tar->spans[sparse->nspans - 1];
    if (last->at + last->length > sparse->size)
      return "a sparse file whose map goes beyond its end";
  }
  return sum == stored ? 0 : "a sparse file whose map is not of the bytes that there are";
}
