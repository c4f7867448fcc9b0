// DISCARD and WRITE_ZEROES as a driver meets them: virtio 1.2, section 5.2.6.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <chrono>

#include "front_end.h"
#include "native/blk_config.h"
#include "served_volume.h"

namespace remap::test {
namespace {

using Segment = FrontEnd::Segment;
constexpr uint32_t kUnmap = VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
constexpr uint32_t kDiscard = VIRTIO_BLK_T_DISCARD;
constexpr uint32_t kZeroes = VIRTIO_BLK_T_WRITE_ZEROES;

// A front-end whose queue 0 runs.
struct Driver : FrontEnd {
  explicit Driver(Volume& v, uint64_t without = 0)
      : FrontEnd((v.listen(), v.connect())), volume(v) {
    REQUIRE(negotiate(without));
    REQUIRE(share_memory() == 0u);
    REQUIRE(start_queue());
  }
  uint8_t range(uint32_t type, uint64_t sector, uint32_t count, uint32_t flags = 0) {
    offer_range(type, {Segment{sector, count, flags}});
    return run();
  }
  // The value in every byte of a sector as the guest reads it; -1 for a mixture or an error.
  int read(uint64_t sector) {
    memset(memory + kData, 0x5a, 512);
    offer(VIRTIO_BLK_T_IN, sector);
    if (run() != VIRTIO_BLK_S_OK) return -1;
    const uint8_t first = memory[kData];
    for (int i = 0; i < 512; ++i)
      if (memory[kData + i] != first) return -1;
    return first;
  }
  // Offers zeroes that will park, and remaps its bad extents to the spare at the same sectors as
  // TypeScript would. Returns the bad extents.
  std::vector<abi::EventRecord> zero_and_remap(uint64_t sector, uint32_t count) {
    const auto wanted = static_cast<uint16_t>(used_index() + 1);
    offer_range(kZeroes, {Segment{sector, count, 0}});
    notify();
    for (int i = 0; i < 5000 && volume.events.all(abi::EventKind::kParked).empty(); ++i)
      usleep(1000);
    auto bad = volume.events.all(abi::EventKind::kBadExtent);
    const auto parked = volume.events.all(abi::EventKind::kParked);
    REQUIRE(parked.size() == 1);
    CHECK(used_index() != wanted);
    for (size_t i = 0; i < bad.size(); ++i) {
      abi::CommandRecord write{};
      write.kind = static_cast<uint32_t>(abi::CommandKind::kWriteSpare);
      write.token = parked[0].token;
      write.lba = write.target = bad[i].lba;
      write.count = bad[i].count;
      write.device = 1;
      volume.backend->submit(&write, 1);
      const abi::IndexRecord record{bad[i].lba, bad[i].count, bad[i].lba, 1, abi::kIndexRemapped};
      for (int n = 0; n < 5000 && volume.events.all(abi::EventKind::kSpareWritten).size() <= i; ++n)
        usleep(1000);
      const auto written = volume.events.all(abi::EventKind::kSpareWritten);
      REQUIRE(written.size() == i + 1);
      CHECK(written[i].error == 0);
      REQUIRE(volume.backend->publish(&record, 1));
    }
    volume.complete(parked[0].token, VIRTIO_BLK_S_OK);
    CHECK(returned(wanted));
    CHECK(memory[kStatus] == VIRTIO_BLK_S_OK);
    return bad;
  }
  Volume& volume;
};

uint64_t blocks_of(const std::string& path) {
  struct stat status;
  REQUIRE(stat(path.c_str(), &status) == 0);
  return static_cast<uint64_t>(status.st_blocks);
}

void map(Volume& volume, uint64_t lba, uint64_t count, uint32_t flags) {
  const abi::IndexRecord record{lba, count, lba, flags & abi::kIndexRemapped ? 1u : 0u, flags};
  REQUIRE(volume.backend->publish(&record, 1));
}

}  // namespace

TEST_CASE("range: zeroes read back zero and touch nothing else") {
  uint32_t flags = 0;
  uint64_t without = 0;
  SUBCASE("kept") {}
  SUBCASE("given back") { flags = kUnmap; }
  SUBCASE("written through") { without = kFeatureConfigWce | kFeatureFlush; }
  Volume volume;
  Driver f(volume, without);
  CHECK(f.range(kZeroes, 101, 300, flags) == VIRTIO_BLK_S_OK);
  CHECK(f.used_length() == 1);
  CHECK(f.read(100) == 100);
  CHECK(f.read(101) == 0);
  CHECK(f.read(300) == 0);
  CHECK(f.read(400) == 0);
  CHECK(f.read(401) == 401 % 256);
  CHECK(volume.counters(0).discards == 1);
}

TEST_CASE("range: zeroes go to the spare where blocks are remapped") {
  Volume volume;
  Driver f(volume);
  map(volume, 20, 4, abi::kIndexRemapped);
  REQUIRE(f.read(21) == 0xee);
  CHECK(f.range(kZeroes, 16, 16) == VIRTIO_BLK_S_OK);
  for (uint64_t sector = 16; sector < 32; ++sector) CHECK(f.read(sector) == 0);
  CHECK(volume.counters(0).remapped_writes == 1);
  map(volume, 20, 4, 0);
  CHECK(f.read(21) == 21);  // main below it was left alone
}

TEST_CASE("range: zeroes over blocks that cannot be read are parked and land on the spare") {
  Volume volume;
  Driver f(volume);
  map(volume, 40, 2, abi::kIndexPending);
  const auto bad = f.zero_and_remap(32, 16);
  REQUIRE(bad.size() == 1);
  CHECK(bad[0].lba == 40);
  CHECK(bad[0].count == 2);
  CHECK(bad[0].flags == abi::kBadPending);
  for (uint64_t sector = 32; sector < 48; ++sector) CHECK(f.read(sector) == 0);
}

TEST_CASE("range: zeroes that cannot be written are isolated, parked and land on the spare") {
  Volume volume;
  Driver f(volume);
  volume.device(0).faults().add(FaultKind::kWriteError, 70, 1, 0, 0);
  volume.device(0).faults().add(FaultKind::kWriteError, 75, 3, 0, 0);
  const auto bad = f.zero_and_remap(64, 1024);
  REQUIRE(bad.size() == 2);
  CHECK(bad[0].lba == 70);
  CHECK(bad[0].count == 1);
  CHECK(bad[1].lba == 75);
  CHECK(bad[1].count == 3);
  for (uint64_t sector : {64, 69, 70, 71, 75, 76, 77, 78, 1087}) CHECK(f.read(sector) == 0);
  CHECK(f.read(1088) == 1088 % 256);
  CHECK(f.range(kZeroes, 64, 1024) == VIRTIO_BLK_S_OK);
  CHECK(volume.events.all(abi::EventKind::kParked).size() == 1);
}

TEST_CASE("range: a discard gives space back, and leaves spare and unreadable blocks alone") {
  Volume volume;
  Driver f(volume);
  map(volume, 1024, 8, abi::kIndexRemapped);
  map(volume, 1040, 8, abi::kIndexPending);
  sync();
  const uint64_t before = blocks_of(volume.image());
  CHECK(f.range(kDiscard, 512, 1024) == VIRTIO_BLK_S_OK);
  const uint64_t after = blocks_of(volume.image());
  CHECK(before >= kSectors);
  CHECK(after + 900 <= before);
  CHECK(f.read(511) == 511 % 256);
  CHECK(f.read(600) == 0);
  CHECK(f.read(1024) == 0xee);
  CHECK(f.read(1041) == 1041 % 256);
  CHECK(f.read(1536) == 1536 % 256);
  CHECK(volume.events.all(abi::EventKind::kParked).empty());
}

TEST_CASE("range: a discard that fails is no error") {
  Volume volume;
  Driver f(volume);
  volume.device(0).faults().add(FaultKind::kWriteError, 8, 8, 0, 0);
  CHECK(f.range(kDiscard, 0, 64) == VIRTIO_BLK_S_OK);
  CHECK(volume.events.all(abi::EventKind::kParked).empty());
}

TEST_CASE("range: a slow rule holds discards and zeroes back, and then they are done") {
  uint32_t type = 0;
  SUBCASE("discard") { type = kDiscard; }
  SUBCASE("zeroes") { type = kZeroes; }
  Volume volume;
  Driver f(volume);
  volume.device(0).faults().add(FaultKind::kSlow, 100, 1, 1, 200);
  const auto before = std::chrono::steady_clock::now();
  CHECK(f.range(type, 96, 16) == VIRTIO_BLK_S_OK);
  CHECK(std::chrono::steady_clock::now() - before >= std::chrono::milliseconds(200));
  CHECK(volume.device(0).faults().list().empty());  // spent, and once only
  CHECK(f.read(95) == 95);
  CHECK(f.read(100) == 0);
  CHECK(f.read(112) == 112);
}

TEST_CASE("range: every bad payload has its status, and nothing is touched") {
  struct Row {
    const char* what;
    std::vector<Segment> segments;
    uint32_t bytes;
    uint8_t discard;
    uint8_t zeroes;
  };
  constexpr uint8_t kOk = VIRTIO_BLK_S_OK;
  constexpr uint8_t kError = VIRTIO_BLK_S_IOERR;
  constexpr uint8_t kUnsupported = VIRTIO_BLK_S_UNSUPP;
  constexpr uint32_t kAll = UINT32_MAX;
  const Segment good{0, 8, 0};
  const std::vector<Row> rows = {
      {"not a whole segment", {good}, 15, kError, kError},
      {"more than a segment", {good, good}, 24, kError, kError},
      {"two segments", {good, good}, kAll, kUnsupported, kUnsupported},
      {"unmap", {{2000, 8, kUnmap}}, kAll, kUnsupported, kOk},
      {"unknown flag", {{0, 8, 2}}, kAll, kUnsupported, kUnsupported},
      {"unknown flag and unmap", {{0, 8, 3}}, kAll, kUnsupported, kUnsupported},
      {"all flags", {{0, 8, UINT32_MAX}}, kAll, kUnsupported, kUnsupported},
      {"no sectors", {{0, 0, 0}}, kAll, kOk, kOk},
      {"up to the end", {{kSectors - 8, 8, 0}}, kAll, kOk, kOk},
      {"over the end", {{kSectors - 7, 8, 0}}, kAll, kError, kError},
      {"beyond the end", {{kSectors, 8, 0}}, kAll, kError, kError},
      {"more than the volume", {{0, kSectors + 1, 0}}, kAll, kError, kError},
      {"more than at once", {{0, 32769, 0}}, kAll, kError, kError},
      {"most sectors", {{0, UINT32_MAX, 0}}, kAll, kError, kError},
      {"farthest byte", {{(1ull << 63) / 512, 8, 0}}, kAll, kError, kError},
      {"farthest sector", {{UINT64_MAX, 8, 0}}, kAll, kError, kError},
  };
  Volume volume;
  Driver f(volume);
  for (const Row& row : rows) {
    CAPTURE(row.what);
    f.offer_range(kDiscard, row.segments, row.bytes);
    CHECK(f.run() == row.discard);
    CHECK(f.used_length() == 1);
    f.offer_range(kZeroes, row.segments, row.bytes);
    CHECK(f.run() == row.zeroes);
    CHECK(f.used_length() == 1);
    CHECK(f.read(5) == 5);
    CHECK(f.read(1) == 1);
  }
  for (uint32_t type : {VIRTIO_BLK_T_SECURE_ERASE, VIRTIO_BLK_T_SCSI_CMD, 3, 15, 17}) {
    CAPTURE(type);
    f.offer_range(type, {good});
    CHECK(f.run() == kUnsupported);
  }
}

TEST_CASE("range: neither is offered nor done when the volume is read-only") {
  Volume volume({.read_only = true});
  Driver f(volume);
  CHECK((offered_features(volume.backend->context()) & (kFeatureDiscard | kFeatureWriteZeroes)) ==
        0);
  const auto config = config_space(volume.backend->context(), true);
  for (size_t i = 36; i < 60; ++i) CHECK(config[i] == 0);
  CHECK(f.range(kDiscard, 0, 8) == VIRTIO_BLK_S_IOERR);
  CHECK(f.range(kZeroes, 0, 8) == VIRTIO_BLK_S_IOERR);
  CHECK(f.range(kZeroes, 0, 0) == VIRTIO_BLK_S_IOERR);
  CHECK(f.read(5) == 5);
}

}  // namespace remap::test
