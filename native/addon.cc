// Entry of the addon: NativeModule of src/native/binding.ts.
#include <napi.h>

#include "addon_abi.h"
#include "addon_backend.h"
#include "addon_device.h"

namespace {

Napi::Object start(Napi::Env env, Napi::Object exports) {
  exports.Set("abi", remap::abi_numbers(env));
  remap::register_device(env, exports);
  remap::register_backend(env, exports);
  return exports;
}

}  // namespace

NODE_API_MODULE(remap, start)
