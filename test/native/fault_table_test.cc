#include "native/fault_table.h"

#include <doctest/doctest.h>

#include <cerrno>
#include <random>

#include "native/limits.h"

using remap::FaultKind;
using remap::FaultRule;
using remap::FaultTable;
using remap::FaultVerdict;

namespace {

constexpr bool kRead = false;
constexpr bool kWrite = true;

}  // namespace

TEST_CASE("fault_table: a table without rules is inactive and lets everything pass") {
  FaultTable table;
  CHECK_FALSE(table.active());
  CHECK(table.judge(kRead, 0, 8).error == 0);
  CHECK(table.list().empty());
}

TEST_CASE("fault_table: a rule meets its own operation, and only I/O that touches its range") {
  FaultTable table;
  CHECK(table.add(FaultKind::kReadError, 100, 4, 0, 0) == 1);
  CHECK(table.add(FaultKind::kWriteError, 200, 4, 0, 0) == 2);
  CHECK(table.active());
  CHECK(table.judge(kRead, 100, 1).error == EIO);
  CHECK(table.judge(kWrite, 100, 1).error == 0);
  CHECK(table.judge(kWrite, 200, 1).error == EIO);
  CHECK(table.judge(kRead, 200, 1).error == 0);
  CHECK(table.judge(kRead, 96, 4).error == 0);
  CHECK(table.judge(kRead, 96, 5).error == EIO);
  CHECK(table.judge(kRead, 103, 1).error == EIO);
  CHECK(table.judge(kRead, 104, 8).error == 0);
  CHECK(table.judge(kRead, 0, 4096).error == EIO);
}

TEST_CASE("fault_table: an error wins over a delay, and the longest delay counts") {
  FaultTable table;
  table.add(FaultKind::kSlow, 0, 100, 0, 20);
  table.add(FaultKind::kSlow, 50, 100, 0, 70);
  table.add(FaultKind::kWriteError, 60, 1, 0, 0);
  CHECK(table.judge(kRead, 10, 1).delay_ms == 20);
  CHECK(table.judge(kWrite, 10, 1).delay_ms == 20);
  CHECK(table.judge(kRead, 40, 30).delay_ms == 70);
  const FaultVerdict verdict = table.judge(kWrite, 40, 30);
  CHECK(verdict.error == EIO);
  CHECK(verdict.delay_ms == 0);
}

TEST_CASE("fault_table: a rule fails with the errno it was given") {
  FaultTable table;
  table.add(FaultKind::kReadError, 0, 8, 0, 0, {.error = ENODEV});
  CHECK(table.judge(kRead, 0, 1).error == ENODEV);
  CHECK(table.list()[0].error == ENODEV);
}

