// The listener of a seccomp filter on the event loop: calls that wait for a decision are fetched, looked into and
// answered (seccomp_unotify(2)). No call here waits: a notification is fetched only once poll(2) says that there is
// one.
#include "addon.h"
#include "descriptor.h"
#include "poller.h"
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <string>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

// Newer than the oldest headers that we build with (Linux 5.10).
#ifndef SECCOMP_ADDFD_FLAG_SEND
#define SECCOMP_ADDFD_FLAG_SEND (1UL << 1) // Linux 5.14
#endif

namespace tscontain {

namespace {

// What this kernel's structures measure; a newer one's are larger (SECCOMP_GET_NOTIF_SIZES).
struct Sizes {
  size_t notification = sizeof(seccomp_notif);
  size_t response = sizeof(seccomp_notif_resp);
};

const Sizes& KernelSizes() {
  static const Sizes sizes = [] {
    Sizes found;
    seccomp_notif_sizes kernel = {};
    if (syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &kernel) == 0) {
      found.notification = std::max<size_t>(found.notification, kernel.seccomp_notif);
      found.response = std::max<size_t>(found.response, kernel.seccomp_notif_resp);
    }
    return found;
  }();
  return sizes;
}

uint64_t Number64(const Napi::Value& value) {
  bool lossless;
  return value.As<Napi::BigInt>().Uint64Value(&lossless);
}

} // namespace

class SeccompListener : public Napi::ObjectWrap<SeccompListener> {
public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(
        env, "SeccompListener",
        {InstanceMethod<&SeccompListener::Receive>("receive"), InstanceMethod<&SeccompListener::Send>("send"),
         InstanceMethod<&SeccompListener::Valid>("valid"), InstanceMethod<&SeccompListener::AddFd>("addFd"),
         InstanceMethod<&SeccompListener::Read>("read"), InstanceMethod<&SeccompListener::Write>("write"),
         InstanceMethod<&SeccompListener::Close>("close")});
  }

  // new SeccompListener(descriptor, onReady()): takes the descriptor over. Ready means: call receive until it gives
  // nothing.
  explicit SeccompListener(const Napi::CallbackInfo& info) : Napi::ObjectWrap<SeccompListener>(info) {
    int fd = Descriptor::Take(info[0]);
    if (fd < 0)
      return;
    ready_ = Napi::Persistent(info[1].As<Napi::Function>());
    int error = file_.Open(info.Env(), fd, [this](int, int) { Ready(); });
    if (error) {
      ThrowErrno(info.Env(), "epoll_ctl", error);
      return;
    }
    self_ = Napi::Persistent(info.This().As<Napi::Object>());
    file_.Want(UV_READABLE);
    file_.Ref(false);
  }

