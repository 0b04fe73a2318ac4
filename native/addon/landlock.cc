// Which ABI of Landlock the running kernel has (landlock_create_ruleset(2)): asked, since what a kernel's version
// promises can be left out of its build, or switched off when it starts.
#include "addon.h"
#include <cerrno>
#include <unistd.h>

namespace tscontain {

namespace {
constexpr long kCreateRuleset = 444; // the same on every architecture
constexpr unsigned kVersion = 1;
} // namespace

// landlockAbi(): 1 or more; the negative errno where there is none.
static Napi::Value LandlockAbi(const Napi::CallbackInfo& info) {
  long version = syscall(kCreateRuleset, nullptr, 0UL, kVersion);
  return Napi::Number::New(info.Env(), version < 0 ? -errno : version);
}

Napi::Object InitLandlock(Napi::Env env, Napi::Object exports) {
  exports.Set("landlockAbi", Napi::Function::New(env, LandlockAbi));
  return exports;
}

} // namespace tscontain
