// The split virtqueue of virtio 1.2, section 2.7: takes available chains, returns used elements in
// batches, keeps kicks and calls to what EVENT_IDX or the flags ask for.
//
// Guest memory is written by the guest at any time: every descriptor, index and length is read
// once into a local copy and judged there.
#ifndef REMAP_VIRTQUEUE_H_
#define REMAP_VIRTQUEUE_H_

// Its legacy helpers do not compile as C++.
#define VIRTIO_RING_NO_LEGACY
#include <linux/virtio_ring.h>
#include <sys/uio.h>

#include <atomic>
#include <bit>
#include <cstring>
#include <vector>

#include "inflight.h"
#include "limits.h"
#include "memory_map.h"

namespace remap {

static_assert(std::endian::native == std::endian::little, "rings are read without conversion");

// Entries of an indirect table. Drivers of other systems go beyond the queue's size; 1,024
// segments with header and status are the most we serve.
inline constexpr uint32_t kIndirectEntriesMax = kSegmentsMax + 2;

class Virtqueue {
 public:
  enum class Take { kNone, kHead, kBroken };

  Virtqueue() = default;
  Virtqueue(uint16_t size, vring_desc* desc, vring_avail* avail, vring_used* used, uint16_t base,
            bool event_idx, InflightRegion* inflight);

  // Heads an earlier back-end had in flight; they come before what is available.
  const std::vector<uint16_t>& resumed() const { return resumed_; }

  bool has_available() const { return load(&avail_->idx) != last_avail_; }
  uint16_t next_avail() const { return last_avail_; }
  uint16_t size() const { return size_; }

  // The next available head. kBroken: the index jumps or the head is none of ours; the queue must
  // not be looked at again.
  Take take(uint16_t* head);

  // Calls visit(guest address, length, device-writable) for each descriptor of the chain. False
  // when the chain is malformed: loop, index beyond the table, bad indirect table, too long,
  // readable after writable, or when `visit` returns false.
  template <typename Visit>
  bool walk(uint16_t head, const MemoryMap& memory, uint32_t* hint, Visit&& visit);

  // Puts one used element aside for the next publish().
  void put_used(uint16_t head, uint32_t length);
  bool has_unpublished() const { return used_next_ != used_idx_; }
  // Makes the elements put aside visible. True when the guest wants a call for them.
  bool publish();

  void suppress_kicks() {
    if (!event_idx_) store(&used_->flags, uint16_t{VRING_USED_F_NO_NOTIFY});
  }
  // After it, has_available() must be looked at once more before going to sleep.
  void request_kicks() {
    if (event_idx_) {
      store(avail_event(), last_avail_);
    } else {
      store(&used_->flags, uint16_t{0});
    }
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }

 private:
  static uint16_t load(const uint16_t* p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
  static void store(uint16_t* p, uint16_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
  uint16_t* avail_event() { return reinterpret_cast<uint16_t*>(&used_->ring[size_]); }
  const uint16_t* used_event() const { return &avail_->ring[size_]; }

  // The descriptors of an indirect table, copied when the table is not contiguous for us.
  const vring_desc* indirect_table(const MemoryMap& memory, uint32_t* hint, uint64_t address,
                                   uint32_t length);

  uint16_t size_ = 0;
  uint16_t last_avail_ = 0;
  uint16_t used_idx_ = 0;   // as published
  uint16_t used_next_ = 0;  // with the elements put aside
  bool event_idx_ = false;
  bool call_due_ = true;  // the first call after a start is always made
  vring_desc* desc_ = nullptr;
  vring_avail* avail_ = nullptr;
  vring_used* used_ = nullptr;
  InflightLog inflight_;
  std::vector<uint16_t> resumed_;
  std::vector<vring_desc> scratch_;
};

template <typename Visit>
bool Virtqueue::walk(uint16_t head, const MemoryMap& memory, uint32_t* hint, Visit&& visit) {
  const vring_desc* table = desc_;
  uint32_t entries = size_;
  uint32_t index = head;
  bool indirect = false;
  bool writable_seen = false;
  for (uint32_t steps = 0; steps < entries; ++steps) {
    vring_desc d;
    memcpy(&d, &table[index], sizeof d);
    if (d.flags & VRING_DESC_F_INDIRECT) {
      if (indirect || (d.flags & VRING_DESC_F_NEXT) || d.len == 0 || d.len % sizeof d != 0 ||
          d.len / sizeof d > kIndirectEntriesMax)
        return false;
      table = indirect_table(memory, hint, d.addr, d.len);
      if (table == nullptr) return false;
      entries = d.len / sizeof d;
      indirect = true;
      index = 0;
      steps = UINT32_MAX;  // the count starts again at 0 in the new table
      continue;
    }
    const bool writable = (d.flags & VRING_DESC_F_WRITE) != 0;
    if (!writable && writable_seen) return false;
    writable_seen = writable;
    if (!visit(d.addr, d.len, writable)) return false;
    if (!(d.flags & VRING_DESC_F_NEXT)) return true;
    if (d.next >= entries) return false;
    index = d.next;
  }
  return false;
}

}  // namespace remap

#endif  // REMAP_VIRTQUEUE_H_
