// One member of an archive: made new, exclusively and following no link, in a parent that was opened for it; attributes
// by descriptor. A later member of the same name takes the place of an earlier one, as with every tool.
#include "unpack.h"
#include "rmtree.h"

enum { WHITEOUT = S_IFCHR, UTIME_OMIT = 0x3ffffffe };

static bool begins(const char* text, const char* prefix) {
  while (*prefix && *text == *prefix)
    text++, prefix++;
  return !*prefix;
}

static bool is_reserved(const char* name) {
  return begins(name, ".wh.");
}

// `depth` components at most, and none of them a whiteout's, save the last.
static long check_path(struct unpack* unpack, const char* path) {
  u64 depth = *path ? 1 : 0;
  for (const char* at = path; *at; at++) {
    if (at[0] != '/')
      continue;
    depth++;
  }
  if (depth > unpack->most_depth)
    return unpack_refuse(unpack, UNPACK_LIMIT, "a path with more components than allowed");
  if (unpack->flags & UNPACK_ARCHIVE)
    return 0;
  for (const char* at = path; *at;) {
    const char* end = at;
    while (*end && *end != '/')
      end++;
    if (*end && is_reserved(at))
      return unpack_refuse(unpack, UNPACK_BAD, "a member below a whiteout");
    at = *end ? end + 1 : end;
  }
  return 0;
}

// What is there goes, a whole directory too: this layer's own, as it began empty. Tells whether it was a whiteout.
static long clear(struct unpack* unpack, int dir, const char* name, bool* hides) {
  *hides = unpack_is_whiteout(dir, name);
  long rc = remove_tree(dir, name);
  return rc < 0 && rc != -ENOENT ? unpack_error(unpack, rc, "unlinkat") : 0;
}

static long chown_to(struct unpack* unpack, int fd, const char* name, int flags, const struct tar_entry* entry) {
  if (unpack->flags & (UNPACK_ARCHIVE | UNPACK_ONE_OWNER)) {
    unpack->owners += entry->uid || entry->gid;
    return 0;
  }
  long rc = sys(fchownat, fd, name, entry->uid, entry->gid, flags);
  if (rc == -EINVAL || rc == -EOVERFLOW)
    return unpack_refuse(unpack, UNPACK_BAD, "an owner beyond the ids that there are");
  return rc < 0 ? unpack_error(unpack, rc, "fchownat") : 0;
}

static long set_time(struct unpack* unpack, int fd, const char* name, int flags, const struct tar_entry* entry) {
  struct {
    i64 sec, nsec;
  } times[2] = {{0, UTIME_OMIT}, {entry->mtime, entry->mtime_ns}};
  long rc = sys(utimensat, fd, name, times, flags);
  return rc < 0 ? unpack_error(unpack, rc, "utimensat") : 0;
}

// user.* but for the overlay's own, which would change what the layer means; file capabilities where they are asked
// for.
static bool may_have(struct unpack* unpack, const char* name) {
  if (unpack->flags & UNPACK_ARCHIVE)
    return false;
  if (text_equal(name, "security.capability"))
    return unpack->flags & UNPACK_FILE_CAPABILITIES;
  return begins(name, "user.") && name[5] && !begins(name, "user.overlay.");
}

static long set_xattrs(struct unpack* unpack, int fd, const struct tar_entry* entry) {
  for (u32 i = 0; i < entry->nxattrs; i++) {
    const struct tar_xattr* one = &entry->xattrs[i];
    if (!may_have(unpack, one->name)) {
      unpack->xattrs++;
      continue;
    }
    long rc = sys(fsetxattr, fd, one->name, one->value, one->length, 0);
    if (rc < 0)
      return unpack_error(unpack, rc, "fsetxattr");
  }
  return 0;
}

