// Requests around the end of the volume and around the edges of their numbers. CVE-2026-97991
// (vdpa_sim_blk: a start beyond the capacity underflows) and GHSA-wj46 (QEMU: lengths that are no
// multiple of a sector overflow the heap).
#include <doctest/doctest.h>
#include <linux/virtio_blk.h>

#include "chain_driver.h"
#include "served_volume.h"

namespace remap::test {
namespace {

constexpr uint64_t kFarthestByte = (1ull << 63) / 512;
constexpr uint8_t kOk = VIRTIO_BLK_S_OK;
constexpr uint8_t kError = VIRTIO_BLK_S_IOERR;

// The volume as it should be, and as it is.
struct Ledger {
  explicit Ledger(const Volume& v) : path(v.image()), bytes(contents()) {}
  Bytes contents() const {
    Bytes now(kSectors * 512);
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    REQUIRE(pread(fd, now.data(), now.size(), 0) == static_cast<ssize_t>(now.size()));
    close(fd);
    return now;
  }
  std::string path;
  Bytes bytes;
};

struct Edge {
  uint32_t block;
  bool read_only;
};

VolumeOptions options_of(const Edge& edge) {
  VolumeOptions options;
  options.read_only = edge.read_only;
  options.logical_block_size = edge.block;
  if (access("/dev/shm", W_OK) == 0) options.directory = "/dev/shm";
  return options;
}

// Of unsigned numbers of any size: whole blocks, inside the volume.
bool inside(unsigned __int128 sector, unsigned __int128 bytes, uint32_t block) {
  return sector * 512 % block == 0 && bytes % block == 0 &&
         sector * 512 + bytes <= static_cast<unsigned __int128>(kSectors) * 512;
}

struct Probe {
  explicit Probe(const Edge& e) : edge(e), volume(options_of(e)), ledger(volume) {
    volume.listen();
    driver.emplace(volume.connect());
  }

  uint8_t run(uint32_t type, uint64_t sector, const Bytes& data, uint32_t room, Bytes* read) {
    virtio_blk_outhdr header{};
    header.type = type;
    header.sector = sector;
    Bytes readable(sizeof header);
    memcpy(readable.data(), &header, sizeof header);
    readable.insert(readable.end(), data.begin(), data.end());
    Shape shape{Shape::kDirect, {16}, {}};
    if (!data.empty()) shape.readable.push_back(static_cast<uint32_t>(data.size()));
    if (room > 0) shape.writable.push_back(room);
    shape.writable.push_back(1);
    const ChainAnswer answer = driver->run_chain(readable, room + 1, shape);
    REQUIRE(answer.written.size() == room + 1);
    const uint8_t status = answer.written.back();
    const uint32_t delivered = type == VIRTIO_BLK_T_IN && status == kOk ? room : 0;
    CHECK(answer.used_length == delivered + 1);
    if (read != nullptr) *read = {answer.written.begin(), answer.written.end() - 1};
    return status;
  }

  void in(uint64_t sector, uint32_t bytes) {
    const bool good = bytes > 0 && inside(sector, bytes, edge.block);
    Bytes read;
    CHECK(run(VIRTIO_BLK_T_IN, sector, {}, bytes, &read) == (good ? kOk : kError));
    const Bytes untouched(bytes, ChainDriver::kUntouched);
    const auto from = ledger.bytes.begin() + (good ? static_cast<ptrdiff_t>(sector * 512) : 0);
    CHECK(read == (good ? Bytes(from, from + bytes) : untouched));
  }
  void out(uint64_t sector, uint32_t bytes) {
    const bool good = !edge.read_only && bytes > 0 && inside(sector, bytes, edge.block);
    const Bytes data(bytes, ++fill);
    CHECK(run(VIRTIO_BLK_T_OUT, sector, data, 0, nullptr) == (good ? kOk : kError));
    if (good) std::ranges::copy(data, ledger.bytes.begin() + static_cast<ptrdiff_t>(sector * 512));
  }
  void range(uint32_t type, uint64_t sector, uint32_t sectors) {
    const uint64_t bytes = uint64_t{sectors} * 512;
    const bool good =
        !edge.read_only && sectors <= kRangeSectorsMax && inside(sector, bytes, edge.block);
    const virtio_blk_discard_write_zeroes s{sector, sectors, 0};
    const auto* raw = reinterpret_cast<const uint8_t*>(&s);
    CHECK(run(type, 0, {raw, raw + sizeof s}, 0, nullptr) == (good ? kOk : kError));
    if (good && sectors > 0)
      std::fill_n(ledger.bytes.begin() + static_cast<ptrdiff_t>(sector * 512), bytes, uint8_t{0});
  }
  void payload(uint32_t type, uint32_t bytes) {
    // Zeroes: segments of no sectors at sector 0.
    const uint8_t many = edge.read_only || bytes % 16 != 0 || bytes == 0 ? kError
                         : bytes > 16                                    ? VIRTIO_BLK_S_UNSUPP
                                                                         : kOk;
    CHECK(run(type, 0, Bytes(bytes), 0, nullptr) == many);
  }

