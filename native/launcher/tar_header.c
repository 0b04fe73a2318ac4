#include "tar_header.h"

struct ustar {
  char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, linkname[100];
  char magic[6], version[2], uname[32], gname[32], major[8], minor[8], prefix[155], rest[12];
};
_Static_assert(sizeof(struct ustar) == TAR_BLOCK, "struct ustar");

enum { MOST_ID = 07777777, NAME = 100, PREFIX = 155 };
static const u64 most_size = 077777777777;

static void octal(char* field, size_t width, u64 value) {
  field[width - 1] = 0;
  for (size_t at = width - 1; at-- > 0; value >>= 3)
    field[at] = (char)('0' + (value & 7));
}

// Where a path is cut into prefix and name: 0 where it fits into the name, -1 where it fits in no way.
static long cut_of(const char* path, size_t length) {
  if (length <= NAME)
    return 0;
  for (size_t at = length > PREFIX ? PREFIX : length - 1; at > 0; at--)
    if (path[at] == '/' && length - at - 1 <= NAME && length - at - 1 > 0)
      return (long)at;
  return -1;
}

static size_t digits_of(u64 value) {
  size_t n = 1;
  while (value /= 10)
    n++;
  return n;
}

static void put(struct tar_records* r, const char* bytes, size_t n) {
  if (n > r->capacity - r->length) {
    r->overflow = true;
    return;
  }
  memcpy(r->text + r->length, bytes, n);
  r->length += n;
}

// "<length> <key>=<value>\n", where the length counts its own digits.
void tar_record(struct tar_records* r, const char* prefix, const char* key, const char* value, size_t length) {
  size_t body = text_length(prefix) + text_length(key) + length + 3, total = body + digits_of(body);
  if (digits_of(total) > digits_of(body))
    total = body + digits_of(total);
  char number[24];
  put(r, number, number_append(number, sizeof number, 0, total));
  put(r, " ", 1);
  put(r, prefix, text_length(prefix));
  put(r, key, text_length(key));
  put(r, "=", 1);
  put(r, value, length);
  put(r, "\n", 1);
}

static void number_record(struct tar_records* r, const char* key, u64 value) {
  char text[24];
  tar_record(r, "", key, text, number_append(text, sizeof text, 0, value));
}

// Decimal seconds; before 1970 both parts count backwards from it.
static void time_record(struct tar_records* r, i64 seconds, u32 nanoseconds) {
  char text[48];
  size_t n = 0;
  u64 whole = (u64)seconds;
  if (seconds < 0) {
    n = text_append(text, sizeof text, n, "-");
    whole = 0 - (u64)seconds;
    if (nanoseconds) {
      whole--;
      nanoseconds = 1000000000 - nanoseconds;
    }
  }
  n = number_append(text, sizeof text, n, whole);
  if (nanoseconds) {
    text[n++] = '.';
    for (u32 unit = 100000000; nanoseconds; nanoseconds %= unit, unit /= 10) {
      text[n++] = (char)('0' + nanoseconds / unit);
      if (unit == 1)
        break;
    }
  }
  tar_record(r, "", "mtime", text, n);
}

static bool fits_time(const struct tar_entry* entry) {
  return entry->seconds >= 0 && (u64)entry->seconds <= most_size && entry->nanoseconds == 0;
}

void tar_describe(struct tar_records* r, const struct tar_entry* entry) {
  size_t length = text_length(entry->path);
  if (cut_of(entry->path, length) < 0)
    tar_record(r, "", "path", entry->path, length);
  size_t target = entry->target ? text_length(entry->target) : 0;
  if (target > NAME)
    tar_record(r, "", "linkpath", entry->target, target);
  if (entry->size > most_size)
    number_record(r, "size", entry->size);
  if (entry->uid > MOST_ID)
    number_record(r, "uid", entry->uid);
  if (entry->gid > MOST_ID)
    number_record(r, "gid", entry->gid);
  if (!fits_time(entry))
    time_record(r, entry->seconds, entry->nanoseconds);
}

static void seal(struct ustar* h) {
  memcpy(h->magic, "ustar", 6);
  memcpy(h->version, "00", 2);
  memset(h->checksum, ' ', sizeof h->checksum);
  u32 sum = 0;
  for (size_t i = 0; i < TAR_BLOCK; i++)
    sum += ((const u8*)h)[i];
  octal(h->checksum, 7, sum);
}

void tar_header(char block[TAR_BLOCK], const struct tar_entry* entry) {
  struct ustar* h = (struct ustar*)block;
  memset(block, 0, TAR_BLOCK);
  size_t length = text_length(entry->path);
  long cut = cut_of(entry->path, length);
  if (cut > 0) {
    memcpy(h->prefix, entry->path, (size_t)cut);
    memcpy(h->name, entry->path + cut + 1, length - (size_t)cut - 1);
  } else {
    memcpy(h->name, entry->path, length < NAME ? length : NAME);
  }
  octal(h->mode, 8, entry->mode & 07777);
  octal(h->uid, 8, entry->uid <= MOST_ID ? entry->uid : 0);
  octal(h->gid, 8, entry->gid <= MOST_ID ? entry->gid : 0);
  octal(h->size, 12, entry->size <= most_size ? entry->size : 0);
  bool in_range = entry->seconds >= 0 && (u64)entry->seconds <= most_size;
  octal(h->mtime, 12, in_range ? (u64)entry->seconds : 0);
  h->type = entry->type;
  if (entry->target) {
    size_t n = text_length(entry->target);
    memcpy(h->linkname, entry->target, n < NAME ? n : NAME);
  }
  octal(h->major, 8, entry->major);
  octal(h->minor, 8, entry->minor);
  seal(h);
}

void tar_records_header(char block[TAR_BLOCK], size_t length) {
  struct tar_entry entry = {.type = 'x', .path = "././@PaxHeader", .size = length, .mode = 0644};
  tar_header(block, &entry);
}
