#include "io_ring.h"

#include <cerrno>
#include <cstdlib>

#include "limits.h"

namespace remap {

namespace {

// Room for a full queue at depth and its polls; more is submitted in several goes.
constexpr unsigned kEntries = 256;
// Completions that may pile up before they are looked at: several full queues.
constexpr unsigned kCompletions = 8192;

struct Flavour {
  unsigned flags;
  const char* name;
};

// DEFER_TASKRUN completes only when this thread asks, so it is never interrupted in between.
constexpr Flavour kFlavours[] = {
    {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN, "io_uring (single issuer, deferred)"},
    {IORING_SETUP_COOP_TASKRUN, "io_uring (cooperative)"},
    {0, "io_uring"},
};

}  // namespace

IoRing::~IoRing() {
  if (open_) io_uring_queue_exit(&ring_);
}

int IoRing::open() {
  int error = 0;
  for (const Flavour& flavour : kFlavours) {
    io_uring_params params{};
    params.flags = flavour.flags | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP;
    params.cq_entries = kCompletions;
    error = -io_uring_queue_init_params(kEntries, &ring_, &params);
    if (error == 0) {
      open_ = true;
      deferred_ = (flavour.flags & IORING_SETUP_DEFER_TASKRUN) != 0;
      description_ = flavour.name;
      // Saves a descriptor look-up a call; kernels without it go on with the plain descriptor.
      io_uring_register_ring_fd(&ring_);
      return 0;
    }
    if (error != EINVAL) break;
  }
  return error;
}

int IoRing::register_devices(const std::vector<std::shared_ptr<Device>>& devices) {
  std::vector<int> files(kDevicesMax, -1);
  for (size_t i = 0; i < devices.size(); ++i) files[i] = devices[i]->fd();
  return -io_uring_register_files(&ring_, files.data(), kDevicesMax);
}

io_uring_sqe* IoRing::next() {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  while (sqe == nullptr) {
    // EBUSY and EAGAIN: the kernel wants completions taken first; they are, one turn later.
    io_uring_submit(&ring_);
    sqe = io_uring_get_sqe(&ring_);
  }
  return sqe;
}

unsigned IoRing::turn(bool wait) {
  if (wait) {
    io_uring_submit_and_wait(&ring_, 1);
  } else if (deferred_) {
    io_uring_submit_and_get_events(&ring_);
  } else {
    io_uring_submit(&ring_);
  }
  unsigned count = 0;
  for (;;) {
    io_uring_cqe* cqe = nullptr;
    unsigned head = 0;
    unsigned seen = 0;
    io_uring_for_each_cqe(&ring_, head, cqe) {
      auto* operation = static_cast<IoOperation*>(io_uring_cqe_get_data(cqe));
      const int result = cqe->res;
      const uint32_t flags = cqe->flags;
      ++seen;
      if (operation != nullptr) operation->complete(result, flags);
    }
    if (seen == 0) return count;
    io_uring_cq_advance(&ring_, seen);
    count += seen;
    // Completions that overflowed are moved in by the kernel on the next turn.
  }
}

}  // namespace remap
