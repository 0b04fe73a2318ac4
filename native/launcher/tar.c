#include "tar.h"
#include "tar_sparse.h"

enum state { IN_HEADER, IN_EXTENDED, IN_GNU_MAP, IN_MAP, IN_CONTENT, IN_PADDING, AT_CLOSE, AFTER_ZEROS, AT_END };

// What extended headers have said about the next member.
enum seen { PAX = 1, GNU_NAME = 2, GNU_LINK = 4, PATH = 8, LINK = 16, SIZE = 32, UID = 64, GID = 128, MTIME = 256 };

enum { NO_ID = 0xffffffff };
static const u64 MOST_TIME = (u64)1 << 55, MOST_OCTAL_SIZE = 077777777777;

static enum tar_event bad(struct tar* tar, const char* reason) {
  tar->reason = reason;
  return TAR_BAD;
}

static enum tar_event too_much(struct tar* tar, const char* reason) {
  tar->limit = true;
  return bad(tar, reason);
}

void tar_begin(struct tar* tar, u32 extended) {
  tar->entry = (struct tar_entry){0};
  tar->reason = 0;
  tar->limit = false;
  tar->offset = tar->left = tar->padding = tar->member = 0;
  tar->state = IN_HEADER;
  tar->seen = tar->nxattrs = tar->block_length = tar->extended_length = 0;
  tar->sparse = (struct tar_sparse){0};
  tar->extended_limit = extended < TAR_EXTENDED ? extended : TAR_EXTENDED;
}

// ---- numbers

// Octal digits between spaces and the end of the field, or base 256 (tar.info, "Extensions"). An empty field is 0.
static bool octal(const u8* at, u32 length, u64* value) {
  u32 i = 0;
  *value = 0;
  while (i < length && at[i] == ' ')
    i++;
  for (; i < length && at[i] >= '0' && at[i] <= '7'; i++) {
    if (*value >> 60)
      return false;
    *value = *value << 3 | (u64)(at[i] - '0');
  }
  for (; i < length; i++)
    if (at[i] && at[i] != ' ')
      return false;
  return true;
}

static bool base256(const u8* at, u32 length, bool may_be_negative, i64* value) {
  bool negative = at[0] == 0xff;
  if (at[0] != 0x80 && !(negative && may_be_negative))
    return false;
  u64 bits = negative ? ~(u64)0 : 0;
  for (u32 i = 1; i < length; i++) {
    // What is shifted out must be no more than sign.
    if (bits >> 55 != (negative ? 0x1ff : 0))
      return false;
    bits = bits << 8 | at[i];
  }
  *value = (i64)bits;
  return negative ? *value < 0 : *value >= 0;
}

bool tar_number(const u8* at, u32 length, u64 most, u64* value) {
  i64 number;
  if (at[0] & 0x80) {
    if (!base256(at, length, false, &number))
      return false;
    *value = (u64)number;
  } else if (!octal(at, length, value)) {
    return false;
  }
  return *value <= most;
}

static bool time_field(const u8* at, u32 length, i64* value) {
  u64 magnitude;
  if (at[0] & 0x80)
    return base256(at, length, true, value) && *value<(i64)MOST_TIME&& * value> - (i64)MOST_TIME;
  if (!octal(at, length, &magnitude) || magnitude >= MOST_TIME)
    return false;
  *value = (i64)magnitude;
  return true;
}

bool tar_decimal(const char* at, const char* end, u64 most, u64* value) {
  if (at == end)
    return false;
  for (*value = 0; at < end; at++) {
    if (*at < '0' || *at > '9' || *value > most / 10)
      return false;
    *value = *value * 10 + (u64)(*at - '0');
  }
  return *value <= most;
}

