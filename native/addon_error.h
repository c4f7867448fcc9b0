// How a failed system call looks to TypeScript: an Error with `code` and `syscall`.
#ifndef REMAP_ADDON_ERROR_H_
#define REMAP_ADDON_ERROR_H_

#include <napi.h>

#include <cstring>
#include <string>

namespace remap {

// `error` is a positive errno, `step` the call or the step that failed.
inline Napi::Error errno_error(Napi::Env env, int error, const char* step) {
  const char* const text = strerrordesc_np(error);
  const char* const name = strerrorname_np(error);
  Napi::Error made =
      Napi::Error::New(env, std::string(step) + ": " + (text != nullptr ? text : "unknown error"));
  made.Set("code", name != nullptr ? name : "UNKNOWN");
  made.Set("syscall", step);
  return made;
}

}  // namespace remap

#endif  // REMAP_ADDON_ERROR_H_
