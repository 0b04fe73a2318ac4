// Memory that grows by address and is given back all at once: lists of names, and what is remembered of hard links.
// It is reserved and not used until it is written to, and bounded, so that a hostile tree cannot take more.
#pragma once
#include "sys.h"

enum { ARENA_MOST = 256 * 1024 * 1024 };

struct arena {
  char* base;
  size_t used, size;
};
long arena_open(struct arena* arena, size_t size);
void arena_close(struct arena* arena);
// `n` bytes, aligned to 8; none where the bound is reached.
void* arena_take(struct arena* arena, size_t n);
