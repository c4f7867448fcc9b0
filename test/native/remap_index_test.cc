#include "native/remap_index.h"

#include <doctest/doctest.h>

#include <atomic>
#include <random>
#include <thread>

using remap::RemapIndex;
using remap::abi::IndexRecord;
using remap::abi::kIndexPending;
using remap::abi::kIndexRemapped;
using Pieces = std::vector<RemapIndex::Piece>;

namespace remap {

// Where doctest looks for it.
static bool operator==(const RemapIndex::Piece& a, const RemapIndex::Piece& b) {
  return a.start == b.start && a.count == b.count && a.target == b.target && a.device == b.device &&
         a.pending == b.pending;
}

}  // namespace remap

namespace {

constexpr uint64_t kRegion = RemapIndex::kRegionSectors;

Pieces pieces_of(RemapIndex& index, uint64_t start, uint64_t count) {
  RemapIndex::Reader reader(index);
  Pieces out;
  index.pieces(reader, start, count, &out);
  return out;
}

bool apply(RemapIndex& index, std::vector<IndexRecord> records) {
  return index.apply(records.data(), records.size());
}

IndexRecord remapped(uint64_t lba, uint64_t count, uint32_t device, uint64_t target) {
  return {lba, count, target, device, kIndexRemapped};
}
IndexRecord pending(uint64_t lba, uint64_t count) { return {lba, count, 0, 0, kIndexPending}; }
IndexRecord plain(uint64_t lba, uint64_t count) { return {lba, count, 0, 0, 0}; }

// The index as one array with an element for each sector.
struct Model {
  struct Sector {
    uint64_t target;
    uint32_t device;
    uint32_t flags;
  };
  explicit Model(uint64_t capacity) : sectors(capacity) { apply(plain(0, capacity)); }

  void apply(const IndexRecord& r) {
    for (uint64_t i = 0; i < r.count; ++i) {
      const bool elsewhere = (r.flags & kIndexRemapped) != 0;
      sectors[r.lba + i] = {elsewhere ? r.target + i : r.lba + i, elsewhere ? r.device : 0,
                            r.flags};
    }
  }
  Pieces pieces(uint64_t start, uint64_t count) const {
    Pieces out;
    for (uint64_t i = start; i < start + count; ++i) {
      const Sector& s = sectors[i];
      const bool is_pending = (s.flags & kIndexPending) != 0;
      if (!out.empty() && out.back().device == s.device && out.back().pending == is_pending &&
          out.back().target + out.back().count == s.target)
        ++out.back().count;
      else
        out.push_back({i, 1, s.target, s.device, is_pending});
    }
    return out;
  }
  bool maybe_mapped(uint64_t start, uint64_t count) const {
    const uint64_t end =
        std::min<uint64_t>(((start + count - 1) / kRegion + 1) * kRegion, sectors.size());
    for (uint64_t i = start / kRegion * kRegion; i < end; ++i)
      if (sectors[i].flags != 0) return true;
    return false;
  }
  uint64_t extents() const {
    uint64_t count = 0;
    for (uint64_t i = 0; i < sectors.size(); ++i) {
      const Sector& s = sectors[i];
      if (s.flags == 0) continue;
      const bool joins = i % kRegion != 0 && sectors[i - 1].flags == s.flags &&
                         sectors[i - 1].device == s.device && sectors[i - 1].target + 1 == s.target;
      if (!joins) ++count;
    }
    return count;
  }

  std::vector<Sector> sectors;
};

}  // namespace

TEST_CASE("remap index: grows in place, and what it held stays") {
  RemapIndex index(kRegion);
  const uint64_t before = index.memory_bytes();
  REQUIRE(apply(index, {remapped(10, 5, 1, 100)}));
  CHECK_FALSE(apply(index, {remapped(kRegion, 1, 1, 0)}));
  CHECK_FALSE(index.grow(kRegion - 1));
  CHECK(index.grow(kRegion));
  const uint64_t large = 1000 * 64 * kRegion;
  REQUIRE(index.grow(large));
  CHECK(index.memory_bytes() >= before + 999 * 16);
  REQUIRE(apply(index, {remapped(large - 4, 4, 2, 7), pending(kRegion, 2)}));
  CHECK(index.maybe_mapped(large - 1, 1));
  CHECK(pieces_of(index, large - 5, 5) ==
        Pieces{{large - 5, 1, large - 5, 0, false}, {large - 4, 4, 7, 2, false}});
  CHECK(pieces_of(index, 9, 7) ==
        Pieces{{9, 1, 9, 0, false}, {10, 5, 100, 1, false}, {15, 1, 15, 0, false}});
  CHECK_FALSE(apply(index, {remapped(large, 1, 1, 0)}));
  CHECK(index.grow(RemapIndex::kRoomSectors));
  CHECK_FALSE(index.grow(RemapIndex::kRoomSectors + 1));
  REQUIRE(apply(index, {remapped(RemapIndex::kRoomSectors - 1, 1, 1, 3)}));
  CHECK(index.maybe_mapped(RemapIndex::kRoomSectors - 1, 1));
}

