#include "launcher.h"

struct hierarchy hierarchies[MAX_HIERARCHIES];
int hierarchy_count;

long cgroup_make(int hierarchy, const char* name) {
  int base = hierarchies[hierarchy].base;
  if (base < 0)
    return -ENODEV;
  long rc = sys(mkdirat, base, name, 0755);
  return rc < 0 ? rc : sys(openat, base, name, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
}

// Children first: a cgroup with children cannot be removed, and ours are at most one level deep.
long cgroup_remove(int base, const char* name) {
  long rc = sys(unlinkat, base, name, AT_REMOVEDIR);
  if (rc >= 0 || rc == -ENOENT)
    return 0;
  long dir = sys(openat, base, name, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
  if (dir < 0)
    return dir;
  _Alignas(8) char buf[4096];
  long got;
  while ((got = sys(getdents64, dir, buf, sizeof buf)) > 0)
    for (long at = 0; at < got;) {
      struct directory_entry* entry = (struct directory_entry*)(buf + at);
      at += entry->reclen;
      if (entry->type == 4 && entry->name[0] != '.')
        sys(unlinkat, dir, entry->name, AT_REMOVEDIR);
    }
  sys(close, dir);
  return sys(unlinkat, base, name, AT_REMOVEDIR);
}

// cgroup.kill (Linux 5.14) takes the whole subtree, also against a fork bomb. A v1 directory, or an older kernel, has
// no such file; there the death of init, which ends the pid namespace, does the same for what runs in the container.
void cgroup_kill(int dir) {
  write_file(dir, "cgroup.kill", "1", 1);
}

// v2: memory.events itself polls with POLLPRI when a counter changes. v1: an eventfd registered through
// cgroup.event_control (Documentation/admin-guide/cgroup-v1/memory.rst, section 10).
long cgroup_watch_oom(int hierarchy, int dir, int* counter) {
  const char* file = hierarchies[hierarchy].version == 2 ? "memory.events" : "memory.oom_control";
  long fd = sys(openat, dir, file, O_CLOEXEC, 0);
  if (fd < 0 || hierarchies[hierarchy].version == 2)
    return fd;
  long event = sys(eventfd2, 0, O_CLOEXEC | O_NONBLOCK);
  if (event < 0) {
    sys(close, fd);
    return event;
  }
  char line[64];
  size_t n = number_append(line, sizeof line, 0, (u64)event);
  n = number_append(line, sizeof line, text_append(line, sizeof line, n, " "), (u64)fd);
  long rc = write_file(dir, "cgroup.event_control", line, n);
  *counter = (int)fd;
  if (rc < 0) {
    sys(close, event);
    close_fd(counter);
    return rc;
  }
  return event;
}
