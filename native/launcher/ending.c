// The end of a container: killed, reaped, reported, and taken off the host.
#include "containers.h"
#include "rmtree.h"
#include <linux/sched.h>

enum { WNOHANG = 1, WALL = 0x40000000, CLEANUP_TRIES = 5000 }; // ten seconds of what does not go away
enum { REMOVER_PAUSE_MS = 100 };

void kill_container(const struct container* c) {
  int h = unified();
  if (h >= 0 && c->dirs[h] >= 0)
    cgroup_kill(c->dirs[h]);
  // Our own unreaped child: the number cannot have been given to another process.
  if (c->pid > 0)
    sys(kill, c->pid, SIGKILL);
}

// What was written is of no use any more: without this, taking the last mount away would write all of it to disk first.
// EXT4_IOC_SHUTDOWN (Linux 4.11) without flushing; a file system that is not shut down ends in the usual way.
static void end_file_system(int root) {
  u32 how = 2; // EXT4_GOING_FLAGS_NOLOGFLUSH
  sys(ioctl, root, 0x8004587d, &how);
}

// A container may leave as many files as it likes, and its own file system may have much to do; taking them away is a
// process of its own, so that the others do not wait. It keeps nothing that another container's end could wait for.
static int start_remover(struct container* c) {
  char name[NAME_LENGTH]; // the copy of the launcher's data that a child gets is empty
  memcpy(name, c->name, sizeof name);
  const int kept[] = {c->home >= 0 ? c->home : state_dir, c->bounded, c->mounts};
  bool stored = c->stored;
  int users = c->users;
  struct clone_args args = {.exit_signal = SIGCHLD};
  long pid = sys(clone3, &args, sizeof args);
  if (pid == 0) {
    // The directories may be closed to their owner by their mode, as the overlay's own are, and the owner another id.
    if (users >= 0 && sys(setns, users, CLONE_NEWUSER) < 0)
      exit_now(1);
    for (int i = 0; i < 3; i++)
      if (kept[i] < 0 || sys(dup3, kept[i], i, O_CLOEXEC) < 0)
        sys(close, i);
    sys(close_range, 3, ~0u, 0);
    end_file_system(1);
    sys(close, 1);
    sys(close, 2);
    long rc = stored ? remove_tree(0, name) : 0;
    exit_now(rc < 0 && rc != -ENOENT); // someone else may have removed it, or all that it was in
  }
  return pid < 0 ? 0 : (int)pid;
}

static bool clean_up(struct container* c) {
  bool done = true;
  if (c->bounded >= 0 && !c->remover) {
    c->remover = start_remover(c);
    if (!c->remover)
      end_file_system(c->bounded);
    close_fd(&c->bounded);
  }
  close_fd(&c->mounts);
  for (int h = 0; h < hierarchy_count; h++) {
    if (c->dirs[h] < 0)
      continue;
    if (cgroup_remove(hierarchies[h].base, c->name) < 0)
      done = false;
    else
      close_fd(&c->dirs[h]);
  }
  // What cannot be removed now may be able to later, but not for ever: sweep() finds what is left.
  if (c->stored && !c->remover && now() >= c->again) {
    c->remover = start_remover(c);
    c->again = now() + REMOVER_PAUSE_MS;
  }
  if (c->remover)
    return false;
  if ((!done || c->stored) && ++c->tries < CLEANUP_TRIES)
    return false;
  for (int h = 0; h < hierarchy_count; h++)
    close_fd(&c->dirs[h]);
  close_fd(&c->home);
  close_fd(&c->users);
  range_release(c->range);
  c->state = FREE;
  while (container_high > 0 && containers[container_high - 1].state == FREE)
    container_high--;
  return true;
}

bool clean_up_dead(void) {
  bool left = false;
  for (int i = 0; i < container_high; i++)
    if (containers[i].state == DEAD && containers[i].pid == 0 && !clean_up(&containers[i]))
      left = true;
  return left;
}

static void forget_watches(struct container* c) {
  unwatch(c->oom);
  close_fd(&c->oom);
  close_fd(&c->oom_counter);
  close_fd(&c->setup);
}

