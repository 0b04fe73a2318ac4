// The step that copies layers into a directory: one as it is, or several merged as an overlay would show them.
#include "copy_contents.h"

enum { ESTALE = 116, TRIES = 8, MOST_LAYERS = 256, RLIMIT_NOFILE = 7 };
// lib/image/layer/copy.ts reads them in this order.
enum { ENTRIES, BYTES, SHARED, DEVICES, GONE, COUNTS };
enum { REPORT_EVERY = 1024 };

struct copy {
  struct contents contents;
  int root, report;
  struct arena names;
  struct links links;
  u64 counts[COUNTS];
};

static struct path path;

// What was counted so far; that nobody reads it any more ends the copying.
static long tell(struct copy* copy) {
  if (copy->report < 0)
    return 0;
  long rc;
  copy->counts[BYTES] = copy->contents.bytes;
  copy->counts[SHARED] = copy->contents.shared;
  do
    rc = sys(write, copy->report, copy->counts, sizeof copy->counts);
  while (rc == -EINTR);
  return rc < 0 ? rc : 0;
}

// ---- files
// ------------------------------------------------------------------------------------------------------------

// A further name of a file that was copied before, at `first`.
static long copy_link(struct copy* copy, const char* first, int target, const char* name) {
  size_t length = text_length(first), cut = length;
  while (cut && first[cut - 1] != '/')
    cut--;
  long dir = open_directory_path(copy->root, first, cut ? cut - 1 : 0);
  if (dir < 0)
    return dir;
  long rc = sys(linkat, dir, first + cut, target, name, 0);
  sys(close, dir);
  return rc;
}

static long copy_regular(struct copy* copy, int dir, const char* name, struct facts* facts, int target) {
  long from = open_regular(dir, name, false, facts);
  if (from < 0)
    return from;
  u64 flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  long to = sys(openat, target, name, flags, 0600);
  long rc = to < 0 ? to : copy_file_contents(&copy->contents, (int)from, (int)to, facts);
  if (to >= 0)
    sys(close, to);
  sys(close, from);
  return rc;
}

static long copy_symlink(struct copy* copy, int dir, const char* name, const struct facts* facts, int target) {
  static char text[4097];
  long n = sys(readlinkat, dir, name, text, sizeof text - 1);
  if (n < 0)
    return n == -EINVAL ? -ESTALE : n;
  text[n] = 0;
  long rc = sys(symlinkat, text, target, name);
  return rc < 0 ? rc : copy_facts_by_name(&copy->contents, target, name, facts);
}

static long copy_special(struct copy* copy, const char* name, const struct facts* facts, int target) {
  bool device = type_of(facts) == S_IFCHR || type_of(facts) == 0060000;
  if (device && !is_whiteout(facts) && !(copy->contents.flags & COPY_DEVICES)) {
    copy->counts[DEVICES]++;
    return 0;
  }
  u32 major = facts->rdev_major, minor = facts->rdev_minor;
  u32 number = (minor & 0xff) | major << 8 | (minor & ~0xffu) << 12; // MKDEV as mknod(2) takes it
  long rc = sys(mknodat, target, name, facts->mode & (S_IFMT | 07777), number);
  return rc < 0 ? rc : copy_facts_by_name(&copy->contents, target, name, facts);
}

static long copy_file(struct copy* copy, int dir, const char* name, struct facts* facts, int target) {
  if (facts->nlink > 1 && !is_whiteout(facts)) {
    long rc = 0;
    const char* first = links_find(&copy->links, facts, path.text, &rc);
    if (rc < 0)
      return rc;
    if (first && !text_equal(first, path.text)) {
      rc = copy_link(copy, first, target, name);
      if (rc != -ENOENT) // a device that was left out, with all its names
        return rc;
    }
  }
  if (type_of(facts) == S_IFREG)
    return copy_regular(copy, dir, name, facts, target);
  if (type_of(facts) == 0120000)
    return copy_symlink(copy, dir, name, facts, target);
  return copy_special(copy, name, facts, target);
}

// ---- directories
// ------------------------------------------------------------------------------------------------------

static bool is_opaque(int fd) {
  char value;
  return sys(fgetxattr, fd, "user.overlay.opaque", &value, 1) == 1 && value == 'y';
}

struct layers {
  int fds[MOST_LAYERS];
  u32 count;
};

static void close_layers(struct layers* layers) {
  while (layers->count)
    close_fd(&layers->fds[--layers->count]);
}