// Seconds with a fraction, possibly negative (pax(1), "mtime"): "-1.5" is 1.5 s before 1970.
static bool decimal_time(const char* at, const char* end, i64* seconds, u32* nanoseconds) {
  bool negative = at < end && *at == '-';
  at += negative;
  const char* point = at;
  while (point < end && *point != '.')
    point++;
  u64 whole;
  if (!tar_decimal(at, point, MOST_TIME - 2, &whole))
    return false;
  u32 ns = 0, scale = 100000000;
  for (const char* digit = point + 1; digit < end; digit++, scale /= 10) {
    if (*digit < '0' || *digit > '9')
      return false;
    ns += scale * (u32)(*digit - '0');
  }
  *seconds = negative ? -(i64)whole : (i64)whole;
  *nanoseconds = ns;
  if (negative && ns) {
    *seconds -= 1;
    *nanoseconds = 1000000000 - ns;
  }
  return true;
}

// ---- names

// Makes a path normal, in place. 0, or why it cannot be.
static const char* normalise(char* path, bool* slash, bool* limit) {
  u32 to = 0, from = 0, depth = 0;
  if (!path[0])
    return "an empty name";
  *slash = false;
  while (path[from]) {
    while (path[from] == '/')
      from++;
    u32 start = from;
    while (path[from] && path[from] != '/')
      from++;
    u32 length = from - start;
    // "d/" and "d/." are names of directories.
    bool dot = length == 1 && path[start] == '.';
    *slash = path[from] == '/' || dot || !length;
    if (dot || !length)
      continue;
    if (length == 2 && path[start] == '.' && path[start + 1] == '.')
      return "a name with '..'";
    if (length > TAR_COMPONENT || ++depth > TAR_DEPTH) {
      *limit = true;
      return length > TAR_COMPONENT ? "a name of more than 255 bytes" : "a path of more than 256 components";
    }
    if (to)
      path[to++] = '/';
    for (u32 i = 0; i < length; i++)
      path[to++] = path[start + i];
  }
  path[to] = 0;
  return 0;
}

static u32 field_text(char* to, const u8* field, u32 length) {
  u32 n = 0;
  for (; n < length && field[n]; n++)
    to[n] = (char)field[n];
  to[n] = 0;
  return n;
}

// ---- extended headers

static bool starts(const char* at, u32 length, const char* prefix, u32* rest) {
  u32 n = (u32)text_length(prefix);
  *rest = n;
  return length >= n && memcmp(at, prefix, n) == 0;
}

static bool same(const char* at, u32 length, const char* key) {
  return length == text_length(key) && memcmp(at, key, length) == 0;
}

static const char* take_path(struct tar* tar, char* to, u32 bit, const char* value, u32 length) {
  if (!length)
    return "an empty path in a PAX header";
  if (length >= TAR_PATH) {
    tar->limit = true;
    return "a path of 4096 bytes or more";
  }
  if (tar->seen & bit && (text_length(to) != length || memcmp(to, value, length) != 0))
    return "two different values of one key in a PAX header";
  memcpy(to, value, length);
  to[length] = 0;
  tar->seen |= bit;
  return 0;
}

static const char* take_number(struct tar* tar, u64* to, u32 bit, u64 most, const char* value, u32 length) {
  u64 number;
  if (!tar_decimal(value, value + length, most, &number))
    return "a number in a PAX header that is none, or is out of range";
  if (tar->seen & bit && *to != number)
    return "two different values of one key in a PAX header";
  *to = number;
  tar->seen |= bit;
  return 0;
}

static const char* take_mtime(struct tar* tar, const char* value, u32 length) {
  i64 seconds;
  u32 nanoseconds;
  if (!decimal_time(value, value + length, &seconds, &nanoseconds))
    return "a time in a PAX header that is none, or is out of range";
  if (tar->seen & MTIME && (tar->pax_mtime != seconds || tar->pax_mtime_ns != nanoseconds))
    return "two different values of one key in a PAX header";
  tar->pax_mtime = seconds;
  tar->pax_mtime_ns = nanoseconds;
  tar->seen |= MTIME;
  return 0;
}

