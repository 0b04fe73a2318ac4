// The launcher: one process for one Node process. It makes cgroups and namespaces, starts the init of each container,
// and removes everything when a container ends or Node is gone.
#pragma once

#include "steps.h"

enum { MAX_HIERARCHIES = 12, MAX_CLIENTS = 128, MAX_CONTAINERS = 4096, NAME_LENGTH = 96 };

_Noreturn void launcher_main(int control);

// start.c: init's children get a copy of its memory, unlike the launcher's.
void own_memory(void);

// What a process of ours is born as.
struct birth {
  int setup;        // socket to the launcher
  const int* tasks; // files of the v1 cgroups to join
  int ntasks;
  bool agent;
  bool hidden; // becomes undumpable once the id maps are written
  char name[NAME_LENGTH];
};
// The child side of the clone: pid 1 of a container, or an agent. Never returns.
_Noreturn void init_main(const struct birth* birth);

// cgroup.c: the container's directories in the cgroup hierarchies.
struct hierarchy {
  int base; // O_PATH descriptor of the directory that our cgroups are made in, -1: not usable
  u8 version;
  bool memory; // the memory controller is here
  bool late;   // cannot be joined before it is configured (v1 cpuset)
};
extern struct hierarchy hierarchies[MAX_HIERARCHIES];
extern int hierarchy_count;

long cgroup_make(int hierarchy, const char* name);           // a descriptor of the new directory
long cgroup_remove(int base, const char* name);              // 0, or -EBUSY while something is in it
long cgroup_watch_oom(int hierarchy, int dir, int* counter); // a descriptor that polls ready at an OOM kill
void cgroup_kill(int dir);

// identity.c: what this launcher is called, so that what a dead one left can be told apart.
void identity_start(void);
size_t identity_name(char name[NAME_LENGTH], u64 number);
// Whether a name was given by a launcher that is not alive any more.
bool identity_is_dead(const char* name);

// ending.c: removes from a directory what containers of dead launchers have left in it.
void reclaim_trees(int dir);

// ranges.c: 65,536 host ids for each container, locked against other launchers.
void ranges_configure(u64 base, u64 count, u64 size, const char* lock_file);
long range_take(void); // its number, or negative
void range_release(long range);
u64 range_base(long range);
u64 range_size(void);
