// Backend as a JavaScript object: createBackend and NativeBackend of src/native/binding.ts.
#ifndef REMAP_ADDON_BACKEND_H_
#define REMAP_ADDON_BACKEND_H_

#include <napi.h>

namespace remap {

void register_backend(Napi::Env env, Napi::Object exports);

}  // namespace remap

#endif  // REMAP_ADDON_BACKEND_H_
