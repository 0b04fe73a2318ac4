// What Node says about the host: where cgroups are made, which files tell about use, which ids may be given away.
#include "containers.h"

enum { MAX_CONFIGURATION = 32 * 1024 };

int state_dir = -1;
static bool configured;
// The first client's words. Another launcher may remove the directories when it is the last to leave.
static _Alignas(8) char prepare_records[MAX_CONFIGURATION], hierarchy_records[MAX_CONFIGURATION];
static struct blob prepare_blob, hierarchy_blob;

static void prepare(const struct blob* records) {
  struct cursor cursor = {.at = records->data, .end = records->data + records->length};
  struct record r;
  // op 1: make a directory; op 2: write a file. Failures show when a container needs what is missing.
  while (next_record(&cursor, &r) == 1)
    if (r.op == 1 && r.nblobs == 1)
      sys(mkdirat, AT_FDCWD, r.blobs[0].data, r.nints ? r.ints[0] : 0755);
    else if (r.op == 2 && r.nblobs == 2)
      write_file(AT_FDCWD, r.blobs[0].data, r.blobs[1].data, r.blobs[1].length);
}

static void open_hierarchies(const struct blob* records) {
  for (int h = 0; h < hierarchy_count; h++)
    close_fd(&hierarchies[h].base);
  hierarchy_count = 0;
  struct cursor cursor = {.at = records->data, .end = records->data + records->length};
  struct record r;
  while (next_record(&cursor, &r) == 1 && hierarchy_count < MAX_HIERARCHIES && r.nints == 2 && r.nblobs == 1) {
    struct hierarchy* h = &hierarchies[hierarchy_count++];
    *h = (struct hierarchy){.base = -1, .version = (u8)r.ints[0], .memory = r.ints[1] & 1, .late = r.ints[1] & 2};
    if (r.blobs[0].length)
      h->base = (int)sys(openat, AT_FDCWD, r.blobs[0].data, O_DIRECTORY | O_CLOEXEC, 0);
  }
}

int unified(void) {
  for (int i = 0; i < hierarchy_count; i++)
    if (hierarchies[i].version == 2 && hierarchies[i].base >= 0)
      return i;
  return -1;
}

void configure(const struct record* hello) {
  if (configured || !keep_blob(&hello->blobs[0], prepare_records, MAX_CONFIGURATION, &prepare_blob) ||
      !keep_blob(&hello->blobs[1], hierarchy_records, MAX_CONFIGURATION, &hierarchy_blob))
    return;
  configured = true;
  configure_again();
  remember_stat_files(&hello->blobs[2]);
  ranges_configure(hello->ints[0], hello->ints[1], hello->ints[2], hello->blobs[3].data);
  if (hello->blobs[4].length)
    state_dir = (int)sys(openat, AT_FDCWD, hello->blobs[4].data, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
}

bool configure_again(void) {
  if (!configured)
    return false;
  prepare(&prepare_blob);
  open_hierarchies(&hierarchy_blob);
  return true;
}

// A directory that another launcher still uses is not empty, and stays.
void leave_host(void) {
  struct cursor cursor = {.at = prepare_blob.data, .end = prepare_blob.data + prepare_blob.length};
  struct record r;
  while (prepare_blob.data && next_record(&cursor, &r) == 1)
    if (r.op == 1 && r.nblobs == 1)
      sys(unlinkat, AT_FDCWD, r.blobs[0].data, AT_REMOVEDIR);
}
