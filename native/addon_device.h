// Device for TypeScript: NativeDevice and openDevice of src/native/binding.ts.
#ifndef REMAP_ADDON_DEVICE_H_
#define REMAP_ADDON_DEVICE_H_

#include <napi.h>

#include <memory>

#include "device.h"

namespace remap {

// Defines `openDevice` on `exports`.
void register_device(Napi::Env env, Napi::Object exports);

// The device behind a NativeDevice; nullptr for any other value and after close().
std::shared_ptr<Device> device_of(Napi::Value value);

}  // namespace remap

#endif  // REMAP_ADDON_DEVICE_H_
