// Each container has a range of host user ids of its own. Who holds which is one byte each in a lock file (open file
// description locks, fcntl(2)): the kernel drops them with the launcher, however it ends.
#include "launcher.h"

enum { F_OFD_SETLK = 37, F_WRLCK = 1, F_UNLCK = 2, MAX_RANGES = 8192 };

static u64 base, count, size;
static int lock_fd = -1;
static u64 next;
static u8 held[MAX_RANGES];

void ranges_configure(u64 first, u64 number, u64 width, const char* lock_file) {
  if (lock_fd >= 0)
    return;
  base = first;
  count = number < MAX_RANGES ? number : MAX_RANGES;
  size = width;
  lock_fd = (int)sys(openat, AT_FDCWD, lock_file, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
  // Start somewhere else than the other launchers, so that they do not try the same bytes one after the other.
  next = count ? (u64)sys(getpid) * 37 % count : 0;
}

static long lock(u64 range, u16 type) {
  struct {
    u16 type, whence;
    i64 start, length;
    u32 pid;
  } request = {.type = type, .start = (i64)range, .length = 1};
  return sys(fcntl, lock_fd, F_OFD_SETLK, &request);
}

long range_take(void) {
  if (lock_fd < 0)
    return lock_fd;
  for (u64 tried = 0; tried < count; tried++) {
    u64 range = next;
    next = (next + 1) % count; // never the one that was just given back
    if (held[range] || lock(range, F_WRLCK) < 0)
      continue;
    held[range] = 1;
    return (long)range;
  }
  return -ENOSPC;
}

void range_release(long range) {
  if (range < 0)
    return;
  held[range] = 0;
  lock((u64)range, F_UNLCK);
}

u64 range_base(long range) {
  return base + (u64)range * size;
}

u64 range_size(void) {
  return size;
}
