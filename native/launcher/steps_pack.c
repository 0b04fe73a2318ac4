// The step that writes a tree, or the changed paths of one, as a tar: what leaves a container is only ever read by
// descriptors, from the inside, and comes out as bytes (security M1).
#include "steps.h"
#include "tree.h"
#include "tar_header.h"

enum { ESTALE = 116, EXDEV = 18, ENODATA = 61, EOPNOTSUPP = 95, TRIES = 8, BUFFER = 256 * 1024 };
enum pack_flag { PACK_SAME_MOUNT = 1, PACK_DEVICES = 2, PACK_MARKS = 4 };
enum change { CHANGE_PRESENT = 1, CHANGE_DELETED = 2, CHANGE_OPAQUE = 3 };
// lib/image/layer/pack.ts reads them in this order.
enum { ENTRIES, BYTES, LINKS, CHANGED, GONE, SOCKETS, DEVICES, ATTRIBUTES, COUNTS };

struct pack {
  int out;
  u64 flags;
  bool layer; // names that mean something in a layer are no names of files
  struct blob omit;
  char *buffer, *list, *value;
  size_t length;
  struct tar_records records;
  struct arena names;
  struct links links;
  u64 counts[COUNTS];
};

static struct path path;

static long write_all(int fd, const char* data, size_t n) {
  while (n) {
    long wrote = sys(write, fd, data, n);
    if (wrote == -EINTR)
      continue;
    if (wrote < 0)
      return wrote;
    data += wrote, n -= (size_t)wrote;
  }
  return 0;
}

static long flush(struct pack* pack) {
  long rc = write_all(pack->out, pack->buffer, pack->length);
  pack->length = 0;
  return rc;
}

static long put_bytes(struct pack* pack, const char* data, size_t n) {
  while (n) {
    size_t room = BUFFER - pack->length, part = n < room ? n : room;
    memcpy(pack->buffer + pack->length, data, part);
    pack->length += part, data += part, n -= part;
    long rc = pack->length == BUFFER ? flush(pack) : 0;
    if (rc < 0)
      return rc;
  }
  return 0;
}

static long put_zeros(struct pack* pack, u64 n) {
  static const char zeros[TAR_BLOCK];
  long rc = 0;
  for (; n && rc >= 0; n -= n < TAR_BLOCK ? n : TAR_BLOCK)
    rc = put_bytes(pack, zeros, n < TAR_BLOCK ? n : TAR_BLOCK);
  return rc;
}

// ---- attributes
// -------------------------------------------------------------------------------------------------------

// What other tools read: a value of the second form (capabilities(7)). The kernel gives it for what belongs to the root
// of this user namespace; another namespace's is worth nothing elsewhere.
static bool is_plain_capability(const char* value, long n) {
  return n == 20 && value[3] == 2;
}

static long put_attribute(struct pack* pack, int fd, const char* name) {
  bool capability = text_equal(name, "security.capability");
  if (is_overlay_attribute(name) || (!capability && !starts_with(name, "user.")))
    return 0;
  for (const char* c = name; *c; c++)
    if (*c == '=') { // it would end the keyword
      pack->counts[ATTRIBUTES]++;
      return 0;
    }
  long n = sys(fgetxattr, fd, name, pack->value, TREE_VALUE);
  if (n == -ENODATA)
    return 0;
  if (n < 0)
    return n;
  if (capability && !is_plain_capability(pack->value, n)) {
    pack->counts[ATTRIBUTES]++;
    return 0;
  }
  tar_record(&pack->records, "SCHILY.xattr.", name, pack->value, (size_t)n);
  return 0;
}

static long put_attributes(struct pack* pack, int fd) {
  long n = sys(flistxattr, fd, pack->list, TREE_VALUE);
  if (n == -EOPNOTSUPP || n == 0)
    return 0;
  if (n < 0)
    return n;
  const char** names = arena_take(&pack->names, (size_t)n * 2 * sizeof *names);
  if (!names)
    return -ENOMEM;
  u32 count = 0;
  for (long at = 0; at < n; at += (long)text_length(pack->list + at) + 1)
    names[count++] = pack->list + at;
  sort_names(names, names + count, count);
  long rc = 0;
  for (u32 i = 0; i < count && rc >= 0; i++)
    rc = put_attribute(pack, fd, names[i]);
  return rc;
}

