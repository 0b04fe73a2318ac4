// Names of cgroups and state directories say whose they are: boot, pid namespace, pid and start time of the launcher.
#include "launcher.h"

static char prefix[NAME_LENGTH];
static size_t prefix_length;

// Field 22 of /proc/<pid>/stat, after the last parenthesis, since the name before it may hold anything
// (proc_pid_stat(5)). 0 for a process that has ended, and that nobody has waited for yet.
static u64 start_time(const char* path) {
  char stat[1024];
  long n = read_file(AT_FDCWD, path, stat, sizeof stat);
  if (n <= 0)
    return 0;
  const char* at = stat + n;
  while (at > stat && *at != ')')
    at--;
  if (stat + n - at > 2 && (at[2] == 'Z' || at[2] == 'X'))
    return 0;
  for (int field = 2; field < 22 && *at; at++)
    field += *at == ' ';
  return number_parse(at, stat + n);
}

static u64 pid_namespace(void) {
  struct stat_facts facts;
  return stat_of(AT_FDCWD, "/proc/self/ns/pid", 0, &facts) == 0 ? facts.ino : 0;
}

static size_t boot_id(char* to, size_t cap) {
  char id[64];
  if (read_file(AT_FDCWD, "/proc/sys/kernel/random/boot_id", id, sizeof id) < 8)
    return text_append(to, cap, 0, "00000000");
  id[8] = 0;
  return text_append(to, cap, 0, id);
}

void identity_start(void) {
  size_t n = boot_id(prefix, sizeof prefix);
  const u64 parts[] = {pid_namespace(), (u64)sys(getpid), start_time("/proc/self/stat")};
  for (int i = 0; i < 3; i++)
    n = number_append(prefix, sizeof prefix, text_append(prefix, sizeof prefix, n, "-"), parts[i]);
  prefix_length = text_append(prefix, sizeof prefix, n, "-");
}

size_t identity_name(char name[NAME_LENGTH], u64 number) {
  memcpy(name, prefix, prefix_length + 1);
  return number_append(name, NAME_LENGTH, prefix_length, number);
}

bool identity_is_dead(const char* name) {
  char boot[16];
  size_t n = boot_id(boot, sizeof boot);
  const char* end = name + text_length(name);
  if ((size_t)(end - name) <= n || name[n] != '-')
    return false;
  u64 parts[3];
  const char* at = name + n + 1;
  for (int i = 0; i < 3; i++) {
    const char* start = at;
    while (at < end && *at >= '0' && *at <= '9')
      at++;
    if (at == start || at == end || *at != '-')
      return false; // not one of ours
    parts[i] = number_parse(start, at);
    at++;
  }
  if (memcmp(name, boot, n) != 0)
    return true; // from before this boot
  if (parts[0] != pid_namespace())
    return false; // someone we cannot see
  char path[64];
  size_t length = text_append(path, sizeof path, 0, "/proc/");
  length = number_append(path, sizeof path, length, parts[1]);
  text_append(path, sizeof path, length, "/stat");
  return start_time(path) != parts[2];
}