TEST_CASE(
    "fault_table: a rule hits the share of I/Os it was given, and spends times on them only") {
  FaultTable table;
  table.add(FaultKind::kWriteError, 0, 1000, 0, 0, {.per_million = 10'000});
  int failed = 0;
  for (int i = 0; i < 100'000; ++i) failed += table.judge(kWrite, i % 1000, 1).error != 0;
  CHECK(failed > 800);
  CHECK(failed < 1200);
  CHECK(table.list()[0].hits == static_cast<uint64_t>(failed));
  table.clear(0);
  table.add(FaultKind::kWriteError, 0, 1000, 3, 0, {.per_million = 10'000});
  failed = 0;
  for (int i = 0; i < 10'000; ++i) failed += table.judge(kWrite, 0, 1).error != 0;
  CHECK(failed == 3);
}

TEST_CASE("fault_table: a rule with times is gone once they are spent") {
  FaultTable table;
  table.add(FaultKind::kReadError, 8, 1, 2, 0);
  table.add(FaultKind::kReadError, 9, 1, 1, 0);
  CHECK(table.judge(kRead, 8, 2).error == EIO);  // meets both
  REQUIRE(table.list().size() == 1);
  CHECK(table.list()[0].times == 1);
  CHECK(table.list()[0].hits == 1);
  CHECK(table.judge(kRead, 9, 1).error == 0);
  CHECK(table.judge(kRead, 8, 1).error == EIO);
  CHECK_FALSE(table.active());
  CHECK(table.judge(kRead, 8, 1).error == 0);
}

TEST_CASE("fault_table: rules are listed in order of lba and cleared one by one or all") {
  FaultTable table;
  table.add(FaultKind::kReadError, 300, 10, 0, 0);
  const uint64_t second = table.add(FaultKind::kWriteError, 100, 1000, 0, 0);
  table.add(FaultKind::kSlow, 200, 1, 5, 9);
  const std::vector<FaultRule> rules = table.list();
  REQUIRE(rules.size() == 3);
  CHECK(rules[0].lba == 100);
  CHECK(rules[1].lba == 200);
  CHECK(rules[1].delay_ms == 9);
  CHECK(rules[2].lba == 300);
  CHECK(table.clear(second) == 1);
  CHECK(table.clear(second) == 0);
  CHECK(table.judge(kWrite, 100, 1).error == 0);
  CHECK(table.judge(kRead, 309, 1).error == EIO);
  CHECK(table.clear(0) == 2);
  CHECK_FALSE(table.active());
}

TEST_CASE("fault_table: refuses an empty range and more rules than its limit") {
  FaultTable table;
  CHECK(table.add(FaultKind::kSlow, 0, 0, 0, 1) == 0);
  CHECK(table.add(FaultKind::kReadError, ~uint64_t{0}, 1, 0, 0) == 0);
  CHECK_FALSE(table.active());
  for (uint32_t i = 0; i < remap::kFaultRulesMax; ++i)
    REQUIRE(table.add(FaultKind::kReadError, 2 * i, 1, 0, 0) == i + 1);
  CHECK(table.add(FaultKind::kReadError, 1, 1, 0, 0) == 0);
  CHECK(table.judge(kRead, 1, 1).error == 0);
  CHECK(table.judge(kRead, 2 * remap::kFaultRulesMax - 2, 1).error == EIO);
}

TEST_CASE("fault_table: a rule may be as long as the device") {
  FaultTable table;
  table.add(FaultKind::kReadError, 5, ~uint64_t{0}, 0, 0);
  CHECK(table.judge(kRead, 4, 1).error == 0);
  CHECK(table.judge(kRead, uint64_t{1} << 50, 8).error == EIO);
}

TEST_CASE("fault_table: agrees with looking at every rule") {
  constexpr uint32_t kSeed = 20251123;
  CAPTURE(kSeed);
  std::mt19937 random(kSeed);
  const auto below = [&random](uint64_t n) { return random() % n; };
  FaultTable table;
  for (int step = 0; step < 20000; ++step) {
    CAPTURE(step);
    if (below(20) == 0)
      table.add(FaultKind(1 + below(3)), below(500), 1 + below(below(10) == 0 ? 300 : 5), below(4),
                static_cast<uint32_t>(below(50)));
    if (below(200) == 0) {
      const std::vector<FaultRule> rules = table.list();
      if (!rules.empty()) table.clear(rules[below(rules.size())].id);
    }
    const bool is_write = below(2) == 1;
    const uint64_t lba = below(500);
    const uint64_t count = 1 + below(20);
    FaultVerdict expected;
    uint64_t hits = 0;
    for (const FaultRule& rule : table.list()) {
      hits += rule.hits;
      if (rule.lba >= lba + count || rule.lba + rule.count <= lba) continue;
      if (rule.kind == (is_write ? FaultKind::kReadError : FaultKind::kWriteError)) continue;
      if (rule.kind == FaultKind::kSlow)
        expected.delay_ms = std::max(expected.delay_ms, rule.delay_ms);
      else
        expected.error = EIO;
      hits += rule.times == 1 ? -rule.hits : 1;
    }
    if (expected.error != 0) expected.delay_ms = 0;
    const FaultVerdict verdict = table.judge(is_write, lba, count);
    REQUIRE(verdict.error == expected.error);
    REQUIRE(verdict.delay_ms == expected.delay_ms);
    for (const FaultRule& rule : table.list()) hits -= rule.hits;
    REQUIRE(hits == 0);
  }
}