TEST_CASE("remap_index: an empty index is one plain piece") {
  RemapIndex index(10 * kRegion);
  CHECK_FALSE(index.maybe_mapped(0, 10 * kRegion));
  CHECK(pieces_of(index, 5, 7 * kRegion) == Pieces{{5, 7 * kRegion, 5, 0, false}});
  CHECK(index.extents() == 0);
}

TEST_CASE("remap_index: an extent is found, its neighbours are plain") {
  RemapIndex index(10 * kRegion);
  REQUIRE(apply(index, {remapped(100, 8, 2, 5000)}));
  CHECK(pieces_of(index, 96, 16) ==
        Pieces{{96, 4, 96, 0, false}, {100, 8, 5000, 2, false}, {108, 4, 108, 0, false}});
  CHECK(pieces_of(index, 103, 2) == Pieces{{103, 2, 5003, 2, false}});
  CHECK(index.maybe_mapped(0, 1));
  CHECK_FALSE(index.maybe_mapped(kRegion, 9 * kRegion));
}

TEST_CASE("remap_index: a new record replaces what it overlaps and splits the rest") {
  RemapIndex index(kRegion);
  REQUIRE(apply(index, {remapped(100, 30, 1, 1000), remapped(110, 10, 2, 9000)}));
  CHECK(pieces_of(index, 100, 30) ==
        Pieces{{100, 10, 1000, 1, false}, {110, 10, 9000, 2, false}, {120, 10, 1020, 1, false}});
  CHECK(index.extents() == 3);
  REQUIRE(apply(index, {plain(105, 20)}));
  CHECK(pieces_of(index, 100, 30) ==
        Pieces{{100, 5, 1000, 1, false}, {105, 20, 105, 0, false}, {125, 5, 1025, 1, false}});
  REQUIRE(apply(index, {remapped(105, 20, 1, 1005)}));
  CHECK(index.extents() == 1);  // merged again
}

TEST_CASE("remap_index: an extent over region borders is one piece") {
  RemapIndex index(200 * kRegion);
  REQUIRE(apply(index, {remapped(kRegion - 3, 130 * kRegion, 3, 77)}));
  CHECK(pieces_of(index, 0, 200 * kRegion) ==
        Pieces{{0, kRegion - 3, 0, 0, false},
               {kRegion - 3, 130 * kRegion, 77, 3, false},
               {131 * kRegion - 3, 69 * kRegion + 3, 131 * kRegion - 3, 0, false}});
  CHECK(index.extents() == 131);
  REQUIRE(apply(index, {plain(0, 200 * kRegion)}));
  CHECK(index.extents() == 0);
  CHECK_FALSE(index.maybe_mapped(0, 200 * kRegion));
}

TEST_CASE("remap_index: region borders to the sector") {
  RemapIndex index(4 * kRegion);
  REQUIRE(
      apply(index, {remapped(kRegion - 1, 1, 1, 10), remapped(kRegion, 1, 1, 11),
                    remapped(2 * kRegion, kRegion, 1, 500), remapped(4 * kRegion - 1, 1, 2, 0)}));
  CHECK(pieces_of(index, kRegion - 1, 2) == Pieces{{kRegion - 1, 2, 10, 1, false}});
  CHECK(pieces_of(index, 2 * kRegion - 1, 1) ==
        Pieces{{2 * kRegion - 1, 1, 2 * kRegion - 1, 0, false}});
  CHECK(pieces_of(index, 2 * kRegion, kRegion) == Pieces{{2 * kRegion, kRegion, 500, 1, false}});
  CHECK(pieces_of(index, 4 * kRegion - 1, 1) == Pieces{{4 * kRegion - 1, 1, 0, 2, false}});
}

TEST_CASE("remap_index: one plain record clears extents however far apart") {
  constexpr uint64_t kWord = 64 * kRegion;
  for (const uint64_t first : {0, 1, 2, 3}) {
    RemapIndex index(9 * kWord);
    REQUIRE(apply(index, {remapped(first * kWord + 9, 1, 1, 0), remapped(4 * kWord, 1, 1, 0),
                          remapped(7 * kWord - 1, 2, 1, 0)}));
    CHECK(index.extents() == 4);
    REQUIRE(apply(index, {plain(1, 7 * kWord - 1)}));
    CHECK(index.extents() == 1);
    CHECK(pieces_of(index, 0, 7 * kWord + 1).size() == 2);
  }
}

