#include "addon.h"
#include "poller.h"
#include <cstring>
#include <string>

namespace tscontain {

void ThrowErrno(Napi::Env env, const char* syscall, int error) {
  Napi::Error failure = Napi::Error::New(env, std::string(syscall) + ": " + strerror(error));
  failure.Value().Set("syscall", syscall);
  failure.Value().Set("errno", error);
  failure.ThrowAsJavaScriptException();
}

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  Pollers::Attach(env);
  InitDescriptor(env, exports);
  InitCgroup(env, exports);
  InitChannel(env, exports);
  InitStore(env, exports);
  InitStream(env, exports);
  InitSeccomp(env, exports);
  InitLandlock(env, exports);
  InitXattr(env, exports);
  InitMount(env, exports);
  InitLayer(env, exports);
  InitNamespace(env, exports);
  InitNetlink(env, exports);
  InitSocket(env, exports);
  InitPort(env, exports);
  return InitSpawn(env, exports);
}

} // namespace tscontain

static Napi::Object InitModule(Napi::Env env, Napi::Object exports) {
  return tscontain::Init(env, exports);
}

NODE_API_MODULE(tscontain, InitModule)
