// Mounts as this process sees them: a path as a descriptor that only stands for it, and the number of the mount it is
// on. What changes mounts is a step, run by the launcher's side; here is what is asked about them.
#include "addon.h"
#include "descriptor.h"
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/stat.h>
#include <string>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x1000 // Linux 5.8
#endif

namespace tscontain {

namespace {
// struct statx as of Linux 5.8: our headers may be older than the field.
struct MountFacts {
  uint32_t mask;
  char before[140];
  uint64_t mount;
  char after[104];
};
static_assert(sizeof(MountFacts) == 256, "struct statx");
constexpr unsigned kUniqueMount = 0x4000; // STATX_MNT_ID_UNIQUE, Linux 6.8: never given to another mount
} // namespace

// openPath(path, follow): a descriptor that stands for the file and opens nothing of it (open(2), O_PATH).
static Napi::Value OpenPath(const Napi::CallbackInfo& info) {
  auto bytes = info[0].As<Napi::Buffer<char>>();
  std::string path(bytes.Data(), bytes.Length());
  int fd = open(path.c_str(), O_PATH | O_CLOEXEC | (info[1].ToBoolean() ? 0 : O_NOFOLLOW));
  if (fd < 0) {
    ThrowErrno(info.Env(), "open", errno);
    return info.Env().Undefined();
  }
  return Napi::Value(info.Env(), Descriptor::Wrap(info.Env(), fd));
}

// mountId(path or descriptor): the number of the mount that it is on; a path's last component is not followed.
static Napi::Value MountId(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  std::string path;
  int fd = AT_FDCWD, flags = AT_EMPTY_PATH;
  if (info[0].IsBuffer()) {
    auto bytes = info[0].As<Napi::Buffer<char>>();
    path.assign(bytes.Data(), bytes.Length());
    flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT;
  } else if ((fd = Descriptor::Borrow(info[0])) < 0) {
    return env.Undefined();
  }
  MountFacts facts;
  memset(&facts, 0, sizeof facts);
  long rc = syscall(SYS_statx, fd, path.c_str(), flags, kUniqueMount | STATX_MNT_ID, &facts);
  if (rc < 0 || !(facts.mask & (kUniqueMount | STATX_MNT_ID))) {
    ThrowErrno(env, "statx", rc < 0 ? errno : ENOSYS);
    return env.Undefined();
  }
  return Napi::Number::New(env, static_cast<double>(facts.mount));
}

Napi::Object InitMount(Napi::Env env, Napi::Object exports) {
  exports.Set("openPath", Napi::Function::New(env, OpenPath));
  exports.Set("mountId", Napi::Function::New(env, MountId));
  return exports;
}

} // namespace tscontain
