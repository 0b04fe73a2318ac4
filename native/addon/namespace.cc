// Namespaces as descriptors: opened and verified, asked about (ioctl_nsfs(2)), kept by a bind mount, and entered by
// this thread for the time of one synchronous call.
#include "addon.h"
#include "descriptor.h"
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <string>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace tscontain {

namespace {

constexpr unsigned long kNamespaceFs = 0x6e736673; // NSFS_MAGIC

std::string LinkOf(int fd) {
  return "/proc/self/fd/" + std::to_string(fd);
}

Napi::Value Fail(Napi::Env env, const char* call, int error) {
  ThrowErrno(env, call, error);
  return env.Undefined();
}

Napi::Value Wrapped(Napi::Env env, int fd) {
  napi_value descriptor = Descriptor::Wrap(env, fd);
  return descriptor ? Napi::Value(env, descriptor) : Napi::Value();
}

// 0 where the descriptor stands for a namespace. A device or a FIFO must not be opened, let alone asked with an ioctl
// that would mean something else to it.
int ExpectNamespace(int fd) {
  struct statfs facts;
  if (fstatfs(fd, &facts) < 0)
    return errno;
  return static_cast<unsigned long>(facts.f_type) == kNamespaceFs ? 0 : ENOTTY;
}

// openNamespace(path): a descriptor; ENOTTY where the file is no namespace.
Napi::Value OpenNamespace(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  std::string path = info[0].As<Napi::String>();
  int found = open(path.c_str(), O_PATH | O_CLOEXEC);
  if (found < 0)
    return Fail(env, "open", errno);
  int error = ExpectNamespace(found);
  int fd = error ? -1 : open(LinkOf(found).c_str(), O_RDONLY | O_CLOEXEC);
  if (!error && fd < 0)
    error = errno;
  close(found);
  return error ? Fail(env, "open", error) : Wrapped(env, fd);
}

// relatedNamespace(descriptor, 'user' | 'parent'): the user namespace that owns it, or the one above it.
Napi::Value RelatedNamespace(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  int fd = Descriptor::Borrow(info[0]);
  if (fd < 0)
    return env.Undefined();
  bool owner = info[1].As<Napi::String>().Utf8Value() == "user";
  int related = ioctl(fd, owner ? NS_GET_USERNS : NS_GET_PARENT);
  return related < 0 ? Fail(env, "ioctl", errno) : Wrapped(env, related);
}

// namespaceFacts(descriptor): [flag of clone(2), inode, device]
Napi::Value NamespaceFacts(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  int fd = Descriptor::Borrow(info[0]);
  if (fd < 0)
    return env.Undefined();
  struct stat facts;
  int kind = ioctl(fd, NS_GET_NSTYPE);
  if (kind < 0)
    return Fail(env, "ioctl", errno);
  if (fstat(fd, &facts) < 0)
    return Fail(env, "fstat", errno);
  Napi::Array result = Napi::Array::New(env, 3);
  result.Set(0U, Napi::Number::New(env, kind));
  result.Set(1U, Napi::Number::New(env, static_cast<double>(facts.st_ino)));
  result.Set(2U, Napi::Number::New(env, static_cast<double>(facts.st_dev)));
  return result;
}

// pinNamespace(descriptor, path): binds it over a file, which is made and must not be there. By descriptor, so that
// nothing put in the file's place is mounted on.
Napi::Value PinNamespace(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  int fd = Descriptor::Borrow(info[0]);
  if (fd < 0)
    return env.Undefined();
  std::string path = info[1].As<Napi::String>();
  int target = open(path.c_str(), O_RDONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0400);
  if (target < 0)
    return Fail(env, "open", errno);
  int error = 0;
  if (mount(LinkOf(fd).c_str(), LinkOf(target).c_str(), nullptr, MS_BIND, nullptr) < 0) {
    error = errno;
    unlink(path.c_str());
  }
  close(target);
  return error ? Fail(env, "mount", error) : env.Undefined();
}

// unpinNamespace(path): takes the mount and the empty file under it away; ENOTTY where it is no pinned namespace.
Napi::Value UnpinNamespace(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  std::string path = info[0].As<Napi::String>();
  int found = open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC);
  if (found < 0)
    return Fail(env, "open", errno);
  int error = ExpectNamespace(found);
  close(found);
  if (error)
    return Fail(env, "open", error);
  if (umount2(path.c_str(), UMOUNT_NOFOLLOW | MNT_DETACH) < 0)
    return Fail(env, "umount2", errno);
  struct stat facts;
  if (lstat(path.c_str(), &facts) == 0 && S_ISREG(facts.st_mode) && facts.st_size == 0 && unlink(path.c_str()) < 0)
    return Fail(env, "unlink", errno);
  return env.Undefined();
}

// inNamespace(descriptor, flag, file of /proc/thread-self/ns, function): what the function returns, called while this
// thread is in the namespace. A thread that cannot go back must not go on: everything after would be done elsewhere.
Napi::Value InNamespace(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  int fd = Descriptor::Borrow(info[0]);
  if (fd < 0)
    return env.Undefined();
  int flag = info[1].As<Napi::Number>();
  std::string own = "/proc/thread-self/ns/" + info[2].As<Napi::String>().Utf8Value();
  int before = open(own.c_str(), O_RDONLY | O_CLOEXEC);
  if (before < 0)
    return Fail(env, "open", errno);
  if (setns(fd, flag) < 0) {
    int error = errno;
    close(before);
    return Fail(env, "setns", error);
  }
  napi_value undefined = env.Undefined(), result = nullptr;
  napi_status status = napi_call_function(env, undefined, info[3], 0, nullptr, &result);
  if (setns(before, flag) < 0) {
    perror("tscontain: this thread cannot return to its own namespace: setns");
    abort();
  }
  close(before);
  return status == napi_ok ? Napi::Value(env, result) : Napi::Value(); // else an exception is pending
}

} // namespace

Napi::Object InitNamespace(Napi::Env env, Napi::Object exports) {
  exports.Set("openNamespace", Napi::Function::New(env, OpenNamespace));
  exports.Set("relatedNamespace", Napi::Function::New(env, RelatedNamespace));
  exports.Set("namespaceFacts", Napi::Function::New(env, NamespaceFacts));
  exports.Set("pinNamespace", Napi::Function::New(env, PinNamespace));
  exports.Set("unpinNamespace", Napi::Function::New(env, UnpinNamespace));
  exports.Set("inNamespace", Napi::Function::New(env, InNamespace));
  return exports;
}

} // namespace tscontain
