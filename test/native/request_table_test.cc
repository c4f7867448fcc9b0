// Every kind of virtio-blk request, virtio 1.2, section 5.2.6: its status and used length, in every
// shape that descriptors can give it.
#include <doctest/doctest.h>
#include <linux/virtio_blk.h>

#include "chain_driver.h"
#include "guest_ring.h"
#include "native/blk_request.h"
#include "served_volume.h"

namespace remap::test {
namespace {

constexpr uint32_t kIn = VIRTIO_BLK_T_IN;
constexpr uint32_t kOut = VIRTIO_BLK_T_OUT;
constexpr uint32_t kFlush = VIRTIO_BLK_T_FLUSH;
constexpr uint32_t kGetId = VIRTIO_BLK_T_GET_ID;
constexpr uint32_t kDiscard = VIRTIO_BLK_T_DISCARD;
constexpr uint32_t kZeroes = VIRTIO_BLK_T_WRITE_ZEROES;
constexpr uint32_t kBarrier = VIRTIO_BLK_T_BARRIER;
constexpr uint32_t kUnmap = VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
constexpr uint8_t kOk = VIRTIO_BLK_S_OK;
constexpr uint8_t kError = VIRTIO_BLK_S_IOERR;
constexpr uint8_t kUnsupported = VIRTIO_BLK_S_UNSUPP;
constexpr uint64_t kFarthestByte = (1ull << 63) / 512;

// The volume every row meets: sectors 8 and 9 cannot be read, 10 and 11 cannot be written.
constexpr uint64_t kUnreadable = 8;
constexpr uint64_t kUnwritable = 10;
constexpr uint64_t kWindow = 96;  // sectors that rows change
constexpr uint64_t kWindowSectors = 32;

struct Row {
  const char* name;
  uint32_t type;
  uint64_t sector;
  Bytes payload;      // after the header
  uint32_t writable;  // before the status
  uint8_t status;
  uint32_t used;  // 0: returned without a status
  VolumeOptions volume = {};
  uint32_t header = 16;  // bytes of it
  bool on_disk = false;  // with O_DIRECT, where memory must be aligned
};

Bytes pattern(size_t bytes) {
  Bytes b(bytes);
  for (size_t i = 0; i < bytes; ++i) b[i] = static_cast<uint8_t>(i * 11 + i / 256 + 1);
  return b;
}

Bytes segment(uint64_t sector, uint32_t count, uint32_t flags = 0) {
  const virtio_blk_discard_write_zeroes s{sector, count, flags};
  const auto* bytes = reinterpret_cast<const uint8_t*>(&s);
  return {bytes, bytes + sizeof s};
}

Bytes twice(const Bytes& b) {
  Bytes both = b;
  both.insert(both.end(), b.begin(), b.end());
  return both;
}

Bytes part(const Bytes& b, size_t bytes) {
  return {b.begin(), b.begin() + static_cast<ptrdiff_t>(bytes)};
}

std::vector<Row> data_rows() {
  const VolumeOptions ro{.read_only = true};
  return {
      {"IN of a sector: OK, data and status", kIn, 100, {}, 512, kOk, 513},
      {"IN of eight sectors: OK, data and status", kIn, 100, {}, 4096, kOk, 4097},
      {"IN with data to be read too: OK, data and status", kIn, 100, pattern(9), 512, kOk, 513},
      {"IN of the last sector: OK", kIn, kSectors - 1, {}, 512, kOk, 513},
      {"IN with BARRIER: OK", kIn | kBarrier, 100, {}, 512, kOk, 513},
      {"IN, read-only: OK", kIn, 100, {}, 512, kOk, 513, ro},
      {"IN past the page cache: OK", kIn, 100, {}, 4096, kOk, 4097, {}, 16, true},
      {"IN of nothing: IOERR", kIn, 100, {}, 0, kError, 1},
      {"IN of 511 bytes: IOERR", kIn, 100, {}, 511, kError, 1},
      {"IN of 513 bytes: IOERR", kIn, 100, {}, 513, kError, 1},
      {"IN at the end: IOERR", kIn, kSectors, {}, 512, kError, 1},
      {"IN over the end: IOERR", kIn, kSectors - 1, {}, 1024, kError, 1},
      {"IN where bytes overflow: IOERR", kIn, kFarthestByte, {}, 512, kError, 1},
      {"IN where sectors overflow: IOERR", kIn, UINT64_MAX, {}, 1024, kError, 1},
      {"IN that cannot be read: IOERR", kIn, kUnreadable - 1, {}, 1536, kError, 1},
      {"OUT of a sector: OK, status", kOut, 100, pattern(512), 0, kOk, 1},
      {"OUT of eight sectors: OK, status", kOut, 100, pattern(4096), 0, kOk, 1},
      {"OUT with room before the status: OK, status", kOut, 100, pattern(512), 30, kOk, 1},
      {"OUT with BARRIER: OK", kOut | kBarrier, 100, pattern(512), 0, kOk, 1},
      {"OUT past the page cache: OK", kOut, 100, pattern(4096), 0, kOk, 1, {}, 16, true},
      {"OUT of nothing: IOERR", kOut, 100, {}, 0, kError, 1},
      {"OUT of 511 bytes: IOERR", kOut, 100, pattern(511), 0, kError, 1},
      {"OUT of 513 bytes: IOERR", kOut, 100, pattern(513), 0, kError, 1},
      {"OUT at the end: IOERR", kOut, kSectors, pattern(512), 0, kError, 1},
      {"OUT over the end: IOERR", kOut, kSectors - 1, pattern(1024), 0, kError, 1},
      {"OUT where bytes overflow: IOERR", kOut, kFarthestByte, pattern(512), 0, kError, 1},
      {"OUT where sectors overflow: IOERR", kOut, UINT64_MAX, pattern(1024), 0, kError, 1},
      {"OUT that finds no spare: IOERR", kOut, kUnwritable, pattern(512), 0, kError, 1},
      {"OUT, read-only: IOERR", kOut, 100, pattern(512), 0, kError, 1, ro},
  };
}

std::vector<Row> other_rows() {
  const VolumeOptions named{.serial = "disk-7"};
  const VolumeOptions full{.serial = "twenty-bytes-exactly"};
  const VolumeOptions ro{.read_only = true};
  std::vector<Row> rows = {
      {"FLUSH: OK, status", kFlush, 0, {}, 0, kOk, 1},
      {"FLUSH of any sector: OK", kFlush, UINT64_MAX, {}, 0, kOk, 1},
      {"FLUSH with data both ways: OK, status", kFlush, 0, pattern(20), 20, kOk, 1},
      {"FLUSH, read-only: OK", kFlush, 0, {}, 0, kOk, 1, ro},
      {"GET_ID: OK, 20 bytes and status", kGetId, 0, {}, 20, kOk, 21, named},
      {"GET_ID of 20 characters: OK, no NUL", kGetId, 0, {}, 20, kOk, 21, full},
      {"GET_ID without a serial: OK, NULs", kGetId, 0, {}, 20, kOk, 21},
      {"GET_ID into 10 bytes: OK, 10 and status", kGetId, 0, {}, 10, kOk, 11, full},
      {"GET_ID into 512 bytes: OK, 20 and status", kGetId, 0, {}, 512, kOk, 21, full},
      {"GET_ID into nothing: OK, status", kGetId, 0, {}, 0, kOk, 1, full},
      {"header of 15 bytes: returned with 0", kIn, 100, {}, 512, 0xa5, 0, {}, 15},
      {"no header: returned with 0", kIn, 100, {}, 512, 0xa5, 0, {}, 0},
      {"no status, IN: returned with 0", kIn, 100, {}, UINT32_MAX, 0, 0},
      {"no status, OUT: returned with 0", kOut, 100, pattern(512), UINT32_MAX, 0, 0},
  };
  // SCSI_CMD, SECURE_ERASE, GET_LIFETIME, the zoned ones, reserved ones and nonsense.
  for (const uint32_t type :
       {2u,  3u,  5u,  6u,  7u,  9u,  10u,         12u,         14u,           15u,       16u,
        17u, 18u, 20u, 22u, 24u, 26u, 0x40000001u, 0x7fffffffu, kBarrier | 2u, UINT32_MAX}) {
    rows.push_back(
        {"a type that is not served: UNSUPP", type, 0, segment(100, 8), 0, kUnsupported, 1});
    rows.push_back(
        {"a type that is not served, with room: UNSUPP", type, 0, {}, 100, kUnsupported, 1});
  }
  return rows;
}

std::vector<Row> range_rows() {
  const VolumeOptions ro{.read_only = true};
  const VolumeOptions large{.main = "null:64M"};
  const Bytes good = segment(100, 8);
  const uint32_t most = kRangeSectorsMax;
  struct Case {
    const char* name;
    uint32_t type;
    Bytes payload;
    uint8_t status;
    VolumeOptions volume = {};
  };
  const std::vector<Case> cases = {
      {"DISCARD: OK", kDiscard, good, kOk},
      {"DISCARD of no sectors: OK", kDiscard, segment(100, 0), kOk},
      {"DISCARD of most sectors: OK", kDiscard, segment(0, most), kOk, large},
      {"DISCARD of more: IOERR", kDiscard, segment(0, most + 1), kError, large},
      {"DISCARD of nothing: IOERR", kDiscard, {}, kError},
      {"DISCARD of 15 bytes: IOERR", kDiscard, part(good, 15), kError},
      {"DISCARD of 24 bytes: IOERR", kDiscard, part(twice(good), 24), kError},
      {"DISCARD of two segments: UNSUPP", kDiscard, twice(good), kUnsupported},
      {"DISCARD over the end: IOERR", kDiscard, segment(kSectors - 7, 8), kError},
      {"DISCARD where sectors overflow: IOERR", kDiscard, segment(UINT64_MAX, 2), kError},
      {"DISCARD with UNMAP: UNSUPP", kDiscard, segment(100, 8, kUnmap), kUnsupported},
      {"DISCARD with an unknown flag: UNSUPP", kDiscard, segment(100, 8, 2), kUnsupported},
      {"DISCARD, read-only: IOERR", kDiscard, good, kError, ro},
      {"WRITE_ZEROES: OK", kZeroes, good, kOk},
      {"WRITE_ZEROES with UNMAP: OK", kZeroes, segment(100, 8, kUnmap), kOk},
      {"WRITE_ZEROES with BARRIER: OK", kZeroes | kBarrier, good, kOk},
      {"WRITE_ZEROES of no sectors: OK", kZeroes, segment(100, 0), kOk},
      {"WRITE_ZEROES of most sectors: OK", kZeroes, segment(0, most), kOk, large},
      {"WRITE_ZEROES of more: IOERR", kZeroes, segment(0, most + 1), kError, large},
      {"WRITE_ZEROES of nothing: IOERR", kZeroes, {}, kError},
      {"WRITE_ZEROES of 15 bytes: IOERR", kZeroes, part(good, 15), kError},
      {"WRITE_ZEROES of 24 bytes: IOERR", kZeroes, part(twice(good), 24), kError},
      {"WRITE_ZEROES of two segments: UNSUPP", kZeroes, twice(good), kUnsupported},
      {"WRITE_ZEROES over the end: IOERR", kZeroes, segment(kSectors - 7, 8), kError},
      {"WRITE_ZEROES where sectors overflow: IOERR", kZeroes, segment(UINT64_MAX, 2), kError},
      {"WRITE_ZEROES with an unknown flag: UNSUPP", kZeroes, segment(100, 8, 2), kUnsupported},
      {"WRITE_ZEROES that finds no spare: IOERR", kZeroes, segment(kUnwritable, 1), kError},
      {"WRITE_ZEROES, read-only: IOERR", kZeroes, good, kError, ro},
  };
  std::vector<Row> rows;
  for (const Case& c : cases)
    rows.push_back({c.name, c.type, 0, c.payload, 0, c.status, 1, c.volume});
  return rows;
}

// One descriptor, two cut at every byte near the ends, and many of the same length.
std::vector<std::vector<uint32_t>> cuts(uint32_t bytes, size_t most) {
  if (bytes == 0) return {{}};
  std::vector<std::vector<uint32_t>> all = {{bytes}};
  for (uint32_t at = 1; at < bytes; ++at)
    if (at <= 34 || at + 18 >= bytes || at % 512 == 0 || at % 512 == 16)
      all.push_back({at, bytes - at});
  for (const uint32_t step : {1u, 2u, 3u, 5u, 7u, 8u, 11u, 15u, 16u, 17u, 64u, 500u}) {
    if (step >= bytes || (bytes + step - 1) / step > most) continue;
    std::vector<uint32_t> pieces(bytes / step, step);
    if (bytes % step != 0) pieces.push_back(bytes % step);
    all.push_back(pieces);
  }
  return all;
}

// Each stream in every cut while the other is in one, and both cut in every way that is alike.
std::vector<Shape> shapes(uint32_t readable, uint32_t writable) {
  std::vector<Shape> all;
  for (const Shape::Table table : {Shape::kDirect, Shape::kIndirect, Shape::kCrossing}) {
    const size_t most = table == Shape::kDirect ? 120 : 500;
    const auto in = cuts(readable, most);
    const auto out = cuts(writable, most);
    for (size_t i = 0; i < std::max(in.size(), out.size()); ++i) {
      const uint32_t gap = i % 2 == 0 ? 0 : 3;
      if (i < in.size()) all.push_back({table, in[i], out[0], gap});
      if (i > 0 && i < out.size()) all.push_back({table, in[0], out[i], gap});
      if (i > 0 && i < in.size() && out.size() > 1)
        all.push_back({table, in[i], out[1 + i % (out.size() - 1)], 3 - gap});
    }
  }
  return all;
}

Bytes header_of(const Row& row) {
  virtio_blk_outhdr h{};
  h.type = row.type;
  h.sector = row.sector;
  const auto* bytes = reinterpret_cast<const uint8_t*>(&h);
  return {bytes, bytes + row.header};
}

// A row's volume, what it should hold, and the file to compare.
struct Bench {
  explicit Bench(const Row& r)
      : row(r), volume([&r] {
          VolumeOptions options = r.volume;
          options.refuse_parked = true;
          // A thousand shapes each: on the disk only where a row is about that.
          if (!r.on_disk && access("/dev/shm", W_OK) == 0) options.directory = "/dev/shm";
          return options;
        }()) {
    if (r.volume.main.empty()) spoil();
    volume.listen();
    file = open(volume.image().c_str(), O_RDWR | O_CLOEXEC);
    REQUIRE(file >= 0);
    for (uint64_t i = 0; i < original.size(); ++i)
      original[i] = static_cast<uint8_t>(kWindow + i / 512);
  }
  ~Bench() { close(file); }

