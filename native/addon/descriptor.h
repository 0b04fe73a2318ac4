// An owned file descriptor as a JavaScript object: closed once, by close() or by the garbage collector; using or
// closing it a second time throws. No raw number crosses an await (security N3).
#pragma once

#include "addon.h"
#include <vector>

namespace tscontain {

class Descriptor : public Napi::ObjectWrap<Descriptor> {
public:
  static Napi::Function Define(Napi::Env env);
  // Null, and the descriptor closed, where no object can be made (a worker that is being terminated).
  static napi_value Wrap(napi_env env, int fd);
  // The number, still owned by the object; -1 with a pending exception if it is closed or not a descriptor.
  static int Borrow(const Napi::Value& value);
  // The number, owned by the caller from now on.
  static int Take(const Napi::Value& value);

  explicit Descriptor(const Napi::CallbackInfo& info);
  ~Descriptor() override;

private:
  Napi::Value GetNumber(const Napi::CallbackInfo& info);
  Napi::Value GetOpen(const Napi::CallbackInfo& info);
  void Close(const Napi::CallbackInfo& info);
  int fd_ = -1;
};

} // namespace tscontain
