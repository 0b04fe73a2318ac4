#include "poller.h"
#include <unistd.h>

namespace tscontain {

// Detach frees it, and may come after the instance data is dropped.
static void KeepUntilDetach(Napi::Env, Pollers*) {}

void Pollers::Attach(Napi::Env env) {
  auto* pollers = new Pollers();
  napi_get_uv_event_loop(env, &pollers->loop_);
  napi_add_async_cleanup_hook(env, Detach, pollers, &pollers->hook_);
  env.SetInstanceData<Pollers, KeepUntilDetach>(pollers);
}

Pollers* Pollers::Of(Napi::Env env) {
  return env.GetInstanceData<Pollers>();
}

void Pollers::Detach(napi_async_cleanup_hook_handle, void* data) {
  auto* pollers = static_cast<Pollers*>(data);
  pollers->ending_ = true;
  if (pollers->open_.empty()) {
    napi_remove_async_cleanup_hook(pollers->hook_);
    delete pollers;
    return;
  }
  auto open = pollers->open_;
  for (Poller* poller : open)
    poller->Close();
}

void Pollers::Closed(Poller* poller) {
  open_.erase(poller);
  if (!ending_ || !open_.empty())
    return;
  napi_remove_async_cleanup_hook(hook_);
  delete this;
}

int Poller::Open(Napi::Env env, int fd, std::function<void(int, int)> ready, Poller** holder) {
  Pollers* owner = Pollers::Of(env);
  auto* poller = new Poller();
  int rc = uv_poll_init(owner->loop_, &poller->handle_, fd);
  if (rc != 0) {
    delete poller;
    return -rc;
  }
  poller->owner_ = owner;
  poller->ready_ = std::move(ready);
  poller->holder_ = holder;
  poller->handle_.data = poller;
  owner->open_.insert(poller);
  *holder = poller;
  return 0;
}

void Poller::Want(int events) {
  if (events == wanted_ || uv_is_closing(reinterpret_cast<uv_handle_t*>(&handle_)))
    return;
  wanted_ = events;
  if (events == 0) {
    uv_poll_stop(&handle_);
    return;
  }
  uv_poll_start(&handle_, events, [](uv_poll_t* handle, int status, int got) {
    auto* poller = static_cast<Poller*>(handle->data);
    if (poller->ready_)
      poller->ready_(got, status < 0 ? -status : 0);
  });
}

void Poller::Ref(bool on) {
  auto* handle = reinterpret_cast<uv_handle_t*>(&handle_);
  if (on)
    uv_ref(handle);
  else
    uv_unref(handle);
}

void Poller::Close() {
  auto* handle = reinterpret_cast<uv_handle_t*>(&handle_);
  if (uv_is_closing(handle))
    return;
  *holder_ = nullptr;
  uv_poll_stop(&handle_);
  uv_close(handle, [](uv_handle_t* closed) {
    auto* poller = static_cast<Poller*>(closed->data);
    poller->owner_->Closed(poller);
    delete poller;
  });
}

PolledDescriptor::~PolledDescriptor() {
  Close();
}

int PolledDescriptor::Open(Napi::Env env, int fd, std::function<void(int, int)> ready) {
  fd_ = fd;
  int error = Poller::Open(env, fd, std::move(ready), &poller_);
  if (error)
    Close();
  return error;
}

void PolledDescriptor::Want(int events) {
  if (poller_)
    poller_->Want(events);
}

void PolledDescriptor::Ref(bool on) {
  if (poller_)
    poller_->Ref(on);
}

void PolledDescriptor::Close() {
  if (poller_)
    poller_->Close();
  if (fd_ >= 0)
    close(fd_);
  fd_ = -1;
}

bool CallFromLoop(napi_env env, const Napi::FunctionReference& callback, std::initializer_list<napi_value> arguments) {
  napi_value function = nullptr, global = nullptr, result = nullptr;
  if (napi_get_reference_value(env, static_cast<napi_ref>(callback), &function) != napi_ok || !function)
    return false;
  napi_get_global(env, &global);
  napi_status status = napi_make_callback(env, nullptr, global, function, arguments.size(), arguments.begin(), &result);
  if (status == napi_ok)
    return true;
  napi_value exception = nullptr;
  bool pending = false;
  if (napi_is_exception_pending(env, &pending) != napi_ok || !pending ||
      napi_get_and_clear_last_exception(env, &exception) != napi_ok)
    return false;
  return napi_fatal_exception(env, exception) == napi_ok;
}

} // namespace tscontain