// ---- entries
// ----------------------------------------------------------------------------------------------------------

static long put_entry(struct pack* pack, const struct tar_entry* entry, int fd) {
  pack->records.length = 0;
  tar_describe(&pack->records, entry);
  size_t mark = pack->names.used;
  long rc = fd >= 0 ? put_attributes(pack, fd) : 0;
  pack->names.used = mark;
  if (rc >= 0 && pack->records.overflow)
    rc = -E2BIG;
  char block[TAR_BLOCK];
  size_t n = pack->records.length;
  if (rc >= 0 && n) {
    tar_records_header(block, n);
    rc = put_bytes(pack, block, TAR_BLOCK);
    if (rc >= 0)
      rc = put_bytes(pack, pack->records.text, n);
    if (rc >= 0)
      rc = put_zeros(pack, tar_padding(n));
  }
  if (rc < 0)
    return rc;
  tar_header(block, entry);
  pack->counts[ENTRIES]++;
  return put_bytes(pack, block, TAR_BLOCK);
}

static struct tar_entry entry_of(char type, const struct facts* facts) {
  return (struct tar_entry){
      .type = type,
      .path = path.text,
      .mode = facts->mode,
      .uid = facts->uid,
      .gid = facts->gid,
      .seconds = facts->seconds,
      .nanoseconds = facts->nanoseconds,
  };
}

// A name of the layer format, in the directory that the walk is in: no file, so it has no owner and no time.
static long put_mark(struct pack* pack, const char* prefix, const char* name) {
  char mark[5 + 256];
  if (text_length(name) > 255 - text_length(prefix))
    return -ENAMETOOLONG;
  text_append(mark, sizeof mark, text_append(mark, sizeof mark, 0, prefix), name);
  long before = path_enter(&path, mark);
  if (before < 0)
    return before;
  struct tar_entry entry = {.type = '0', .path = path.text};
  long rc = put_entry(pack, &entry, -1);
  path_leave(&path, before);
  return rc;
}

static long put_directory(struct pack* pack, int fd, const struct facts* facts) {
  size_t length = path.length;
  memcpy(path.text + length, length ? "/" : "./", length ? 2 : 3);
  struct tar_entry entry = entry_of('5', facts);
  long rc = put_entry(pack, &entry, fd);
  path.text[length] = 0;
  return rc;
}

// As many bytes as the header says, whatever becomes of the file meanwhile.
static long put_content(struct pack* pack, int fd, const struct facts* facts) {
  u64 left = facts->size;
  long got = 1, rc = 0;
  while (left && got > 0 && rc >= 0) {
    size_t room = BUFFER - pack->length;
    got = sys(read, fd, pack->buffer + pack->length, left < room ? left : room);
    if (got == -EINTR) {
      got = 1;
      continue;
    }
    if (got < 0)
      return got;
    pack->length += (size_t)got, left -= (u64)got;
    rc = pack->length == BUFFER ? flush(pack) : 0;
  }
  pack->counts[BYTES] += facts->size - left;
  if (rc >= 0)
    rc = put_zeros(pack, left + tar_padding(facts->size));
  struct facts after;
  if (facts->size && facts_of(fd, "", &after) >= 0 &&
      (left || after.size != facts->size || after.seconds != facts->seconds || after.nanoseconds != facts->nanoseconds))
    pack->counts[CHANGED]++;
  return rc;
}

static long put_regular(struct pack* pack, int dir, const char* name, struct facts* facts) {
  long fd = open_regular(dir, name, pack->flags & PACK_SAME_MOUNT, facts);
  if (fd == -EXDEV) { // something is mounted there: what is below it is a file to mount on
    struct facts place = {.mode = 0644};
    struct tar_entry entry = entry_of('0', &place);
    return put_entry(pack, &entry, -1);
  }
  if (fd < 0)
    return fd;
  struct tar_entry entry = entry_of('0', facts);
  entry.size = facts->size;
  long rc = put_entry(pack, &entry, (int)fd);
  if (rc >= 0)
    rc = put_content(pack, (int)fd, facts);
  sys(close, fd);
  return rc;
}