// The record is in the buffer, which stays until the next extended header; the '=' becomes the end of the name.
static const char* take_xattr(struct tar* tar, char* name, u32 name_length, char* value, u32 length) {
  if (!name_length || name_length > 255)
    return "an extended attribute without a name, or with one of more than 255 bytes";
  name[name_length] = 0;
  for (u32 i = 0; i < tar->nxattrs; i++)
    if (text_equal(tar->xattrs[i].name, name)) {
      bool equal = tar->xattrs[i].length == length && memcmp(tar->xattrs[i].value, value, length) == 0;
      return equal ? 0 : "two different values of one key in a PAX header";
    }
  if (tar->nxattrs == TAR_XATTRS) {
    tar->limit = true;
    return "more than 256 extended attributes";
  }
  tar->xattrs[tar->nxattrs++] = (struct tar_xattr){.name = name, .value = value, .length = length};
  return 0;
}

static bool has_nul(const char* at, u32 length) {
  for (u32 i = 0; i < length; i++)
    if (!at[i])
      return true;
  return false;
}

static const char* take_record(struct tar* tar, char* key, u32 key_length, char* value, u32 length) {
  u32 rest;
  if (!key_length || has_nul(key, key_length))
    return "a key in a PAX header that is empty or holds a NUL byte";
  if (starts(key, key_length, "SCHILY.xattr.", &rest)) {
    if (tar->kind == 'g')
      return "a global PAX header with extended attributes";
    return take_xattr(tar, key + rest, key_length - rest, value, length);
  }
  if (has_nul(value, length))
    return "a NUL byte in a PAX header";
  if (same(key, key_length, "SCHILY.realsize") || same(key, key_length, "SCHILY.filetype"))
    return "a sparse file of star, which is not supported";
  if (starts(key, key_length, "GNU.volume.", &rest))
    return "an archive of several volumes, which is not supported";
  if (tar->kind == 'g') // it would have to mean the same to every reader (git archive writes comments)
    return same(key, key_length, "comment") ? 0 : "a global PAX header with more than a comment";
  if (starts(key, key_length, "GNU.sparse.", &rest))
    return tar_sparse_record(tar, key + rest, key_length - rest, value, length);
  if (same(key, key_length, "path"))
    return take_path(tar, tar->path, PATH, value, length);
  if (same(key, key_length, "linkpath"))
    return take_path(tar, tar->link, LINK, value, length);
  if (same(key, key_length, "size"))
    return take_number(tar, &tar->pax_size, SIZE, TAR_MOST_SIZE, value, length);
  if (same(key, key_length, "uid"))
    return take_number(tar, &tar->pax_uid, UID, NO_ID - 1, value, length);
  if (same(key, key_length, "gid"))
    return take_number(tar, &tar->pax_gid, GID, NO_ID - 1, value, length);
  if (same(key, key_length, "mtime"))
    return take_mtime(tar, value, length);
  return 0; // names of users, other times, what other programs note: nothing that we would use
}

// "<length> <key>=<value>\n", where the length counts the whole record (pax(1), "pax Extended Header").
static const char* take_records(struct tar* tar) {
  char *at = tar->extended, *end = at + tar->extended_length;
  while (at < end) {
    char* space = at;
    while (space < end && *space >= '0' && *space <= '9')
      space++;
    u64 length;
    if (space == end || *space != ' ' || *at == '0' || !tar_decimal(at, space, TAR_EXTENDED, &length))
      return "a PAX record without a length";
    char* key = space + 1;
    if (length > (u64)(end - at) || at + length <= key || at[length - 1] != '\n')
      return "a PAX record whose length is wrong";
    char *stop = at + length - 1, *equals = key;
    while (equals < stop && *equals != '=')
      equals++;
    if (equals == stop)
      return "a PAX record without a value";
    const char* reason = take_record(tar, key, (u32)(equals - key), equals + 1, (u32)(stop - equals - 1));
    if (reason)
      return reason;
    at += length;
  }
  return 0;
}

