// One thread that serves some of the virtqueues of a volume: takes descriptor chains, does their
// I/O on an io_uring of its own, parks what fails, and returns used elements in batches.
//
// All state is the thread's own. Other threads act on it only through the calls below, which the
// thread carries out between two batches.
#ifndef REMAP_QUEUE_WORKER_H_
#define REMAP_QUEUE_WORKER_H_

#include <cstdint>
#include <memory>

#include "abi.h"
#include "dirty_log.h"
#include "inflight.h"
#include "memory_map.h"
#include "volume_context.h"

struct vring_desc;
struct vring_avail;
struct vring_used;

namespace remap {

// Everything a worker needs of one virtqueue, checked by the session: `size` is a power of two of
// at most kQueueSizeMax, the three rings lie wholly in mapped memory and are aligned.
struct VringSetup {
  uint16_t index = 0;
  uint16_t size = 0;
  vring_desc* desc = nullptr;
  vring_avail* avail = nullptr;
  vring_used* used = nullptr;
  uint16_t base = 0;       // next avail index to take, from SET_VRING_BASE
  bool event_idx = false;  // VIRTIO_RING_F_EVENT_IDX acknowledged
  bool enabled = false;
  int kick_fd = -1;  // ownership of both passes to the worker; -1 for none
  int call_fd = -1;
  // Null when not negotiated. At least `size` descriptors are mapped. When it is given the worker
  // repairs the last batch and takes up again what was in flight, as the specification says, and
  // `base` is ignored unless the region is new (version 0).
  InflightRegion* inflight = nullptr;
  // VHOST_VRING_F_LOG: where the used ring is for the log; 0 for not logged.
  uint64_t used_log_address = 0;
};

class QueueWorker {
 public:
  // `context` outlives the worker. `id` numbers the workers of the volume from 0.
  QueueWorker(VolumeContext& context, uint16_t id);
  ~QueueWorker();  // stop() must have been called
  QueueWorker(const QueueWorker&) = delete;
  QueueWorker& operator=(const QueueWorker&) = delete;

  // Makes the ring and starts the thread. Returns 0 or a positive errno.
  int start();
  // Instead of start(): no thread. The caller's own does the work, inside the calls below and in
  // poll(), so that the same calls always give the same run.
  int open();
  void poll();
  // Ends the thread; every queue must have been detached.
  void stop();

  // The calls below block until the thread has done them. One caller at a time: the session.

  void set_memory(std::shared_ptr<const MemoryMap> memory);
  // Marks what is written to guest memory from now on; null for no more. When it returns the old
  // log is not in use any more.
  void set_log(std::shared_ptr<const DirtyLog> log);
  // As VringSetup.used_log_address, for a queue that runs.
  void set_used_log(uint16_t queue, uint64_t address);
  // Starts a queue; the ring is looked at once even without a kick.
  void attach(const VringSetup& setup);
  void set_enabled(uint16_t queue, bool enabled);  // enabling looks at the ring once
  void set_call(uint16_t queue, int fd);           // ownership passes; signals once
  // Stops taking requests, waits until none is in flight or parked, publishes them, closes the
  // queue's descriptors. Returns the next avail index. Nothing touches its memory afterwards.
  uint16_t detach(uint16_t queue);
  // Stops taking requests on all queues and waits until none is in flight or parked; resume()
  // goes on. The memory map may be replaced in between.
  void quiesce();
  void resume();

  // Any thread, returns at once: a decision of TypeScript. kWriteSpare, kComplete and kRetry go to
  // the worker that parked the token (token_worker), kCopy to any, kLock and kUnlock to all. Before
  // kLock is posted the range is added to context.locks with `waiting` = number of workers; the
  // worker that grants it last pushes kLocked. Before kUnlock is posted the range is removed.
  void post(const abi::CommandRecord& command);

  static uint16_t token_worker(uint64_t token) { return static_cast<uint16_t>(token >> 48); }

  // "io_uring" and the flags that were accepted, for status.
  const char* engine() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace remap

#endif  // REMAP_QUEUE_WORKER_H_
