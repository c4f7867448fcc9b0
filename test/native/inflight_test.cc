#include "native/inflight.h"

#include <doctest/doctest.h>

#include <cstdlib>
#include <memory>

namespace remap::test {

namespace {

constexpr uint16_t kSize = 8;

struct Memory {
  Memory() : bytes(sizeof(InflightRegion) + kSize * sizeof(InflightDescriptor)) {}
  InflightRegion* region() { return reinterpret_cast<InflightRegion*>(bytes.data()); }
  std::vector<uint8_t> bytes;
};

using Heads = std::vector<uint16_t>;

}  // namespace

TEST_CASE("inflight: what was taken and not returned comes back oldest first") {
  Memory memory;
  InflightLog log(memory.region(), kSize);
  CHECK_FALSE(log.resumes());
  log.initialise(0);
  for (uint16_t head : {5, 0, 7, 2}) log.taken(head);
  log.link(0);
  log.returned(1);
  InflightLog next(memory.region(), kSize);
  REQUIRE(next.resumes());
  CHECK(next.recover(1) == Heads{5, 7, 2});
}

TEST_CASE("inflight: a batch whose flags were not cleared is not done twice") {
  // Death after the used index was published, at each point of the bookkeeping that follows.
  for (int cleared = 0; cleared <= 3; ++cleared) {
    Memory memory;
    InflightLog log(memory.region(), kSize);
    log.initialise(0);
    for (uint16_t head : {1, 2, 3, 4}) log.taken(head);
    for (uint16_t head : {3, 1, 4}) log.link(head);
    const Heads order = {3, 1, 4};
    for (int i = 0; i < cleared; ++i) memory.region()->desc[order[i]].inflight = 0;
    InflightLog next(memory.region(), kSize);
    CHECK(next.recover(3) == Heads{2});
    CHECK(memory.region()->used_idx == 3);
  }
}

TEST_CASE("inflight: a batch that was linked and not published is done again") {
  Memory memory;
  InflightLog log(memory.region(), kSize);
  log.initialise(0);
  for (uint16_t head : {1, 2}) log.taken(head);
  log.link(2);
  InflightLog next(memory.region(), kSize);
  CHECK(next.recover(0) == Heads{1, 2});
}

TEST_CASE("inflight: a new region on a ring in use loses nothing to the first death") {
  Memory memory;
  InflightLog log(memory.region(), kSize);
  log.initialise(700);
  log.taken(0);
  InflightLog next(memory.region(), kSize);
  CHECK(next.recover(700) == Heads{0});
}

TEST_CASE("inflight: the used index wraps") {
  Memory memory;
  memory.region()->version = kInflightVersion;
  memory.region()->used_idx = 65535;
  memory.region()->desc[1].inflight = 1;
  memory.region()->desc[6].inflight = 1;
  memory.region()->last_batch_head = 1;
  memory.region()->desc[1].next = 6;
  InflightLog log(memory.region(), kSize);
  CHECK(log.recover(1).empty());
}

TEST_CASE("inflight: a region that lies does no harm") {
  srand(1);
  for (int round = 0; round < 20000; ++round) {
    Memory memory;
    for (uint8_t& byte : memory.bytes) byte = static_cast<uint8_t>(rand());
    InflightLog log(memory.region(), kSize);
    const Heads heads = log.recover(static_cast<uint16_t>(rand()));
    REQUIRE(heads.size() <= kSize);
    for (uint16_t head : heads) REQUIRE(head < kSize);
  }
}

}  // namespace remap::test
