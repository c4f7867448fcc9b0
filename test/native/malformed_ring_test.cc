// Malformed rings against a whole back-end: the request or the queue is lost, and nothing else.
#include <doctest/doctest.h>

#include <atomic>
#include <random>
#include <thread>

#include "malformed_chains.h"
#include "siege.h"

namespace remap::test {
namespace {

// The request's answer, checked against what must become of it.
void check_fate(Siege& siege, ChainDriver& f, Fate fate) {
  const uint16_t before = f.used_index();
  if (fate == Fate::kStopped) {
    f.notify();
    REQUIRE(siege.target.events.logged("queue 0 stopped"));
    CHECK(f.used_index() == before);
    return;
  }
  const int64_t used = f.run_head(0);
  const uint8_t status = Template::status(f);
  if (fate == Fate::kServed) {
    CHECK(used == 513);
    CHECK(status == VIRTIO_BLK_S_OK);
    CHECK(f.memory[ChainDriver::kWritable + 100] == 5);
  } else if (fate == Fate::kFailed) {
    CHECK(used == 1);
    CHECK((status == VIRTIO_BLK_S_IOERR || f.desc(2).len == 0));
  } else {
    CHECK(used == 0);
    CHECK(status == ChainDriver::kUntouched);
  }
}

void check_good(ChainDriver& f) {
  Template::direct(f);
  CHECK(f.run_head(0) == 513);
  CHECK(Template::status(f) == VIRTIO_BLK_S_OK);
}

void stop_and_start(ChainDriver& f) {
  REQUIRE(f.stop_queue());
  REQUIRE(f.start());
}

}  // namespace

TEST_CASE("malformed ring: every chain meets its fate, and the next one is served") {
  for (const MalformedChain& chain : malformed_chains()) {
    SUBCASE(chain.name) {
      Siege siege;
      ChainDriver f(siege.target.connect());
      check_good(f);
      Template::direct(f);
      chain.spoil(f);
      check_fate(siege, f, chain.fate);
      if (chain.fate == Fate::kStopped) stop_and_start(f);
      check_good(f);
    }
  }
}

TEST_CASE("malformed ring: a head made available twice stops the queue (SPDK #3860)") {
  Siege siege;
  ChainDriver f(siege.target.connect());
  siege.target.device(0).faults().add(FaultKind::kSlow, 5, 1, 1, 50);
  Template::direct(f);
  f.publish(0);
  f.publish(0);
  f.notify();
  REQUIRE(siege.target.events.logged("made available twice"));
  REQUIRE(f.returned(1));
  stop_and_start(f);
  check_good(f);
}

TEST_CASE("malformed ring: data over the rings themselves (CVE-2018-1059, DPDK)") {
  for (const uint64_t over : {uint64_t{0}, FrontEnd::kAvail, FrontEnd::kUsed}) {
    CAPTURE(over);
    Siege siege;
    ChainDriver f(siege.target.connect());
    Template::direct(f);
    f.desc(1).addr = Template::kBase + over;
    f.publish(0);
    f.notify();
    for (int i = 0; i < 5000 && Template::status(f) == ChainDriver::kUntouched; ++i) usleep(1000);
    CHECK(Template::status(f) == VIRTIO_BLK_S_OK);
    stop_and_start(f);
    check_good(f);
  }
}

TEST_CASE("malformed ring: what the driver writes into our side of it is not believed") {
  Siege siege;
  ChainDriver f(siege.target.connect());
  for (int round = 0; round < 10; ++round) {
    check_good(f);
    const uint16_t index = f.used_index();
    // Everything but the index, which is how the test counts.
    memset(f.memory + FrontEnd::kUsed + 4, 0xff, ChainDriver::kEntries * 8 + 2);
    *reinterpret_cast<uint16_t*>(f.memory + FrontEnd::kUsed) = 0xffff;
    CHECK(f.used_index() == index);
  }
}

TEST_CASE(
    "malformed ring: descriptors that change while they are walked (CVE-2026-93683, "
    "CVE-2026-86848, DPDK)") {
  constexpr uint32_t kSeed = 93683;
  CAPTURE(kSeed);
  Siege siege;
  ChainDriver f(siege.target.connect());
  std::atomic<bool> done{false};
  std::thread mutator([&] {
    std::mt19937 random(kSeed);
    const auto store = [&](auto* field, auto value) {
      __atomic_store_n(field, static_cast<std::remove_pointer_t<decltype(field)>>(value),
                       __ATOMIC_RELAXED);
    };
    while (!done.load(std::memory_order_relaxed)) {
      vring_desc* d = random() % 2 ? &f.desc(static_cast<uint16_t>(random() % 4))
                                   : &Template::table(f)[random() % 4];
      switch (random() % 4) {
        case 0:
          store(&d->next, random() % 3 ? random() % 4 : 65535);
          break;
        case 1:
          store(&d->len, random() % 3 ? 16 * (random() % 64) : UINT32_MAX);
          break;
        case 2:
          // Never the rings: the head that comes back must be the one that went.
          store(&d->addr, random() % 4 ? Template::kBase + 0x60000 + random() % 0x40000
                                       : ~uint64_t{random()});
          break;
        default:
          store(&d->flags, random() % 8);
      }
    }
  });
  uint32_t returned = 0;
  for (int i = 0; i < 3000; ++i) {
    Template::direct(f);
    if (i % 2 == 0) Template::indirect(f);
    if (f.run_head(0) < 0) break;
    ++returned;
  }
  done = true;
  mutator.join();
  CHECK(returned == 3000);
  stop_and_start(f);
  check_good(f);
}

}  // namespace remap::test
