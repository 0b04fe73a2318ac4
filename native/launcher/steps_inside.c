// Directories that an image names, in a root that is put together: links are followed as a program inside would follow
// them, so that none leads out, and what is missing is made, also behind a link that dangles.
#include "steps.h"
#include <linux/openat2.h>

enum { INSIDE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS, ALONE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS };
enum { LINKS = 40, LONGEST = 4096 };

// Nothing else changes the root meanwhile: no program runs in it yet.
struct place {
  char text[LONGEST];
  char link[LONGEST];
  char joined[LONGEST];
};

// In place of the link that is the component from `start` to `end`: what it says, and what follows after it.
static long follow(struct place* place, int dir, size_t start, size_t end) {
  char name[256];
  memcpy(name, place->text + start, end - start);
  name[end - start] = 0;
  long n = sys(readlinkat, dir, name, place->link, sizeof place->link - 1);
  if (n < 0)
    return n;
  place->link[n] = 0;
  size_t length = 0;
  if (place->link[0] != '/') {
    memcpy(place->joined, place->text, start);
    length = start;
  }
  place->joined[length] = 0;
  if (length + (size_t)n + text_length(place->text + end) >= sizeof place->joined)
    return -ENAMETOOLONG;
  length = text_append(place->joined, sizeof place->joined, length, place->link);
  length = text_append(place->joined, sizeof place->joined, length, place->text + end);
  memcpy(place->text, place->joined, length + 1);
  return 0;
}

// The component from `start` to `end`, which `dir` has not, or only as a link that leads nowhere.
static long make_component(struct place* place, int dir, size_t start, size_t end, u32 mode, bool* again) {
  char name[256];
  if (end - start > 255)
    return -ENAMETOOLONG;
  memcpy(name, place->text + start, end - start);
  name[end - start] = 0;
  long rc = sys(mkdirat, dir, name, mode);
  if (rc == -EEXIST) {
    *again = true;
    return follow(place, dir, start, end);
  }
  return rc < 0 ? rc : open_beneath(dir, name, O_PATH | O_NOFOLLOW | O_DIRECTORY, 0, ALONE);
}

// One component after another, each opened anew from the root, so that `..` behind a link is what the kernel makes of
// it. Returns a descriptor of the directory; `again` is set where a link has been put into the text.
static long walk(int root, struct place* place, u32 mode, bool* again) {
  long here = open_beneath(root, ".", O_PATH | O_DIRECTORY, 0, ALONE);
  size_t start = 0;
  while (here >= 0) {
    while (place->text[start] == '/')
      start++;
    if (!place->text[start])
      return here;
    size_t end = start;
    while (place->text[end] && place->text[end] != '/')
      end++;
    char after = place->text[end];
    place->text[end] = 0;
    long next = open_beneath(root, place->text, O_PATH | O_DIRECTORY, 0, INSIDE);
    place->text[end] = after;
    if (next == -ENOENT)
      next = make_component(place, (int)here, start, end, mode, again);
    sys(close, here);
    if (*again)
      return next;
    here = next;
    start = end;
  }
  return here;
}

static bool same_directory(int one, int other) {
  struct stat_facts a, b;
  return stat_of(one, "", AT_EMPTY_PATH, &a) < 0 || stat_of(other, "", AT_EMPTY_PATH, &b) < 0 ||
         (a.ino == b.ino && a.dev_major == b.dev_major && a.dev_minor == b.dev_minor);
}

// ints: dst or all ones, root, mode of what is made; blobs: path. With a dst, what comes of it is to be mounted on, and
// the root itself is refused.
long step_directory_inside(struct plan_context* context, const struct record* step) {
  static struct place place;
  int root = slot_fd(context, step->ints[1]);
  if (root < 0)
    return -EBADF;
  if (step->blobs[0].length >= sizeof place.text)
    return -ENAMETOOLONG;
  memcpy(place.text, step->blobs[0].data, step->blobs[0].length + 1);
  long fd = -ELOOP;
  for (int links = 0; links < LINKS; links++) {
    bool again = false;
    fd = walk(root, &place, (u32)step->ints[2], &again);
    if (!again || fd < 0)
      break;
    fd = -ELOOP;
  }
  if (fd < 0 || step->ints[0] == ~(u64)0) {
    if (fd >= 0)
      sys(close, fd);
    return fd < 0 ? fd : 0;
  }
  if (same_directory((int)fd, root)) {
    sys(close, fd);
    return -EBUSY;
  }
  return set_slot(context, step->ints[0], fd);
}
