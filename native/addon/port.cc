// A port of this thread's network namespace, taken at once, so that it can be done while the thread is in another one:
// net.Server and dgram.Socket of Node bind later, from the event loop.
#include "addon.h"
#include "descriptor.h"
#include <cerrno>
#include <cstring>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace tscontain {

// holdPort(tcp, address, port): a bound socket, and the port that it has. One of TCP listens, as only that keeps off
// others that have SO_REUSEADDR too; without it a port would be taken for a minute by connections that have ended.
static Napi::Value HoldPort(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  bool tcp = info[0].As<Napi::Boolean>().Value();
  auto address = info[1].As<Napi::Uint8Array>();
  auto port = static_cast<uint16_t>(info[2].As<Napi::Number>().Uint32Value());
  sockaddr_storage storage = {};
  socklen_t length;
  if (address.ByteLength() == 16) {
    auto* to = reinterpret_cast<sockaddr_in6*>(&storage);
    to->sin6_family = AF_INET6;
    to->sin6_port = htons(port);
    memcpy(&to->sin6_addr, address.Data(), 16);
    length = sizeof *to;
  } else if (address.ByteLength() == 4) {
    auto* to = reinterpret_cast<sockaddr_in*>(&storage);
    to->sin_family = AF_INET;
    to->sin_port = htons(port);
    memcpy(&to->sin_addr, address.Data(), 4);
    length = sizeof *to;
  } else {
    ThrowErrno(env, "bind", EINVAL);
    return env.Undefined();
  }
  int on = 1;
  int fd = socket(storage.ss_family, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const char* call = "socket";
  bool failed = fd < 0;
  if (!failed && storage.ss_family == AF_INET6) {
    call = "setsockopt";
    failed = setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) < 0;
  }
  if (!failed && tcp) {
    call = "setsockopt";
    failed = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0;
  }
  if (!failed) {
    call = "bind";
    failed = bind(fd, reinterpret_cast<sockaddr*>(&storage), length) < 0;
  }
  if (!failed && tcp) {
    call = "listen";
    failed = listen(fd, 0) < 0;
  }
  if (!failed) {
    call = "getsockname";
    failed = getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &length) < 0;
  }
  if (failed) {
    int error = errno;
    if (fd >= 0)
      close(fd);
    ThrowErrno(env, call, error);
    return env.Undefined();
  }
  // In both families at the same place.
  uint16_t bound = ntohs(reinterpret_cast<sockaddr_in*>(&storage)->sin_port);
  napi_value descriptor = Descriptor::Wrap(env, fd);
  if (!descriptor)
    return Napi::Value();
  Napi::Array result = Napi::Array::New(env, 2);
  result.Set(0u, Napi::Value(env, descriptor));
  result.Set(1u, Napi::Number::New(env, bound));
  return result;
}

Napi::Object InitPort(Napi::Env env, Napi::Object exports) {
  exports.Set("holdPort", Napi::Function::New(env, HoldPort));
  return exports;
}

} // namespace tscontain
