// What Node has no call for and control groups need: a descriptor of a directory or file, for a clone into it and for
// bpf(2); device programs; pressure triggers, which only tell of themselves as priority events of the very descriptor
// that set them (Documentation/accounting/psi.rst); an eventfd, by which cgroup v1 tells of a lack of memory.
#include "addon.h"
#include "descriptor.h"
#include "poller.h"
#include <cerrno>
#include <fcntl.h>
#include <linux/bpf.h>
#include <string>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

namespace tscontain {

static Napi::Value Wrapped(Napi::Env env, int fd) {
  napi_value object = Descriptor::Wrap(env, fd);
  return object ? Napi::Value(env, object) : Napi::Value();
}

// openCgroup(path, as): a directory (as 'directory'), or a file of one ('read', 'write'). A symbolic link is not
// followed; what is not in a cgroup file system is EXDEV.
static Napi::Value OpenCgroup(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  std::string path = info[0].As<Napi::String>(), as = info[1].As<Napi::String>();
  int flags = as == "directory" ? O_RDONLY | O_DIRECTORY : as == "write" ? O_WRONLY : O_RDONLY;
  int fd;
  do
    fd = open(path.c_str(), flags | O_NOFOLLOW | O_CLOEXEC);
  while (fd < 0 && errno == EINTR);
  if (fd < 0) {
    ThrowErrno(env, "open", errno);
    return env.Undefined();
  }
  struct statfs facts = {};
  int rc = fstatfs(fd, &facts);
  // CGROUP_SUPER_MAGIC and CGROUP2_SUPER_MAGIC (linux/magic.h)
  if (rc < 0 || (facts.f_type != 0x27e0eb && facts.f_type != 0x63677270)) {
    int error = rc < 0 ? errno : EXDEV;
    close(fd);
    ThrowErrno(env, "fstatfs", error);
    return env.Undefined();
  }
  return Wrapped(env, fd);
}

// eventDescriptor(): an eventfd.
static Napi::Value EventDescriptor(const Napi::CallbackInfo& info) {
  int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd < 0) {
    ThrowErrno(info.Env(), "eventfd", errno);
    return info.Env().Undefined();
  }
  return Wrapped(info.Env(), fd);
}

static long Bpf(int command, union bpf_attr* attributes) {
  return syscall(SYS_bpf, command, attributes, sizeof *attributes);
}

// attachDeviceProgram(directory, instructions, replaced?): loads a program of type cgroup device and attaches it, in
// place of `replaced` where that is given (BPF_F_REPLACE, Linux 5.6). The program's descriptor.
static Napi::Value AttachDeviceProgram(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  int directory = Descriptor::Borrow(info[0]);
  int replaced = directory < 0 || info[2].IsUndefined() ? -1 : Descriptor::Borrow(info[2]);
  if (env.IsExceptionPending())
    return env.Undefined();
  auto instructions = info[1].As<Napi::Uint8Array>();
  union bpf_attr load = {};
  load.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  load.insns = reinterpret_cast<uint64_t>(instructions.Data());
  load.insn_cnt = static_cast<uint32_t>(instructions.ByteLength() / sizeof(bpf_insn));
  load.license = reinterpret_cast<uint64_t>("GPL");
  long program;
  do // EAGAIN: the verifier was interrupted by a signal
    program = Bpf(BPF_PROG_LOAD, &load);
  while (program < 0 && (errno == EAGAIN || errno == EINTR));
  if (program < 0) {
    ThrowErrno(env, "bpf(BPF_PROG_LOAD)", errno);
    return env.Undefined();
  }
  union bpf_attr attach = {};
  attach.target_fd = static_cast<uint32_t>(directory);
  attach.attach_bpf_fd = static_cast<uint32_t>(program);
  attach.attach_type = BPF_CGROUP_DEVICE;
  attach.attach_flags = BPF_F_ALLOW_MULTI;
  if (replaced >= 0) {
    attach.attach_flags |= BPF_F_REPLACE;
    attach.replace_bpf_fd = static_cast<uint32_t>(replaced);
  }
  if (Bpf(BPF_PROG_ATTACH, &attach) < 0) {
    int error = errno;
    close(static_cast<int>(program));
    ThrowErrno(env, "bpf(BPF_PROG_ATTACH)", error);
    return env.Undefined();
  }
  return Wrapped(env, static_cast<int>(program));
}

