// What a file has in it and what is known about it, copied from one descriptor to another.
#pragma once
#include "steps.h"
#include "tree.h"

enum copy_flag { COPY_MARKS = 1, COPY_DEVICES = 2 };

struct contents {
  u64 flags, shift;        // shift: what ids of the source are more than those of the target
  bool no_clone, no_range; // what these file systems cannot do is not tried again
  struct arena memory;
  char *buffer, *list, *value;
  u64 bytes, shared; // counted so far
};

long contents_open(struct contents* contents);
void contents_close(struct contents* contents);

// A regular file, whole.
long copy_file_contents(struct contents* contents, int from, int to, const struct facts* facts);
// Owner, attributes, mode and time: the last that is done to a file, or a directory.
long copy_facts(struct contents* contents, int from, int to, const struct facts* facts);
// The same for what is never opened: links, FIFOs, sockets, devices.
long copy_facts_by_name(const struct contents* contents, int dir, const char* name, const struct facts* facts);