static long put_symlink(struct pack* pack, int dir, const char* name, const struct facts* facts) {
  static char target[4097];
  long n = sys(readlinkat, dir, name, target, sizeof target - 1);
  if (n < 0)
    return n == -EINVAL ? -ESTALE : n;
  target[n] = 0;
  struct tar_entry entry = entry_of('2', facts);
  entry.target = target;
  return put_entry(pack, &entry, -1);
}

static long put_special(struct pack* pack, const struct facts* facts) {
  u32 type = type_of(facts);
  bool device = type == S_IFCHR || type == 0060000;
  if (!device && type != 0010000) {
    pack->counts[SOCKETS]++;
    return 0;
  }
  if (device && !(pack->flags & PACK_DEVICES)) {
    pack->counts[DEVICES]++;
    return 0;
  }
  struct tar_entry entry = entry_of(!device ? '6' : type == S_IFCHR ? '3' : '4', facts);
  entry.major = device ? facts->rdev_major : 0;
  entry.minor = device ? facts->rdev_minor : 0;
  return put_entry(pack, &entry, -1);
}

static long put_file(struct pack* pack, int dir, const char* name, struct facts* facts) {
  if (is_whiteout(facts))
    return 0;
  bool packed = type_of(facts) == S_IFREG || type_of(facts) == 0120000 || type_of(facts) == 0010000 ||
                (type_of(facts) != 0140000 && pack->flags & PACK_DEVICES);
  if (packed && facts->nlink > 1) {
    long rc = 0;
    const char* first = links_find(&pack->links, facts, path.text, &rc);
    if (rc < 0)
      return rc;
    if (first && !text_equal(first, path.text)) {
      struct tar_entry entry = entry_of('1', facts);
      entry.target = first;
      pack->counts[LINKS]++;
      return put_entry(pack, &entry, -1);
    }
  }
  if (type_of(facts) == S_IFREG)
    return put_regular(pack, dir, name, facts);
  if (type_of(facts) == 0120000)
    return put_symlink(pack, dir, name, facts);
  return put_special(pack, facts);
}

// ---- a whole tree
// -----------------------------------------------------------------------------------------------------

static bool is_omitted(const struct pack* pack) {
  for (const char* at = pack->omit.data; at < pack->omit.data + pack->omit.length; at += text_length(at) + 1)
    if (text_equal(at, path.text))
      return true;
  return false;
}

static bool is_opaque(int fd) {
  char value;
  return sys(fgetxattr, fd, "user.overlay.opaque", &value, 1) == 1 && value == 'y';
}

static long put_tree(struct pack* pack, int fd, const struct facts* facts, u32 depth);

static long put_node_once(struct pack* pack, int dir, const char* name, u32 depth) {
  struct facts facts;
  long rc = facts_of(dir, name, &facts);
  if (rc < 0 || type_of(&facts) != S_IFDIR)
    return rc < 0 ? rc : put_file(pack, dir, name, &facts);
  long fd = open_directory(dir, name, pack->flags & PACK_SAME_MOUNT, &facts);
  if (fd == -EXDEV) {
    struct facts place = {.mode = 0755};
    return put_directory(pack, -1, &place);
  }
  if (fd < 0)
    return fd;
  rc = put_tree(pack, (int)fd, &facts, depth + 1);
  sys(close, fd);
  return rc;
}

// One name; the path stays where it is after a failure, for the message. What is gone by now, or never stays the same,
// was not there.
static long put_node(struct pack* pack, int dir, const char* name, u32 depth) {
  long before = path_enter(&path, name);
  if (before < 0)
    return before;
  if (pack->layer && starts_with(name, ".wh."))
    return -EINVAL;
  long rc = 0;
  if (!is_omitted(pack)) {
    u64 entries = pack->counts[ENTRIES];
    int tries = 0;
    do
      rc = put_node_once(pack, dir, name, depth);
    while (rc == -ESTALE && pack->counts[ENTRIES] == entries && ++tries < TRIES);
    if ((rc == -ENOENT || rc == -ESTALE) && pack->counts[ENTRIES] == entries) {
      pack->counts[GONE]++;
      rc = 0;
    }
  }
  if (rc >= 0)
    path_leave(&path, before);
  return rc;
}