// detachDeviceProgram(directory, program)
static void DetachDeviceProgram(const Napi::CallbackInfo& info) {
  int directory = Descriptor::Borrow(info[0]);
  int program = directory < 0 ? -1 : Descriptor::Borrow(info[1]);
  if (program < 0)
    return;
  union bpf_attr attributes = {};
  attributes.target_fd = static_cast<uint32_t>(directory);
  attributes.attach_bpf_fd = static_cast<uint32_t>(program);
  attributes.attach_type = BPF_CGROUP_DEVICE;
  if (Bpf(BPF_PROG_DETACH, &attributes) < 0)
    ThrowErrno(info.Env(), "bpf(BPF_PROG_DETACH)", errno);
}

class PressureTrigger : public Napi::ObjectWrap<PressureTrigger> {
public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(
        env, "PressureTrigger",
        {InstanceMethod<&PressureTrigger::Ref>("ref"), InstanceMethod<&PressureTrigger::Close>("close")});
  }

  // new PressureTrigger(path, trigger, onEvent(text)): `text` is what the file says then, null when the cgroup is gone.
  explicit PressureTrigger(const Napi::CallbackInfo& info) : Napi::ObjectWrap<PressureTrigger>(info) {
    std::string path = info[0].As<Napi::String>(), trigger = info[1].As<Napi::String>();
    event_ = Napi::Persistent(info[2].As<Napi::Function>());
    const char* call = "open";
    int fd = open(path.c_str(), O_RDWR | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    int error = fd < 0 ? errno : 0;
    if (!error) {
      call = "write";
      // With its NUL, as the kernel's own example does.
      error = write(fd, trigger.c_str(), trigger.size() + 1) < 0 ? errno : 0;
    }
    if (!error) {
      call = "epoll_ctl";
      auto ready = [this](int, int) { Ready(); };
      error = file_.Open(info.Env(), fd, ready);
      fd = -1;
    }
    if (error) {
      if (fd >= 0)
        close(fd);
      ThrowErrno(info.Env(), call, error);
      return;
    }
    self_ = Napi::Persistent(info.This().As<Napi::Object>());
    file_.Want(UV_PRIORITIZED);
  }

private:
  void Close(const Napi::CallbackInfo& info) {
    file_.Close();
    self_.Reset();
  }

  void Ref(const Napi::CallbackInfo& info) {
    file_.Ref(info[0].ToBoolean());
  }

  // A removed cgroup polls as an error for ever, and its files answer ENODEV.
  void Ready() {
    Napi::HandleScope scope(Env());
    char text[512];
    ssize_t got = file_.fd() < 0 ? -1 : pread(file_.fd(), text, sizeof text, 0);
    if (got <= 0)
      file_.Want(0);
    napi_value value = nullptr;
    napi_status status =
        got > 0 ? napi_create_string_utf8(Env(), text, static_cast<size_t>(got), &value) : napi_get_null(Env(), &value);
    if (status == napi_ok)
      CallFromLoop(Env(), event_, {value});
  }

  PolledDescriptor file_;
  Napi::FunctionReference event_;
  Napi::ObjectReference self_;
};

Napi::Object InitCgroup(Napi::Env env, Napi::Object exports) {
  exports.Set("openCgroup", Napi::Function::New(env, OpenCgroup));
  exports.Set("eventDescriptor", Napi::Function::New(env, EventDescriptor));
  exports.Set("attachDeviceProgram", Napi::Function::New(env, AttachDeviceProgram));
  exports.Set("detachDeviceProgram", Napi::Function::New(env, DetachDeviceProgram));
  exports.Set("PressureTrigger", PressureTrigger::Define(env));
  return exports;
}

} // namespace tscontain
