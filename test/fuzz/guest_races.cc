#include "guest_races.h"

#include <atomic>

// The calls the compiler puts before loads must not be counted themselves.
#define REMAP_FUZZ_PLAIN __attribute__((no_sanitize("coverage", "address", "undefined")))

namespace remap::fuzz {
namespace {

GuestRaces races;
// Handed to the thread: how many changes it may make, 0 for none. It is busy while it makes them.
std::atomic<uint32_t> offered{0};
std::atomic<bool> busy{false};

}  // namespace

GuestRaces& GuestRaces::instance() { return races; }

void GuestRaces::start_thread() {
  threaded_ = true;
  std::thread([this] { race(); }).detach();
}

void GuestRaces::watch(uint8_t* begin, uint64_t size) {
  if (range_count_ < kRangesMax) ranges_[range_count_++] = {begin, size};
}

void GuestRaces::plan(const Change& change) {
  if (planned_ == kChangesMax) return;
  changes_[planned_++] = change;
  if (threaded_) {
    offered.store(planned_);
    offered.notify_one();
  } else if (planned_ == made_ + 1) {
    loads_left_ = change.loads + 1;
  }
}

void GuestRaces::reset() {
  if (threaded_) {
    offered.store(0);
    while (busy.load()) std::this_thread::yield();
  }
  planned_ = made_ = loads_left_ = 0;
}

REMAP_FUZZ_PLAIN void GuestRaces::race() {
  for (;;) {
    offered.wait(0);
    busy.store(true);
    for (uint32_t i = 0, n = offered.load(); i < n; ++i) {
      const Change& change = changes_[i];
      // There and back: what is read is one or the other.
      const uint8_t before = __atomic_load_n(change.at, __ATOMIC_RELAXED);
      __atomic_store_n(change.at, change.value, __ATOMIC_RELAXED);
      __atomic_store_n(change.at, before, __ATOMIC_RELAXED);
    }
    busy.store(false);
  }
}

REMAP_FUZZ_PLAIN void GuestRaces::loaded(const void* address) {
  if (loads_left_ == 0) return;
  const auto at = reinterpret_cast<uintptr_t>(address);
  for (uint32_t i = 0; i < range_count_; ++i) {
    if (at - reinterpret_cast<uintptr_t>(ranges_[i].begin) >= ranges_[i].size) continue;
    if (--loads_left_ != 0) return;
    *changes_[made_].at = changes_[made_].value;
    if (++made_ < planned_) loads_left_ = changes_[made_].loads + 1;
    return;
  }
}

}  // namespace remap::fuzz

extern "C" {

REMAP_FUZZ_PLAIN void __sanitizer_cov_load1(uint8_t* p) { remap::fuzz::races.loaded(p); }
REMAP_FUZZ_PLAIN void __sanitizer_cov_load2(uint16_t* p) { remap::fuzz::races.loaded(p); }
REMAP_FUZZ_PLAIN void __sanitizer_cov_load4(uint32_t* p) { remap::fuzz::races.loaded(p); }
REMAP_FUZZ_PLAIN void __sanitizer_cov_load8(uint64_t* p) { remap::fuzz::races.loaded(p); }
REMAP_FUZZ_PLAIN void __sanitizer_cov_load16(__uint128_t* p) { remap::fuzz::races.loaded(p); }

}  // extern "C"