  // Unreadable already: it is not tried again and again.
  void spoil() {
    const abi::IndexRecord unreadable{kUnreadable, 2, kUnreadable, 0, abi::kIndexPending};
    REQUIRE(volume.backend->publish(&unreadable, 1));
    volume.device(0).faults().add(FaultKind::kReadError, kUnreadable, 2, 0, 0);
    volume.device(0).faults().add(FaultKind::kWriteError, kUnwritable, 2, 0, 0);
  }
  void rewind() const {
    REQUIRE(pwrite(file, original.data(), original.size(), kWindow * 512) ==
            static_cast<ssize_t>(original.size()));
  }
  Bytes window() const {
    Bytes now(original.size());
    REQUIRE(pread(file, now.data(), now.size(), kWindow * 512) == static_cast<ssize_t>(now.size()));
    return now;
  }
  // What the window holds after the row, by the row alone.
  Bytes wanted() const {
    Bytes after = original;
    const uint32_t type = row.type & ~kBarrier;
    if (row.status != kOk || row.used == 0 || !row.volume.main.empty()) return after;
    const auto at = after.begin() + (100 - kWindow) * 512;
    if (type == kOut) std::copy(row.payload.begin(), row.payload.end(), at);
    if (type != kDiscard && type != kZeroes) return after;
    virtio_blk_discard_write_zeroes s;
    memcpy(&s, row.payload.data(), sizeof s);
    std::fill(at, at + s.num_sectors * 512, uint8_t{0});
    return after;
  }
  // What the device writes before the status.
  Bytes written(uint32_t bytes) const {
    Bytes out(bytes, ChainDriver::kUntouched);
    const uint32_t type = row.type & ~kBarrier;
    if (row.used == 0 || row.status != kOk) return out;
    if (type == kIn)
      for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<uint8_t>(row.sector + i / 512);
    if (type == kGetId)
      for (size_t i = 0; i < std::min<size_t>(out.size(), 20); ++i)
        out[i] = i < row.volume.serial.size() ? static_cast<uint8_t>(row.volume.serial[i]) : 0;
    return out;
  }