// Changing the owner takes set-ID bits away, so the mode comes after it, and file capabilities, so they come last.
static long set_attributes(struct unpack* unpack, int fd, const struct tar_entry* entry, bool mode) {
  long rc = chown_to(unpack, fd, "", AT_EMPTY_PATH, entry);
  if (rc >= 0 && mode && (rc = sys(fchmod, fd, entry->mode)) < 0)
    rc = unpack_error(unpack, rc, "fchmod");
  return rc < 0 ? rc : set_xattrs(unpack, fd, entry);
}

static long make_file(struct unpack* unpack, int dir, const char* name, const struct tar_entry* entry) {
  const u64 flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  u32 mode = entry->mode & 0777;
  long fd = sys(openat, dir, name, flags, mode);
  bool hides;
  if (fd == -EEXIST) {
    if (clear(unpack, dir, name, &hides) < 0)
      return -1;
    fd = sys(openat, dir, name, flags, mode);
  }
  if (fd < 0)
    return unpack_error(unpack, fd, "openat");
  unpack->file = (int)fd;
  return 0;
}

long unpack_close(struct unpack* unpack, const struct tar_entry* entry) {
  if (unpack->file < 0)
    return 0;
  // After the last piece of a sparse file there may be a hole.
  long rc = entry->sparse ? sys(ftruncate, unpack->file, entry->size) : 0;
  if (rc < 0)
    return unpack_error(unpack, rc, "ftruncate");
  // Written to, a file loses its set-ID bits and capabilities: so only now.
  rc = set_attributes(unpack, unpack->file, entry, entry->mode & 07000);
  if (rc >= 0 && !(unpack->flags & UNPACK_ARCHIVE))
    rc = set_time(unpack, unpack->file, 0, 0, entry);
  close_fd(&unpack->file);
  return rc;
}

static long make_directory(struct unpack* unpack, int dir, const char* name, const struct tar_entry* entry) {
  long rc = sys(mkdirat, dir, name, 0700);
  bool hides = false, there = rc == -EEXIST;
  struct stat_facts facts;
  if (there && stat_of(dir, name, AT_SYMLINK_NOFOLLOW, &facts) == 0 && (facts.mode & S_IFMT) != S_IFDIR) {
    if (clear(unpack, dir, name, &hides) < 0)
      return -1;
    // Whiteout or file: what was there has hidden the layers below, and the directory has to as well.
    hides = !(unpack->flags & UNPACK_ARCHIVE);
    rc = sys(mkdirat, dir, name, 0700);
  } else if (there) {
    rc = 0;
  }
  if (rc < 0)
    return unpack_error(unpack, rc, "mkdirat");
  long fd = unpack_open(dir, name, O_DIRECTORY);
  if (fd < 0)
    return unpack_error(unpack, fd, "openat2");
  rc = hides ? unpack_make_opaque(unpack, (int)fd) : 0;
  if (rc >= 0)
    rc = set_attributes(unpack, (int)fd, entry, true);
  sys(close, fd);
  return rc < 0 ? rc : unpack_keep_time(unpack, entry->path, entry->mtime, entry->mtime_ns);
}

static long make_root(struct unpack* unpack, const struct tar_entry* entry) {
  if (unpack->flags & UNPACK_ARCHIVE)
    return 0;
  long rc = set_attributes(unpack, unpack->root, entry, true);
  return rc < 0 ? rc : unpack_keep_time(unpack, "", entry->mtime, entry->mtime_ns);
}

// Whether a link's target stays in the archive: ".." only at its beginning, where the directories are real ones. After
// a name, which may be another link, it could lead anywhere.
static bool stays_inside(const char* path, const char* target) {
  u64 depth = 0;
  bool named = false;
  for (const char* at = path; *at; at++)
    depth += *at == '/';
  if (*target == '/')
    return false;
  for (const char* at = target; *at;) {
    const char* end = at;
    while (*end && *end != '/')
      end++;
    size_t n = (size_t)(end - at);
    bool up = n == 2 && at[0] == '.' && at[1] == '.';
    if (up && (named || !depth--))
      return false;
    named |= !up && n && !(n == 1 && at[0] == '.');
    at = *end ? end + 1 : end;
  }
  return true;
}

