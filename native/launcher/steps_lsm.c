// Steps by which a program is confined by the kernel's security modules: Landlock, which any process may ask for itself
// (landlock(7)), and the label that AppArmor or SELinux gives a program as it is executed.
#include "steps.h"
#include <linux/openat2.h>

#ifndef __NR_landlock_create_ruleset // Linux 5.13; the same on every architecture
#define __NR_landlock_create_ruleset 444
#define __NR_landlock_add_rule 445
#define __NR_landlock_restrict_self 446
#endif

enum { RULE_PATH_BENEATH = 1, RULE_NET_PORT = 2 };
enum { PATH_OPTIONAL = 1, PATH_EXACT = 2 };
// The rights that mean something on a file that is no directory; the kernel refuses any other there.
enum { FILE_RIGHTS = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15 }; // execute, write, read, truncate, ioctl_dev
enum { MODULE_APPARMOR = 0, MODULE_SELINUX = 1, LABEL_CAP = 1024 };

// ints: dst, handled rights of files, of the network, scopes. What is zero may be longer than an older kernel's
// struct.
long step_landlock_ruleset(struct plan_context* context, const struct record* step) {
  struct {
    u64 files, network, scopes;
  } attributes = {step->ints[1], step->ints[2], step->ints[3]};
  return set_slot(context, step->ints[0], sys(landlock_create_ruleset, &attributes, sizeof attributes, 0));
}

// ints: ruleset, rights, how (1: a path that is not there needs no rule, 2: all of the rights or none); blobs: path.
// It is resolved in the root that the program will have, by whoever starts it; a link of procfs, which may lead out of
// it, is not followed.
long step_landlock_path(struct plan_context* context, const struct record* step) {
  int ruleset = slot_fd(context, step->ints[0]);
  if (ruleset < 0)
    return -EBADF;
  long fd = open_beneath(AT_FDCWD, step->blobs[0].data, O_PATH, 0, RESOLVE_NO_MAGICLINKS);
  if ((fd == -ENOENT || fd == -ENOTDIR) && step->ints[2] & PATH_OPTIONAL)
    return 0;
  if (fd < 0)
    return fd;
  struct __attribute__((packed)) {
    u64 rights;
    i32 parent;
  } rule = {step->ints[1], (i32)fd};
  struct stat_facts facts;
  long rc = stat_of((int)fd, "", AT_EMPTY_PATH, &facts);
  if (rc >= 0 && (facts.mode & S_IFMT) != S_IFDIR) {
    if (step->ints[2] & PATH_EXACT && rule.rights & ~(u64)FILE_RIGHTS)
      rc = -ENOTDIR;
    rule.rights &= FILE_RIGHTS;
  }
  if (rc >= 0 && rule.rights)
    rc = sys(landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0);
  sys(close, fd);
  return rc;
}

// ints: ruleset, rights, port
long step_landlock_port(struct plan_context* context, const struct record* step) {
  int ruleset = slot_fd(context, step->ints[0]);
  struct {
    u64 rights, port;
  } rule = {step->ints[1], step->ints[2]};
  return ruleset < 0 ? -EBADF : sys(landlock_add_rule, ruleset, RULE_NET_PORT, &rule, 0);
}

// ints: ruleset, flags. It has done its work, and is closed.
long step_landlock_restrict(struct plan_context* context, const struct record* step) {
  int ruleset = slot_fd(context, step->ints[0]);
  if (ruleset < 0)
    return -EBADF;
  long rc = sys(landlock_restrict_self, ruleset, step->ints[1]);
  close_fd(&context->slots[step->ints[0]]);
  return rc;
}

// Rulesets live in slots of init's memory, which the child borrows; the descriptors were the child's own.
void forget_rulesets(struct plan_context* context) {
  for (int slot = SLOT_LANDLOCK; slot < SLOT_LANDLOCK + LANDLOCK_LAYERS; slot++)
    context->slots[slot] = -1;
}

// What is read back starts with the label, but where it is put together of several: the kernel sorts those.
static bool label_is(const char* now, const char* label) {
  for (const char* at = label; *at; at++)
    if (at[0] == '/' && at[1] == '/' && at[2] == '&')
      return true;
  size_t n = text_length(label);
  return memcmp(now, label, n) == 0 && (!now[n] || now[n] == ' ' || now[n] == '\n');
}

// ints: module (0 AppArmor, 1 SELinux), on top of the label there is (AppArmor); blobs: label. It takes effect as the
// program is executed (proc_pid_attr(5)).
long step_label_on_exec(struct plan_context* context, const struct record* step) {
  const struct blob* label = &step->blobs[0];
  char text[LABEL_CAP] = {0}, now[LABEL_CAP] = {0};
  bool apparmor = step->ints[0] == MODULE_APPARMOR, stack = step->ints[1];
  size_t n = text_append(text, sizeof text, 0, !apparmor ? "" : stack ? "stack " : "exec ");
  n = text_append(text, sizeof text, n, label->data);
  if (n >= sizeof text || !label->length)
    return -EINVAL;
  long proc = open_procfs(context);
  if (proc < 0) {
    explain(context, DETAIL_BAD_TYPE, "procfs");
    return proc;
  }
  // A file of AppArmor's own since Linux 5.8; the other one is that of the first module which has labels.
  long fd = apparmor ? open_own_file((int)proc, "/attr/apparmor/exec", O_RDWR) : -ENOENT;
  if (fd == -ENOENT)
    fd = open_own_file((int)proc, "/attr/exec", O_RDWR);
  sys(close, proc);
  if (fd < 0) {
    explain(context, DETAIL_BAD_TYPE, fd == -ENODEV ? "procfs" : "attr/exec");
    return fd;
  }
  long rc = sys(write, fd, text, n);
  long got = rc < 0 ? rc : sys(pread64, fd, now, sizeof now - 1, 0);
  sys(close, fd);
  if (rc >= 0 && (got <= 0 || (!stack && !label_is(now, label->data)))) {
    explain(context, DETAIL_NOT_APPLIED, "label");
    return -EPERM;
  }
  return rc < 0 ? rc : 0;
}