// GNU: the name and a NUL byte.
static const char* take_long(struct tar* tar) {
  u32 length = tar->extended_length;
  while (length && !tar->extended[length - 1])
    length--;
  if (!length || has_nul(tar->extended, length))
    return "a GNU long name that is empty or holds a NUL byte";
  if (length >= TAR_PATH) {
    tar->limit = true;
    return "a path of 4096 bytes or more";
  }
  char* to = tar->kind == 'L' ? tar->path : tar->link;
  memcpy(to, tar->extended, length);
  to[length] = 0;
  tar->seen |= tar->kind == 'L' ? GNU_NAME : GNU_LINK;
  return 0;
}

static enum tar_event end_extended(struct tar* tar) {
  const char* reason = tar->kind == 'x' || tar->kind == 'g' ? take_records(tar) : take_long(tar);
  if (reason)
    return bad(tar, reason);
  if (tar->kind == 'x')
    tar->seen |= PAX;
  tar->state = tar->padding ? IN_PADDING : IN_HEADER;
  return TAR_MORE;
}

static enum tar_event begin_extended(struct tar* tar, u8 kind, u64 size) {
  // They apply to the next real member only, and only one of each kind can.
  bool pax = kind == 'x', gnu = kind == 'L' || kind == 'K';
  if ((tar->seen && (pax || kind == 'g')) || (gnu && tar->seen & PAX) || (kind == 'L' && tar->seen & GNU_NAME) ||
      (kind == 'K' && tar->seen & GNU_LINK))
    return bad(tar, "several extended headers for one member");
  if (size > tar->extended_limit)
    return too_much(tar, "an extended header that is too long");
  if (!size)
    return bad(tar, "an empty extended header");
  tar->kind = kind;
  tar->extended_length = 0;
  if (!gnu)
    tar->nxattrs = 0;
  tar->left = size;
  tar->padding = (TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK;
  tar->state = IN_EXTENDED;
  return TAR_MORE;
}

// ---- headers

enum format { USTAR, GNU, V7 };

static bool all_zero(const u8* at, u32 length) {
  u8 any = 0;
  for (u32 i = 0; i < length; i++)
    any |= at[i];
  return !any;
}

static bool checksum_right(const u8* block) {
  u64 sum = 0, said;
  for (u32 i = 0; i < TAR_BLOCK; i++)
    sum += i >= 148 && i < 156 ? ' ' : block[i];
  return octal(block + 148, 8, &said) && said == sum;
}

static const char* format_of(const u8* block, enum format* format) {
  if (memcmp(block + 257,
             "ustar\0"
             "00",
             8) == 0) {
    *format = USTAR;
    // star puts times and a mark where others have the rest of the prefix.
    return all_zero(block + 500, 12) ? 0 : "a header with more than ustar has";
  }
  *format = memcmp(block + 257, "ustar  ", 8) == 0 ? GNU : V7;
  return *format == GNU || all_zero(block + 257, 255) ? 0 : "a header of an unknown format";
}

static const char* name_of(struct tar* tar, const u8* block, enum format format, bool* slash) {
  if (tar->sparse.name) { // what others have as the name is for those who know nothing of holes
    memcpy(tar->path, tar->sparse.name, text_length(tar->sparse.name) + 1);
  } else if (!(tar->seen & (PATH | GNU_NAME))) {
    u32 n = format == USTAR ? field_text(tar->path, block + 345, 155) : 0;
    if (n)
      tar->path[n++] = '/';
    if (!field_text(tar->path + n, block, 100))
      return "an empty name";
  }
  return normalise(tar->path, slash, &tar->limit);
}

static const char* link_of(struct tar* tar, const u8* block) {
  struct tar_entry* entry = &tar->entry;
  bool link = entry->type == TAR_HARD_LINK || entry->type == TAR_SYMLINK, slash;
  if (!link)
    return tar->seen & (LINK | GNU_LINK) ? "the target of a link for something that is none" : 0;
  if (!(tar->seen & (LINK | GNU_LINK)))
    field_text(tar->link, block + 157, 100);
  if (!tar->link[0])
    return "a link without a target";
  if (entry->type == TAR_SYMLINK)
    return 0;
  const char* reason = normalise(tar->link, &slash, &tar->limit);
  return reason ? reason : slash || !tar->link[0] ? "a hard link to a directory" : 0;
}

// Of the member in the archive, and of the file.
static const char* size_of(struct tar* tar, u64 size) {
  struct tar_entry* entry = &tar->entry;
  if (tar->seen & SIZE) {
    // A size that fits is the same in both places; one that does not is zero, or cut, in the header.
    bool cut = tar->pax_size > MOST_OCTAL_SIZE && (size == 0 || size == MOST_OCTAL_SIZE);
    if (tar->pax_size != size && !cut)
      return "a size in the PAX header that is not the header's";
    size = tar->pax_size;
  }
  if (size && entry->type != TAR_FILE)
    return "content of something that is no file";
  tar->left = entry->size = size;
  return 0;
}

// Where the content of a sparse file goes, as far as that is known before what follows the header.
static const char* holes_of(struct tar* tar, const u8* block, enum format format) {
  struct tar_entry* entry = &tar->entry;
  const char* reason = 0;
  bool gnu = block[156] == 'S', more = false;
  tar->state = IN_CONTENT;
  entry->sparse = gnu || tar->sparse.seen;
  if (!entry->sparse)
    return 0;
  if (gnu && (format != GNU || tar->seen & PAX))
    return "a sparse file in the header of another format";
  if (gnu)
    reason = tar_sparse_gnu_header(tar, block, &more);
  else
    reason = tar_sparse_begin(tar, entry->type == TAR_FILE, tar->left);
  if (!reason && gnu && !more)
    reason = tar_sparse_finish(tar, tar->left);
  entry->size = tar->sparse.size;
  if (more)
    tar->state = IN_GNU_MAP;
  else if (!gnu && !tar->sparse.mapped)
    tar->state = IN_MAP;
  return reason;
}

static const char* attributes_of(struct tar* tar, const u8* block) {
  struct tar_entry* entry = &tar->entry;
  u64 mode, uid, gid;
  if (!tar_number(block + 100, 8, 0777777, &mode))
    return "a mode that is no number, or is out of range";
  bool ok = tar_number(block + 108, 8, NO_ID - 1, &uid) && tar_number(block + 116, 8, NO_ID - 1, &gid);
  if (!ok)
    return "an owner that is no number, or is out of range";
  if (!time_field(block + 136, 12, &entry->mtime))
    return "a time that is no number, or is out of range";
  entry->mode = mode & 07777;
  entry->uid = (u32)(tar->seen & UID ? tar->pax_uid : uid);
  entry->gid = (u32)(tar->seen & GID ? tar->pax_gid : gid);
  entry->mtime_ns = 0;
  if (tar->seen & MTIME) {
    entry->mtime = tar->pax_mtime;
    entry->mtime_ns = tar->pax_mtime_ns;
  }
  return 0;
}

static const char* type_of(u8 flag, enum tar_type* type) {
  switch (flag) {
  case 0:
    *type = TAR_FILE;
    return 0;
  case '0':
  case '1':
  case '2':
  case '3':
  case '4':
  case '5':
  case '6':
    *type = flag;
    return 0;
  case 'S':
    *type = TAR_FILE;
    return 0;
  case 'M':
  case 'V':
    return "an archive of several volumes, which is not supported";
  }
  return "a member of an unknown type";
}

static enum tar_event begin_member(struct tar* tar, const u8* block, enum format format, u64 size) {
  struct tar_entry* entry = &tar->entry;
  bool slash;
  entry->path = tar->path;
  entry->link = tar->link;
  entry->offset = tar->member;
  const char* reason = type_of(block[156], &entry->type);
  // The name is known first, so that every other error can say whose it is.
  const char* other = name_of(tar, block, format, &slash);
  if (other)
    return bad(tar, other);
  if (!reason && slash && entry->type != TAR_DIRECTORY)
    reason = "a name that ends in a slash, of something that is no directory";
  if (!reason && !tar->path[0] && entry->type != TAR_DIRECTORY)
    reason = "a root that is no directory";
  if (!reason)
    reason = attributes_of(tar, block);
  if (!reason)
    reason = link_of(tar, block);
  if (!reason)
    reason = size_of(tar, size);
  if (!reason)
    reason = holes_of(tar, block, format);
  if (reason)
    return bad(tar, reason);
  entry->xattrs = tar->xattrs;
  entry->nxattrs = tar->seen & PAX ? tar->nxattrs : 0;
  tar->padding = (TAR_BLOCK - tar->left % TAR_BLOCK) % TAR_BLOCK;
  tar->next = 0;
  tar->span = 0;
  tar->seen = 0;
  return TAR_ENTRY;
}

static enum tar_event take_header(struct tar* tar, const u8* block) {
  if (all_zero(block, TAR_BLOCK)) {
    if (tar->seen)
      return bad(tar, "an extended header without a member");
    tar->state = AFTER_ZEROS;
    return TAR_MORE;
  }
  enum format format;
  u64 size;
  tar->path[tar->seen & (PATH | GNU_NAME) ? text_length(tar->path) : 0] = 0;
  if (!checksum_right(block))
    return bad(tar, "a header whose checksum is wrong");
  const char* reason = format_of(block, &format);
  if (reason)
    return bad(tar, reason);
  if (!tar_number(block + 124, 12, TAR_MOST_SIZE, &size))
    return bad(tar, "a size that is no number, or is out of range");
  if (!tar->seen)
    tar->member = tar->offset - TAR_BLOCK;
  u8 type = block[156];
  if (type == 'x' || type == 'g' || type == 'L' || type == 'K')
    return begin_extended(tar, type, size);
  return begin_member(tar, block, format, size);
}

// A whole block, in place if it is; null while it is not all there.
static const u8* take_block(struct tar* tar, const u8** at, const u8* end) {
  const u8* block = *at;
  size_t have = (size_t)(end - *at), want = TAR_BLOCK - tar->block_length;
  size_t n = have < want ? have : want;
  if (n < TAR_BLOCK) {
    memcpy(tar->block + tar->block_length, *at, n);
    block = tar->block;
  }
  tar->block_length += (u32)n;
  *at += n;
  tar->offset += n;
  if (tar->block_length < TAR_BLOCK)
    return 0;
  tar->block_length = 0;
  return block;
}

static size_t take(struct tar* tar, const u8** at, const u8* end, u64* left) {
  size_t n = (size_t)(end - *at);
  if (n > *left)
    n = (size_t)*left;
  *at += n;
  tar->offset += n;
  *left -= n;
  return n;
}

static enum tar_event take_gnu_map(struct tar* tar, const u8* block) {
  bool more;
  const char* reason = tar_sparse_gnu_block(tar, block, &more);
  if (!reason && !more)
    reason = tar_sparse_finish(tar, tar->left);
  if (reason)
    return bad(tar, reason);
  tar->state = more ? IN_GNU_MAP : IN_CONTENT;
  return TAR_MORE;
}

// Version 1.0: whole blocks of the content.
static enum tar_event take_map(struct tar* tar, const u8** at, const u8* end) {
  if (tar->left < TAR_BLOCK)
    return bad(tar, "a sparse file that ends within its map");
  const u8* block = take_block(tar, at, end);
  if (!block)
    return TAR_MORE;
  bool more;
  tar->left -= TAR_BLOCK;
  const char* reason = tar_sparse_map_block(tar, block, &more);
  if (!reason && !more)
    reason = tar_sparse_finish(tar, tar->left);
  if (reason)
    return bad(tar, reason);
  tar->state = more ? IN_MAP : IN_CONTENT;
  return TAR_MORE;
}

static enum tar_event take_content(struct tar* tar, const u8** at, const u8* end) {
  u64 part = tar->left;
  if (tar->entry.sparse && part) { // its pieces are together what is left
    while (!tar->spans[tar->span].length)
      tar->span++;
    struct tar_span* span = &tar->spans[tar->span];
    tar->next = span->at;
    part = span->length;
  }
  tar->data = *at;
  tar->length = take(tar, at, end, &part);
  tar->position = tar->next;
  tar->next += tar->length;
  tar->left -= tar->length;
  if (tar->entry.sparse && tar->length) {
    tar->spans[tar->span].at += tar->length;
    tar->spans[tar->span].length -= tar->length;
  }
  if (!tar->left)
    tar->state = AT_CLOSE;
  return tar->length ? TAR_DATA : TAR_MORE;
}

static enum tar_event step(struct tar* tar, const u8** at, const u8* end) {
  const u8 *block, *from = *at;
  size_t n;
  switch (tar->state) {
  case IN_HEADER:
    block = take_block(tar, at, end);
    return block ? take_header(tar, block) : TAR_MORE;
  case IN_EXTENDED:
    n = take(tar, at, end, &tar->left);
    memcpy(tar->extended + tar->extended_length, from, n);
    tar->extended_length += (u32)n;
    return tar->left ? TAR_MORE : end_extended(tar);
  case IN_GNU_MAP:
    block = take_block(tar, at, end);
    return block ? take_gnu_map(tar, block) : TAR_MORE;
  case IN_MAP:
    return take_map(tar, at, end);
  case IN_CONTENT:
    return take_content(tar, at, end);
  case AT_CLOSE:
    tar->sparse = (struct tar_sparse){0};
    tar->state = tar->padding ? IN_PADDING : IN_HEADER;
    return TAR_CLOSE;
  case IN_PADDING: // what it holds is nobody's
    take(tar, at, end, &tar->padding);
    if (!tar->padding)
      tar->state = IN_HEADER;
    return TAR_MORE;
  case AFTER_ZEROS:
    block = take_block(tar, at, end);
    if (!block)
      return TAR_MORE;
    if (!all_zero(block, TAR_BLOCK))
      return bad(tar, "something after a block of zeros");
    tar->state = AT_END;
    return TAR_MORE;
  }
  // AT_END: archives are padded to a whole record.
  n = (size_t)(end - *at);
  *at = end;
  tar->offset += n;
  for (; n; n--, from++)
    if (*from)
      return bad(tar, "something after the end of the archive");
  return TAR_MORE;
}

enum tar_event tar_next(struct tar* tar, const u8** at, const u8* end) {
  for (;;) {
    enum tar_event event = step(tar, at, end);
    // A member without content is complete although there may be no more input.
    if (event != TAR_MORE || (*at == end && tar->state != AT_CLOSE))
      return event;
  }
}

bool tar_finish(struct tar* tar) {
  bool between = (tar->state == IN_HEADER || tar->state == IN_PADDING) && !tar->seen;
  // Some writers leave out the two blocks of zeros, and the padding before them (umoci insert), and every reader that
  // does not refuse it takes what is there for all of it. So an archive that was cut between two members cannot be told
  // here from a whole one: its digest tells.
  if (!tar->block_length && (between || tar->state == AFTER_ZEROS || tar->state == AT_END))
    return true;
  if (tar->state == AFTER_ZEROS)
    bad(tar, "the archive ends within a block");
  else if (tar->block_length)
    bad(tar, "the archive ends within a header");
  else
    bad(tar, tar->seen ? "an extended header without a member" : "the archive ends within a member");
  return false;
}
