// A message socket on the event loop: whole messages with descriptors, in both directions, never blocking. What cannot
// be sent at once waits in a queue here.
#include "addon.h"
#include "descriptor.h"
#include "poller.h"
#include <cerrno>
#include <cstring>
#include <deque>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace tscontain {

namespace {

constexpr size_t kInline = 64 * 1024;        // longer ones travel in a sealed memfd; the same number as in wire.h
constexpr size_t kLargest = 8 * 1024 * 1024; // MAX_MESSAGE of wire.h
constexpr size_t kBuffer = kInline + 4096;   //
constexpr int kMaxFds = 200;                 //
constexpr int kMostDrained = 4096;           // a peer that never stops sending must not hold the loop
constexpr int kBurst = 32;                   // messages handled before the loop gets its turn
constexpr uint16_t kLargeOp = 1;
constexpr int kSeals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;

struct Outgoing {
  std::vector<char> bytes;
  std::vector<int> fds; // our own copies
};

long SendNow(int socket, const char* bytes, size_t length, const int* fds, size_t count) {
  union {
    cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int) * kMaxFds)];
  } control;
  iovec iov = {const_cast<char*>(bytes), length};
  msghdr message = {};
  message.msg_iov = &iov;
  message.msg_iovlen = 1;
  if (count > 0) {
    message.msg_control = &control;
    message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * count);
    memcpy(CMSG_DATA(header), fds, sizeof(int) * count);
  }
  ssize_t sent;
  do
    sent = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  while (sent < 0 && errno == EINTR);
  return sent;
}

// The bytes in a sealed memfd, and the short record that announces it.
int MakeLarge(const char* bytes, size_t length, char stub[16]) {
  int fd = memfd_create("tscontain-message", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (fd < 0)
    return -1;
  for (size_t done = 0; done < length;) {
    ssize_t wrote = write(fd, bytes + done, length - done);
    if (wrote <= 0) {
      close(fd);
      return -1;
    }
    done += static_cast<size_t>(wrote);
  }
  fcntl(fd, F_ADD_SEALS, kSeals);
  uint32_t size = 16;
  uint64_t total = length;
  memcpy(stub, &kLargeOp, 2);
  stub[2] = 1;
  stub[3] = 0;
  memcpy(stub + 4, &size, 4);
  memcpy(stub + 8, &total, 8);
  return fd;
}

} // namespace

