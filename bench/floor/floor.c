// The floor: the system calls of a default container, made by a plain C program with nothing around them. Reads lines
// of the form "part part …" from stdin, makes one container of these parts for each, and answers with its lifetime in
// nanoseconds, from the first call until everything is removed. Arguments: directories to make cgroups in; those of
// version 2 start with "2:".
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { NOSUID = 2, NODEV = 4, NOEXEC = 8, IDMAP = 0x100000, MAX_CGROUPS = 8, FIRST_ID = 2000000000 };

static const struct {
  const char* name;
  uint64_t flag;
} namespaces[] = {
    {"user", CLONE_NEWUSER}, {"mount", CLONE_NEWNS}, {"pid", CLONE_NEWPID},
    {"net", CLONE_NEWNET},   {"ipc", CLONE_NEWIPC},  {"uts", CLONE_NEWUTS},
};
static const char* const system_trees[] = {"/usr"};
static const char* etc_trees[] = {"/etc/ld.so.cache",     "/etc/ld.so.conf", "/etc/ld.so.conf.d",
                                  "/etc/alternatives",    "/etc/ssl/certs",  "/etc/services",
                                  "/etc/ssl/openssl.cnf", "/etc/protocols",  "/etc/mime.types",
                                  "/etc/ca-certificates", "/etc/python3",    "/etc/perl"};
static const char* const devices[] = {"null", "zero", "full", "random", "urandom", "tty"};
static const char* const hidden[] = {"proc/acpi",       "proc/interrupts", "proc/kcore",  "proc/keys",
                                     "proc/timer_list", "proc/scsi",       "sys/firmware"};
static const char* const read_only[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"};
enum { TREES = sizeof system_trees / sizeof *system_trees + sizeof etc_trees / sizeof *etc_trees };
enum { NODES = sizeof devices / sizeof *devices };

static char line[512];
static bool has(const char* part) {
  char word[64];
  snprintf(word, sizeof word, " %s ", part);
  return strstr(line, word) != 0;
}

static void fail(const char* what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  _exit(2);
}

static int check(long rc, const char* what) {
  if (rc < 0)
    fail(what);
  return (int)rc;
}

static void write_text(const char* path, const char* text) {
  int fd = check(open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644), path);
  check(write(fd, text, strlen(text)), path);
  close(fd);
}

static int new_mount(const char* type, const char* size, unsigned attributes) {
  int context = check(syscall(SYS_fsopen, type, FSOPEN_CLOEXEC), type);
  if (size) {
    syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "size", size, 0);
    syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, "mode", "755", 0);
  }
  check(syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, 0, 0, 0), type);
  int mount = check(syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, attributes), type);
  close(context);
  return mount;
}

static void attach(int mount, const char* path) {
  check(syscall(SYS_move_mount, mount, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH), path);
  close(mount);
}

static int tree(const char* path) {
  return (int)syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
}

static void attributes(int mount, uint64_t set, int userns) {
  struct mount_attr attr = {.attr_set = set, .userns_fd = (uint64_t)userns};
  if (userns >= 0)
    attr.attr_set |= IDMAP;
  check(syscall(SYS_mount_setattr, mount, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof attr), "mount_setattr");
}

// ---- inside
// ----------------------------------------------------------------------------------------------------------

