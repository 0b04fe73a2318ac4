#include "poller.h"

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

Poller* Poller::Open(Napi::Env env, int fd, std::function<void(int, int)> ready, int* error) {
  Pollers* owner = Pollers::Of(env);
  auto* poller = new Poller();
  int rc = uv_poll_init(owner->loop_, &poller->handle_, fd);
  if (rc != 0) {
    delete poller;
    *error = -rc;
    return nullptr;
  }
  poller->owner_ = owner;
  poller->ready_ = std::move(ready);
  poller->handle_.data = poller;
  owner->open_.insert(poller);
  return poller;
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
  uv_poll_stop(&handle_);
  uv_close(handle, [](uv_handle_t* closed) {
    auto* poller = static_cast<Poller*>(closed->data);
    poller->owner_->Closed(poller);
    delete poller;
  });
}

void CallFromLoop(Napi::FunctionReference& callback, std::initializer_list<napi_value> arguments) {
  Napi::Env env = callback.Env();
  callback.MakeCallback(env.Global(), arguments);
  if (!env.IsExceptionPending())
    return;
  Napi::Error error = env.GetAndClearPendingException();
  napi_fatal_exception(env, error.Value());
}

} // namespace tscontain