static long copy_directory(struct copy* copy, const struct layers* layers, const struct facts* facts, int target,
                           u32 depth);

// A run of the same name in several layers, topmost first, of which the first is a directory: all those directories
// that one can see through.
static long open_run(struct copy* copy, const struct layers* layers, const char* name, const u32* at, u32 run,
                     struct facts* facts, struct layers* below) {
  for (u32 i = 0; i < run; i++) {
    struct facts lower;
    struct facts* entry = i ? &lower : facts;
    int dir = layers->fds[at[i]];
    long rc = i ? facts_of(dir, name, entry) : 0;
    if (rc < 0)
      return rc;
    if (type_of(entry) != S_IFDIR)
      return 0;
    long fd = open_directory(dir, name, false, entry);
    if (fd < 0)
      return fd;
    below->fds[below->count++] = (int)fd;
    if (!(copy->contents.flags & COPY_MARKS) && is_opaque((int)fd))
      return 0;
  }
  return 0;
}

static long copy_run(struct copy* copy, const struct layers* layers, const char* name, const u32* at, u32 run,
                     int target, u32 depth) {
  struct facts facts;
  long rc = facts_of(layers->fds[at[0]], name, &facts);
  if (rc < 0)
    return rc;
  if (is_whiteout(&facts) && !(copy->contents.flags & COPY_MARKS))
    return 0;
  if (++copy->counts[ENTRIES] % REPORT_EVERY == 0 && (rc = tell(copy)) < 0)
    return rc;
  if (type_of(&facts) != S_IFDIR)
    return copy_file(copy, layers->fds[at[0]], name, &facts, target);
  // In the arena: a frame of the stack for each level of a deep tree would be large.
  struct layers* below = arena_take(&copy->names, sizeof below->count + 8 + sizeof *below->fds * MOST_LAYERS);
  if (!below)
    return -ENOMEM;
  below->count = 0;
  rc = open_run(copy, layers, name, at, run, &facts, below);
  if (rc >= 0)
    rc = sys(mkdirat, target, name, 0700);
  struct facts made;
  long to = rc < 0 ? rc : open_directory(target, name, false, &made);
  rc = to < 0 ? to : copy_directory(copy, below, &facts, (int)to, depth + 1);
  if (to >= 0)
    sys(close, to);
  close_layers(below);
  return rc;
}

static long copy_name(struct copy* copy, const struct layers* layers, const char* name, const u32* at, u32 run,
                      int target, u32 depth) {
  long before = path_enter(&path, name);
  if (before < 0)
    return before;
  long rc;
  int tries = 0;
  do
    rc = copy_run(copy, layers, name, at, run, target, depth);
  while (rc == -ESTALE && ++tries < TRIES);
  if (rc == -ENOENT) { // gone by now
    struct facts facts;
    if (facts_of(layers->fds[at[0]], name, &facts) == -ENOENT) {
      copy->counts[GONE]++;
      rc = 0;
    }
  }
  if (rc >= 0)
    path_leave(&path, before);
  return rc;
}

// The names of all layers, those that are the same beside each other, topmost first: the sorting keeps their order.
static long list_layers(struct copy* copy, const struct layers* layers, size_t* starts, struct listing* all) {
  struct listing* listings = arena_take(&copy->names, layers->count * sizeof *listings);
  if (!listings)
    return -ENOMEM;
  u32 count = 0;
  for (u32 i = 0; i < layers->count; i++) {
    starts[i] = copy->names.used;
    long rc = list_names(&copy->names, layers->fds[i], &listings[i]);
    if (rc < 0)
      return rc;
    count += listings[i].count;
  }
  *all = listings[0];
  if (layers->count == 1)
    return 0;
  const char** names = arena_take(&copy->names, (size_t)count * 2 * sizeof *names);
  if (!names)
    return -ENOMEM;
  u32 at = 0;
  for (u32 i = 0; i < layers->count; i++)
    for (u32 j = 0; j < listings[i].count; j++)
      names[at++] = listings[i].names[j];
  sort_names(names, names + count, count);
  *all = (struct listing){.names = names, .count = count};
  return 0;
}

// Which layer's list a name is in, by where in memory it is.
static u32 layer_of(const struct copy* copy, const size_t* starts, u32 count, const char* name) {
  size_t offset = (size_t)(name - copy->names.base);
  u32 layer = count - 1;
  while (starts[layer] > offset)
    layer--;
  return layer;
}