private:
  void Close(const Napi::CallbackInfo& info) {
    file_.Close();
    self_.Reset();
  }

  void Ready() {
    Napi::HandleScope scope(Env());
    CallFromLoop(Env(), ready_, {});
  }

  // receive(): the bytes of a struct seccomp_notif, undefined when there is none now, null when there never will be one
  // again: nobody is filtered any more.
  Napi::Value Receive(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    std::vector<char> buffer(KernelSizes().notification);
    for (;;) {
      pollfd ready = {file_.fd(), POLLIN, 0};
      if (file_.fd() < 0 || poll(&ready, 1, 0) < 0 || !(ready.revents & POLLIN))
        return ready.revents & (POLLHUP | POLLERR | POLLNVAL) ? env.Null() : env.Undefined();
      std::fill(buffer.begin(), buffer.end(), 0); // or EINVAL
      if (ioctl(file_.fd(), SECCOMP_IOCTL_NOTIF_RECV, buffer.data()) == 0)
        return Napi::Buffer<char>::Copy(env, buffer.data(), buffer.size());
      // ENOENT: the caller died meanwhile.
      if (errno != EINTR && errno != ENOENT)
        return env.Undefined();
    }
  }

  // send(id, value, error, continue): 0, or the errno; ENOENT when nobody waits for this answer any more.
  Napi::Value Send(const Napi::CallbackInfo& info) {
    std::vector<uint64_t> space((KernelSizes().response + 7) / 8);
    auto* response = reinterpret_cast<seccomp_notif_resp*>(space.data());
    bool lossless;
    response->id = Number64(info[0]);
    response->val = info[1].As<Napi::BigInt>().Int64Value(&lossless);
    response->error = -info[2].As<Napi::Number>().Int32Value();
    response->flags = info[3].ToBoolean() ? SECCOMP_USER_NOTIF_FLAG_CONTINUE : 0;
    return Answer(info.Env(), ioctl(file_.fd(), SECCOMP_IOCTL_NOTIF_SEND, response));
  }

  // valid(id): whether the call still waits.
  Napi::Value Valid(const Napi::CallbackInfo& info) {
    return Napi::Boolean::New(info.Env(), Waits(Number64(info[0])));
  }

  // addFd(id, source, target, closeOnExec, send): the number of the new descriptor there, or the negative errno. A
  // target of -1 is the lowest free one. With `send` the number is the call's value, in one step.
  Napi::Value AddFd(const Napi::CallbackInfo& info) {
    int64_t target = info[2].As<Napi::Number>().Int64Value();
    seccomp_notif_addfd add = {};
    add.id = Number64(info[0]);
    add.srcfd = info[1].As<Napi::Number>().Uint32Value();
    add.newfd = target < 0 ? 0 : static_cast<uint32_t>(target);
    add.newfd_flags = info[3].ToBoolean() ? O_CLOEXEC : 0;
    add.flags = (target < 0 ? 0 : SECCOMP_ADDFD_FLAG_SETFD) | (info[4].ToBoolean() ? SECCOMP_ADDFD_FLAG_SEND : 0);
    int made = ioctl(file_.fd(), SECCOMP_IOCTL_NOTIF_ADDFD, &add);
    return Napi::Number::New(info.Env(), made < 0 ? -errno : made);
  }

  // read(id, pid, address, length): a Buffer, maybe shorter; a negative errno where nothing could be read.
  Napi::Value Read(const Napi::CallbackInfo& info) {
    std::vector<char> bytes(info[3].As<Napi::Number>().Uint32Value());
    ssize_t got = Transfer(info, bytes.data(), bytes.size(), false);
    if (got < 0)
      return Napi::Number::New(info.Env(), static_cast<double>(got));
    return Napi::Buffer<char>::Copy(info.Env(), bytes.data(), static_cast<size_t>(got));
  }

  // write(id, pid, address, bytes): how many were written, or the negative errno.
  Napi::Value Write(const Napi::CallbackInfo& info) {
    auto bytes = info[3].As<Napi::Uint8Array>();
    return Napi::Number::New(info.Env(), static_cast<double>(Transfer(info, bytes.Data(), bytes.ByteLength(), true)));
  }

  // The caller's memory by its file. The thread's number may have gone to another process, so the file is opened first
  // and then the call is asked after: if it still waits, the number was the caller's all along, and the file is of its
  // memory whatever happens next. What was read is used only if the call still waits then: a caller that was
  // interrupted may have done something else with the same memory (seccomp_unotify(2)).
  ssize_t Transfer(const Napi::CallbackInfo& info, void* bytes, size_t length, bool write) {
    uint64_t id = Number64(info[0]);
    std::string path = "/proc/" + std::to_string(info[1].As<Napi::Number>().Uint32Value()) + "/mem";
    auto offset = static_cast<off_t>(Number64(info[2]));
    int fd = open(path.c_str(), (write ? O_WRONLY : O_RDONLY) | O_CLOEXEC);
    ssize_t done = fd < 0 ? -errno : 0;
    bool valid = Waits(id);
    if (fd >= 0 && valid) {
      done = write ? pwrite(fd, bytes, length, offset) : pread(fd, bytes, length, offset);
      if (done < 0)
        done = errno == EIO ? -EFAULT : -errno; // what this file says of memory that is not there
      valid = write || Waits(id);
    }
    if (fd >= 0)
      close(fd);
    return valid ? done : -ESRCH;
  }

  bool Waits(uint64_t id) const {
    return file_.fd() >= 0 && ioctl(file_.fd(), SECCOMP_IOCTL_NOTIF_ID_VALID, &id) == 0;
  }

  static Napi::Value Answer(Napi::Env env, int rc) {
    return Napi::Number::New(env, rc < 0 ? errno : 0);
  }

  PolledDescriptor file_;
  Napi::FunctionReference ready_;
  Napi::ObjectReference self_;
};

Napi::Object InitSeccomp(Napi::Env env, Napi::Object exports) {
  exports.Set("SeccompListener", SeccompListener::Define(env));
  return exports;
}

} // namespace tscontain
