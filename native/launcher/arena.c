#include "arena.h"

long arena_open(struct arena* arena, size_t size) {
  // PROT_READ | PROT_WRITE; MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE
  long at = sys(mmap, 0, size, 3, 0x4022, -1, 0);
  *arena = (struct arena){.base = at < 0 && at > -4096 ? 0 : (char*)at, .size = size};
  return arena->base ? 0 : at;
}

void arena_close(struct arena* arena) {
  if (arena->base)
    sys(munmap, arena->base, arena->size);
  arena->base = 0;
}

void* arena_take(struct arena* arena, size_t n) {
  n = (n + 7) & ~(size_t)7;
  if (n > arena->size - arena->used)
    return 0;
  void* at = arena->base + arena->used;
  arena->used += n;
  return at;
}
