// Whether the rings of a volume may run. Always, in a process that holds the volume from its start
// to its end. On shared storage the volume is held only while rings run: the control thread claims
// it before the first one starts, TypeScript takes the devices, loads the map and answers, and once
// all have stopped it lets the volume go.
#ifndef REMAP_VOLUME_HOLD_H_
#define REMAP_VOLUME_HOLD_H_

#include <atomic>
#include <cstdint>

#include "event_sink.h"

namespace remap {

class VolumeHold {
 public:
  enum class State {
    kGranted,
    kWaiting,  // not claimed, or not answered
    kDenied,   // not to be had in time; it may still be granted
  };

  explicit VolumeHold(bool shared_storage) : shared_(shared_storage) {}

  // The control thread's. Whether rings are to run; kClaim when that has changed.
  void claim(bool wanted, EventSink& events) {
    if (!shared_ || wanted == wanted_) return;
    wanted_ = wanted;
    if (wanted) ++claim_;
    abi::EventRecord record{};
    record.kind = static_cast<uint32_t>(abi::EventKind::kClaim);
    record.token = claim_;
    record.count = wanted ? 1 : 0;
    events.push(record);
  }

  // The control thread's.
  State state() const {
    if (!shared_ || (wanted_ && granted_.load(std::memory_order_acquire) == claim_))
      return State::kGranted;
    const bool denied = wanted_ && denied_.load(std::memory_order_acquire) == claim_;
    return denied ? State::kDenied : State::kWaiting;
  }

  // Any thread. What the index and the devices say now is seen by rings that start on it. An answer
  // to a claim that has been given up since has no effect.
  void answer(uint64_t claim, bool granted) {
    (granted ? granted_ : denied_).store(claim, std::memory_order_release);
  }

 private:
  const bool shared_;
  bool wanted_ = false;
  uint64_t claim_ = 0;
  std::atomic<uint64_t> granted_{0};
  std::atomic<uint64_t> denied_{0};
};

}  // namespace remap

#endif  // REMAP_VOLUME_HOLD_H_
