#include "fault_table.h"

#include <algorithm>
#include <cerrno>
#include <limits>

#include "limits.h"

namespace remap {

namespace {

bool meets(const FaultRule& rule, bool is_write) {
  switch (rule.kind) {
    case FaultKind::kReadError:
      return !is_write;
    case FaultKind::kWriteError:
      return is_write;
    case FaultKind::kSlow:
      return true;
  }
  return false;
}

bool before(const FaultRule& rule, uint64_t lba) { return rule.lba < lba; }

}  // namespace

// splitmix64 (Steele, Lea, Flood).
bool FaultTable::lucky(const FaultRule& rule) {
  if (rule.per_million >= 1'000'000) return false;
  uint64_t z = dice_ += 0x9e3779b97f4a7c15;
  z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
  z = (z ^ z >> 27) * 0x94d049bb133111eb;
  return (z ^ z >> 31) % 1'000'000 >= rule.per_million;
}

FaultVerdict FaultTable::judge(bool is_write, uint64_t lba, uint64_t count) {
  std::lock_guard guard(mutex_);
  FaultVerdict verdict;
  bool spent = false;
  const auto end = std::lower_bound(rules_.begin(), rules_.end(), lba + count, before);
  auto first = end;
  while (first != rules_.begin()) {
    FaultRule& rule = *(first - 1);
    if (rule.lba + longest_ <= lba) break;
    --first;
    if (rule.lba + rule.count <= lba || !meets(rule, is_write) || lucky(rule)) continue;
    ++rule.hits;
    if (rule.times != 0 && --rule.times == 0) {
      rule.count = 0;  // marks it for removal below
      spent = true;
    }
    if (rule.kind == FaultKind::kSlow) {
      verdict.delay_ms = std::max(verdict.delay_ms, rule.delay_ms);
    } else {
      verdict.error = rule.error;
    }
  }
  if (verdict.error != 0) verdict.delay_ms = 0;
  if (spent) {
    const auto gone = [](const FaultRule& rule) { return rule.count == 0; };
    rules_.erase(std::remove_if(first, end, gone), end);
    active_.store(!rules_.empty(), std::memory_order_relaxed);
  }
  return verdict;
}

uint64_t FaultTable::add(FaultKind kind, uint64_t lba, uint64_t count, uint64_t times,
                         uint32_t delay_ms, FaultChoice choice) {
  std::lock_guard guard(mutex_);
  if (rules_.size() >= kFaultRulesMax || count == 0) return 0;
  // Half the range of the type is far above any device, and no sum of two can wrap.
  constexpr uint64_t kFarthest = std::numeric_limits<uint64_t>::max() / 4;
  if (lba > kFarthest) return 0;
  count = std::min(count, kFarthest);
  const FaultRule rule{.id = next_id_++,
                       .kind = kind,
                       .lba = lba,
                       .count = count,
                       .times = times,
                       .delay_ms = delay_ms,
                       .error = choice.error,
                       .per_million = choice.per_million,
                       .hits = 0};
  rules_.insert(std::lower_bound(rules_.begin(), rules_.end(), lba, before), rule);
  longest_ = std::max(longest_, count);
  active_.store(true, std::memory_order_relaxed);
  return rule.id;
}

std::vector<FaultRule> FaultTable::list() const {
  std::lock_guard guard(mutex_);
  return rules_;
}

size_t FaultTable::clear(uint64_t id) {
  std::lock_guard guard(mutex_);
  const size_t gone =
      std::erase_if(rules_, [id](const FaultRule& rule) { return id == 0 || rule.id == id; });
  longest_ = 0;
  for (const FaultRule& rule : rules_) longest_ = std::max(longest_, rule.count);
  active_.store(!rules_.empty(), std::memory_order_relaxed);
  return gone;
}

}  // namespace remap
