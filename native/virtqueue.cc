#include "virtqueue.h"

namespace remap {

Virtqueue::Virtqueue(uint16_t size, vring_desc* desc, vring_avail* avail, vring_used* used,
                     uint16_t base, bool event_idx, InflightRegion* inflight)
    : size_(size),
      last_avail_(base),
      event_idx_(event_idx),
      desc_(desc),
      avail_(avail),
      used_(used),
      inflight_(inflight, size) {
  used_idx_ = used_next_ = load(&used_->idx);
  if (inflight_.resumes()) {
    resumed_ = inflight_.recover(used_idx_);
    last_avail_ = static_cast<uint16_t>(used_idx_ + resumed_.size());
  } else {
    inflight_.initialise(used_idx_);
  }
}

Virtqueue::Take Virtqueue::take(uint16_t* head) {
  const uint16_t available = static_cast<uint16_t>(load(&avail_->idx) - last_avail_);
  if (available == 0) return Take::kNone;
  if (available > size_) return Take::kBroken;
  const uint16_t found = load(&avail_->ring[last_avail_ % size_]);
  if (found >= size_) return Take::kBroken;
  ++last_avail_;
  inflight_.taken(found);
  *head = found;
  return Take::kHead;
}

void Virtqueue::put_used(uint16_t head, uint32_t length) {
  inflight_.link(head);
  vring_used_elem& element = used_->ring[used_next_ % size_];
  element.id = head;
  element.len = length;
  ++used_next_;
}

bool Virtqueue::publish() {
  if (used_next_ == used_idx_) return false;
  const uint16_t old = used_idx_;
  used_idx_ = used_next_;
  store(&used_->idx, used_idx_);
  inflight_.returned(used_idx_);
  // The index must be visible before the guest's wish is read, or both sides could wait.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (call_due_) {
    call_due_ = false;
    return true;
  }
  if (event_idx_) {
    const uint16_t event = load(used_event());
    return static_cast<uint16_t>(used_idx_ - event - 1) < static_cast<uint16_t>(used_idx_ - old);
  }
  return (load(&avail_->flags) & VRING_AVAIL_F_NO_INTERRUPT) == 0;
}

const vring_desc* Virtqueue::indirect_table(const MemoryMap& memory, uint32_t* hint,
                                            uint64_t address, uint32_t length) {
  uint64_t contiguous = length;
  uint8_t* host = memory.translate(address, &contiguous, hint);
  if (host == nullptr) return nullptr;
  if (contiguous == length && reinterpret_cast<uintptr_t>(host) % alignof(vring_desc) == 0)
    return reinterpret_cast<const vring_desc*>(host);
  scratch_.resize(length / sizeof(vring_desc));
  auto* to = reinterpret_cast<uint8_t*>(scratch_.data());
  for (uint64_t done = 0; done < length;) {
    uint64_t part = length - done;
    host = memory.translate(address + done, &part, hint);
    if (host == nullptr) return nullptr;
    memcpy(to + done, host, part);
    done += part;
  }
  return scratch_.data();
}

}  // namespace remap
