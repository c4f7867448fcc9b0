// One virtqueue as its worker keeps it: the ring, a request for each descriptor, and the
// descriptors that wake either side.
#ifndef REMAP_WORKER_QUEUE_H_
#define REMAP_WORKER_QUEUE_H_

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <vector>

#include "blk_request.h"
#include "queue_worker.h"
#include "shared_file.h"
#include "virtqueue.h"
#include "wake_poll.h"

namespace remap {

inline void close_fd(int* fd) {
  if (*fd >= 0) ::close(*fd);
  *fd = -1;
}

struct WorkerQueue {
  explicit WorkerQueue(const VringSetup& s)
      : setup(s),
        ring(s.size, s.desc, s.avail, s.used, s.base, s.event_idx, s.inflight),
        slots(s.size),
        enabled(s.enabled) {
    for (uint16_t i = 0; i < s.size; ++i) {
      slots[i].head = i;
      slots[i].queue = s.index;
    }
    take_call(s.call_fd);
  }
  ~WorkerQueue() {
    close_fd(&setup.kick_fd);
    close_fd(&setup.call_fd);
  }

  void take_call(int fd) {
    setup.call_fd = fd;
    call_may_block = fd >= 0 && (fcntl(fd, F_GETFL) & O_NONBLOCK) == 0;
  }
  // Never waits for the front-end, whatever descriptor it gave us.
  void call() {
    if (setup.call_fd < 0) return;
    if (call_may_block)
      signal_eventfd(setup.call_fd);
    else
      eventfd_write(setup.call_fd, 1);
  }

  bool takes() const { return enabled && !stopping && !broken; }
  bool waiting() const { return resumed < ring.resumed().size() || ring.has_available(); }

  VringSetup setup;
  Virtqueue ring;
  std::vector<BlkRequest> slots;
  WakePoll kick;
  size_t resumed = 0;
  uint32_t in_flight = 0;
  bool enabled;
  bool call_may_block = false;
  bool stopping = false;
  bool broken = false;
};

}  // namespace remap

#endif  // REMAP_WORKER_QUEUE_H_