static long put_tree(struct pack* pack, int fd, const struct facts* facts, u32 depth) {
  if (depth > TREE_DEPTH)
    return -ELOOP;
  long rc = put_directory(pack, fd, facts);
  if (rc >= 0 && pack->flags & PACK_MARKS && is_opaque(fd))
    rc = put_mark(pack, ".wh.", ".wh..opq");
  size_t mark = pack->names.used;
  struct listing listing = {0};
  if (rc >= 0)
    rc = list_names(&pack->names, fd, &listing);
  for (u32 i = 0; i < listing.count && rc >= 0; i++) {
    struct facts entry;
    bool whiteout = pack->flags & PACK_MARKS && facts_of(fd, listing.names[i], &entry) >= 0 && is_whiteout(&entry);
    rc = whiteout ? put_mark(pack, ".wh.", listing.names[i]) : put_node(pack, fd, listing.names[i], depth);
  }
  pack->names.used = mark;
  return rc;
}

// ---- listed paths
// -----------------------------------------------------------------------------------------------------

// The list, as it comes through a pipe: u32 length, u32 kind of change, path.
struct list {
  int fd;
  size_t at, end;
  char buffer[32 * 1024];
};
static struct list list;
static char item[TREE_PATH];

// 1, 0 at the end before the first byte, -EBADMSG at an end in between.
static long read_exactly(char* to, size_t n) {
  for (size_t have = 0; have < n;) {
    if (list.at == list.end) {
      long got = sys(read, list.fd, list.buffer, sizeof list.buffer);
      if (got == -EINTR)
        continue;
      if (got <= 0)
        return got < 0 ? got : have ? -EBADMSG : 0;
      list.at = 0, list.end = (size_t)got;
    }
    size_t part = list.end - list.at < n - have ? list.end - list.at : n - have;
    memcpy(to + have, list.buffer + list.at, part);
    list.at += part, have += part;
  }
  return 1;
}

// Relative, and of nothing but names.
static bool is_clean(const char* text, size_t length) {
  for (size_t at = 0; at < length;) {
    size_t end = at;
    while (end < length && text[end] != '/')
      if (!text[end++])
        return false;
    size_t n = end - at;
    if (n == 0 || n > 255 || end + 1 == length || (text[at] == '.' && (n == 1 || (n == 2 && text[at + 1] == '.'))))
      return false;
    at = end + 1;
  }
  return true;
}

static long next_item(u32* kind) {
  u32 head[2];
  long rc = read_exactly((char*)head, sizeof head);
  if (rc <= 0)
    return rc;
  if (head[0] >= sizeof item || head[1] < CHANGE_PRESENT || head[1] > CHANGE_OPAQUE)
    return -EBADMSG;
  item[head[0]] = 0;
  *kind = head[1];
  rc = head[0] ? read_exactly(item, head[0]) : 1;
  return rc < 1 || !is_clean(item, head[0]) ? (rc < 0 ? rc : -EBADMSG) : 1;
}

// The directories from the root to where the list is; each has been written.
static struct {
  int fd;
  long before; // length of the path without it
} levels[TREE_DEPTH + 1];
static u32 depth;

static int here(int root) {
  return depth ? levels[depth - 1].fd : root;
}

static void leave_directories(const char* next) {
  while (depth) {
    size_t n = path.length;
    if (starts_with(next, path.text) && next[n] == '/')
      return;
    depth--;
    close_fd(&levels[depth].fd);
    path_leave(&path, levels[depth].before);
  }
}

// 1 where it was entered, 0 where there is no such directory any more.
static long enter_directory(struct pack* pack, int root, const char* name, bool opaque) {
  struct facts facts;
  if (depth == TREE_DEPTH)
    return -ELOOP;
  long before = path_enter(&path, name);
  if (before < 0)
    return before;
  long fd = open_directory(here(root), name, pack->flags & PACK_SAME_MOUNT, &facts);
  if (fd == -ENOENT || fd == -ESTALE || fd == -EXDEV) {
    path_leave(&path, before);
    return 0;
  }
  if (fd < 0)
    return fd;
  levels[depth].fd = (int)fd;
  levels[depth++].before = before;
  long rc = put_directory(pack, (int)fd, &facts);
  if (rc >= 0 && opaque)
    rc = put_mark(pack, ".wh.", ".wh..opq");
  return rc < 0 ? rc : 1;
}

