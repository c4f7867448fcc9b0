// What wakes a worker that sleeps in its ring.
#ifndef REMAP_WAKE_POLL_H_
#define REMAP_WAKE_POLL_H_

#include <poll.h>

#include <cstdint>
#include <utility>

#include "io_ring.h"

namespace remap {

// A descriptor whose becoming readable wakes the thread. Polled edge by edge: the counter of an
// eventfd need not be read, which saves a system call a kick.
class WakePoll final : public IoOperation {
 public:
  void arm(IoRing& ring, int fd) {
    armed_ = true;
    fd_ = fd;
    ring_ = &ring;
    ring.prepare(this, [fd](io_uring_sqe* sqe) { io_uring_prep_poll_multishot(sqe, fd, POLLIN); });
  }

  void disarm() {
    if (!armed_ || closing_) return;
    closing_ = true;
    // Not POLL_REMOVE: that gives up (EALREADY) while a wake-up is being delivered.
    ring_->prepare(nullptr, [this](io_uring_sqe* sqe) {
      io_uring_prep_cancel64(sqe, reinterpret_cast<uint64_t>(static_cast<IoOperation*>(this)), 0);
    });
  }

  bool armed() const { return armed_; }
  uint64_t take_wakes() { return std::exchange(wakes_, 0); }

  void complete(int result, uint32_t flags) override {
    if (result > 0) ++wakes_;
    if (flags & IORING_CQE_F_MORE) return;
    armed_ = false;
    // A multishot poll may end by itself (full completion queue); a bad descriptor stays out.
    if (!closing_ && result > 0) arm(*ring_, fd_);
  }

 private:
  IoRing* ring_ = nullptr;
  int fd_ = -1;
  bool armed_ = false;
  bool closing_ = false;
  uint64_t wakes_ = 0;
};

// Looks at rings without a kick descriptor from time to time (SET_VRING_KICK with NOFD).
class PollTimer final : public IoOperation {
 public:
  void arm(IoRing& ring) {
    if (armed_) return;
    armed_ = true;
    interval_.tv_nsec = 1000000;
    ring.prepare(this, [this](io_uring_sqe* sqe) { io_uring_prep_timeout(sqe, &interval_, 0, 0); });
  }
  void complete(int, uint32_t) override { armed_ = false; }

 private:
  bool armed_ = false;
  __kernel_timespec interval_{};
};

}  // namespace remap

#endif  // REMAP_WAKE_POLL_H_