static long make_symlink(struct unpack* unpack, int dir, const char* name, const struct tar_entry* entry) {
  if (unpack->flags & UNPACK_ARCHIVE && !stays_inside(entry->path, entry->link))
    return unpack_refuse(unpack, UNPACK_BAD, "a link that leads out of the archive");
  long rc = sys(symlinkat, entry->link, dir, name);
  bool hides;
  if (rc == -EEXIST) {
    if (clear(unpack, dir, name, &hides) < 0)
      return -1;
    rc = sys(symlinkat, entry->link, dir, name);
  }
  if (rc < 0)
    return unpack_error(unpack, rc, "symlinkat");
  unpack->xattrs += entry->nxattrs; // the kernel has none of user.* on links
  rc = chown_to(unpack, dir, name, AT_SYMLINK_NOFOLLOW, entry);
  return rc < 0 ? rc : set_time(unpack, dir, name, AT_SYMLINK_NOFOLLOW, entry);
}

// What can have two names. Of an archive that is no layer only files, as a link to a link leads somewhere else by its
// other name.
static bool may_link(struct unpack* unpack, u32 mode) {
  bool layer = !(unpack->flags & UNPACK_ARCHIVE);
  return (mode & S_IFMT) == S_IFREG || (layer && ((mode & S_IFMT) == S_IFLNK || (mode & S_IFMT) == S_IFIFO));
}

// Only to what is in this layer already: looked up beneath it, following no link, and linked by its name there, which
// nobody else can change meanwhile.
static long make_hard_link(struct unpack* unpack, int dir, const char* name, const struct tar_entry* entry) {
  static char parent[TAR_PATH];
  size_t cut = text_length(entry->link);
  while (cut && entry->link[cut - 1] != '/')
    cut--;
  memcpy(parent, entry->link, cut);
  parent[cut ? cut - 1 : 0] = 0;
  const char* last = entry->link + cut;
  struct stat_facts facts, here;
  long from = unpack_open(unpack->root, parent, O_PATH | O_DIRECTORY);
  long rc = from < 0 ? from : stat_of((int)from, last, AT_SYMLINK_NOFOLLOW, &facts);
  bool hides;
  if (rc == -ENOENT || rc == -ENOTDIR || rc == -ELOOP) {
    rc = unpack_refuse(unpack, UNPACK_BAD,
                       "a hard link to what is not in this archive before it, and not behind a link");
  } else if (rc < 0) {
    rc = unpack_error(unpack, rc, "openat2");
  } else if (!may_link(unpack, facts.mode)) {
    rc = unpack_refuse(unpack, UNPACK_BAD, "a hard link to what is no file");
  } else if (stat_of(dir, name, AT_SYMLINK_NOFOLLOW, &here) == 0 && here.ino == facts.ino) {
    rc = 0; // it is that file already
  } else {
    rc = sys(linkat, from, last, dir, name, 0);
    if (rc == -EEXIST) {
      rc = clear(unpack, dir, name, &hides);
      if (rc >= 0 && (rc = sys(linkat, from, last, dir, name, 0)) < 0)
        rc = unpack_error(unpack, rc, "linkat");
    } else if (rc < 0) {
      rc = unpack_error(unpack, rc, "linkat");
    }
  }
  if (from >= 0)
    sys(close, from);
  return rc;
}

static long make_fifo(struct unpack* unpack, int dir, const char* name, const struct tar_entry* entry) {
  bool hides;
  long rc = clear(unpack, dir, name, &hides);
  if (rc < 0)
    return rc;
  rc = sys(mknodat, dir, name, 0010000 | (entry->mode & 0777), 0);
  if (rc < 0)
    return unpack_error(unpack, rc, "mknodat");
  unpack->xattrs += entry->nxattrs;
  rc = chown_to(unpack, dir, name, AT_SYMLINK_NOFOLLOW, entry);
  return rc < 0 ? rc : set_time(unpack, dir, name, AT_SYMLINK_NOFOLLOW, entry);
}

