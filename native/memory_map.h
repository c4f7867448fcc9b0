// Guest memory as the front-end announced it: an immutable snapshot that workers hold while a
// newer one is being made.
#ifndef REMAP_MEMORY_MAP_H_
#define REMAP_MEMORY_MAP_H_

#include <atomic>
#include <cstdint>
#include <vector>

namespace remap {

struct MemoryRegion {
  uint64_t guest_address;
  uint64_t size;
  uint8_t* host;
};

class MemoryMap {
 public:
  MemoryMap() = default;
  // `regions` sorted by guest_address, not overlapping. `lost` outlives the map.
  explicit MemoryMap(std::vector<MemoryRegion> regions, const std::atomic<bool>* lost = nullptr)
      : regions_(std::move(regions)), lost_(lost) {}

  // The front-end took some of it away: what was read since may be zeroes of ours.
  bool lost() const { return lost_ != nullptr && lost_->load(std::memory_order_acquire); }

  // Host address of `guest`, and in *length how much of the wanted length is contiguous there
  // (at least 1, at most what was asked for). nullptr when the address is not in guest memory.
  // `*hint` is the caller's last hit.
  uint8_t* translate(uint64_t guest, uint64_t* length, uint32_t* hint) const {
    if (*hint < regions_.size()) {
      const MemoryRegion& r = regions_[*hint];
      if (guest >= r.guest_address && guest - r.guest_address < r.size) return at(r, guest, length);
    }
    uint32_t low = 0;
    uint32_t high = static_cast<uint32_t>(regions_.size());
    while (low < high) {
      const uint32_t mid = low + (high - low) / 2;
      const MemoryRegion& r = regions_[mid];
      if (guest < r.guest_address) {
        high = mid;
      } else if (guest - r.guest_address >= r.size) {
        low = mid + 1;
      } else {
        *hint = mid;
        return at(r, guest, length);
      }
    }
    return nullptr;
  }

  // The way back, for addresses that translate() gave: the guest address of `host`, and in *length
  // how much of the wanted length is in the same region.
  uint64_t guest_of(const uint8_t* host, uint64_t* length) const {
    for (const MemoryRegion& r : regions_) {
      if (host < r.host || host >= r.host + r.size) continue;
      const auto offset = static_cast<uint64_t>(host - r.host);
      if (*length > r.size - offset) *length = r.size - offset;
      return r.guest_address + offset;
    }
    return 0;
  }

  const std::vector<MemoryRegion>& regions() const { return regions_; }

 private:
  static uint8_t* at(const MemoryRegion& r, uint64_t guest, uint64_t* length) {
    const uint64_t offset = guest - r.guest_address;
    if (*length > r.size - offset) *length = r.size - offset;
    return r.host + offset;
  }

  std::vector<MemoryRegion> regions_;
  const std::atomic<bool>* lost_ = nullptr;
};

}  // namespace remap

#endif  // REMAP_MEMORY_MAP_H_