static long put_item(struct pack* pack, int root, u32 kind) {
  leave_directories(item);
  const char* rest = item + path.length + (path.length ? 1 : 0);
  char name[256];
  for (;;) {
    size_t n = 0;
    while (rest[n] && rest[n] != '/')
      n++;
    memcpy(name, rest, n);
    name[n] = 0;
    if (starts_with(name, ".wh.")) {
      path_enter(&path, name);
      return -EINVAL;
    }
    if (!rest[n])
      break;
    long rc = enter_directory(pack, root, name, false);
    if (rc <= 0) {
      pack->counts[GONE] += rc == 0;
      return rc;
    }
    rest += n + 1;
  }
  if (kind == CHANGE_DELETED)
    return put_mark(pack, ".wh.", name);
  struct facts facts;
  long rc = facts_of(here(root), name, &facts);
  if (rc >= 0 && type_of(&facts) == S_IFDIR) {
    rc = enter_directory(pack, root, name, kind == CHANGE_OPAQUE);
    pack->counts[GONE] += rc == 0;
    return rc;
  }
  if (rc == -ENOENT) {
    pack->counts[GONE]++;
    return 0;
  }
  return rc < 0 ? rc : put_node(pack, here(root), name, 0);
}

static long put_list(struct pack* pack, int root, int fd) {
  list = (struct list){.fd = fd};
  depth = 0;
  u32 kind;
  long rc;
  while ((rc = next_item(&kind)) > 0) {
    struct facts facts;
    if (item[0])
      rc = put_item(pack, root, kind);
    else if ((rc = facts_of(root, "", &facts)) >= 0)
      rc = put_directory(pack, root, &facts);
    if (rc >= 0 && !item[0] && kind == CHANGE_OPAQUE)
      rc = put_mark(pack, ".wh.", ".wh..opq");
    if (rc < 0)
      break;
  }
  while (depth)
    close_fd(&levels[--depth].fd);
  return rc;
}

// ---- the step
// ---------------------------------------------------------------------------------------------------------

// The end of the path is what tells most.
static void explain_path(struct plan_context* context) {
  size_t length = path.length;
  explain(context, DETAIL_NONE, path.text + (length >= FAILURE_TEXT ? length - FAILURE_TEXT + 1 : 0));
}

static long run_pack(struct pack* pack, int tree, int listed) {
  struct facts facts;
  long fd = open_directory(tree, ".", false, &facts);
  if (fd < 0)
    return fd;
  long rc = listed >= 0 ? put_list(pack, (int)fd, listed) : put_tree(pack, (int)fd, &facts, 0);
  sys(close, fd);
  if (rc >= 0)
    rc = put_zeros(pack, 2 * TAR_BLOCK);
  return rc < 0 ? rc : flush(pack);
}

// ints: slot of the tree, of the pipe for the tar, of the list or all ones for all of it, flags, slot of the pipe for
// what was counted; blobs: paths that are left out, each with a NUL byte after it
long step_pack(struct plan_context* context, const struct record* step) {
  int tree = slot_fd(context, step->ints[0]), out = slot_fd(context, step->ints[1]);
  int listed = step->ints[2] == ~(u64)0 ? -1 : slot_fd(context, step->ints[2]);
  int report = slot_fd(context, step->ints[4]);
  if (tree < 0 || out < 0 || report < 0 || listed == -EBADF)
    return -EBADF;
  struct pack pack = {.out = out, .flags = step->ints[3], .omit = step->blobs[0]};
  pack.layer = listed >= 0 || pack.flags & PACK_MARKS;
  struct arena memory;
  path_leave(&path, 0);
  long rc = arena_open(&memory, BUFFER + 2 * TREE_VALUE + TAR_RECORDS);
  if (rc < 0)
    return rc;
  pack.buffer = arena_take(&memory, BUFFER);
  pack.list = arena_take(&memory, TREE_VALUE);
  pack.value = arena_take(&memory, TREE_VALUE);
  pack.records = (struct tar_records){.text = arena_take(&memory, TAR_RECORDS), .capacity = TAR_RECORDS};
  rc = arena_open(&pack.names, ARENA_MOST);
  if (rc >= 0)
    rc = links_open(&pack.links);
  if (rc >= 0)
    rc = run_pack(&pack, tree, listed);
  links_close(&pack.links);
  arena_close(&pack.names);
  arena_close(&memory);
  if (rc < 0) {
    explain_path(context);
    return rc;
  }
  return write_all(report, (const char*)pack.counts, sizeof pack.counts);
}
