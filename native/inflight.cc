#include "inflight.h"

#include <algorithm>

namespace remap {

std::vector<uint16_t> InflightLog::recover(uint16_t used_idx) {
  // Step 1 of the specification: the last batch reached the used ring, but its flags were perhaps
  // not cleared. The list runs from last_batch_head through `next`.
  uint16_t unfinished = static_cast<uint16_t>(used_idx - region_->used_idx);
  if (unfinished > size_) unfinished = size_;
  uint16_t head = region_->last_batch_head;
  for (uint16_t i = 0; i < unfinished && head < size_; ++i) {
    region_->desc[head].inflight = 0;
    head = region_->desc[head].next;
  }
  __atomic_store_n(&region_->used_idx, used_idx, __ATOMIC_RELEASE);

  // Step 2: what is left is taken up again in the order it was first taken.
  std::vector<std::pair<uint64_t, uint16_t>> found;
  for (uint16_t i = 0; i < size_; ++i) {
    if (__atomic_load_n(&region_->desc[i].inflight, __ATOMIC_ACQUIRE) == 1)
      found.emplace_back(region_->desc[i].counter, i);
  }
  std::sort(found.begin(), found.end());
  std::vector<uint16_t> heads;
  heads.reserve(found.size());
  for (const auto& [counter, index] : found) heads.push_back(index);
  counter_ = found.empty() ? 0 : found.back().first + 1;
  return heads;
}

}  // namespace remap
