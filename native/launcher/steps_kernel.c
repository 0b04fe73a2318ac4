// Steps that set what the kernel keeps for each namespace: sysctl values, the offsets of clocks, the domain name.
#include "steps.h"
#include <linux/openat2.h>

enum { MAX_VALUE = 2048, NANOSECONDS = 1000000000 };
enum { RESOLVE_KERNEL = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV };

static bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\n';
}

// Whether two texts have the same words: the kernel separates numbers by tabs, whatever was written.
static bool same_words(const char* a, const char* b) {
  for (;;) {
    while (is_space(*a))
      a++;
    while (is_space(*b))
      b++;
    if (!*a || !*b)
      return *a == *b;
    while (*a && !is_space(*a))
      if (*a++ != *b++)
        return false;
    if (*b && !is_space(*b))
      return false;
  }
}

static long read_setting(int root, const char* path, char* text, size_t cap) {
  long fd = open_beneath(root, path, O_CLOEXEC | O_NOFOLLOW, 0, RESOLVE_KERNEL);
  if (fd < 0)
    return fd;
  long n = sys(read, fd, text, cap - 1);
  sys(close, fd);
  text[n > 0 ? n : 0] = 0;
  return n;
}

static long write_setting(int root, const char* path, const struct blob* value) {
  long fd = open_beneath(root, path, O_WRONLY | O_CLOEXEC | O_NOFOLLOW, 0, RESOLVE_KERNEL);
  if (fd < 0)
    return fd;
  long n = sys(write, fd, value->data, value->length); // a setting takes its value at once or not at all
  sys(close, fd);
  return n;
}

// ints: slot of a procfs, whether a refusal counts for nothing; blobs: path, value. On the very mount that the slot is,
// and read back: nothing can stand in for the file (security B1).
long step_sysctl(struct plan_context* context, const struct record* step) {
  int root = slot_fd(context, step->ints[0]);
  const char* path = step->blobs[0].data;
  const struct blob* value = &step->blobs[1];
  char text[MAX_VALUE];
  if (root < 0)
    return -EBADF;
  long rc = read_setting(root, path, text, sizeof text);
  if (rc < 0 || !same_words(text, value->data)) {
    if (rc >= 0)
      rc = write_setting(root, path, value);
    if (rc >= 0)
      rc = read_setting(root, path, text, sizeof text);
    if (rc >= 0 && !same_words(text, value->data)) {
      for (size_t n = text_length(text); n > 0 && is_space(text[n - 1]); n--)
        text[n - 1] = 0;
      explain(context, DETAIL_NOT_APPLIED, text);
      rc = -EINVAL;
    }
  }
  return rc < 0 && !step->ints[1] ? rc : 0;
}

long step_set_domain_name(struct plan_context* context, const struct record* step) {
  (void)context;
  return sys(setdomainname, step->blobs[0].data, step->blobs[0].length);
}

static size_t clock_line(char* text, size_t cap, size_t n, const char* clock, const u64* offset) {
  i64 seconds = (i64)offset[0];
  n = text_append(text, cap, n, clock);
  n = text_append(text, cap, n, seconds < 0 ? " -" : " ");
  n = number_append(text, cap, n, seconds < 0 ? (u64)-seconds : (u64)seconds);
  n = number_append(text, cap, text_append(text, cap, n, " "), offset[1]);
  return text_append(text, cap, n, "\n");
}

// ints: slot of the process's own directory in a procfs; seconds and nanoseconds of the monotonic clock, and of the one
// since boot; nanoseconds are never negative. For the namespace that children will be in, which must be new
// (time_namespaces(7)).
long step_time_offsets(struct plan_context* context, const struct record* step) {
  char wanted[160], now[160];
  int process = slot_fd(context, step->ints[0]);
  size_t n = clock_line(wanted, sizeof wanted, 0, "monotonic", &step->ints[1]);
  n = clock_line(wanted, sizeof wanted, n, "boottime", &step->ints[3]);
  if (process < 0)
    return -EBADF;
  if (step->ints[2] >= NANOSECONDS || step->ints[4] >= NANOSECONDS)
    return -EINVAL;
  long rc = write_file(process, "timens_offsets", wanted, n);
  if (rc >= 0)
    rc = read_file(process, "timens_offsets", now, sizeof now);
  if (rc >= 0 && !same_words(wanted, now)) {
    explain(context, DETAIL_NOT_APPLIED, "offsets");
    return -EPERM;
  }
  return rc;
}
