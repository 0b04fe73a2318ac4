// One end of a pipe, or the master of a terminal, on the event loop: reads when asked, writes what fits, never blocks.
// The JavaScript side (lib/launcher/stream.ts) makes streams of it, and only where someone wants one.
#include "addon.h"
#include "descriptor.h"
#include "poller.h"
#include <cerrno>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

namespace tscontain {

namespace {
constexpr size_t kChunk = 64 * 1024; // the capacity of a pipe (pipe(7))
constexpr int kBurst = 16;           // chunks before the loop gets its turn
} // namespace

class Stream : public Napi::ObjectWrap<Stream> {
public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "Stream",
                       {InstanceMethod<&Stream::Read>("read"), InstanceMethod<&Stream::Watch>("watch"),
                        InstanceMethod<&Stream::Write>("write"), InstanceMethod<&Stream::Resize>("resize"),
                        InstanceMethod<&Stream::Ref>("ref"), InstanceMethod<&Stream::Close>("close")});
  }

  // new Stream(descriptor, onReadable(), onWritable()): takes the descriptor over and makes it non-blocking.
  explicit Stream(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Stream>(info) {
    int fd = Descriptor::Take(info[0]);
    if (fd < 0)
      return;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    readable_ = Napi::Persistent(info[1].As<Napi::Function>());
    writable_ = Napi::Persistent(info[2].As<Napi::Function>());
    int error = file_.Open(info.Env(), fd, [this](int events, int failed) { Ready(events, failed); });
    if (error) {
      ThrowErrno(info.Env(), "epoll_ctl", error);
      return;
    }
    self_ = Napi::Persistent(info.This().As<Napi::Object>());
  }

private:
  void Close(const Napi::CallbackInfo& info) {
    file_.Close();
    self_.Reset();
  }

  // read(): a Buffer, null at the end, undefined when there is nothing now. A terminal whose other side is closed gives
  // EIO, which is its end (pty(7)).
  Napi::Value Read(const Napi::CallbackInfo& info) {
    static thread_local char buffer[kChunk];
    Napi::Env env = info.Env();
    ssize_t got;
    do
      got = file_.fd() < 0 ? 0 : read(file_.fd(), buffer, sizeof buffer);
    while (got < 0 && errno == EINTR);
    napi_value chunk = nullptr;
    if (got > 0 && napi_create_buffer_copy(env, static_cast<size_t>(got), buffer, nullptr, &chunk) == napi_ok)
      return Napi::Value(env, chunk);
    return got < 0 && errno == EAGAIN ? env.Undefined() : env.Null();
  }

  // write(bytes, offset): how many were taken, 0 when full, -1 when the reader is gone.
  Napi::Value Write(const Napi::CallbackInfo& info) {
    auto bytes = info[0].As<Napi::Uint8Array>();
    size_t offset = info[1].As<Napi::Number>().Uint32Value();
    ssize_t wrote = -1;
    if (file_.fd() >= 0 && offset <= bytes.ByteLength())
      do
        wrote = write(file_.fd(), bytes.Data() + offset, bytes.ByteLength() - offset);
      while (wrote < 0 && errno == EINTR);
    if (wrote < 0 && file_.fd() >= 0 && errno == EAGAIN)
      wrote = 0;
    return Napi::Number::New(info.Env(), static_cast<double>(wrote));
  }

  // watch(readable, writable): which of the two callbacks to call when it can be done.
  void Watch(const Napi::CallbackInfo& info) {
    int events = (info[0].ToBoolean() ? UV_READABLE : 0) | (info[1].ToBoolean() ? UV_WRITABLE : 0);
    file_.Want(events);
  }

  void Ref(const Napi::CallbackInfo& info) {
    file_.Ref(info[0].ToBoolean());
  }

  // resize(columns, rows): of a terminal (ioctl_tty(2), TIOCSWINSZ). False where it is none.
  Napi::Value Resize(const Napi::CallbackInfo& info) {
    winsize size = {};
    size.ws_col = static_cast<unsigned short>(info[0].As<Napi::Number>().Uint32Value());
    size.ws_row = static_cast<unsigned short>(info[1].As<Napi::Number>().Uint32Value());
    return Napi::Boolean::New(info.Env(), file_.fd() >= 0 && ioctl(file_.fd(), TIOCSWINSZ, &size) == 0);
  }

  void Ready(int events, int failed) {
    Napi::HandleScope scope(Env());
    // An error or a hang-up shows in the next read or write.
    if (events & UV_READABLE || failed)
      CallFromLoop(Env(), readable_, {});
    if (events & UV_WRITABLE && file_.fd() >= 0)
      CallFromLoop(Env(), writable_, {});
  }

  PolledDescriptor file_;
  Napi::FunctionReference readable_, writable_;
  Napi::ObjectReference self_;
};

Napi::Object InitStream(Napi::Env env, Napi::Object exports) {
  exports.Set("Stream", Stream::Define(env));
  return exports;
}

} // namespace tscontain