// OCI image-spec, layer.md, "Whiteouts": they are about the layers below only, so what this layer has of that name
// stays, wherever in the archive it is.
static long make_whiteout(struct unpack* unpack, int dir, const char* name, const struct tar_entry* entry) {
  const char* hidden = name + 4;
  if (entry->type != TAR_FILE || entry->size)
    return unpack_refuse(unpack, UNPACK_BAD, "a whiteout that is not an empty file");
  bool opaque = text_equal(hidden, ".wh..opq");
  if (!opaque && (!*hidden || text_equal(hidden, ".") || text_equal(hidden, "..") || is_reserved(hidden)))
    return unpack_refuse(unpack, UNPACK_BAD, "a whiteout of no name that there can be");
  if (opaque && text_equal(entry->path, name)) {
    unpack->opaque_root = true;
    return 0;
  }
  long rc = opaque ? 0 : sys(mknodat, dir, hidden, WHITEOUT, 0);
  struct stat_facts facts;
  bool directory =
      rc == -EEXIST && stat_of(dir, hidden, AT_SYMLINK_NOFOLLOW, &facts) == 0 && (facts.mode & S_IFMT) == S_IFDIR;
  if (rc < 0 && rc != -EEXIST)
    return unpack_error(unpack, rc, "mknodat");
  if (!opaque && !directory)
    return 0;
  long fd = unpack_open(dir, opaque ? "." : hidden, O_DIRECTORY);
  if (fd < 0)
    return unpack_error(unpack, fd, "openat2");
  rc = unpack_make_opaque(unpack, (int)fd);
  sys(close, fd);
  return rc;
}

static long make_member(struct unpack* unpack, int dir, const char* name, const struct tar_entry* entry) {
  if (!(unpack->flags & UNPACK_ARCHIVE) && is_reserved(name))
    return make_whiteout(unpack, dir, name, entry);
  switch (entry->type) {
  case TAR_FILE:
    return make_file(unpack, dir, name, entry);
  case TAR_HARD_LINK:
    return make_hard_link(unpack, dir, name, entry);
  case TAR_SYMLINK:
    return make_symlink(unpack, dir, name, entry);
  case TAR_DIRECTORY:
    return make_directory(unpack, dir, name, entry);
  case TAR_FIFO:
    if (!(unpack->flags & UNPACK_ARCHIVE))
      return make_fifo(unpack, dir, name, entry);
    break;
  case TAR_CHARACTER:
  case TAR_BLOCK_DEVICE:
    break;
  }
  return unpack_refuse(unpack, UNPACK_BAD, "a member that is neither file, directory nor link");
}

long unpack_member(struct unpack* unpack, const struct tar_entry* entry) {
  long rc = check_path(unpack, entry->path);
  if (rc < 0)
    return rc;
  if (++unpack->entries > unpack->most_entries)
    return unpack_refuse(unpack, UNPACK_LIMIT, "more entries than allowed");
  if (entry->size > unpack->most_bytes - unpack->bytes)
    return unpack_refuse(unpack, UNPACK_LIMIT, "more bytes than allowed");
  unpack->bytes += entry->size;
  if (!*entry->path)
    return make_root(unpack, entry);
  bool device = entry->type == TAR_CHARACTER || entry->type == TAR_BLOCK_DEVICE;
  if (device && unpack->flags & UNPACK_SKIP_DEVICES) {
    unpack->devices++;
    return 0;
  }
  if (device)
    return unpack_refuse(unpack, UNPACK_BAD, "a device node");
  const char* name;
  long dir = unpack_parent(unpack, entry->path, &name);
  if (dir < 0)
    return dir;
  rc = make_member(unpack, (int)dir, name, entry);
  sys(close, dir);
  return rc;
}
