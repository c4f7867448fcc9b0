// Which requests a queue had taken and not yet returned, in memory the front-end keeps for us over
// our death. vhost-user specification, "Inflight I/O tracking", split virtqueue.
//
// The memory is shared with the front-end: nothing read from it is trusted.
#ifndef REMAP_INFLIGHT_H_
#define REMAP_INFLIGHT_H_

#include <cstdint>
#include <vector>

namespace remap {

struct InflightDescriptor {
  uint8_t inflight;
  uint8_t padding[5];
  uint16_t next;
  uint64_t counter;
};
static_assert(sizeof(InflightDescriptor) == 16);

struct InflightRegion {
  uint64_t features;
  uint16_t version;
  uint16_t desc_num;
  uint16_t last_batch_head;
  uint16_t used_idx;
  InflightDescriptor desc[];
};
static_assert(sizeof(InflightRegion) == 16);

inline constexpr uint16_t kInflightVersion = 1;

class InflightLog {
 public:
  InflightLog() = default;
  // `region` may be null: nothing is tracked then. At least `size` descriptors are mapped.
  InflightLog(InflightRegion* region, uint16_t size) : region_(region), size_(size) {}

  // True when an earlier back-end has used the region.
  bool resumes() const { return region_ != nullptr && region_->version == kInflightVersion; }
  // Begins with a new region on a ring that may have been in use before.
  void initialise(uint16_t used_idx) {
    if (region_ == nullptr) return;
    region_->used_idx = used_idx;
    __atomic_store_n(&region_->version, kInflightVersion, __ATOMIC_RELEASE);
  }

  // Forgets the requests that were returned by a batch whose bookkeeping was cut short, and
  // answers with the heads still in flight, oldest first. `used_idx` is that of the used ring.
  std::vector<uint16_t> recover(uint16_t used_idx);

  void taken(uint16_t head) {
    if (region_ == nullptr) return;
    region_->desc[head].counter = counter_++;
    // A death between the two stores must not leave an old counter behind a set flag.
    __atomic_store_n(&region_->desc[head].inflight, 1, __ATOMIC_RELEASE);
  }

  // Links a head into the batch about to be returned.
  void link(uint16_t head) {
    if (region_ == nullptr) return;
    region_->desc[head].next = region_->last_batch_head;
    __atomic_store_n(&region_->last_batch_head, head, __ATOMIC_RELEASE);
    batch_.push_back(head);
  }

  // The used ring's index now includes the batch.
  void returned(uint16_t used_idx) {
    if (region_ == nullptr) return;
    for (uint16_t head : batch_)
      __atomic_store_n(&region_->desc[head].inflight, 0, __ATOMIC_RELEASE);
    batch_.clear();
    __atomic_store_n(&region_->used_idx, used_idx, __ATOMIC_RELEASE);
  }

 private:
  InflightRegion* region_ = nullptr;
  uint16_t size_ = 0;
  uint64_t counter_ = 0;
  std::vector<uint16_t> batch_;
};

}  // namespace remap

#endif  // REMAP_INFLIGHT_H_
