#include "descriptor.h"
#include <cerrno>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace tscontain {

// One constructor for each environment (thread), kept for as long as the environment lives.
static thread_local Napi::FunctionReference constructor;

Descriptor::Descriptor(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Descriptor>(info) {
  if (info.Length() == 1 && info[0].IsNumber())
    fd_ = info[0].As<Napi::Number>().Int32Value();
}

Descriptor::~Descriptor() {
  if (fd_ >= 0)
    close(fd_);
}

napi_value Descriptor::Wrap(napi_env env, int fd) {
  napi_value define = nullptr, number = nullptr, object = nullptr;
  if (napi_get_reference_value(env, static_cast<napi_ref>(constructor), &define) != napi_ok ||
      napi_create_int32(env, fd, &number) != napi_ok ||
      napi_new_instance(env, define, 1, &number, &object) != napi_ok) {
    close(fd);
    return nullptr;
  }
  return object;
}

static Descriptor* Unwrap(const Napi::Value& value) {
  if (!value.IsObject() || !value.As<Napi::Object>().InstanceOf(constructor.Value())) {
    Napi::TypeError::New(value.Env(), "not a descriptor").ThrowAsJavaScriptException();
    return nullptr;
  }
  return Descriptor::Unwrap(value.As<Napi::Object>());
}

int Descriptor::Borrow(const Napi::Value& value) {
  Descriptor* descriptor = tscontain::Unwrap(value);
  if (!descriptor)
    return -1;
  if (descriptor->fd_ < 0)
    Napi::Error::New(value.Env(), "descriptor is closed").ThrowAsJavaScriptException();
  return descriptor->fd_;
}

int Descriptor::Take(const Napi::Value& value) {
  int fd = Borrow(value);
  if (fd >= 0)
    tscontain::Unwrap(value)->fd_ = -1;
  return fd;
}

Napi::Value Descriptor::GetNumber(const Napi::CallbackInfo& info) {
  if (fd_ < 0)
    Napi::Error::New(info.Env(), "descriptor is closed").ThrowAsJavaScriptException();
  return Napi::Number::New(info.Env(), fd_);
}

Napi::Value Descriptor::GetOpen(const Napi::CallbackInfo& info) {
  return Napi::Boolean::New(info.Env(), fd_ >= 0);
}

void Descriptor::Close(const Napi::CallbackInfo& info) {
  if (fd_ < 0) {
    Napi::Error::New(info.Env(), "descriptor is closed already").ThrowAsJavaScriptException();
    return;
  }
  close(fd_);
  fd_ = -1;
}

static Napi::Value PairOf(Napi::Env env, const char* call, int rc, const int fds[2]) {
  if (rc < 0) {
    ThrowErrno(env, call, errno);
    return env.Undefined();
  }
  napi_value ends[] = {Descriptor::Wrap(env, fds[0]), Descriptor::Wrap(env, fds[1])}, pair = nullptr;
  if (!ends[0] || !ends[1] || napi_create_array_with_length(env, 2, &pair) != napi_ok)
    return {};
  napi_set_element(env, pair, 0, ends[0]);
  napi_set_element(env, pair, 1, ends[1]);
  return Napi::Value(env, pair);
}

// pipe(): [read end, write end]; both close on exec.
static Napi::Value MakePipe(const Napi::CallbackInfo& info) {
  int fds[2];
  int rc = pipe2(fds, O_CLOEXEC);
  return PairOf(info.Env(), "pipe2", rc, fds);
}

// socketPair(): the two ends of a message socket (unix(7), SOCK_SEQPACKET).
static Napi::Value MakeSocketPair(const Napi::CallbackInfo& info) {
  int fds[2];
  int rc = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds);
  return PairOf(info.Env(), "socketpair", rc, fds);
}

Napi::Function Descriptor::Define(Napi::Env env) {
  return DefineClass(env, "Descriptor",
                     {InstanceAccessor<&Descriptor::GetNumber>("number"),
                      InstanceAccessor<&Descriptor::GetOpen>("open"), InstanceMethod<&Descriptor::Close>("close")});
}

Napi::Object InitDescriptor(Napi::Env env, Napi::Object exports) {
  Napi::Function define = Descriptor::Define(env);
  constructor = Napi::Persistent(define);
  constructor.SuppressDestruct();
  exports.Set("pipe", Napi::Function::New(env, MakePipe));
  exports.Set("socketPair", Napi::Function::New(env, MakeSocketPair));
  return exports;
}

} // namespace tscontain
