// Guest memory of a fuzzing run: three regions, each a block of its own, so that the sanitizer sees
// the first byte beyond it. The first holds data and ends with the used ring; the second adjoins it
// in guest addresses only; the third ends where addresses do.
#ifndef REMAP_FUZZ_GUEST_H_
#define REMAP_FUZZ_GUEST_H_

#include <algorithm>
#include <memory>
#include <vector>

#include "guest_races.h"
#include "input.h"
#include "native/inflight.h"
#include "native/virtqueue.h"

namespace remap::fuzz {

class Guest {
 public:
  static constexpr uint64_t kBase = 0x10000;
  static constexpr uint64_t kDataBytes = 8192;
  static constexpr uint64_t kBlockBytes = 4096;
  static constexpr uint64_t kTop = UINT64_MAX - kBlockBytes;

  explicit Guest(uint16_t queue_size) : size(queue_size) {
    const uint64_t avail_at = kDataBytes + sizeof(vring_desc) * size;
    const uint64_t used_at = avail_at + (6 + 2 * size + 3) / 4 * 4;
    blocks_[0].resize(used_at + 6 + sizeof(vring_used_elem) * size);
    blocks_[1].resize(kBlockBytes);
    blocks_[2].resize(kBlockBytes);
    blocks_[3].resize(sizeof(InflightRegion) + sizeof(InflightDescriptor) * size);
    for (auto& block : blocks_) block.shrink_to_fit();
    desc = reinterpret_cast<vring_desc*>(blocks_[0].data() + kDataBytes);
    avail = reinterpret_cast<vring_avail*>(blocks_[0].data() + avail_at);
    used = reinterpret_cast<vring_used*>(blocks_[0].data() + used_at);
    inflight = reinterpret_cast<InflightRegion*>(blocks_[3].data());
    map = std::make_shared<const MemoryMap>(
        std::vector<MemoryRegion>{{kBase, blocks_[0].size(), blocks_[0].data()},
                                  {kBase + blocks_[0].size(), kBlockBytes, blocks_[1].data()},
                                  {kTop, kBlockBytes, blocks_[2].data()}});
  }

  void clear() {
    for (auto& block : blocks_) {
      std::fill(block.begin(), block.end(), uint8_t{0});
      GuestRaces::instance().watch(block.data(), block.size());
    }
  }

  // Any byte that the guest can write: of memory, and of the inflight region.
  uint8_t* byte(uint16_t n) {
    for (auto& block : blocks_) {
      if (n < block.size()) return &block[n];
      n = static_cast<uint16_t>(n - block.size());
    }
    return blocks_[0].data() + n % kDataBytes;
  }

  // A guest address: mostly inside, often at a border.
  uint64_t address(Input& in) const {
    const uint16_t n = in.u16();
    const uint64_t low = n & 0x1fff;
    const uint64_t end = kBase + blocks_[0].size();
    switch (n >> 13) {
      case 0:
      case 1:
      case 2:
        return kBase + low;
      case 3:
        return end - low % 1024;
      case 4:
        return end + low;
      case 5:
        return kTop + low;
      case 6:
        return low % 2 ? UINT64_MAX - low / 2 : low / 2;
      default:
        return in.u64();
    }
  }

  static uint32_t length(Input& in) {
    static constexpr uint32_t kOdd[] = {0,   1,    15,   16,    17,    20,         31,         511,
                                        512, 513,  1024, 4095,  4096,  0x7fffffff, 0xffffffff, 48,
                                        32,  8192, 64,   16384, 16416, 16432,      0xfffffff0, 2};
    const uint8_t n = in.u8();
    if (n < 128) return kOdd[n % (sizeof kOdd / sizeof kOdd[0])];
    return n < 192 ? (n - 127) * 16u : (n - 191) * 512u;
  }

  // Where guest address `address` is here, if all of `bytes` are in one region.
  uint8_t* host(uint64_t address, uint64_t bytes) const {
    uint32_t hint = 0;
    uint64_t length = bytes;
    uint8_t* at = map->translate(address, &length, &hint);
    return length == bytes ? at : nullptr;
  }

  bool contains(const void* from, uint64_t bytes) const {
    const auto* at = static_cast<const uint8_t*>(from);
    for (const MemoryRegion& r : map->regions())
      if (at >= r.host && at <= r.host + r.size &&
          bytes <= static_cast<uint64_t>(r.host + r.size - at))
        return true;
    return false;
  }

  const uint16_t size;
  vring_desc* desc;
  vring_avail* avail;
  vring_used* used;
  InflightRegion* inflight;
  std::shared_ptr<const MemoryMap> map;

 private:
  std::vector<uint8_t> blocks_[4];  // the last is the inflight region
};

}  // namespace remap::fuzz

#endif  // REMAP_FUZZ_GUEST_H_
