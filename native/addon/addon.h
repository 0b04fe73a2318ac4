// What the files of the addon share. The addon is mechanism: descriptors, messages and readiness, on libuv's loop, with
// no thread and no wait. What the bytes mean is decided in lib/.
#pragma once

#include <napi.h>

namespace tscontain {

Napi::Object InitDescriptor(Napi::Env env, Napi::Object exports);
Napi::Object InitCgroup(Napi::Env env, Napi::Object exports);
Napi::Object InitChannel(Napi::Env env, Napi::Object exports);
Napi::Object InitStore(Napi::Env env, Napi::Object exports);
Napi::Object InitStream(Napi::Env env, Napi::Object exports);
Napi::Object InitSeccomp(Napi::Env env, Napi::Object exports);
Napi::Object InitLandlock(Napi::Env env, Napi::Object exports);
Napi::Object InitXattr(Napi::Env env, Napi::Object exports);
Napi::Object InitMount(Napi::Env env, Napi::Object exports);
Napi::Object InitLayer(Napi::Env env, Napi::Object exports);
Napi::Object InitNamespace(Napi::Env env, Napi::Object exports);
Napi::Object InitNetlink(Napi::Env env, Napi::Object exports);
Napi::Object InitSocket(Napi::Env env, Napi::Object exports);
Napi::Object InitPort(Napi::Env env, Napi::Object exports);
Napi::Object InitSpawn(Napi::Env env, Napi::Object exports);

// Throws a JavaScript Error with `syscall` and `errno` for lib/launcher/native.ts to translate.
void ThrowErrno(Napi::Env env, const char* syscall, int error);

} // namespace tscontain