  const Row& row;
  Volume volume;
  int file;
  Bytes original = Bytes(kWindowSectors * 512);
};

// What was written, where it is the data and not something else.
Bytes partly(const Bytes& written, const Row& row) {
  Bytes allowed(written.size(), ChainDriver::kUntouched);
  for (size_t i = 0; i + 1 < written.size(); ++i)
    if (written[i] != ChainDriver::kUntouched && row.sector + i / 512 != kUnreadable)
      allowed[i] = static_cast<uint8_t>(row.sector + i / 512);
  allowed.back() = row.status;
  return allowed;
}

void check_row(const Row& row) {
  Bench bench(row);
  ChainDriver f(bench.volume.connect());
  Bytes readable = header_of(row);
  readable.insert(readable.end(), row.payload.begin(), row.payload.end());
  const bool has_status = row.writable != UINT32_MAX;
  const uint32_t writable = has_status ? row.writable + 1 : 0;
  const bool changes = (row.type & 1) != 0;
  const Bytes wanted = bench.wanted();
  Bytes written = bench.written(has_status ? row.writable : 0);
  if (has_status) written.push_back(row.status);
  for (const Shape& shape : shapes(static_cast<uint32_t>(readable.size()), writable)) {
    CAPTURE(shape.table);
    CAPTURE(shape.readable.size());
    CAPTURE(shape.writable.size());
    CAPTURE((shape.readable.empty() ? 0 : shape.readable[0]));
    CAPTURE((shape.writable.empty() ? 0 : shape.writable[0]));
    if (shape.readable.empty() && shape.writable.empty()) continue;
    if (changes) bench.rewind();
    const ChainAnswer answer = f.run_chain(readable, writable, shape);
    REQUIRE(answer.used_length == row.used);
    // Of a read that failed some sectors may have been delivered.
    if (row.sector == kUnreadable - 1) written = partly(answer.written, row);
    REQUIRE(answer.written == written);
    if (changes) REQUIRE(bench.window() == wanted);
  }
}

void check_rows(const std::vector<Row>& rows) {
  for (const Row& row : rows) {
    const std::string name =
        row.status == kUnsupported && row.type != kDiscard && row.type != kZeroes
            ? std::string(row.name) + ", " + std::to_string(row.type)
            : row.name;
    SUBCASE(name.c_str()) { check_row(row); }
  }
}

}  // namespace

TEST_CASE("request table: IN and OUT in every shape") { check_rows(data_rows()); }

TEST_CASE("request table: DISCARD and WRITE_ZEROES in every shape") { check_rows(range_rows()); }

TEST_CASE("request table: FLUSH, GET_ID, what is not served and what has no status") {
  check_rows(other_rows());
}

TEST_CASE("request table: a flush that failed is an error from then on") {
  Volume volume;
  volume.listen();
  ChainDriver f(volume.connect());
  const Bytes header = header_of({"", kFlush, 0, {}, 0, 0, 0});
  CHECK(f.run_chain(header, 1, {Shape::kDirect, {16}, {1}}).written == Bytes{kOk});
  volume.device(1).latch_flush_failure();
  for (int i = 0; i < 2; ++i) {
    const ChainAnswer answer = f.run_chain(header, 1, {Shape::kDirect, {16}, {1}});
    CHECK(answer.written == Bytes{kError});
    CHECK(answer.used_length == 1);
  }
}

TEST_CASE("request table: the most and one more, of bytes and of segments") {
  Volume volume({.main = "null:1G"});
  volume.listen();
  ChainDriver f(volume.connect());
  const Bytes header = header_of({"", kIn, 0, {}, 0, 0, 0});
  // The same memory many times: the null device does not mind.
  const auto run = [&](uint32_t segments, uint32_t bytes, uint32_t more) {
    memcpy(f.memory + ChainDriver::kReadable, header.data(), header.size());
    f.memory[ChainDriver::kWritable] = ChainDriver::kUntouched;
    auto* table = reinterpret_cast<vring_desc*>(f.memory + ChainDriver::kTable);
    const uint64_t base = FrontEnd::kGuestBase;
    ChainDriver::link(table, 0, base + ChainDriver::kReadable, 16, false, false, 1);
    for (uint32_t i = 1; i <= segments; ++i)
      ChainDriver::link(table, i, base + 0x50000 + i % 2 * 0x10000, i == segments ? more : bytes,
                        true, false, static_cast<uint16_t>(i + 1));
    ChainDriver::link(table, segments + 1, base + ChainDriver::kWritable, 1, true, true, 0);
    f.desc(0) = {base + ChainDriver::kTable,
                 (segments + 2) * static_cast<uint32_t>(sizeof(vring_desc)), VRING_DESC_F_INDIRECT,
                 0};
    const int64_t used = f.run_head(0);
    return std::pair{used, f.memory[ChainDriver::kWritable]};
  };
  constexpr uint32_t kPiece = 1 << 16;
  constexpr uint32_t kPieces = kRequestBytesMax / kPiece;
  using Answer = std::pair<int64_t, uint8_t>;
  static_assert(kPieces == kSegmentsMax);
  CHECK(run(kPieces, kPiece, kPiece) == Answer{kRequestBytesMax + 1, kOk});
  CHECK(run(kPieces - 1, kPiece, 2 * kPiece + 512) == Answer{1, kError});
  CHECK(run(kSegmentsMax, 512, 512) == Answer{kSegmentsMax * 512 + 1, kOk});
  CHECK(run(kSegmentsMax, 512, 1024) == Answer{kSegmentsMax * 512 + 513, kOk});
}

TEST_CASE("request table: a header in each of the 32,768 ways to cut it") {
  constexpr uint64_t kHeaderAt = GuestRing::kBase + 101;
  constexpr uint64_t kStatusAt = GuestRing::kBase + 77;
  virtio_blk_outhdr header{};
  header.type = kFlush;
  header.ioprio = 0x01020304;
  header.sector = 0x1122334455667788;
  GuestRing ring(32, false, 108);
  ring.put(kHeaderAt, &header, sizeof header);
  for (uint32_t mask = 0; mask < 1u << 15; ++mask) {
    std::vector<Segment> segments;
    uint32_t from = 0;
    for (uint32_t at = 1; at <= 16; ++at) {
      if (at != 16 && (mask >> (at - 1) & 1) == 0) continue;
      segments.push_back({kHeaderAt + from, at - from, false});
      from = at;
    }
    segments.push_back({kStatusAt, 1, true});
    ring.chain(static_cast<uint16_t>(mask % 32), segments);
    BlkRequest request;
    uint32_t hint = 0;
    REQUIRE(parse_request(ring.queue, static_cast<uint16_t>(mask % 32), ring.map, &hint,
                          &request) == Parse::kOk);
    REQUIRE(request.type == kFlush);
    REQUIRE(request.sector == 0x1122334455667788);
    REQUIRE(request.data_bytes == 0);
    REQUIRE(request.status == ring.host(kStatusAt));
  }
}

}  // namespace remap::test
