// A netlink socket on the event loop (netlink(7)): whole datagrams in both directions, from and to the kernel only.
// What is sent goes through libuv's pool, since the kernel carries a request out before sendmsg(2) returns, and may
// have to wait for its locks meanwhile. What the bytes mean is decided in lib/netlink.
#include "addon.h"
#include "descriptor.h"
#include "poller.h"
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

namespace tscontain {

namespace {

// The kernel fills datagrams of a dump as far as the largest buffer that it has seen a reader use, up to this.
constexpr size_t kDatagram = 32 * 1024;
constexpr ssize_t kLargest = 16 * 1024 * 1024;

int Option(int fd, int level, int name, int value) {
  return setsockopt(fd, level, name, &value, sizeof value) < 0 ? errno : 0;
}

// Above the host's limit where this process may, else as far as that.
int BufferSize(int fd, int forced, int plain, int size) {
  return Option(fd, SOL_SOCKET, forced, size) == 0 ? 0 : Option(fd, SOL_SOCKET, plain, size);
}

// Sends on a copy of the descriptor, so that the socket may be closed meanwhile. The destination is given: then the
// kernel asks for the rights of who sends, and not also for those of the agent that has made the socket (since Linux
// 3.15, __netlink_ns_capable).
class Sending : public Napi::AsyncWorker {
public:
  Sending(Napi::Env env, int fd, const uint8_t* bytes, size_t length)
      : Napi::AsyncWorker(env), deferred_(Napi::Promise::Deferred::New(env)), fd_(fcntl(fd, F_DUPFD_CLOEXEC, 0)),
        error_(fd_ < 0 ? errno : 0), bytes_(bytes, bytes + length) {}
  ~Sending() override {
    if (fd_ >= 0)
      close(fd_);
  }
  Napi::Promise Promise() {
    return deferred_.Promise();
  }
  void Execute() override {
    sockaddr_nl kernel = {};
    kernel.nl_family = AF_NETLINK;
    while (!error_) {
      ssize_t sent = sendto(fd_, bytes_.data(), bytes_.size(), 0, reinterpret_cast<sockaddr*>(&kernel), sizeof kernel);
      if (sent == static_cast<ssize_t>(bytes_.size()))
        return;
      if (sent >= 0)
        error_ = EMSGSIZE;
      else if (errno != EINTR)
        error_ = errno;
    }
  }
  void OnOK() override {
    deferred_.Resolve(Napi::Number::New(Env(), error_));
  }

private:
  Napi::Promise::Deferred deferred_;
  int fd_;
  int error_;
  std::vector<uint8_t> bytes_;
};

} // namespace

class NetlinkSocket : public Napi::ObjectWrap<NetlinkSocket> {
public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "NetlinkSocket",
                       {InstanceAccessor<&NetlinkSocket::Port>("port"), InstanceMethod<&NetlinkSocket::Send>("send"),
                        InstanceMethod<&NetlinkSocket::Receive>("receive"),
                        InstanceMethod<&NetlinkSocket::Membership>("membership"),
                        InstanceMethod<&NetlinkSocket::Buffers>("buffers"), InstanceMethod<&NetlinkSocket::Ref>("ref"),
                        InstanceMethod<&NetlinkSocket::Close>("close")});
  }

  // new NetlinkSocket(descriptor, protocol, onReady()): takes the descriptor over, which must be a netlink socket of
  // this protocol, and binds it. Ready means: call receive until it gives nothing.
  explicit NetlinkSocket(const Napi::CallbackInfo& info) : Napi::ObjectWrap<NetlinkSocket>(info) {
    int fd = Descriptor::Take(info[0]);
    if (fd < 0)
      return;
    const char* call = "setsockopt";
    int error = Prepare(fd, info[1].As<Napi::Number>().Int32Value(), &call);
    if (error) {
      close(fd);
      ThrowErrno(info.Env(), call, error);
      return;
    }
    ready_ = Napi::Persistent(info[2].As<Napi::Function>());
    error = file_.Open(info.Env(), fd, [this](int, int failed) { Ready(failed != 0); });
    if (error) {
      ThrowErrno(info.Env(), "epoll_ctl", error);
      return;
    }
    self_ = Napi::Persistent(info.This().As<Napi::Object>());
    file_.Want(UV_READABLE);
    file_.Ref(false);
  }

