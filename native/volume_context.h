// What all threads of one volume share. Filled before the first thread starts; what changes later
// is atomic.
#ifndef REMAP_VOLUME_CONTEXT_H_
#define REMAP_VOLUME_CONTEXT_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "abi.h"
#include "device.h"
#include "event_sink.h"
#include "range_locks.h"
#include "remap_index.h"
#include "volume_hold.h"

namespace remap {

struct VolumeContext {
  VolumeContext(uint64_t capacity_sectors, EventSink* sink, bool shared_storage = false)
      : capacity_sectors(capacity_sectors),
        index(capacity_sectors),
        hold(shared_storage),
        events(sink) {}

  std::atomic<uint64_t> capacity_sectors;  // grows only
  // The configuration space has changed and the front-end has not been told.
  std::atomic<bool> config_changed{false};
  uint32_t logical_block_size = 512;
  uint16_t num_queues = 1;
  bool read_only = false;
  std::string serial;  // at most kSerialBytes

  std::vector<std::shared_ptr<Device>> devices;  // 0 is main
  RemapIndex index;
  RangeLocks locks;
  VolumeHold hold;
  EventSink* events;
  // num_queues counters, zeroed, alive as long as the context.
  abi::QueueCounters* counters = nullptr;

  // Every write durable before it is answered: the guest has no flush to ask for it, or has
  // switched the write cache off. Set by the session, read by workers.
  std::atomic<bool> write_through{false};
};

}  // namespace remap

#endif  // REMAP_VOLUME_CONTEXT_H_