static void place(int mount, const char* path) {
  char target[256];
  snprintf(target, sizeof target, "root%s", path);
  struct stat facts;
  check(fstat(mount, &facts), "fstat");
  if (S_ISDIR(facts.st_mode)) {
    for (char* slash = target + 5; (slash = strchr(slash, '/')); *slash++ = '/') {
      *slash = 0;
      mkdir(target, 0755);
    }
    mkdir(target, 0755);
  } else {
    char* last = strrchr(target, '/');
    *last = 0;
    mkdir(target, 0755);
    *last = '/';
    close(open(target, O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  }
  attach(mount, target);
}

static void build_dev(const int* nodes) {
  attach(new_mount("tmpfs", "65536", NOSUID | NOEXEC), "root/dev");
  for (int i = 0; i < NODES; i++) {
    char path[64];
    snprintf(path, sizeof path, "/dev/%s", devices[i]);
    place(nodes[i], path);
  }
  static const char* const links[][2] = {{"pts/ptmx", "root/dev/ptmx"},
                                         {"/proc/self/fd", "root/dev/fd"},
                                         {"/proc/self/fd/0", "root/dev/stdin"},
                                         {"/proc/self/fd/1", "root/dev/stdout"},
                                         {"/proc/self/fd/2", "root/dev/stderr"}};
  for (int i = 0; i < 5; i++)
    check(symlink(links[i][0], links[i][1]), links[i][1]);
  static const char* const types[][2] = {
      {"devpts", "root/dev/pts"}, {"tmpfs", "root/dev/shm"}, {"mqueue", "root/dev/mqueue"}};
  for (int i = 0; i < 3; i++)
    if (has(i == 2 ? "mqueue" : "dev")) {
      mkdir(types[i][1], 0755);
      attach(new_mount(types[i][0], 0, NOSUID | NOEXEC), types[i][1]);
    }
}

static void mask(const char* path, bool hide) {
  char target[128];
  snprintf(target, sizeof target, "root/%s", path);
  struct stat facts;
  if (stat(target, &facts) < 0)
    return;
  int mount = check(tree(!hide ? target : S_ISDIR(facts.st_mode) ? "empty" : "root/dev/null"), "mask");
  attributes(mount, MOUNT_ATTR_RDONLY | NOSUID | NOEXEC, -1);
  attach(mount, target);
}

static void inside(int channel) {
  int fds[TREES + NODES], count = 0;
  union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof fds)];
  } control;
  char byte;
  struct iovec vector = {&byte, 1};
  struct msghdr message = {
      .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  check(recvmsg(channel, &message, MSG_CMSG_CLOEXEC), "recvmsg");
  struct cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header) {
    count = (int)((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    memcpy(fds, CMSG_DATA(header), (size_t)count * sizeof(int));
  }
  if (has("user")) {
    check(setresgid(0, 0, 0), "setresgid");
    check(setresuid(0, 0, 0), "setresuid");
  }
  if (has("cgroupns"))
    check(unshare(CLONE_NEWCGROUP), "unshare");
  if (has("uts"))
    check(sethostname("floor", 5), "sethostname");
  if (has("net")) {
    struct ifreq request = {.ifr_name = "lo"};
    int fd = check(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");
    request.ifr_flags = IFF_UP;
    check(ioctl(fd, SIOCSIFFLAGS, &request), "lo");
    close(fd);
  }
  if (!has("mount"))
    return;
  struct mount_attr private = {.propagation = 1 << 18};
  check(syscall(SYS_mount_setattr, AT_FDCWD, "/", AT_RECURSIVE, &private, sizeof private), "private");
  if (!has("root"))
    return;
  int stage = new_mount("tmpfs", "67108864", NOSUID | NODEV);
  check(syscall(SYS_move_mount, stage, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH), "stage");
  check(fchdir(stage), "fchdir");
  close(stage);
  mkdir("root", 0755);
  mkdir("empty", 0555);
  attach(check(tree("root"), "root"), "root");
  static const char* const directories[] = {"etc", "proc", "sys",  "dev", "tmp", "var",
                                            "run", "home", "root", "opt", "srv"};
  for (size_t i = 0; i < sizeof directories / sizeof *directories; i++) {
    char path[64];
    snprintf(path, sizeof path, "root/%s", directories[i]);
    mkdir(path, 0755);
  }
  int next = NODES;
  for (; next < count; next++)
    place(fds[next], next == NODES ? system_trees[0] : etc_trees[next - NODES - 1]);
  static const char* const links[] = {"bin", "sbin", "lib", "lib64"};
  for (int i = 0; i < 4; i++) {
    char to[32], at[32];
    snprintf(to, sizeof to, "usr/%s", links[i]);
    snprintf(at, sizeof at, "root/%s", links[i]);
    check(symlink(to, at), at);
  }
  static const char* const files[] = {"hosts", "hostname", "resolv.conf", "passwd", "group", "nsswitch.conf"};
  for (int i = 0; i < 6; i++) {
    char path[64];
    snprintf(path, sizeof path, "root/etc/%s", files[i]);
    write_text(path, "text\n");
  }
  if (has("dev"))
    build_dev(fds);
  if (has("proc"))
    attach(new_mount("proc", 0, NOSUID | NODEV | NOEXEC), "root/proc");
  if (has("sys")) {
    attach(new_mount("sysfs", 0, NOSUID | NODEV | NOEXEC | 1), "root/sys");
    attach(new_mount("cgroup2", 0, NOSUID | NODEV | NOEXEC | 1), "root/sys/fs/cgroup");
  }
  if (has("masks")) {
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++)
      mask(hidden[i], true);
    for (size_t i = 0; i < sizeof read_only / sizeof *read_only; i++)
      mask(read_only[i], false);
  }
  check(chdir("root"), "chdir");
  check(syscall(SYS_pivot_root, ".", "."), "pivot_root");
  check(syscall(SYS_umount2, ".", 2), "umount");
  check(syscall(SYS_umount2, ".", 2), "umount");
  check(chdir("/"), "chdir");
}

// ---- outside
// ---------------------------------------------------------------------------------------------------------

static void write_map(pid_t pid, const char* file) {
  char path[64], text[64];
  snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
  snprintf(text, sizeof text, "0 %u 65536", (unsigned)FIRST_ID);
  write_text(path, text);
}

static void send_mounts(int socket, pid_t pid) {
  int fds[TREES + NODES], count = 0;
  if (has("root")) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/user", pid);
    int userns = has("idmap") ? check(open(path, O_RDONLY | O_CLOEXEC), path) : -1;
    for (int i = 0; i < NODES; i++) {
      snprintf(path, sizeof path, "/dev/%s", devices[i]);
      fds[count++] = check(tree(path), path);
    }
    for (int i = 0; i < TREES; i++) {
      const char* from = i == 0 ? system_trees[0] : etc_trees[i - 1];
      if (!from || (i > 0 && !has("etc")))
        break;
      int mount = check(tree(from), from);
      attributes(mount, MOUNT_ATTR_RDONLY | NOSUID | NODEV, userns);
      fds[count++] = mount;
    }
    if (userns >= 0)
      close(userns);
  }
  union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof fds)];
  } control;
  struct iovec vector = {"x", 1};
  struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
  if (count) {
    message.msg_control = &control;
    message.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
    struct cmsghdr* header = CMSG_FIRSTHDR(&message);
    *header = (struct cmsghdr){
        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN((size_t)count * sizeof(int))};
    memcpy(CMSG_DATA(header), fds, (size_t)count * sizeof(int));
  }
  check(sendmsg(socket, &message, 0), "sendmsg");
  for (int i = 0; i < count; i++)
    close(fds[i]);
}

