// The files that tell what a container uses, read for Node, which knows what they mean.
#include "containers.h"

enum { MAX_STAT_FILES = 48, STAT_BUFFER = 60 * 1024 };

struct stat_file {
  u8 hierarchy;
  char name[63];
};

static struct stat_file stat_files[MAX_STAT_FILES];
static int stat_file_count;

void remember_stat_files(const struct blob* records) {
  struct cursor cursor = {.at = records->data, .end = records->data + records->length};
  struct record r;
  while (next_record(&cursor, &r) == 1 && stat_file_count < MAX_STAT_FILES && r.nints == 1 && r.nblobs == 1)
    if (r.blobs[0].length < sizeof stat_files[0].name) {
      stat_files[stat_file_count].hierarchy = (u8)r.ints[0];
      memcpy(stat_files[stat_file_count++].name, r.blobs[0].data, r.blobs[0].length + 1);
    }
}

struct blob read_stats(const struct container* c) {
  static _Alignas(8) char out[STAT_BUFFER];
  static char text[16 * 1024];
  struct writer w = {.buf = out, .cap = sizeof out};
  for (int i = 0; i < stat_file_count; i++) {
    const struct stat_file* file = &stat_files[i];
    if (file->hierarchy >= MAX_HIERARCHIES || c->dirs[file->hierarchy] < 0)
      continue;
    long n = read_file(c->dirs[file->hierarchy], file->name, text, sizeof text);
    u64 index = (u64)i;
    struct blob content = {.data = text, .length = (u32)n};
    if (n >= 0)
      put_record(&w, 1, 1, &index, 1, &content);
  }
  return (struct blob){.data = out, .length = (u32)w.len};
}
