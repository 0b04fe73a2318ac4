// A cgroup of its own for each exec in a container that lives on, so that all that it starts can be ended.
#include "containers.h"

static size_t group_name(char name[32], u64 number) {
  return number_append(name, 32, text_append(name, 32, 0, "x"), number);
}

// A cgroup of its own for one exec, so that all that it starts can be ended, wherever it hides. It belongs to the
// container's root for one purpose: clone3(CLONE_INTO_CGROUP) by init asks for write access to `cgroup.procs` of both
// ends. Inside, the cgroup file system is mounted read-only, so nothing there can use that.
void on_group(int client, struct container* c, u64 request) {
  int h = unified();
  long rc = -ENOENT, dir = -1;
  if (c && h >= 0 && c->dirs[h] >= 0) {
    char name[32];
    group_name(name, ++c->next_group);
    rc = sys(mkdirat, c->dirs[h], name, 0755);
    dir = rc < 0 ? rc : sys(openat, c->dirs[h], name, O_DIRECTORY | O_CLOEXEC, 0);
    u64 owner = range_base(c->range);
    if (dir >= 0 && c->range >= 0) {
      sys(fchownat, dir, "cgroup.procs", owner, owner, AT_SYMLINK_NOFOLLOW);
      sys(fchownat, c->dirs[h], "cgroup.procs", owner, owner, AT_SYMLINK_NOFOLLOW);
    }
    rc = dir < 0 ? dir : (long)c->next_group;
  }
  int fd = (int)dir;
  reply(client, request, rc, 0, dir >= 0 ? &fd : 0);
  close_fd(&fd);
}

static bool remove_group(int dir, u64 number) {
  char name[32];
  group_name(name, number);
  long rc = sys(unlinkat, dir, name, AT_REMOVEDIR);
  return rc >= 0 || rc == -ENOENT;
}

// What is still busy is tried again with the next one; what never empties goes with the container.
void on_ungroup(struct container* c, u64 number) {
  int h = unified();
  if (!c || h < 0 || c->dirs[h] < 0)
    return;
  bool kept = remove_group(c->dirs[h], number);
  for (int i = 0; i < MAX_BUSY_GROUPS; i++) {
    u32* busy = &c->busy_groups[i];
    if (*busy && remove_group(c->dirs[h], *busy))
      *busy = 0;
    if (!*busy && !kept) {
      *busy = (u32)number;
      kept = true;
    }
  }
}