static long copy_names(struct copy* copy, const struct layers* layers, int target, u32 depth) {
  size_t* starts = arena_take(&copy->names, layers->count * sizeof *starts);
  u32* at = arena_take(&copy->names, layers->count * sizeof *at);
  if (!starts || !at)
    return -ENOMEM;
  struct listing all;
  long rc = list_layers(copy, layers, starts, &all);
  size_t mark = copy->names.used;
  for (u32 i = 0; rc >= 0 && i < all.count;) {
    const char* name = all.names[i];
    u32 run = 0;
    for (; i < all.count && run < layers->count && text_equal(all.names[i], name); i++)
      at[run++] = layer_of(copy, starts, layers->count, all.names[i]);
    rc = copy_name(copy, layers, name, at, run, target, depth);
    copy->names.used = mark;
  }
  return rc;
}

// What is in it, and then what is known about it: writing into a directory changes its time.
static long copy_directory(struct copy* copy, const struct layers* layers, const struct facts* facts, int target,
                           u32 depth) {
  if (depth > TREE_DEPTH)
    return -ELOOP;
  size_t mark = copy->names.used;
  long rc = copy_names(copy, layers, target, depth);
  copy->names.used = mark;
  return rc < 0 ? rc : copy_facts(&copy->contents, layers->fds[0], target, facts);
}

// ---- the step
// ---------------------------------------------------------------------------------------------------------

static long open_layers(struct plan_context* context, const struct blob* slots, struct layers* layers,
                        struct facts* facts) {
  for (u32 at = 0; at + 4 <= slots->length; at += 4) {
    u32 slot;
    memcpy(&slot, slots->data + at, 4);
    struct facts lower;
    int given = slot_fd(context, slot);
    long fd = given < 0 ? -EBADF : open_directory(given, ".", false, at ? &lower : facts);
    if (fd < 0)
      return fd;
    layers->fds[layers->count++] = (int)fd;
  }
  return 0;
}

static long run_copy(struct copy* copy, struct plan_context* context, const struct blob* slots) {
  static struct layers layers;
  struct facts facts, there;
  layers.count = 0;
  long rc = open_layers(context, slots, &layers, &facts);
  long target = rc < 0 ? rc : open_directory(copy->root, ".", false, &there);
  rc = target < 0 ? target : copy_directory(copy, &layers, &facts, (int)target, 0);
  if (target >= 0)
    sys(close, target);
  close_layers(&layers);
  return rc;
}

static long with_memory(struct copy* copy, struct plan_context* context, const struct blob* slots) {
  long rc = contents_open(&copy->contents);
  if (rc >= 0)
    rc = arena_open(&copy->names, ARENA_MOST);
  if (rc >= 0)
    rc = links_open(&copy->links);
  if (rc >= 0)
    rc = run_copy(copy, context, slots);
  links_close(&copy->links);
  arena_close(&copy->names);
  contents_close(&copy->contents);
  return rc;
}

// ints: slot of the target, flags, slot of a pipe for what is counted or all ones, what ids of the source are more than
// the target's; blobs: slots of the layers, topmost first (u32 each)
long step_copy_tree(struct plan_context* context, const struct record* step) {
  int target = slot_fd(context, step->ints[0]);
  int report = step->ints[2] == ~(u64)0 ? -1 : slot_fd(context, step->ints[2]);
  const struct blob* slots = &step->blobs[0];
  u32 count = slots->length / 4;
  if (target < 0 || report == -EBADF)
    return -EBADF;
  if (count == 0 || count > MOST_LAYERS || (step->ints[1] & COPY_MARKS && count > 1))
    return -EINVAL;
  struct copy copy = {
      .contents = {.flags = step->ints[1], .shift = step->ints[3]},
      .root = target,
      .report = report,
  };
  path_leave(&path, 0);
  // Every level of the tree is open in each of its layers.
  struct {
    u64 soft, hard;
  } before, most;
  long raised = sys(prlimit64, 0, RLIMIT_NOFILE, 0, &before);
  most.soft = most.hard = before.hard;
  if (raised >= 0)
    raised = sys(prlimit64, 0, RLIMIT_NOFILE, &most, 0);
  long mask = sys(umask, 0);
  long rc = with_memory(&copy, context, slots);
  sys(umask, mask);
  if (raised >= 0)
    sys(prlimit64, 0, RLIMIT_NOFILE, &before, 0);
  if (rc < 0) {
    size_t length = path.length;
    explain(context, DETAIL_NONE, path.text + (length >= FAILURE_TEXT ? length - FAILURE_TEXT + 1 : 0));
    return rc;
  }
  return tell(&copy);
}