private:
  int Prepare(int fd, int protocol, const char** call) {
    int domain = 0, found = 0;
    socklen_t size = sizeof domain;
    *call = "getsockopt";
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 ||
        getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &found, &size) < 0)
      return errno;
    if (domain != AF_NETLINK || found != protocol)
      return EPROTOTYPE;
    *call = "fcntl";
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
      return errno;
    *call = "setsockopt";
    int error = 0;
    for (int name : {NETLINK_EXT_ACK, NETLINK_CAP_ACK, NETLINK_PKTINFO})
      if (!error)
        error = Option(fd, SOL_NETLINK, name, 1);
    // Linux 4.20; without it a dump has more in it than was asked for.
    int strict = Option(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
    if (!error && strict && strict != ENOPROTOOPT)
      error = strict;
    if (error)
      return error;
    sockaddr_nl address = {};
    address.nl_family = AF_NETLINK;
    *call = "bind";
    if (bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) < 0)
      return errno;
    size = sizeof address;
    *call = "getsockname";
    if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) < 0)
      return errno;
    port_ = address.nl_pid;
    return 0;
  }

  void Close(const Napi::CallbackInfo& info) {
    file_.Close();
    self_.Reset();
  }

  void Ref(const Napi::CallbackInfo& info) {
    file_.Ref(info[0].ToBoolean());
  }

  // Lost datagrams are an error of the socket, at which libuv gives up watching. Reading tells of it and clears it.
  void Ready(bool failed) {
    Napi::HandleScope scope(Env());
    CallFromLoop(Env(), ready_, {});
    if (failed) {
      file_.Want(0);
      file_.Want(UV_READABLE);
    }
  }

  // The number by which the kernel knows this socket; its answers have it.
  Napi::Value Port(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), port_);
  }

  // send(bytes): a promise of 0 or the errno, settled when the kernel has carried the request out. What is sent while
  // another is on its way has no order.
  Napi::Value Send(const Napi::CallbackInfo& info) {
    auto bytes = info[0].As<Napi::Uint8Array>();
    if (file_.fd() < 0) {
      ThrowErrno(info.Env(), "sendto", EBADF);
      return info.Env().Undefined();
    }
    auto* sending = new Sending(info.Env(), file_.fd(), bytes.Data(), bytes.ByteLength());
    Napi::Promise promise = sending->Promise();
    sending->Queue();
    return promise;
  }

  // receive(): [bytes, multicast group or 0]; undefined when there is nothing now; else the errno, which is ENOBUFS
  // when datagrams have been lost.
  Napi::Value Receive(const Napi::CallbackInfo& info) {
    Napi::Env env = info.Env();
    for (;;) {
      if (file_.fd() < 0)
        return env.Undefined();
      ssize_t length = recv(file_.fd(), nullptr, 0, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
      if (length < 0 && errno == EINTR)
        continue;
      if (length < 0)
        return errno == EAGAIN ? env.Undefined() : Napi::Number::New(env, errno);
      if (length > kLargest) {
        recv(file_.fd(), nullptr, 0, MSG_DONTWAIT); // or it would be the next one for ever
        return Napi::Number::New(env, EMSGSIZE);
      }
      static thread_local std::vector<uint8_t> buffer(kDatagram);
      std::vector<uint8_t> large(static_cast<size_t>(length) > kDatagram ? static_cast<size_t>(length) : 0);
      std::vector<uint8_t>& space = large.empty() ? buffer : large;
      sockaddr_nl from = {};
      union {
        cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(nl_pktinfo))];
      } control;
      iovec iov = {space.data(), space.size()};
      msghdr message = {};
      message.msg_name = &from;
      message.msg_namelen = sizeof from;
      message.msg_iov = &iov;
      message.msg_iovlen = 1;
      message.msg_control = &control;
      message.msg_controllen = sizeof control;
      ssize_t got = recvmsg(file_.fd(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
      if (got < 0 && errno == EINTR)
        continue;
      if (got < 0)
        return errno == EAGAIN ? env.Undefined() : Napi::Number::New(env, errno);
      if (message.msg_flags & MSG_TRUNC)
        return Napi::Number::New(env, EMSGSIZE);
      // Any process may send to any port; the kernel's is 0.
      if (message.msg_namelen != sizeof from || from.nl_family != AF_NETLINK || from.nl_pid != 0)
        continue;
      return Datagram(env, space.data(), static_cast<size_t>(got), GroupOf(&message));
    }
  }

  static uint32_t GroupOf(msghdr* message) {
    for (cmsghdr* header = CMSG_FIRSTHDR(message); header; header = CMSG_NXTHDR(message, header))
      if (header->cmsg_level == SOL_NETLINK && header->cmsg_type == NETLINK_PKTINFO &&
          header->cmsg_len >= CMSG_LEN(sizeof(nl_pktinfo))) {
        nl_pktinfo facts;
        memcpy(&facts, CMSG_DATA(header), sizeof facts);
        return facts.group;
      }
    return 0;
  }

  static Napi::Value Datagram(Napi::Env env, const uint8_t* bytes, size_t length, uint32_t group) {
    Napi::Array pair = Napi::Array::New(env, 2);
    pair.Set(0u, Napi::Buffer<uint8_t>::Copy(env, bytes, length));
    pair.Set(1u, Napi::Number::New(env, group));
    return pair;
  }

  // membership(group, on): 0, or the errno.
  Napi::Value Membership(const Napi::CallbackInfo& info) {
    int name = info[1].ToBoolean() ? NETLINK_ADD_MEMBERSHIP : NETLINK_DROP_MEMBERSHIP;
    int group = info[0].As<Napi::Number>().Int32Value();
    return Napi::Number::New(info.Env(), file_.fd() < 0 ? EBADF : Option(file_.fd(), SOL_NETLINK, name, group));
  }

  // buffers(send, receive): bytes for what is not read yet in each direction, 0 to leave one as it is. 0, or the errno;
  // the host's limits (net.core.wmem_max, rmem_max) hold for who is not root.
  Napi::Value Buffers(const Napi::CallbackInfo& info) {
    int send = info[0].As<Napi::Number>().Int32Value(), receive = info[1].As<Napi::Number>().Int32Value();
    int error = file_.fd() < 0 ? EBADF : 0;
    if (!error && send > 0)
      error = BufferSize(file_.fd(), SO_SNDBUFFORCE, SO_SNDBUF, send);
    if (!error && receive > 0)
      error = BufferSize(file_.fd(), SO_RCVBUFFORCE, SO_RCVBUF, receive);
    return Napi::Number::New(info.Env(), error);
  }

  PolledDescriptor file_;
  uint32_t port_ = 0;
  Napi::FunctionReference ready_;
  Napi::ObjectReference self_;
};

// netlinkSocket(protocol): a socket in the network namespace of this process.
static Napi::Value MakeSocket(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, info[0].As<Napi::Number>().Int32Value());
  if (fd < 0) {
    ThrowErrno(env, "socket", errno);
    return env.Undefined();
  }
  napi_value descriptor = Descriptor::Wrap(env, fd);
  return descriptor ? Napi::Value(env, descriptor) : Napi::Value();
}

Napi::Object InitNetlink(Napi::Env env, Napi::Object exports) {
  exports.Set("NetlinkSocket", NetlinkSocket::Define(env));
  exports.Set("netlinkSocket", Napi::Function::New(env, MakeSocket));
  return exports;
}

} // namespace tscontain
