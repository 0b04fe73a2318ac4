// Spares: containers made ahead, while there is nothing else to do. All that is the same for the next container is done
// in them, the whole of `image: 'host'` for one; what is its own (limits, mounts of the caller's, names) is added when
// it is asked for. A spare is used once, like any other container, and given up when nobody has asked for a while.
#include "containers.h"

enum { MAX_COMMON = 32 * 1024, MAX_MAPS = 16 * 1024 };

static int spares;
static u64 spares_until; // when they are given up, in milliseconds of CLOCK_MONOTONIC; 0: none are wanted

// What the last container was like. A second one of the same kind makes a third likely, and worth preparing for.
static struct recipe expected;
static bool known;
static _Alignas(8) char host_steps[MAX_COMMON], init_steps[MAX_COMMON], map_records[MAX_MAPS];

static bool same_bytes(const struct blob* a, const struct blob* b) {
  return a->length == b->length && memcmp(a->data, b->data, a->length) == 0;
}

static bool is_expected(const struct recipe* recipe) {
  return known && recipe->clone_flags == expected.clone_flags && recipe->mask == expected.mask &&
         recipe->map_mode == expected.map_mode && same_bytes(&recipe->host, &expected.host) &&
         same_bytes(&recipe->init, &expected.init) && same_bytes(&recipe->maps, &expected.maps);
}

// Called when there is nothing else to do.
void make_spare(void) {
  struct creation creation = {.container = new_container(&expected)};
  if (creation.container && give_birth(&creation, &expected, 0) >= 0) {
    spares++;
    return;
  }
  if (creation.container)
    give_up(creation.container);
  give_up_spares(); // no sense in trying again; a real request will report why
}

void give_up_spares(void) {
  for (int i = 0; i < container_high; i++)
    if (containers[i].state == SPARE) {
      containers[i].state = RUNNING; // of nobody; it is cleaned up when it has been reaped
      give_up(&containers[i]);
    }
  spares = 0;
  spares_until = 0;
}

struct container* take_spare(const struct recipe* recipe) {
  if (!is_expected(recipe))
    return 0;
  for (int i = 0; i < container_high; i++)
    if (containers[i].state == SPARE) {
      spares--;
      return &containers[i];
    }
  return 0;
}

// A v1 cpuset cannot be joined before it is configured, so a container that is placed in one has no spare.
static bool can_be_made_ahead(const struct recipe* recipe) {
  for (int h = 0; h < hierarchy_count; h++)
    if (recipe->mask >> h & 1 && hierarchies[h].late)
      return false;
  return true;
}

void expect_another(const struct recipe* recipe) {
  if (is_expected(recipe)) {
    spares_until = now() + SPARE_LIFE_MS;
    return;
  }
  give_up_spares();
  expected = *recipe;
  known = recipe->map_mode != MAP_BOTH && can_be_made_ahead(recipe) &&
          keep_blob(&recipe->maps, map_records, MAX_MAPS, &expected.maps) &&
          keep_blob(&recipe->host, host_steps, MAX_COMMON, &expected.host) &&
          keep_blob(&recipe->init, init_steps, MAX_COMMON, &expected.init);
}

void spare_died(void) {
  spares--;
  give_up_spares();
}

u64 spares_expire(void) {
  return spares_until;
}

bool spares_wanted(void) {
  return spares < MAX_SPARES;
}
