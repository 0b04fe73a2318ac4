// Starts the launcher: embedded here, run from a sealed memfd, so that there is no file to find, to trust or to
// overwrite (security C3, M6). One for the whole Node process; each environment gets a connection of its own.
#include "addon.h"
#include "descriptor.h"
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <mutex>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

__asm__(".pushsection .rodata\n"
        ".balign 16\n"
        "tscontain_launcher:\n"
        ".incbin \"" LAUNCHER_PATH "\"\n"
        "tscontain_launcher_end:\n"
        ".popsection\n");
extern "C" const char tscontain_launcher[], tscontain_launcher_end[];

#ifndef MFD_EXEC
#define MFD_EXEC 0x10U // Linux 6.3: needed where the sysctl vm.memfd_noexec is set
#endif

namespace tscontain {

namespace {

std::mutex lock;
int control = -1;
pid_t launcher = -1;

constexpr int kControlFd = 3; // where the launcher looks for its control socket (start.c)
constexpr int kSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

int MakeProgram() {
  int fd = memfd_create("tscontain", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
  if (fd < 0 && errno == EINVAL)
    fd = memfd_create("tscontain", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0)
    return -1;
  size_t size = static_cast<size_t>(tscontain_launcher_end - tscontain_launcher);
  if (write(fd, tscontain_launcher, size) == static_cast<ssize_t>(size) && fcntl(fd, F_ADD_SEALS, kSeals) == 0)
    return fd;
  close(fd);
  return -1;
}

// vfork: the child borrows Node's memory instead of copying the page tables of a large heap, and does nothing but
// system calls. All signals are blocked meanwhile, so that no handler of Node's runs in it.
__attribute__((noinline)) pid_t Execute(int program, int socket) {
  char name[] = "tscontain";
  char* const argv[] = {name, nullptr};
  char* const envp[] = {nullptr};
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pid_t pid = vfork();
  if (pid == 0) {
    bool placed = socket == kControlFd ? fcntl(socket, F_SETFD, 0) == 0 : dup2(socket, kControlFd) == kControlFd;
    // A program that sits where the control socket goes has moved out of the way by Start.
    if (placed)
      syscall(SYS_execveat, program, "", argv, envp, AT_EMPTY_PATH);
    _exit(127);
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return pid;
}

bool Start() {
  int pair[2];
  int program = MakeProgram();
  if (program < 0)
    return false;
  if (program == kControlFd) {
    int moved = fcntl(program, F_DUPFD_CLOEXEC, kControlFd + 1);
    close(program);
    program = moved;
  }
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
    close(program);
    return false;
  }
  launcher = Execute(program, pair[1]);
  close(program);
  close(pair[1]);
  control = pair[0];
  return launcher > 0;
}

void Forget() {
  if (control >= 0)
    close(control);
  control = -1;
  if (launcher > 0)
    waitpid(launcher, nullptr, WNOHANG);
  launcher = -1;
}

// Hands one end of a new connection to the launcher (op 10, MSG_CONNECT).
bool Offer(int socket) {
  const char record[8] = {10, 0, 0, 0, 8, 0, 0, 0};
  union {
    cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int))];
  } space = {};
  iovec iov = {const_cast<char*>(record), sizeof record};
  msghdr message = {};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  message.msg_control = &space;
  message.msg_controllen = sizeof space;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  memcpy(CMSG_DATA(header), &socket, sizeof socket);
  return sendmsg(control, &message, MSG_NOSIGNAL) > 0;
}

// connect(): a descriptor connected to the launcher, which is started if it is not there, or not any more.
Napi::Value Connect(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  int pair[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
    ThrowErrno(env, "socketpair", errno);
    return env.Undefined();
  }
  bool connected = false;
  {
    std::lock_guard<std::mutex> guard(lock);
    for (int tries = 0; tries < 2 && !connected; tries++) {
      if (control < 0 && !Start())
        break;
      connected = Offer(pair[1]);
      if (!connected)
        Forget();
    }
  }
  close(pair[1]);
  if (!connected) {
    close(pair[0]);
    ThrowErrno(env, "execveat", errno);
    return env.Undefined();
  }
  napi_value descriptor = Descriptor::Wrap(env, pair[0]);
  return descriptor ? Napi::Value(env, descriptor) : Napi::Value();
}

} // namespace

Napi::Object InitSpawn(Napi::Env env, Napi::Object exports) {
  exports.Set("connect", Napi::Function::New(env, Connect));
  return exports;
}

} // namespace tscontain
