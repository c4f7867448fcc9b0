// The numbers of abi.h under the names that src/native/abi.ts knows them by.
#ifndef REMAP_ADDON_ABI_H_
#define REMAP_ADDON_ABI_H_

#include <napi.h>

namespace remap {

// "Record" for a size, "Record.field" for an offset, "Kind.name" for a value.
Napi::Object abi_numbers(Napi::Env env);

}  // namespace remap

#endif  // REMAP_ADDON_ABI_H_