TEST_CASE("remap_index: pending extents lie on main unless they are remapped too") {
  RemapIndex index(kRegion);
  IndexRecord both = remapped(20, 2, 1, 300);
  both.flags |= kIndexPending;
  IndexRecord odd = pending(10, 2);
  odd.target = 999;  // means nothing without kIndexRemapped
  odd.device = 3;
  REQUIRE(apply(index, {odd, both}));
  CHECK(pieces_of(index, 9, 14) == Pieces{{9, 1, 9, 0, false},
                                          {10, 2, 10, 0, true},
                                          {12, 8, 12, 0, false},
                                          {20, 2, 300, 1, true},
                                          {22, 1, 22, 0, false}});
}

TEST_CASE("remap_index: one bad record and nothing of the call is applied") {
  const uint64_t capacity = 3 * kRegion + 5;
  RemapIndex index(capacity);
  const IndexRecord good = remapped(0, 8, 1, 0);
  IndexRecord unknown_flag = good;
  unknown_flag.flags = 4;
  for (const IndexRecord& bad :
       {remapped(8, 0, 1, 0), remapped(capacity, 1, 1, 0), remapped(capacity - 1, 2, 1, 0),
        remapped(1, ~uint64_t{0}, 1, 0), remapped(~uint64_t{0}, 2, 1, 0), remapped(8, 8, 9, 0),
        unknown_flag}) {
    CHECK_FALSE(apply(index, {good, bad}));
    CHECK(index.extents() == 0);
    CHECK_FALSE(index.maybe_mapped(0, capacity));
  }
  CHECK(apply(index, {remapped(capacity - 1, 1, 8, 0)}));
}

TEST_CASE("remap_index: agrees with an array of sectors through random changes") {
  for (const uint32_t seed : {1u, 2u, 20251123u}) {
    CAPTURE(seed);
    std::mt19937 random(seed);
    const auto below = [&random](uint64_t n) { return random() % n; };
    // Two words of the bitmap, the second not full, the last region neither.
    const uint64_t capacity = 66 * kRegion + 37;
    RemapIndex index(capacity);
    Model model(capacity);
    // Most changes hit the same three places, so that they overlap and split.
    const uint64_t places[] = {0, 63 * kRegion, 66 * kRegion - 200};
    for (int step = 0; step < 1500; ++step) {
      CAPTURE(step);
      std::vector<IndexRecord> records;
      for (uint64_t n = 1 + below(6); n > 0; --n) {
        uint64_t lba = places[below(3)] + below(below(4) == 0 ? 3 * kRegion : 120);
        lba = std::min(lba, capacity - 1);
        const uint64_t longest = below(20) == 0 ? 4 * kRegion : below(3) == 0 ? 100 : 4;
        const uint64_t count = std::min(1 + below(longest), capacity - lba);
        // Targets close to a line, so that neighbours often join.
        const uint64_t target = below(3) == 0 ? below(100000) : lba + 1000;
        const uint32_t flags = static_cast<uint32_t>(below(8) == 0 ? below(4) : below(2));
        records.push_back({lba, count, target, static_cast<uint32_t>(1 + below(2)), flags});
        model.apply(records.back());
      }
      REQUIRE(index.apply(records.data(), records.size()));
      for (int look = 0; look < 4; ++look) {
        const uint64_t start = std::min(places[below(3)] + below(200), capacity - 1);
        const uint64_t count = std::min(1 + below(look == 0 ? 3 * kRegion : 60), capacity - start);
        REQUIRE(pieces_of(index, start, count) == model.pieces(start, count));
        REQUIRE(index.maybe_mapped(start, count) == model.maybe_mapped(start, count));
      }
      if (step % 100 == 0) {
        REQUIRE(pieces_of(index, 0, capacity) == model.pieces(0, capacity));
        REQUIRE(index.extents() == model.extents());
      }
    }
    REQUIRE(apply(index, {plain(0, capacity)}));
    const uint64_t words = 2;
    CHECK(index.memory_bytes() == words * 16);  // all freed
  }
}

TEST_CASE("remap_index: 64 TiB cost nothing until they are used") {
  const uint64_t capacity = (uint64_t{64} << 40) / 512;
  RemapIndex index(capacity);
  const uint64_t empty = index.memory_bytes();
  CHECK(empty == capacity / kRegion / 64 * 16);
  REQUIRE(apply(index, {remapped(capacity - 1, 1, 1, 5), remapped(capacity / 2, 8, 1, 6)}));
  CHECK(index.memory_bytes() - empty <= 200);
  CHECK(pieces_of(index, capacity - 2, 2) ==
        Pieces{{capacity - 2, 1, capacity - 2, 0, false}, {capacity - 1, 1, 5, 1, false}});
  CHECK(pieces_of(index, 0, capacity).size() == 4);
  REQUIRE(apply(index, {plain(0, capacity)}));
  CHECK(index.memory_bytes() == empty);
}