  Edge edge;
  Volume volume;
  Ledger ledger;
  std::optional<ChainDriver> driver;
  uint8_t fill = 0x30;
};

struct Start {
  const char* name;
  uint64_t sector;
};
constexpr Start kStarts[] = {
    {"0", 0},
    {"capacity - 8", kSectors - 8},
    {"capacity - 1", kSectors - 1},
    {"capacity", kSectors},
    {"capacity + 1", kSectors + 1},
    {"2^63 / 512 - 1", kFarthestByte - 1},
    {"2^63 / 512", kFarthestByte},
    {"2^64 / 512 - 1", 2 * kFarthestByte - 1},
    {"2^64 - 8", UINT64_MAX - 7},
    {"2^64 - 1", UINT64_MAX},
};

void check_start(const Edge& edge, uint64_t sector) {
  Probe probe(edge);
  for (const uint32_t bytes :
       {0u, 1u, 511u, 512u, 513u, 4095u, 4096u, 4097u, 8192u, 12288u, 16384u}) {
    CAPTURE(bytes);
    probe.in(sector, bytes);
    probe.out(sector, bytes);
  }
  for (const uint32_t type : {VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES}) {
    CAPTURE(type);
    for (const uint32_t sectors : {0u, 1u, 7u, 8u, 9u, 16u, 2047u, 2048u, 2049u, kRangeSectorsMax,
                                   kRangeSectorsMax + 1, 1u << 23, UINT32_MAX}) {
      CAPTURE(sectors);
      probe.range(type, sector, sectors);
    }
    for (const uint32_t bytes : {0u, 1u, 15u, 16u, 17u, 32u, 511u, 512u}) {
      CAPTURE(bytes);
      probe.payload(type, bytes);
    }
  }
  CHECK(probe.ledger.contents() == probe.ledger.bytes);
}

void check_edge(const Edge& edge) {
  for (const Start& start : kStarts) {
    SUBCASE(start.name) { check_start(edge, start.sector); }
  }
}

}  // namespace

TEST_CASE("boundary table: blocks of 512 (CVE-2026-97991, GHSA-wj46)") { check_edge({512, false}); }
TEST_CASE("boundary table: blocks of 4096") { check_edge({4096, false}); }
TEST_CASE("boundary table: blocks of 512, read-only") { check_edge({512, true}); }
TEST_CASE("boundary table: blocks of 4096, read-only") { check_edge({4096, true}); }

TEST_CASE("boundary table: more than the most at once, where the volume is larger") {
  Volume volume({.main = "null:64M"});
  volume.listen();
  ChainDriver f(volume.connect());
  for (const uint32_t type : {VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES}) {
    for (const uint32_t sectors : {kRangeSectorsMax, kRangeSectorsMax + 1}) {
      virtio_blk_outhdr header{};
      header.type = type;
      const virtio_blk_discard_write_zeroes s{0, sectors, 0};
      Bytes readable(sizeof header + sizeof s);
      memcpy(readable.data(), &header, sizeof header);
      memcpy(readable.data() + sizeof header, &s, sizeof s);
      const ChainAnswer answer = f.run_chain(readable, 1, {Shape::kDirect, {16, 16}, {1}});
      CHECK(answer.written == Bytes{sectors > kRangeSectorsMax ? kError : kOk});
    }
  }
}

}  // namespace remap::test