static void start_program(void) {
  char* argv[] = {"/bin/true", 0};
  char* envp[] = {"PATH=/usr/bin:/bin", 0};
  execve(argv[0], argv, envp);
  _exit(127);
}

// Init: pid 1, with the program as its child.
static void init(int socket) {
  inside(socket);
  if (has("noexec"))
    _exit(0);
  pid_t pid = check(vfork(), "vfork");
  if (pid == 0)
    start_program();
  int status;
  waitpid(pid, &status, 0);
  _exit(status ? 3 : 0);
}

static void one(char** cgroups, int ncgroups) {
  char paths[MAX_CGROUPS][256];
  static unsigned number;
  struct clone_args args = {.exit_signal = SIGCHLD};
  int tasks[MAX_CGROUPS], ntasks = 0, into = -1;
  number++;
  for (int i = 0; has("cgroups") && i < ncgroups; i++) {
    bool v2 = strncmp(cgroups[i], "2:", 2) == 0;
    snprintf(paths[i], sizeof paths[i], "%s/bench-floor-%d-%u", cgroups[i] + (v2 ? 2 : 0), getpid(), number);
    check(mkdir(paths[i], 0755), paths[i]);
    int dir = check(open(paths[i], O_DIRECTORY | O_CLOEXEC), paths[i]);
    if (v2) {
      into = dir;
      continue;
    }
    tasks[ntasks++] = check(openat(dir, "tasks", O_WRONLY | O_CLOEXEC), "tasks");
    close(dir);
  }
  for (size_t i = 0; i < sizeof namespaces / sizeof *namespaces; i++)
    if (has(namespaces[i].name))
      args.flags |= namespaces[i].flag;
  if (into >= 0) {
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = (uint64_t)into;
  }
  int pair[2];
  check(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), "socketpair");
  pid_t pid = check(syscall(SYS_clone3, &args, sizeof args), "clone3");
  if (pid == 0) {
    for (int i = 0; i < ntasks; i++)
      check(write(tasks[i], "0", 1), "tasks");
    init(pair[1]);
  }
  for (int i = 0; i < ntasks; i++)
    close(tasks[i]);
  if (into >= 0)
    close(into);
  if (has("user")) {
    write_map(pid, "uid_map");
    write_map(pid, "gid_map");
  }
  send_mounts(pair[0], pid);
  close(pair[0]);
  close(pair[1]);
  int status;
  waitpid(pid, &status, 0);
  for (int i = 0; has("cgroups") && i < ncgroups; i++)
    check(rmdir(paths[i]), paths[i]);
  if (status)
    exit(1);
}

// What this host does not have is left out; the list ends with a null.
static void find_trees(void) {
  int found = 0;
  for (int i = 0; i < TREES - 1; i++) {
    const char* path = etc_trees[i];
    etc_trees[i] = 0;
    if (access(path, F_OK) == 0)
      etc_trees[found++] = path;
  }
}

int main(int argc, char** argv) {
  find_trees();
  // In front and behind, so that each part stands between two spaces.
  char input[500];
  while (fgets(input, sizeof input, stdin)) {
    input[strcspn(input, "\n")] = 0;
    snprintf(line, sizeof line, " %s ", input);
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    one(argv + 1, argc - 1 > MAX_CGROUPS ? MAX_CGROUPS : argc - 1);
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%lld\n", (long long)(end.tv_sec - start.tv_sec) * 1000000000 + end.tv_nsec - start.tv_nsec);
    fflush(stdout);
  }
  return 0;
}
