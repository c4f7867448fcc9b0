#include "native/blk_request.h"

#include <doctest/doctest.h>
#include <linux/virtio_blk.h>

#include "guest_ring.h"

namespace remap::test {

namespace {

constexpr uint64_t kHeader = GuestRing::kBase + 100;  // unaligned, as SeaBIOS has it
constexpr uint64_t kData = GuestRing::kBase + 8192;
constexpr uint64_t kStatus = GuestRing::kBase + 200;

// Cuts [address, address + length) into pieces of `step` bytes.
void cut(std::vector<Segment>* to, uint64_t address, uint32_t length, uint32_t step,
         bool writable) {
  for (uint32_t at = 0; at < length; at += step)
    to->push_back({address + at, std::min(step, length - at), writable});
}

void header(GuestRing& ring, uint32_t type, uint64_t sector) {
  virtio_blk_outhdr h{};
  h.type = type;
  h.sector = sector;
  ring.put(kHeader, &h, sizeof h);
}

Parse parse(GuestRing& ring, uint16_t head, BlkRequest* request) {
  uint32_t hint = 0;
  return parse_request(ring.queue, head, ring.map, &hint, request);
}

std::vector<uint8_t> bytes_of(const BlkRequest& request) {
  std::vector<uint8_t> bytes(request.data_bytes);
  gather(request.data, bytes.data());
  return bytes;
}

}  // namespace

TEST_CASE("request: OUT with header, data and status cut at every step, direct and indirect") {
  for (uint32_t step = 1; step <= 16; ++step) {
    for (uint64_t split : {uint64_t{0}, kData - GuestRing::kBase + 300}) {
      for (bool indirect : {false, true}) {
        GuestRing ring(128, false, split);
        header(ring, VIRTIO_BLK_T_OUT, 77);
        std::vector<uint8_t> wanted(512);
        for (size_t i = 0; i < wanted.size(); ++i) wanted[i] = static_cast<uint8_t>(i * 7);
        ring.put(kData, wanted.data(), wanted.size());
        std::vector<Segment> segments;
        cut(&segments, kHeader, 16, step, false);
        cut(&segments, kData, 512, step * 32, false);
        segments.push_back({kStatus, 1, true});
        if (indirect)
          ring.indirect(0, GuestRing::kBase + 65536, segments);
        else
          ring.chain(0, segments);
        BlkRequest request;
        REQUIRE(parse(ring, 0, &request) == Parse::kOk);
        CHECK(request.type == VIRTIO_BLK_T_OUT);
        CHECK(request.sector == 77);
        CHECK(bytes_of(request) == wanted);
        CHECK(request.status == ring.host(kStatus));
      }
    }
  }
}

TEST_CASE("request: header and data in one descriptor") {
  GuestRing ring(8);
  header(ring, VIRTIO_BLK_T_OUT, 1);
  ring.chain(0, {{kHeader, 16 + 512, false}, {kStatus, 1, true}});
  BlkRequest request;
  REQUIRE(parse(ring, 0, &request) == Parse::kOk);
  CHECK(request.data_bytes == 512);
  CHECK(request.data[0].iov_base == ring.host(kHeader + 16));
}

TEST_CASE("request: IN whose status is the last byte of the data's descriptor, any cut") {
  for (uint32_t step : {1u, 2u, 100u, 511u, 512u, 513u}) {
    GuestRing ring(1024);
    header(ring, VIRTIO_BLK_T_IN, 5);
    std::vector<Segment> segments;
    segments.push_back({kHeader, 16, false});
    cut(&segments, kData, 513, step, true);
    ring.chain(0, segments);
    BlkRequest request;
    REQUIRE(parse(ring, 0, &request) == Parse::kOk);
    CHECK(request.data_bytes == 512);
    CHECK(request.status == ring.host(kData + 512));
  }
}

TEST_CASE("request: what cannot be answered is malformed, what can is failed") {
  GuestRing ring(8);
  header(ring, VIRTIO_BLK_T_IN, 0);
  const uint64_t outside = GuestRing::kBase + GuestRing::kBytes;
  BlkRequest request;
  ring.chain(0, {{kHeader, 16, false}});
  CHECK(parse(ring, 0, &request) == Parse::kMalformed);  // no status
  ring.chain(0, {{kHeader, 16, false}, {outside, 1, true}});
  CHECK(parse(ring, 0, &request) == Parse::kMalformed);  // status outside memory
  ring.chain(0, {{kHeader, 15, false}, {kStatus, 1, true}});
  CHECK(parse(ring, 0, &request) == Parse::kMalformed);  // short header
  ring.chain(0, {{outside, 16, false}, {kStatus, 1, true}});
  CHECK(parse(ring, 0, &request) == Parse::kMalformed);  // header outside memory
  ring.chain(0, {{kHeader, 16, false}, {outside, 512, true}, {kStatus, 1, true}});
  CHECK(parse(ring, 0, &request) == Parse::kFailed);  // data outside memory
  CHECK(request.status == ring.host(kStatus));
  ring.chain(0, {{kHeader, 16, false}, {outside - 256, 512, true}, {kStatus, 1, true}});
  CHECK(parse(ring, 0, &request) == Parse::kFailed);  // data runs past the end
}

TEST_CASE("request: a chain that names all of memory over and over is not gathered") {
  // As many regions as libvhost-user serves, each of a page.
  constexpr uint64_t kPage = 4096;
  std::vector<uint8_t> memory(509 * kPage);
  std::vector<MemoryRegion> regions;
  for (uint64_t i = 0; i < 509; ++i)  // backwards, so that none adjoins the next one here
    regions.push_back({i * kPage, kPage, memory.data() + (508 - i) * kPage});
  const MemoryMap map(std::move(regions));
  GuestRing ring(1024);
  std::vector<Segment> segments(1024, {kPage, 508 * kPage, true});
  segments[0] = {0, 16, false};
  ring.chain(0, segments);
  BlkRequest request;
  uint32_t hint = 0;
  CHECK(parse_request(ring.queue, 0, map, &hint, &request) == Parse::kFailed);
  CHECK(request.status == memory.data() + kPage - 1);
  CHECK(request.data.capacity() <= 8 * kSegmentsMax);
  // A status that is not there is still noticed, and so is one past all addresses.
  for (const uint64_t address : {509 * kPage, UINT64_MAX}) {
    segments.back() = {address, 16, true};
    ring.chain(0, segments);
    CHECK(parse_request(ring.queue, 0, map, &hint, &request) == Parse::kMalformed);
  }
}

TEST_CASE("request: slice, gather and scatter agree with a plain copy") {
  std::vector<uint8_t> a(300);
  std::vector<uint8_t> b(1);
  std::vector<uint8_t> c(211);
  const std::vector<iovec> list = {{a.data(), a.size()}, {b.data(), b.size()}, {c.data(), 211}};
  std::vector<uint8_t> model(512);
  for (size_t i = 0; i < model.size(); ++i) model[i] = static_cast<uint8_t>(i * 13);
  scatter(model.data(), list);
  for (uint64_t offset = 0; offset < 512; offset += 37) {
    for (uint64_t length = 1; offset + length <= 512; length += 41) {
      std::vector<uint8_t> part(length);
      gather(slice(list, offset, length), part.data());
      CHECK(memcmp(part.data(), model.data() + offset, length) == 0);
    }
  }
}

}  // namespace remap::test