static void report_gone(struct container* c) {
  if (c->reported)
    return;
  c->reported = true;
  struct blob stats = read_stats(c);
  u64 ints[] = {c->id, (u64)(u32)c->wait_status};
  send_to(c, MSG_GONE, 2, ints, 1, &stats);
}

void reap(void) {
  int status;
  long pid;
  while ((pid = sys(wait4, -1, &status, WNOHANG | WALL, 0)) > 0)
    for (int i = 0; i < container_high; i++) {
      struct container* c = &containers[i];
      if (c->state == DEAD && c->remover == pid) {
        c->remover = 0;
        c->stored = status != 0;
        break;
      }
      if (c->state == FREE || c->pid != pid)
        continue;
      c->pid = 0;
      c->wait_status = status;
      if (c->state == SPARE)
        spare_died(), c->reported = true;
      forget_watches(c);
      if (c->agent)
        strays_end(); // before Node hears that it is gone
      report_gone(c);
      c->state = DEAD;
      break;
    }
  strays_end();
}

void give_up(struct container* c) {
  c->reported = true;
  kill_container(c);
  if (c->pid == 0) {
    forget_watches(c);
    c->state = DEAD;
  }
}

// ---- out of memory

// The kernel has killed one process of the container, or is about to. The others go with it: half a job is worse than
// none.
void on_oom(struct container* c) {
  u64 count;
  bool v2 = c->oom_counter < 0;
  if (v2) {
    static char events[1024];
    sys(lseek, c->oom, 0, 0);
    long n = sys(read, c->oom, events, sizeof events - 1);
    const char* at = events;
    events[n > 0 ? n : 0] = 0;
    while (*at && memcmp(at, "\noom_kill ", 10) != 0)
      at++;
    u64 kills = *at ? number_parse(at + 10, events + n) : 0;
    if (kills <= c->oom_kills)
      return; // a limit was touched, nobody killed
    c->oom_kills = kills;
  } else if (sys(read, c->oom, &count, sizeof count) < 0) {
    // Not ours: a child forked just before may keep the watch of an earlier container in this place alive, and the
    // removal of that cgroup signals its eventfd once more.
    return;
  }
  send_record(c->setup, MSG_KILL_ALL, 0, 0, 0, 0, 0, 0);
  u64 id = c->id;
  send_to(c, MSG_OOM, 1, &id, 0, 0);
}

// ---- what dead launchers left

static void reclaim_directory(int base, bool cgroup, u64* removed) {
  long dir = sys(openat, base, ".", O_DIRECTORY | O_CLOEXEC, 0);
  if (dir < 0)
    return;
  const struct directory_entry* entry;
  static _Alignas(8) char buf[32 * 1024];
  long got;
  while ((got = sys(getdents64, dir, buf, sizeof buf)) > 0)
    for (long at = 0; at < got; at += entry->reclen) {
      entry = (const void*)(buf + at);
      if (!identity_is_dead(entry->name))
        continue;
      long rc;
      if (cgroup) {
        long victim = sys(openat, base, entry->name, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
        cgroup_kill((int)victim);
        sys(close, victim);
        rc = cgroup_remove(base, entry->name);
      } else {
        rc = remove_tree(base, entry->name);
      }
      *removed += rc >= 0;
    }
  sys(close, dir);
}

void reclaim_trees(int dir) {
  u64 removed = 0;
  reclaim_directory(dir, false, &removed);
}

void on_reclaim(int client, u64 request) {
  u64 removed = 0;
  configure_again(); // another launcher may have removed, and made again, a base that nothing of ours was in
  for (int h = 0; h < hierarchy_count; h++)
    if (hierarchies[h].base >= 0)
      reclaim_directory(hierarchies[h].base, true, &removed);
  // An ordinary user's directories take a user namespace, and so an agent.
  if (state_dir >= 0 && sys(geteuid) == 0)
    reclaim_directory(state_dir, false, &removed);
  reply(client, request, (long)removed, 0, 0);
}
