// One io_uring, used by the thread that opened it and no other.
#ifndef REMAP_IO_RING_H_
#define REMAP_IO_RING_H_

#include <liburing.h>

#include <memory>
#include <string>
#include <vector>

#include "device.h"

namespace remap {

// What waits for a completion. The submission's user_data is the address of one of these: it must
// stay where it is until `complete` has been called for the last time.
class IoOperation {
 public:
  // `result` as io_uring gives it: negative errno or bytes. `flags` are the completion's: with
  // IORING_CQE_F_MORE another call follows.
  virtual void complete(int result, uint32_t flags) = 0;

 protected:
  ~IoOperation() = default;
};

// For io_uring_prep_timeout, which keeps its address.
inline __kernel_timespec timespec_of(uint32_t ms) {
  return {.tv_sec = ms / 1000, .tv_nsec = static_cast<long long>(ms % 1000) * 1000000};
}

class IoRing {
 public:
  IoRing() = default;
  ~IoRing();
  IoRing(const IoRing&) = delete;
  IoRing& operator=(const IoRing&) = delete;

  // Returns 0 or a positive errno. Tries the cheapest flags the kernel knows first.
  int open();
  // Makes device i addressable as fixed file i. Returns 0 or a positive errno.
  int register_devices(const std::vector<std::shared_ptr<Device>>& devices);

  // A free submission entry, already bound to `operation`; submits earlier ones when the queue is
  // full. Never null.
  template <typename Prepare>
  void prepare(IoOperation* operation, Prepare&& fill) {
    io_uring_sqe* sqe = next();
    fill(sqe);
    io_uring_sqe_set_data(sqe, operation);
  }

  // Hands over what is prepared, waits for at least one completion when `wait`, and runs all
  // completions that are there. Returns how many ran.
  unsigned turn(bool wait);

  const std::string& description() const { return description_; }

 private:
  io_uring_sqe* next();

  io_uring ring_{};
  bool open_ = false;
  bool deferred_ = false;
  std::string description_;
};

}  // namespace remap

#endif  // REMAP_IO_RING_H_
