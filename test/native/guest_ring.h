// A guest's side of one split virtqueue in plain memory, for tests of the back-end's side.
#ifndef REMAP_TEST_GUEST_RING_H_
#define REMAP_TEST_GUEST_RING_H_

#include <cstdint>
#include <cstring>
#include <vector>

#include "native/memory_map.h"
#include "native/virtqueue.h"

namespace remap::test {

struct Segment {
  uint64_t address;
  uint32_t length;
  bool writable;
};

// Guest memory is one block seen at guest address `kBase`, or two blocks that adjoin in guest
// addresses but not in ours, split at `split`.
class GuestRing {
 public:
  static constexpr uint64_t kBase = 0x100000;
  static constexpr uint64_t kBytes = 1 << 20;

  explicit GuestRing(uint16_t size, bool event_idx = false, uint64_t split = 0)
      : size_(size),
        low_(kBytes),
        high_(kBytes),
        desc(size),
        avail_memory_((3 + size) * sizeof(uint16_t)),
        used_memory_(3 * sizeof(uint16_t) + size * sizeof(vring_used_elem) + 8) {
    avail = reinterpret_cast<vring_avail*>(avail_memory_.data());
    used = reinterpret_cast<vring_used*>(used_memory_.data());
    if (split == 0) {
      map = MemoryMap({{kBase, kBytes, low_.data()}});
    } else {
      map = MemoryMap({{kBase, split, low_.data()}, {kBase + split, kBytes - split, high_.data()}});
    }
    queue = Virtqueue(size, desc.data(), avail, used, 0, event_idx, nullptr);
  }

  // Writes `bytes` of guest memory, across the split when there is one.
  void put(uint64_t address, const void* from, size_t bytes) {
    for (size_t i = 0; i < bytes; ++i) *host(address + i) = static_cast<const uint8_t*>(from)[i];
  }
  uint8_t* host(uint64_t address) {
    uint64_t one = 1;
    uint32_t hint = 0;
    return map.translate(address, &one, &hint);
  }

  void chain(uint16_t head, const std::vector<Segment>& segments) {
    for (size_t i = 0; i < segments.size(); ++i) {
      vring_desc& d = desc[(head + i) % size_];
      d.addr = segments[i].address;
      d.len = segments[i].length;
      d.flags = segments[i].writable ? VRING_DESC_F_WRITE : 0;
      if (i + 1 < segments.size()) d.flags |= VRING_DESC_F_NEXT;
      d.next = static_cast<uint16_t>((head + i + 1) % size_);
    }
  }

  // The same as an indirect table at guest address `table`.
  void indirect(uint16_t head, uint64_t table, const std::vector<Segment>& segments) {
    for (size_t i = 0; i < segments.size(); ++i) {
      vring_desc d{};
      d.addr = segments[i].address;
      d.len = segments[i].length;
      d.flags = segments[i].writable ? VRING_DESC_F_WRITE : 0;
      if (i + 1 < segments.size()) d.flags |= VRING_DESC_F_NEXT;
      d.next = static_cast<uint16_t>(i + 1);
      put(table + i * sizeof d, &d, sizeof d);
    }
    desc[head].addr = table;
    desc[head].len = static_cast<uint32_t>(segments.size() * sizeof(vring_desc));
    desc[head].flags = VRING_DESC_F_INDIRECT;
  }

  void offer(uint16_t head) {
    avail->ring[avail->idx % size_] = head;
    ++avail->idx;
  }

 private:
  uint16_t size_;
  std::vector<uint8_t> low_;
  std::vector<uint8_t> high_;

 public:
  std::vector<vring_desc> desc;

 private:
  std::vector<uint8_t> avail_memory_;
  std::vector<uint8_t> used_memory_;

 public:
  vring_avail* avail;
  vring_used* used;
  MemoryMap map;
  Virtqueue queue;
};

}  // namespace remap::test

#endif  // REMAP_TEST_GUEST_RING_H_
