// Readiness of one descriptor on the event loop of one environment (the main thread's or a worker's).
#pragma once

#include <functional>
#include <napi.h>
#include <unordered_set>
#include <uv.h>

namespace tscontain {

class Poller;

// Every poller of an environment. libuv insists that no handle is left when a worker's loop is closed, so they are
// closed from a cleanup hook that the environment waits for.
class Pollers {
public:
  static void Attach(Napi::Env env);
  static Pollers* Of(Napi::Env env);

private:
  friend class Poller;
  static void Detach(napi_async_cleanup_hook_handle handle, void* data);
  void Closed(Poller* poller);
  uv_loop_t* loop_ = nullptr;
  napi_async_cleanup_hook_handle hook_ = nullptr;
  std::unordered_set<Poller*> open_;
  bool ending_ = false;
};

class Poller {
public:
  // Puts the poller into `*owner`, and takes it out again when it is closed, by whomever: the owner never holds a
  // poller that is gone. Returns 0, or the errno where libuv cannot watch the descriptor.
  static int Open(Napi::Env env, int fd, std::function<void(int events, int error)> ready, Poller** owner);
  void Want(int events);
  void Ref(bool on);
  // Frees the poller, soon; the descriptor may be closed right after this call. `ready` is not called again.
  void Close();

private:
  friend class Pollers;
  Poller() = default;
  uv_poll_t handle_;
  Pollers* owner_ = nullptr;
  std::function<void(int, int)> ready_;
  Poller** holder_ = nullptr;
  int wanted_ = 0;
};

// A descriptor and what watches it, which end together.
class PolledDescriptor {
public:
  PolledDescriptor() = default;
  PolledDescriptor(const PolledDescriptor&) = delete;
  PolledDescriptor& operator=(const PolledDescriptor&) = delete;
  ~PolledDescriptor();
  // Takes `fd` over. Returns 0, or the errno where it cannot be watched; it is closed then.
  int Open(Napi::Env env, int fd, std::function<void(int events, int error)> ready);
  // -1 once it is closed.
  int fd() const {
    return fd_;
  }
  void Want(int events);
  void Ref(bool on);
  void Close();

private:
  int fd_ = -1;
  Poller* poller_ = nullptr; // set to null by whoever closes it
};

// Calls a JavaScript function from the loop; an exception that it throws is Node's uncaught exception. False when
// nothing can be called any more: a worker that is being terminated refuses every call, and then there is no one to
// tell.
bool CallFromLoop(napi_env env, const Napi::FunctionReference& callback, std::initializer_list<napi_value> arguments);

} // namespace tscontain
