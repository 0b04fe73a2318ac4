// Spares: containers made ahead, while there is nothing else to do, so that the next one starts with the slow half of
// its making done. They are used once, like any other, and given up when nobody has asked for a while.
#include "containers.h"

static int spares;
static u64 spares_until;              // when they are given up, in milliseconds of CLOCK_MONOTONIC; 0: none are wanted
static struct container last_request; // what the next one will probably be like

// Called when there is nothing else to do: the next container then starts with the slow half of its making done.
void make_spare(void) {
  struct creation creation = {.container =
                                  new_container(last_request.clone_flags, last_request.mask, last_request.map_mode)};
  if (!creation.container) {
    spares_until = 0;
    return;
  }
  if (give_birth(&creation, 0) < 0) {
    give_up(creation.container);
    spares_until = 0; // no sense in trying again; a real request will report why
    return;
  }
  spares++;
}

void give_up_spares(void) {
  for (int i = 0; i < container_high; i++)
    if (containers[i].state == SPARE)
      give_up(&containers[i]), containers[i].state = containers[i].pid ? RUNNING : DEAD;
  spares = 0;
  spares_until = 0;
}

struct container* take_spare(u64 clone_flags, u32 mask, u64 map_mode) {
  for (int i = 0; i < container_high; i++) {
    struct container* c = &containers[i];
    if (c->state != SPARE || c->clone_flags != clone_flags || c->mask != mask || c->map_mode != map_mode)
      continue;
    spares--;
    return c;
  }
  return 0;
}

// The next request will probably be like this one. A v1 cpuset cannot be joined before it is configured, so a container
// that is placed in one has no spare.
void expect_another(const struct container* c) {
  for (int h = 0; h < hierarchy_count; h++)
    if (c->mask >> h & 1 && hierarchies[h].late)
      return;
  last_request = *c;
  spares_until = now() + SPARE_LIFE_MS;
}

void spare_died(void) {
  spares--;
}

u64 spares_expire(void) {
  return spares_until;
}

bool spares_wanted(void) {
  return spares < MAX_SPARES;
}
