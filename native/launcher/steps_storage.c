// Steps that bound what a container writes to disk: a file that has no name, as a block device, with a file system of
// its own. All three are gone with the last who uses them, whoever is killed when.
#include "steps.h"
#include <linux/loop.h>

enum { SET_STRING = 1, O_TMPFILE = 020000000 | O_DIRECTORY, LOOP_MAJOR = 7, S_IFBLK = 0060000 };
enum { LOOP_BLOCK = 4096, LOOP_TRIES = 64, EOPNOTSUPP = 95 };

long make_layer_directories(const struct plan_context* context, int dir) {
  static const char* const names[] = {"upper", "work"};
  long rc = 0;
  for (int i = 0; i < 2 && rc >= 0; i++) {
    rc = sys(mkdirat, dir, names[i], 0755);
    if (rc >= 0)
      rc = sys(fchownat, dir, names[i], context->owner, context->group, AT_SYMLINK_NOFOLLOW);
  }
  return rc < 0 ? rc : sys(fchownat, dir, "", context->owner, context->group, AT_EMPTY_PATH);
}

// O_TMPFILE, and where the file system has none, a name that is taken away at once.
static long nameless_file(const struct plan_context* context) {
  long fd = sys(openat, context->state_dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd != -EOPNOTSUPP && fd != -EISDIR && fd != -EINVAL)
    return fd;
  char name[256];
  text_append(name, sizeof name, text_append(name, sizeof name, 0, context->state_name), ".loop");
  fd = sys(openat, context->state_dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd >= 0)
    sys(unlinkat, context->state_dir, name, 0);
  return fd;
}

static long write_at(int fd, const struct blob* bytes, u64 offset) {
  for (size_t done = 0; done < bytes->length;) {
    long wrote = sys(pwrite64, fd, bytes->data + done, bytes->length - done, offset + done);
    if (wrote < 0 && wrote != -EINTR)
      return wrote;
    done += wrote < 0 ? 0 : (size_t)wrote;
  }
  return 0;
}

// ints: slot, size; blobs: records {ints: offset; blobs: bytes}. A file in the state directory, without a name; all
// that is not given is a hole.
long step_sparse_file(struct plan_context* context, const struct record* step) {
  if (context->state_dir < 0 || !context->state_name)
    return -EBADF;
  long fd = nameless_file(context);
  if (fd < 0)
    return fd;
  long rc = sys(ftruncate, fd, step->ints[1]);
  struct cursor cursor = {.at = step->blobs[0].data, .end = step->blobs[0].data + step->blobs[0].length};
  struct record piece;
  int more = 0;
  while (rc >= 0 && (more = next_record(&cursor, &piece)) == 1)
    rc = piece.nints == 1 && piece.nblobs == 1 ? write_at((int)fd, &piece.blobs[0], piece.ints[0]) : -EBADMSG;
  if (rc >= 0 && more < 0)
    rc = -EBADMSG;
  if (rc < 0) {
    sys(close, fd);
    return rc;
  }
  return set_slot(context, step->ints[0], fd);
}

static void loop_path(char path[32], u64 number) {
  number_append(path, 32, text_append(path, 32, 0, "/dev/loop"), number);
}

// A loop device that nobody uses, open; it is not ours until it is configured.
static long open_free_loop(int control) {
  long number = sys(ioctl, control, LOOP_CTL_GET_FREE, 0);
  if (number < 0)
    return number;
  char path[32];
  loop_path(path, (u64)number);
  long fd = sys(openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0);
  struct stat_facts facts;
  if (fd < 0 || (stat_of((int)fd, "", AT_EMPTY_PATH, &facts) == 0 && (facts.mode & S_IFMT) == S_IFBLK &&
                 facts.rdev_major == LOOP_MAJOR))
    return fd;
  sys(close, fd);
  return -ENODEV;
}

// ints: slot, slot of a file. LO_FLAGS_AUTOCLEAR: the device lets go of the file when nobody has it open any more, and
// a mount has. Direct I/O, where the file's own file system can do it, keeps the contents from being cached twice.
long step_loop_device(struct plan_context* context, const struct record* step) {
  int file = slot_fd(context, step->ints[1]);
  if (file < 0)
    return -EBADF;
  long control = sys(openat, AT_FDCWD, "/dev/loop-control", O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0);
  if (control < 0)
    return control;
  struct loop_config config = {
      .fd = (u32)file,
      .block_size = LOOP_BLOCK,
      .info = {.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO},
  };
  text_append((char*)config.info.lo_file_name, LO_NAME_SIZE, 0, "tscontain");
  long fd, rc;
  int tries = 0;
  do { // another process may take the same one first
    fd = rc = open_free_loop((int)control);
    if (fd >= 0 && (rc = sys(ioctl, fd, LOOP_CONFIGURE, &config)) < 0)
      sys(close, fd);
  } while (rc == -EBUSY && ++tries < LOOP_TRIES);
  sys(close, control);
  return rc < 0 ? rc : set_slot(context, step->ints[0], fd);
}

// ints: slot of the context, slot of a loop device; blobs: key
long step_fsconfig_device(struct plan_context* context, const struct record* step) {
  int fd = slot_fd(context, step->ints[0]), device = slot_fd(context, step->ints[1]);
  if (fd < 0 || device < 0)
    return -EBADF;
  struct loop_info64 info = {0};
  long rc = sys(ioctl, device, LOOP_GET_STATUS64, &info);
  if (rc < 0)
    return rc;
  char path[32];
  loop_path(path, info.lo_number);
  rc = sys(fsconfig, fd, SET_STRING, step->blobs[0].data, path, 0);
  if (rc < 0)
    explain_configuration(context, fd);
  return rc;
}

// ints: slot of a mount that was made for the container
long step_layer_directories(struct plan_context* context, const struct record* step) {
  int mount = slot_fd(context, step->ints[0]);
  if (mount < 0)
    return -EBADF;
  close_fd(&context->bounded);
  // Not just a path: it is what ends the file system (ending.c).
  context->bounded = (int)sys(openat, mount, ".", O_DIRECTORY | O_CLOEXEC, 0);
  return context->bounded < 0 ? context->bounded : make_layer_directories(context, mount);
}