TEST_CASE("remap_index: a million extents") {
  constexpr uint64_t kExtents = 1'000'000;
  const auto build = [&](RemapIndex& index, uint64_t stride) {
    std::vector<IndexRecord> records;
    for (uint64_t i = 0; i < kExtents; ++i) records.push_back(remapped(i * stride, 1, 1, 2 * i));
    REQUIRE(index.apply(records.data(), records.size()));
    CHECK(index.extents() == kExtents);
  };
  RemapIndex scattered(kExtents * 2500);
  build(scattered, 2500);
  CHECK(scattered.memory_bytes() / kExtents <= 60);
  RemapIndex dense(kExtents * 2);
  build(dense, 2);
  CHECK(dense.memory_bytes() / kExtents <= 20);
}

// In version v every region is plain (v % 3 == 0), one extent (1), or every other sector (2), and
// every target tells v.
TEST_CASE("remap_index: readers see each region as it was before or after a change") {
  constexpr uint64_t kRegions = 70;
  constexpr uint64_t kCapacity = kRegions * kRegion;
  constexpr uint64_t kStamp = uint64_t{1} << 30;
  constexpr uint64_t kVersions = 300;
  RemapIndex index(kCapacity);
  std::atomic<uint64_t> begun{0};
  std::atomic<uint64_t> done{0};
  std::atomic<uint64_t> wrong{0};
  std::atomic<uint64_t> looks{0};

  const auto read = [&](uint32_t seed) {
    std::mt19937 random(seed);
    RemapIndex::Reader reader(index);
    Pieces out;
    while (done.load() < kVersions) {
      const uint64_t first = random() % (kRegions - 2);
      const uint64_t oldest = done.load();
      if (!index.maybe_mapped(first * kRegion, 3 * kRegion)) continue;
      index.pieces(reader, first * kRegion, 3 * kRegion, &out);
      const uint64_t newest = begun.load();
      ++looks;
      uint64_t next = first * kRegion;
      for (uint64_t region = first; region < first + 3; ++region) {
        // Cut the region out of the joined pieces.
        uint64_t version = 0;
        uint64_t mapped = 0;
        bool mixed = false;
        for (const RemapIndex::Piece& p : out) {
          const uint64_t from = std::max(p.start, region * kRegion);
          const uint64_t to = std::min(p.start + p.count, (region + 1) * kRegion);
          if (from >= to) continue;
          if (from != next) mixed = true;
          next = to;
          if (p.device == 0) continue;
          const uint64_t seen = p.target / kStamp;
          if (version != 0 && version != seen) mixed = true;
          if (p.target % kStamp + (from - p.start) != from) mixed = true;
          version = seen;
          mapped += to - from;
        }
        const uint64_t expected = version == 0 ? 0 : version % 3 == 1 ? kRegion - 16 : kRegion / 2;
        if (mapped != expected) mixed = true;
        if (version != 0 && (version < oldest || version > newest)) mixed = true;
        // Plain is right only if a plain version was valid meanwhile.
        if (version == 0 && newest / 3 * 3 < oldest) mixed = true;
        if (mixed) ++wrong;
      }
    }
  };
  std::vector<std::thread> readers;
  for (uint32_t seed = 1; seed <= 2; ++seed) readers.emplace_back(read, seed);

  std::vector<IndexRecord> records;
  for (uint64_t version = 1; version <= kVersions; ++version) {
    records.clear();
    for (uint64_t region = 0; region < kRegions; ++region) {
      const uint64_t base = region * kRegion;
      records.push_back(plain(base, kRegion));
      if (version % 3 == 1)
        records.push_back(remapped(base + 8, kRegion - 16, 1, version * kStamp + base + 8));
      if (version % 3 == 2)
        for (uint64_t i = base; i < base + kRegion; i += 2)
          records.push_back(remapped(i, 1, 2, version * kStamp + i));
    }
    begun.store(version);
    REQUIRE(index.apply(records.data(), records.size()));
    done.store(version);
    if (version % 10 == 0) std::this_thread::yield();
  }
  for (std::thread& reader : readers) reader.join();
  CHECK(wrong.load() == 0);
  CHECK(looks.load() > 0);
  REQUIRE(apply(index, {plain(0, kCapacity)}));
  CHECK(index.memory_bytes() == 2 * 16);
}
