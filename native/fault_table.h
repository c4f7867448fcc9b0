// Planned failures of one device, for tests and for people who want to see a guest on a failing
// disk. Rules may change while I/O runs. With no rule the cost is one relaxed load a request.
#ifndef REMAP_FAULT_TABLE_H_
#define REMAP_FAULT_TABLE_H_

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <mutex>
#include <vector>

namespace remap {

enum class FaultKind : uint32_t { kReadError = 1, kWriteError = 2, kSlow = 3 };

struct FaultRule {
  uint64_t id;
  FaultKind kind;
  uint64_t lba;       // first sector of the device
  uint64_t count;     // sectors
  uint64_t times;     // I/Os left to hit; 0 means for ever
  uint32_t delay_ms;  // kSlow only
  int error;          // what an I/O fails with; not for kSlow
  // Of a million I/Os that meet the rule, how many it hits; the others pass.
  uint32_t per_million;
  uint64_t hits;
};

// What is left alone in most rules.
struct FaultChoice {
  int error = EIO;
  uint32_t per_million = 1'000'000;
};

// What becomes of one I/O: an error, or else the longest delay of the rules it meets.
struct FaultVerdict {
  int error = 0;          // errno to fail with, 0 to go on
  uint32_t delay_ms = 0;  // wait this long first
};

class FaultTable {
 public:
  bool active() const { return active_.load(std::memory_order_relaxed); }

  // Judges one I/O and spends one of `times` of every rule it meets; a rule whose last is spent is
  // gone. Read errors meet reads, write errors meet writes, slow rules both. Any thread.
  FaultVerdict judge(bool is_write, uint64_t lba, uint64_t count);

  // Returns the new rule's id (1, 2, ...), or 0 when the table is full or the range is empty.
  uint64_t add(FaultKind kind, uint64_t lba, uint64_t count, uint64_t times, uint32_t delay_ms,
               FaultChoice choice = {});
  // Ordered by lba.
  std::vector<FaultRule> list() const;
  // Removes one rule, or all with id 0; returns how many went.
  size_t clear(uint64_t id);

 private:
  std::atomic<bool> active_{false};
  bool lucky(const FaultRule& rule);

  mutable std::mutex mutex_;
  std::vector<FaultRule> rules_;  // sorted by lba
  uint64_t longest_ = 0;          // no rule is longer: bounds the search to the left
  uint64_t dice_ = 0;             // the same rules and I/Os in the same order have the same luck
  uint64_t next_id_ = 1;
};

}  // namespace remap

#endif  // REMAP_FAULT_TABLE_H_
