// The launcher's own data: who asked, and what runs.
#pragma once

#include "launcher.h"

enum { MAX_SPARES = 2, SPARE_LIFE_MS = 500, MAX_BUSY_GROUPS = 64, SIGCHLD = 17, SIGKILL = 9 };

// A spare is a container that nobody has asked for yet: namespaces, id maps and cgroups, and an init that waits.
enum container_state { FREE, SPARE, RUNNING, DEAD };

struct container {
  u8 state;
  bool reported; // Node has been told, or must not be
  bool agent;
  int client;
  u32 id;
  int pid;
  int setup;  // socket to init
  int mounts; // its mount namespace, held so that taking it apart is not part of init's exit
  long range;
  u64 clone_flags;
  u32 mask; // hierarchies it has a cgroup in
  u64 map_mode;
  int dirs[MAX_HIERARCHIES];
  int oom, oom_counter;
  u64 oom_kills; // seen so far, v2
  bool stored;   // has a directory on disk
  int home;      // where it is, -1: in state_dir
  int users;     // its user namespace, where it takes its root to remove that directory, -1: it does not
  int bounded;   // the root of the file system that is its alone, -1: none
  int remover;   // the process that removes it
  u64 again;     // when the next one may try, in milliseconds
  u32 next_group;
  u32 busy_groups[MAX_BUSY_GROUPS]; // of execs that have ended, and something they started has not
  u32 tries;
  int wait_status;
  char name[NAME_LENGTH];
};

extern struct container containers[MAX_CONTAINERS];
extern int container_high; // all from here on are free
extern int state_dir;

// launcher.c: talking to the clients, and being woken.
enum tag { TAG_CONTROL = 1, TAG_SIGNAL = 2, TAG_CLIENT = 3, TAG_OOM = 4 };
enum { EPOLL_IN = 1, EPOLL_PRI = 2, EPOLL_OUT = 4 };
void watch(int fd, enum tag tag, u32 index, u32 events);
void rewatch(int fd, enum tag tag, u32 index, u32 events);
void unwatch(int fd);
void send_to(const struct container* c, u16 op, u8 nints, const u64* ints, u8 nblobs, const struct blob* blobs);
void reply(int client, u64 request, long result, const struct blob* content, const int* fd);
struct container* find(int client, u64 id);
u64 now(void); // milliseconds of CLOCK_MONOTONIC

// clients.c
void clients_start(void);
bool any_client(void);
bool client_add(int socket);
int client_socket(int client);
void client_send(int client, u16 op, u8 nints, const u64* ints, u8 nblobs, const struct blob* blobs, const int* fd);
void client_flush(int client);
void drop_client(int client);

// configuration.c: what Node says about the host.
void configure(const struct record* hello);
bool configure_again(void); // after another launcher has removed the directories; false: never configured
void leave_host(void);      // removes the directories that are empty
int unified(void);          // the index of the v2 hierarchy, -1: there is none

// statistics.c
void remember_stat_files(const struct blob* records);
struct blob read_stats(const struct container* c);

// groups.c: a cgroup for each exec.
void on_group(int client, struct container* c, u64 request);
void on_ungroup(struct container* c, u64 number);

// creation.c, spare.c
struct creation {
  struct container* container;
  const struct container *into, *from; // those that an agent copies between
  u32 stage, index;
  long error;
  const char* text;
};
// What containers of one kind have in common, steps included.
struct recipe {
  u64 clone_flags;
  u32 mask;
  u64 map_mode;
  bool agent;
  struct blob host, init;
  struct blob maps; // of MAP_GIVEN and MAP_HELPED
};
void on_create(int client, struct message* message);
struct container* new_container(const struct recipe* recipe);
long give_birth(struct creation* creation, const struct recipe* recipe, const struct blob* writes);
struct container* take_spare(const struct recipe* recipe);
void expect_another(const struct recipe* recipe);
void make_spare(void);
void give_up_spares(void);
void spare_died(void);
u64 spares_expire(void); // when spares are given up, 0: none are wanted
bool spares_wanted(void);

// map_helper.c. `file` is what failed; what it said about it, empty if nothing.
long map_by_helpers(int pid, const struct record* maps, const char** file);
const char* map_helper_said(void);

// strays.c
void strays_expect(void);
void strays_end(void);
bool strays_left(void);

// ending.c
void kill_container(const struct container* c);
void give_up(struct container* c);
bool clean_up_dead(void); // whether something is left to clean up
void reap(void);
void on_oom(struct container* c);
void on_reclaim(int client, u64 request);
