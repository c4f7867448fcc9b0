// What an errno of a device says about the medium (design: "What a guest may rely on").
#ifndef REMAP_IO_ERROR_H_
#define REMAP_IO_ERROR_H_

#include <cerrno>

namespace remap {

enum class ErrorClass {
  kMedium,     // the block is bad: isolate, remap
  kTransient,  // try again, never remap
  kOther,      // no space, device gone, our mistake: fail the request, tell, never remap
};

// `error` is a positive errno.
inline ErrorClass classify(int error) {
  switch (error) {
    case EIO:
    case ENODATA:
    case EREMOTEIO:
    case EILSEQ:
    case EBADMSG:
      return ErrorClass::kMedium;
    case ETIMEDOUT:
    case EAGAIN:
    case EINTR:
    case ENOLINK:
      return ErrorClass::kTransient;
    default:
      return ErrorClass::kOther;
  }
}

}  // namespace remap

#endif  // REMAP_IO_ERROR_H_
