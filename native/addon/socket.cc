// Sockets that were made in another network namespace, bound from here, and handed over to Node. A socket stays in its
// namespace whoever uses it; binding asks for the rights of who calls (ns_capable), which the owner of a namespace has.
#include "addon.h"
#include "descriptor.h"
#include <arpa/inet.h>
#include <cerrno>
#include <cstring>
#include <netinet/in.h>
#include <sys/socket.h>

#ifndef IPV6_TRANSPARENT
#define IPV6_TRANSPARENT 75
#endif

namespace tscontain {

static bool Option(int fd, int level, int name) {
  int on = 1;
  return setsockopt(fd, level, name, &on, sizeof on) == 0;
}

// bindSocket(descriptor, address, port, transparent): binds an inet or inet6 socket to the address, 4 or 16 bytes of
// it. A transparent one gets what a rule of the packet filter hands it, whatever its destination (IP_TRANSPARENT,
// ip(7)).
static Napi::Value BindSocket(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  int fd = Descriptor::Borrow(info[0]);
  if (fd < 0)
    return env.Undefined();
  auto address = info[1].As<Napi::Uint8Array>();
  auto port = static_cast<uint16_t>(info[2].As<Napi::Number>().Uint32Value());
  bool transparent = info[3].ToBoolean();
  sockaddr_storage name = {};
  socklen_t size = 0;
  if (address.ByteLength() == sizeof(in6_addr)) {
    auto* in6 = reinterpret_cast<sockaddr_in6*>(&name);
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(port);
    memcpy(&in6->sin6_addr, address.Data(), sizeof(in6_addr));
    size = sizeof *in6;
    if (!Option(fd, IPPROTO_IPV6, IPV6_V6ONLY) || (transparent && !Option(fd, IPPROTO_IPV6, IPV6_TRANSPARENT))) {
      ThrowErrno(env, "setsockopt", errno);
      return env.Undefined();
    }
  } else if (address.ByteLength() == sizeof(in_addr)) {
    auto* in = reinterpret_cast<sockaddr_in*>(&name);
    in->sin_family = AF_INET;
    in->sin_port = htons(port);
    memcpy(&in->sin_addr, address.Data(), sizeof(in_addr));
    size = sizeof *in;
    if (transparent && !Option(fd, IPPROTO_IP, IP_TRANSPARENT)) {
      ThrowErrno(env, "setsockopt", errno);
      return env.Undefined();
    }
  } else {
    ThrowErrno(env, "bind", EINVAL);
    return env.Undefined();
  }
  if (bind(fd, reinterpret_cast<sockaddr*>(&name), size) < 0)
    ThrowErrno(env, "bind", errno);
  return env.Undefined();
}

// releaseDescriptor(descriptor): its number, which is the caller's from now on, for an API of Node's that closes it.
static Napi::Value ReleaseDescriptor(const Napi::CallbackInfo& info) {
  int fd = Descriptor::Take(info[0]);
  return Napi::Number::New(info.Env(), fd);
}

Napi::Object InitSocket(Napi::Env env, Napi::Object exports) {
  exports.Set("bindSocket", Napi::Function::New(env, BindSocket));
  exports.Set("releaseDescriptor", Napi::Function::New(env, ReleaseDescriptor));
  return exports;
}

} // namespace tscontain
