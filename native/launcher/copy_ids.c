#include "copy_ids.h"
#include "tree.h"

// struct vfs_ns_cap_data of linux/capability.h, and struct posix_acl_xattr_entry of linux/posix_acl_xattr.h: numbers
// are little-endian, as all the machines are that this runs on.
enum { CAPABILITY_SIZE = 24, CAPABILITY_ROOT = 20, LIST_HEADER = 4, LIST_ENTRY = 8, NAMED_USER = 2, NAMED_GROUP = 8 };

long shift_id(u64 shift, u32* id) {
  if (*id < shift)
    return -EOVERFLOW;
  *id -= (u32)shift;
  return 0;
}

static long shift_at(u64 shift, char* at) {
  u32 id;
  memcpy(&id, at, sizeof id);
  long rc = shift_id(shift, &id);
  memcpy(at, &id, sizeof id);
  return rc;
}

static long shift_list(u64 shift, char* value, long size) {
  long rc = 0;
  for (long at = LIST_HEADER; at + LIST_ENTRY <= size && rc >= 0; at += LIST_ENTRY) {
    u16 tag;
    memcpy(&tag, value + at, sizeof tag);
    if (tag == NAMED_USER || tag == NAMED_GROUP)
      rc = shift_at(shift, value + at + 4);
  }
  return rc;
}

long shift_attribute(u64 shift, const char* name, char* value, long size) {
  if (!shift)
    return 0;
  if (starts_with(name, "system.posix_acl_"))
    return shift_list(shift, value, size);
  // One without an id is that of the reader's own root, who has none of its files in the source.
  if (text_equal(name, "security.capability"))
    return size == CAPABILITY_SIZE ? shift_at(shift, value + CAPABILITY_ROOT) : -EOVERFLOW;
  return 0;
}
