// Extended attributes (xattr(7)) of a file, by path without following a link at its end, or by descriptor: what
// overlays note about their layers, and the capabilities of programs, live there, and Node has no call for them.
#include "addon.h"
#include "descriptor.h"
#include <cerrno>
#include <string>
#include <sys/xattr.h>

namespace tscontain {

namespace {

// A value is at most XATTR_SIZE_MAX bytes, and a list of names at most XATTR_LIST_MAX: both are this (linux/limits.h).
constexpr size_t kLargest = 64 * 1024;

// A file as one of the calls takes it. fgetxattr(2) refuses O_PATH descriptors, so a descriptor goes through its link
// in /proc, which leads to the file itself and no further, even where that is a symbolic link.
struct File {
  std::string path;
  bool follow = false;
  bool valid = false;
};

File FileOf(const Napi::Value& value) {
  File file;
  if (value.IsBuffer()) {
    auto bytes = value.As<Napi::Buffer<char>>();
    file.path.assign(bytes.Data(), bytes.Length());
    file.valid = true;
  } else {
    int fd = Descriptor::Borrow(value);
    if (fd < 0)
      return file;
    file.path = "/proc/self/fd/" + std::to_string(fd);
    file.follow = file.valid = true;
  }
  return file;
}

Napi::Value BytesOrNothing(Napi::Env env, const char* call, ssize_t got, const char* bytes) {
  if (got >= 0)
    return Napi::Buffer<char>::Copy(env, bytes, static_cast<size_t>(got));
  if (errno != ENODATA)
    ThrowErrno(env, call, errno);
  return env.Undefined();
}

} // namespace

// getXattr(path or descriptor, name): the value, undefined where the file has no such attribute.
static Napi::Value GetXattr(const Napi::CallbackInfo& info) {
  static thread_local char value[kLargest];
  File file = FileOf(info[0]);
  if (!file.valid)
    return info.Env().Undefined();
  std::string name = info[1].As<Napi::String>();
  ssize_t got = file.follow ? getxattr(file.path.c_str(), name.c_str(), value, sizeof value)
                            : lgetxattr(file.path.c_str(), name.c_str(), value, sizeof value);
  return BytesOrNothing(info.Env(), "getxattr", got, value);
}

// listXattr(path or descriptor): the names, each with a NUL byte after it.
static Napi::Value ListXattr(const Napi::CallbackInfo& info) {
  static thread_local char names[kLargest];
  File file = FileOf(info[0]);
  if (!file.valid)
    return info.Env().Undefined();
  ssize_t got = file.follow ? listxattr(file.path.c_str(), names, sizeof names)
                            : llistxattr(file.path.c_str(), names, sizeof names);
  return BytesOrNothing(info.Env(), "listxattr", got, names);
}

// setXattr(path or descriptor, name, value, flags): flags 1 only if it is not there, 2 only if it is (setxattr(2)).
static void SetXattr(const Napi::CallbackInfo& info) {
  File file = FileOf(info[0]);
  if (!file.valid)
    return;
  std::string name = info[1].As<Napi::String>();
  auto value = info[2].As<Napi::Uint8Array>();
  int flags = info[3].As<Napi::Number>().Int32Value();
  int rc = file.follow ? setxattr(file.path.c_str(), name.c_str(), value.Data(), value.ByteLength(), flags)
                       : lsetxattr(file.path.c_str(), name.c_str(), value.Data(), value.ByteLength(), flags);
  if (rc < 0)
    ThrowErrno(info.Env(), "setxattr", errno);
}

// removeXattr(path or descriptor, name): whether it was there.
static Napi::Value RemoveXattr(const Napi::CallbackInfo& info) {
  File file = FileOf(info[0]);
  if (!file.valid)
    return info.Env().Undefined();
  std::string name = info[1].As<Napi::String>();
  int rc = file.follow ? removexattr(file.path.c_str(), name.c_str()) : lremovexattr(file.path.c_str(), name.c_str());
  if (rc < 0 && errno != ENODATA)
    ThrowErrno(info.Env(), "removexattr", errno);
  return Napi::Boolean::New(info.Env(), rc == 0);
}

Napi::Object InitXattr(Napi::Env env, Napi::Object exports) {
  exports.Set("getXattr", Napi::Function::New(env, GetXattr));
  exports.Set("listXattr", Napi::Function::New(env, ListXattr));
  exports.Set("setXattr", Napi::Function::New(env, SetXattr));
  exports.Set("removeXattr", Napi::Function::New(env, RemoveXattr));
  return exports;
}

} // namespace tscontain
