// Fuzzing of the tar parser with libFuzzer: each input is an archive that is read twice, whole and in pieces, and must
// give the same events both times, each of them within the limits that tar.h states. The pieces are copies of their
// exact size, for AddressSanitizer, and what the parser has not set itself is different garbage each time.
#include "tar.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Instead of sys.c, so that the sanitizer's own versions see what is read.
size_t text_length(const char* s) {
  return strlen(s);
}

bool text_equal(const char* a, const char* b) {
  return strcmp(a, b) == 0;
}

#define must(condition)                                                                                                \
  do {                                                                                                                 \
    if (!(condition)) {                                                                                                \
      fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                                          \
      abort();                                                                                                         \
    }                                                                                                                  \
  } while (0)

struct reading {
  u64 digest; // of all events
  u64 taken, size, content, header;
  bool open, any, sparse;
  u64 position; // where in the file the next content can be at the earliest
};

static u64 mix(u64 digest, const void* bytes, size_t length) {
  for (const u8* at = bytes; length--; at++)
    digest = (digest ^ *at) * 0x100000001b3;
  return digest;
}

static void note(struct reading* reading, u64 value) {
  reading->digest = mix(reading->digest, &value, sizeof value);
}

static void note_text(struct reading* reading, const char* text) {
  reading->digest = mix(reading->digest, text, strlen(text) + 1);
}

static void check_normal(const char* path) {
  size_t depth = 0;
  must(strlen(path) < TAR_PATH);
  for (const char* at = path; *at;) {
    size_t length = strcspn(at, "/");
    must(length && length <= TAR_COMPONENT && ++depth <= TAR_DEPTH);
    must(!(length == 1 && at[0] == '.') && !(length == 2 && at[0] == '.' && at[1] == '.'));
    at += length;
    must(!*at || at[1]); // no slash at the end
    at += *at == '/';
  }
}

static void check_link(struct reading* reading, const struct tar_entry* entry) {
  if (entry->type != TAR_HARD_LINK && entry->type != TAR_SYMLINK)
    return;
  must(*entry->link && strlen(entry->link) < TAR_PATH);
  if (entry->type == TAR_HARD_LINK)
    check_normal(entry->link);
  note_text(reading, entry->link);
}

static void check_xattrs(struct reading* reading, const struct tar_entry* entry, u32 extended) {
  u64 all = 0;
  must(entry->nxattrs <= TAR_XATTRS);
  note(reading, entry->nxattrs);
  for (u32 i = 0; i < entry->nxattrs; i++) {
    const struct tar_xattr* one = &entry->xattrs[i];
    size_t length = strlen(one->name);
    must(length && length <= 255);
    for (u32 j = 0; j < i; j++)
      must(strcmp(entry->xattrs[j].name, one->name));
    all += length + one->length;
    note_text(reading, one->name);
    note(reading, one->length);
    reading->digest = mix(reading->digest, one->value, one->length);
  }
  must(all <= extended);
}

static void check_entry(struct reading* reading, const struct tar* tar, u32 extended) {
  const struct tar_entry* entry = &tar->entry;
  must(!reading->open);
  must(entry->type >= TAR_FILE && entry->type <= TAR_FIFO);
  must(entry->mode <= 07777 && entry->uid != 0xffffffff && entry->gid != 0xffffffff);
  must(entry->size <= (u64)1 << 60 && (!entry->size || entry->type == TAR_FILE));
  must(entry->mtime_ns < 1000000000 && entry->mtime < (i64)1 << 55 && entry->mtime > -((i64)1 << 55));
  must(entry->offset % TAR_BLOCK == 0 && entry->offset < tar->offset);
  must(!reading->any || entry->offset > reading->header);
  check_normal(entry->path);
  must(*entry->path || entry->type == TAR_DIRECTORY);
  u64 facts[] = {entry->type, entry->mode,       entry->uid,      entry->gid,
                 entry->size, (u64)entry->mtime, entry->mtime_ns, entry->offset};
  reading->digest = mix(reading->digest, facts, sizeof facts);
  note_text(reading, entry->path);
  check_link(reading, entry);
  check_xattrs(reading, entry, extended);
  note(reading, entry->sparse);
  *reading =
      (struct reading){reading->digest, reading->taken, entry->size, 0, entry->offset, true, true, entry->sparse, 0};
}