class Channel : public Napi::ObjectWrap<Channel> {
public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "Channel",
                       {InstanceMethod<&Channel::Send>("send"), InstanceMethod<&Channel::Drain>("drain"),
                        InstanceMethod<&Channel::Ref>("ref"), InstanceMethod<&Channel::Unref>("unref"),
                        InstanceMethod<&Channel::Close>("close")});
  }

  // new Channel(descriptor, onMessage(bytes, descriptors), onEnd(errno)): takes the descriptor over.
  explicit Channel(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Channel>(info) {
    Napi::Env env = info.Env();
    int fd = Descriptor::Take(info[0]);
    if (fd < 0)
      return;
    int size = 1 << 20; // the kernel caps it at net.core.wmem_max
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    message_ = Napi::Persistent(info[1].As<Napi::Function>());
    end_ = Napi::Persistent(info[2].As<Napi::Function>());
    int error = file_.Open(env, fd, [this](int events, int failed) { Ready(events, failed); });
    if (error) {
      ThrowErrno(env, "epoll_ctl", error);
      return;
    }
    self_ = Napi::Persistent(info.This().As<Napi::Object>()); // alive until closed
    file_.Want(UV_READABLE);
    file_.Ref(false);
  }

  ~Channel() override {
    Release();
  }

private:
  void Release() {
    file_.Close();
    for (Outgoing& message : queue_)
      for (int fd : message.fds)
        close(fd);
    queue_.clear();
  }

  void Close(const Napi::CallbackInfo& info) {
    Release();
    self_.Reset();
  }

  // drain(): handles what has already arrived, now. Two sockets have no order between them; this makes one.
  void Drain(const Napi::CallbackInfo& info) {
    for (int i = 0; i < kMostDrained && file_.fd() >= 0 && Receive(); i++) {
    }
  }

  void Ref(const Napi::CallbackInfo& info) {
    file_.Ref(true);
  }

  void Unref(const Napi::CallbackInfo& info) {
    file_.Ref(false);
  }

  // send(bytes, descriptors): false when the other side is gone. The descriptors stay the caller's.
  Napi::Value Send(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    auto bytes = info[0].As<Napi::Uint8Array>();
    auto list = info[1].As<Napi::Array>();
    std::vector<int> fds;
    for (uint32_t i = 0; i < list.Length(); i++) {
      int fd = Descriptor::Borrow(list.Get(i));
      if (fd < 0)
        return env.Undefined();
      fds.push_back(fd);
    }
    if (file_.fd() < 0)
      return Napi::Boolean::New(env, false);
    if (bytes.ByteLength() > kLargest || fds.size() >= static_cast<size_t>(kMaxFds)) {
      ThrowErrno(env, "sendmsg", EMSGSIZE);
      return env.Undefined();
    }
    const char* data = reinterpret_cast<const char*>(bytes.Data());
    size_t length = bytes.ByteLength();
    char stub[16];
    int large = -1;
    if (length > kInline) {
      large = MakeLarge(data, length, stub);
      if (large < 0) {
        ThrowErrno(env, "memfd_create", errno);
        return env.Undefined();
      }
      fds.push_back(large);
      data = stub;
      length = sizeof stub;
    }
    int error = SendOrQueue(data, length, fds);
    if (large >= 0)
      close(large);
    bool gone = error == EPIPE || error == ECONNRESET || error == ENOTCONN;
    if (error && !gone)
      ThrowErrno(env, "sendmsg", error);
    return Napi::Boolean::New(env, error == 0);
  }

  // 0, or the errno of a message that is neither sent nor going to be.
  int SendOrQueue(const char* data, size_t length, const std::vector<int>& fds) {
    if (queue_.empty()) {
      if (SendNow(file_.fd(), data, length, fds.data(), fds.size()) >= 0)
        return 0;
      if (errno != EAGAIN && errno != ENOBUFS)
        return errno;
    }
    Outgoing message;
    for (int fd : fds) {
      int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
      if (copy < 0) {
        int error = errno;
        for (int made : message.fds)
          close(made);
        return error;
      }
      message.fds.push_back(copy);
    }
    message.bytes.assign(data, data + length);
    queue_.push_back(std::move(message));
    file_.Want(UV_READABLE | UV_WRITABLE);
    return 0;
  }

  void Flush() {
    while (!queue_.empty()) {
      Outgoing& next = queue_.front();
      if (SendNow(file_.fd(), next.bytes.data(), next.bytes.size(), next.fds.data(), next.fds.size()) < 0 &&
          (errno == EAGAIN || errno == ENOBUFS))
        return;
      for (int fd : next.fds)
        close(fd);
      queue_.pop_front();
    }
    file_.Want(UV_READABLE);
  }

  void Ready(int events, int failed) {
    Napi::HandleScope scope(Env());
    if (events & UV_WRITABLE)
      Flush();
    if (failed) {
      // A peer that is gone and has not read everything is an error of the socket, which libuv gives up on; what the
      // peer has sent before, such as why it ended, is there nevertheless.
      while (file_.fd() >= 0 && Receive()) {
      }
      if (file_.fd() >= 0)
        End(failed);
      return;
    }
    for (int i = 0; i < kBurst && file_.fd() >= 0; i++)
      if (!Receive())
        return;
  }

  // One message to JavaScript; false when there is none left, or no peer.
  bool Receive() {
    static thread_local char buffer[kBuffer];
    union {
      cmsghdr align;
      char bytes[CMSG_SPACE(sizeof(int) * kMaxFds)];
    } control;
    iovec iov = {buffer, sizeof buffer};
    msghdr message = {};
    message.msg_iov = &iov;
    message.msg_iovlen = 1;
    message.msg_control = &control;
    message.msg_controllen = sizeof control;
    ssize_t got;
    // ECONNRESET: the peer is gone and has not read everything. It is told once, before what the peer has sent
    // (unix(7), net/unix/af_unix.c); that still comes.
    do
      got = recvmsg(file_.fd(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (got < 0 && (errno == EINTR || errno == ECONNRESET));
    if (got < 0 && errno == EAGAIN)
      return false;
    if (got <= 0) {
      End(got < 0 ? errno : 0);
      return false;
    }
    std::vector<int> fds;
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header))
      if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
        size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        const int* first = reinterpret_cast<const int*>(CMSG_DATA(header));
        fds.insert(fds.end(), first, first + count);
      }
    Napi::Env env = Env();
    Napi::HandleScope scope(env);
    bool malformed = false;
    napi_value bytes = Content(buffer, static_cast<size_t>(got), message.msg_flags, fds, &malformed);
    napi_value descriptors = nullptr;
    bool made = bytes && napi_create_array_with_length(env, fds.size(), &descriptors) == napi_ok;
    for (uint32_t i = 0; i < fds.size(); i++) {
      napi_value descriptor = made ? Descriptor::Wrap(env, fds[i]) : nullptr;
      if (!made)
        close(fds[i]);
      else
        made = descriptor && napi_set_element(env, descriptors, i, descriptor) == napi_ok;
    }
    if (malformed) {
      End(EBADMSG);
      return false;
    }
    // Nothing can be made or called: the environment is being torn down, and the message has nowhere to go.
    if (!made || !CallFromLoop(env, message_, {bytes, descriptors})) {
      Release();
      return false;
    }
    return file_.fd() >= 0;
  }

  // The record itself, fetched from its memfd if it came in one. Null for what no honest peer sends, or when no buffer
  // can be made.
  napi_value Content(const char* buffer, size_t length, int flags, std::vector<int>& fds, bool* malformed) {
    napi_value content = nullptr;
    *malformed = true;
    if (flags & (MSG_TRUNC | MSG_CTRUNC) || length < 8)
      return nullptr;
    uint16_t op;
    memcpy(&op, buffer, 2);
    if (op != kLargeOp) {
      *malformed = false;
      return napi_create_buffer_copy(Env(), length, buffer, nullptr, &content) == napi_ok ? content : nullptr;
    }
    if (length != 16 || fds.empty())
      return nullptr;
    uint64_t size;
    memcpy(&size, buffer + 8, 8);
    int fd = fds.back();
    fds.pop_back();
    struct stat facts;
    void* data = nullptr;
    if (size <= kLargest && fcntl(fd, F_GET_SEALS) == kSeals && fstat(fd, &facts) == 0 &&
        static_cast<uint64_t>(facts.st_size) == size) {
      *malformed = false;
      if (napi_create_buffer(Env(), size, &data, &content) != napi_ok ||
          pread(fd, data, size, 0) != static_cast<ssize_t>(size))
        content = nullptr;
    }
    close(fd);
    return content;
  }

  void End(int error) {
    Napi::Env env = Env();
    Napi::HandleScope scope(env);
    Release();
    napi_value number = nullptr;
    if (!self_.IsEmpty() && napi_create_int32(env, error, &number) == napi_ok)
      CallFromLoop(env, end_, {number});
    self_.Reset();
  }

  PolledDescriptor file_;
  Napi::FunctionReference message_, end_;
  Napi::ObjectReference self_;
  std::deque<Outgoing> queue_;
};

Napi::Object InitChannel(Napi::Env env, Napi::Object exports) {
  exports.Set("Channel", Channel::Define(env));
  return exports;
}

} // namespace tscontain
