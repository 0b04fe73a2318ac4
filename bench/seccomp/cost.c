// What a system call costs under a filter. A line on stdin, `call count file`, is answered with the nanoseconds of one call,
// the mean of `count` in a process of its own that has loaded the filter in `file` (`-`: none).
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void load(const char* path) {
  static struct sock_filter program[4096];
  FILE* file = fopen(path, "rb");
  if (!file)
    _exit(2);
  size_t count = fread(program, sizeof *program, 4096, file);
  struct sock_fprog filter = {.len = (unsigned short)count, .filter = program};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter))
    _exit(3);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static double measure(const char* call, long count) {
  double start = now();
  if (!strcmp(call, "getppid"))
    for (long i = 0; i < count; i++)
      syscall(SYS_getppid);
  else if (!strcmp(call, "personality")) // asks only
    for (long i = 0; i < count; i++)
      syscall(SYS_personality, 0xffffffffL);
  else if (!strcmp(call, "clone")) // CLONE_SIGHAND without CLONE_VM: refused before anything is made
    for (long i = 0; i < count; i++)
      syscall(SYS_clone, 0x800L, 0, 0, 0, 0);
  else if (!strcmp(call, "swapoff")) // no path, and the filter refuses it before that is looked at
    for (long i = 0; i < count; i++)
      syscall(SYS_swapoff, 0L);
  else
    _exit(4);
  return (now() - start) / (double)count;
}

int main(void) {
  char call[32], path[4096];
  long count;
  while (scanf("%31s %ld %4095s", call, &count, path) == 3) {
    int ends[2];
    if (pipe(ends))
      return 1;
    pid_t pid = fork();
    if (pid == 0) {
      if (strcmp(path, "-"))
        load(path);
      measure(call, count / 10);
      double cost = measure(call, count);
      _exit(write(ends[1], &cost, sizeof cost) != sizeof cost);
    }
    close(ends[1]);
    double cost = -1;
    int status;
    if (read(ends[0], &cost, sizeof cost) != sizeof cost || waitpid(pid, &status, 0) < 0 || status)
      fprintf(stderr, "%s under %s could not be measured\n", call, path);
    close(ends[0]);
    printf("%f\n", cost);
    fflush(stdout);
  }
  return 0;
}