// Whether more may be given.
static bool take_piece(struct reading* reading, struct tar* tar, const u8* piece, size_t length, u32 extended) {
  const u8 *at = piece, *end = piece + length;
  for (;;) {
    enum tar_event event = tar_next(tar, &at, end);
    must(at >= piece && at <= end);
    must(tar->offset == reading->taken + (u64)(at - piece));
    must(tar->limit <= (event == TAR_BAD));
    if (event != TAR_DATA && event != TAR_MORE)
      note(reading, event);
    switch (event) {
    case TAR_MORE:
      must(at == end);
      reading->taken += length;
      return true;
    case TAR_ENTRY:
      check_entry(reading, tar, extended);
      break;
    case TAR_DATA:
      must(reading->open && tar->length && tar->data >= piece && tar->data + tar->length == at);
      reading->content += tar->length;
      must(reading->content <= reading->size);
      must(tar->position >= reading->position && tar->position + tar->length <= reading->size);
      if (tar->position != reading->position) {
        must(reading->sparse);
        note(reading, tar->position);
      }
      reading->position = tar->position + tar->length;
      reading->digest = mix(reading->digest, tar->data, tar->length);
      break;
    case TAR_CLOSE:
      must(reading->open && (reading->sparse || reading->content == reading->size));
      reading->open = false;
      break;
    case TAR_BAD:
      note(reading, tar->limit);
      note_text(reading, tar->reason);
      return false;
    }
  }
}

static void check_end(struct reading* reading, struct tar* tar, size_t size) {
  bool whole = tar_finish(tar);
  note(reading, whole);
  if (!whole) {
    note_text(reading, tar->reason);
    return;
  }
  must(!reading->open && tar->offset == size);
}

static u64 read_all(const u8* data, size_t size, u32 extended, u64 random, bool pieces) {
  static struct tar tar;
  struct reading reading = {.digest = 0xcbf29ce484222325};
  memset(&tar, pieces ? 0xa5 : 0x5a, offsetof(struct tar, spans));
  tar_begin(&tar, extended);
  for (size_t at = 0; at < size;) {
    random = random * 6364136223846793005u + 1442695040888963407u;
    // Mostly pieces of a few hundred bytes; some tiny, some empty.
    size_t length = size - at, most = random >> 61 ? (random >> 33) % 1500 : (random >> 33) % 4;
    if (pieces && length > most)
      length = most;
    u8* piece = malloc(length ? length : 1);
    memcpy(piece, data + at, length);
    bool more = take_piece(&reading, &tar, piece, length, extended);
    free(piece);
    if (!more)
      return reading.digest;
    at += length;
  }
  check_end(&reading, &tar, size);
  return reading.digest;
}

int LLVMFuzzerTestOneInput(const u8* data, size_t size) {
  u64 random = mix(size, data, size < TAR_BLOCK ? size : TAR_BLOCK);
  u32 extended = random % 8 ? TAR_EXTENDED : 600;
  must(read_all(data, size, extended, random, false) == read_all(data, size, extended, random, true));
  return 0;
}

// ---- mutation: a header with a wrong checksum is the end of every path, so most of them are made right again.

size_t LLVMFuzzerMutate(u8* data, size_t size, size_t most);

static void seal(u8* block) {
  u32 sum = 0;
  memset(block + 148, ' ', 8);
  for (u32 i = 0; i < TAR_BLOCK; i++)
    sum += block[i];
  snprintf((char*)block + 148, 8, "%06o", sum);
}

static u64 size_in(const u8* block) {
  u64 size = 0;
  for (u32 i = 124; i < 136 && block[i] >= '0' && block[i] <= '7'; i++)
    size = size * 8 + (u64)(block[i] - '0');
  return size;
}

size_t LLVMFuzzerCustomMutator(u8* data, size_t size, size_t most, unsigned int seed) {
  size = LLVMFuzzerMutate(data, size, most);
  if (seed % 8 == 0)
    return size;
  for (size_t at = 0; at + TAR_BLOCK <= size;) {
    u8* block = data + at;
    bool zeros = true;
    for (u32 i = 0; i < TAR_BLOCK; i++)
      zeros &= !block[i];
    if (zeros)
      break;
    seal(block);
    u64 content = size_in(block);
    at += content > size ? TAR_BLOCK : TAR_BLOCK + (content + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
  }
  return size;
}
