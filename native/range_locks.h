// Ranges whose writes must wait while their blocks are moved. Reads are never held.
#ifndef REMAP_RANGE_LOCKS_H_
#define REMAP_RANGE_LOCKS_H_

#include <atomic>
#include <cstdint>
#include <mutex>
#include <vector>

namespace remap {

class RangeLocks {
 public:
  struct Range {
    uint64_t token;
    uint64_t lba;
    uint64_t count;
    uint32_t waiting;  // workers that still have a write to the range in flight
  };

  // One relaxed load, the whole cost when nothing is being moved.
  bool any() const { return count_.load(std::memory_order_relaxed) != 0; }

  bool covers(uint64_t lba, uint64_t count) const {
    std::lock_guard guard(mutex_);
    for (const Range& r : ranges_)
      if (lba < r.lba + r.count && r.lba < lba + count) return true;
    return false;
  }

  void add(Range range) {
    std::lock_guard guard(mutex_);
    ranges_.push_back(range);
    count_.store(ranges_.size(), std::memory_order_release);
  }

  // One worker has no write to the range in flight any more. True for the last of them.
  bool grant(uint64_t token) {
    std::lock_guard guard(mutex_);
    for (Range& r : ranges_)
      if (r.token == token) return --r.waiting == 0;
    return false;
  }

  void remove(uint64_t token) {
    std::lock_guard guard(mutex_);
    std::erase_if(ranges_, [token](const Range& r) { return r.token == token; });
    count_.store(ranges_.size(), std::memory_order_release);
  }

 private:
  std::atomic<size_t> count_{0};
  mutable std::mutex mutex_;
  std::vector<Range> ranges_;
};

}  // namespace remap

#endif  // REMAP_RANGE_LOCKS_H_
