// A guest that changes its memory while we read it.
//
// Planned: each load of guest memory that the compiled code makes is counted (-fsanitize-coverage=
// trace-loads), and a change is made right before the n-th of them. What a second processor could
// do between two loads happens at a chosen place, on one thread, and the same input gives the same
// run. Racing: a second thread makes the same changes over and over, as fast as it can.
#ifndef REMAP_FUZZ_GUEST_RACES_H_
#define REMAP_FUZZ_GUEST_RACES_H_

#include <cstdint>
#include <thread>

namespace remap::fuzz {

struct Change {
  uint32_t loads;  // after so many loads since the change before it
  uint8_t* at;
  uint8_t value;
};

// One at a time in a process: the compiler's calls know nothing else.
class GuestRaces {
 public:
  static constexpr uint32_t kRangesMax = 8;
  static constexpr uint32_t kChangesMax = 64;

  static GuestRaces& instance();
  // Changes are made by a thread from now on.
  void start_thread();

  void watch(uint8_t* begin, uint64_t size);  // guest memory
  void unwatch() { range_count_ = 0; }
  void plan(const Change& change);  // in order
  // All changes that are planned are forgotten, and nobody writes when it returns.
  void reset();

  // Called by the compiler's code before each load.
  void loaded(const void* address);

 private:
  void race();

  struct Range {
    uint8_t* begin;
    uint64_t size;
  };
  Range ranges_[kRangesMax]{};
  uint32_t range_count_ = 0;
  Change changes_[kChangesMax]{};
  uint32_t planned_ = 0;
  uint32_t made_ = 0;
  uint32_t loads_left_ = 0;
  bool threaded_ = false;
};

}  // namespace remap::fuzz

#endif  // REMAP_FUZZ_GUEST_RACES_H_
