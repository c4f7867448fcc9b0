#include "native/vhost_message.h"

#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "native/blk_config.h"
#include "native/inflight.h"

namespace remap::test {

namespace {

constexpr Offer kOffer{.queues = 4,
                       .features = kFeatureVersion1 | kFeatureEventIdx | kFeatureProtocolFeatures,
                       .protocol_features = 1ull << VHOST_USER_PROTOCOL_F_MQ |
                                            1ull << VHOST_USER_PROTOCOL_F_REPLY_ACK};

VhostUserMsg message(int request, uint32_t size, int fds = 0) {
  VhostUserMsg m{};
  m.request = request;
  m.flags = 1;
  m.size = size;
  m.fd_num = fds;
  return m;
}

VhostUserMsg u64(int request, uint64_t value, int fds = 0) {
  VhostUserMsg m = message(request, 8, fds);
  m.payload.u64 = value;
  return m;
}

VhostUserMsg state(int request, uint32_t index, uint32_t num) {
  VhostUserMsg m = message(request, 8);
  m.payload.state = {.index = index, .num = num};
  return m;
}

VhostUserMsg config(int request, uint32_t offset, uint32_t size) {
  VhostUserMsg m = message(request, 12 + size);
  m.payload.config.offset = offset;
  m.payload.config.size = size;
  return m;
}

VhostUserMsg table(uint32_t regions, int fds) {
  VhostUserMsg m = message(VHOST_USER_SET_MEM_TABLE,
                           8 + regions * static_cast<uint32_t>(VHOST_USER_MEM_REG_SIZE), fds);
  m.payload.memory.nregions = regions;
  return m;
}

std::string judge(const VhostUserMsg& m) {
  const char* reason = check_message(m, kOffer);
  return reason == nullptr ? "" : reason;
}

constexpr uint64_t kGiB = 1ull << 30;
constexpr SharedFile kFile{.mappable = true, .size_known = true, .size = kGiB};

// Two regions that adjoin for the front-end and for the guest but not here.
constexpr uint64_t kHost = 0x7f0000000000;
const std::vector<VuDevRegion> kMapped{
    {.gpa = 0, .size = 0x10000, .qva = 0x500000, .mmap_offset = 0, .mmap_addr = kHost},
    {.gpa = 0x10000,
     .size = 0x10000,
     .qva = 0x510000,
     .mmap_offset = 0x1000,
     .mmap_addr = kHost + 0x100000},
};

vhost_vring_addr addresses(uint64_t desc, uint64_t avail, uint64_t used) {
  return {.index = 0,
          .flags = 0,
          .desc_user_addr = desc,
          .used_user_addr = used,
          .avail_user_addr = avail,
          .log_guest_addr = 0};
}

}  // namespace

TEST_CASE("message: what QEMU sends passes") {
  CHECK(judge(message(VHOST_USER_GET_FEATURES, 0)) == "");
  CHECK(judge(u64(VHOST_USER_SET_FEATURES, kOffer.features)) == "");
  CHECK(judge(u64(VHOST_USER_SET_PROTOCOL_FEATURES, 1)) == "");
  CHECK(judge(state(VHOST_USER_SET_VRING_NUM, 3, 128)) == "");
  CHECK(judge(state(VHOST_USER_SET_VRING_BASE, 0, 65535)) == "");
  CHECK(judge(state(VHOST_USER_SET_VRING_ENABLE, 0, 1)) == "");
  CHECK(judge(u64(VHOST_USER_SET_VRING_KICK, 0, 1)) == "");
  CHECK(judge(u64(VHOST_USER_SET_VRING_CALL, 3 | VHOST_USER_VRING_NOFD_MASK, 0)) == "");
  CHECK(judge(config(VHOST_USER_GET_CONFIG, 0, 57)) == "");
  CHECK(judge(config(VHOST_USER_GET_CONFIG, 0x100, 256)) == "");
  CHECK(judge(config(VHOST_USER_SET_CONFIG, 32, 1)) == "");
  CHECK(judge(table(2, 2)) == "");
  CHECK(judge(message(VHOST_USER_ADD_MEM_REG, 40, 1)) == "");
  CHECK(judge(message(VHOST_USER_SET_BACKEND_REQ_FD, 0, 1)) == "");
  VhostUserMsg inflight = message(VHOST_USER_GET_INFLIGHT_FD, 24);
  inflight.payload.inflight.num_queues = 4;
  inflight.payload.inflight.queue_size = 128;
  CHECK(judge(inflight) == "");
}

TEST_CASE("message: every request with one payload byte too many or too few is refused") {
  for (int request = 0; request < 64; ++request) {
    const MessageRule* rule = message_rule(static_cast<uint32_t>(request));
    if (rule == nullptr) {
      CHECK(judge(message(request, 0)) == "not offered");
      continue;
    }
    if (rule->payload == kAnyPayload) continue;
    CAPTURE(request);
    CHECK(judge(message(request, rule->payload + 1, rule->fds_min)) == "wrong payload size");
    if (rule->payload > 0)
      CHECK(judge(message(request, rule->payload - 1, rule->fds_min)) == "wrong payload size");
  }
}

TEST_CASE("message: descriptors that are not asked for are refused") {
  for (int request = 1; request < 64; ++request) {
    const MessageRule* rule = message_rule(static_cast<uint32_t>(request));
    if (rule == nullptr || rule->payload == kAnyPayload) continue;
    CAPTURE(request);
    CHECK(judge(message(request, rule->payload, rule->fds_max + 1)) ==
          "wrong number of descriptors");
  }
  CHECK(judge(u64(VHOST_USER_SET_VRING_KICK, 0, 0)) == "wrong number of descriptors");
  CHECK(judge(u64(VHOST_USER_SET_VRING_CALL, VHOST_USER_VRING_NOFD_MASK, 1)) ==
        "wrong number of descriptors");
  CHECK(judge(table(2, 1)) == "wrong number of descriptors");
  CHECK(judge(table(1, 2)) == "wrong number of descriptors");
}

TEST_CASE("message: header flags") {
  VhostUserMsg m = message(VHOST_USER_GET_FEATURES, 0);
  m.flags = 2;
  CHECK(judge(m) == "protocol version is not 1");
  m.flags = 1 | VHOST_USER_REPLY_MASK;
  CHECK(judge(m) == "a reply to nothing");
  m.flags = 1 | VHOST_USER_NEED_REPLY_MASK;
  CHECK(judge(m) == "");
}

TEST_CASE("message: queue indexes, sizes and bases") {
  for (int request : {VHOST_USER_SET_VRING_NUM, VHOST_USER_SET_VRING_BASE,
                      VHOST_USER_GET_VRING_BASE, VHOST_USER_SET_VRING_ENABLE})
    CHECK(judge(state(request, 4, 1)) == "no such queue");
  for (int request :
       {VHOST_USER_SET_VRING_KICK, VHOST_USER_SET_VRING_CALL, VHOST_USER_SET_VRING_ERR})
    CHECK(judge(u64(request, 4, 1)) == "no such queue");
  VhostUserMsg m = message(VHOST_USER_SET_VRING_ADDR, sizeof(vhost_vring_addr));
  CHECK(judge(m) == "");
  m.payload.addr.flags = 1u << VHOST_VRING_F_LOG;
  CHECK(judge(m) == "");
  m.payload.addr.flags |= 2;
  CHECK(judge(m) == "unknown flag");
  m.payload.addr = {};
  m.payload.addr.index = 4;
  CHECK(judge(m) == "no such queue");
  for (uint32_t size : {0u, 3u, 127u, 1025u, 2048u, 1u << 31})
    CHECK(judge(state(VHOST_USER_SET_VRING_NUM, 0, size)) != "");
  for (uint32_t size : {1u, 2u, 1024u})
    CHECK(judge(state(VHOST_USER_SET_VRING_NUM, 0, size)) == "");
  CHECK(judge(state(VHOST_USER_SET_VRING_BASE, 0, 65536)) != "");
  CHECK(judge(state(VHOST_USER_SET_VRING_ENABLE, 0, 2)) != "");
}

TEST_CASE("message: features outside the offer, and legacy drivers, are refused") {
  CHECK(judge(u64(VHOST_USER_SET_FEATURES, kOffer.features | 1ull << 26)) != "");
  CHECK(judge(u64(VHOST_USER_SET_FEATURES, kFeatureEventIdx)) != "");
  CHECK(judge(u64(VHOST_USER_SET_PROTOCOL_FEATURES, 1ull << 8)) != "");
}

TEST_CASE("message: configuration space") {
  CHECK(judge(message(VHOST_USER_GET_CONFIG, 4)) == "wrong payload size");
  CHECK(judge(config(VHOST_USER_GET_CONFIG, 0, 0)) != "");
  CHECK(judge(config(VHOST_USER_GET_CONFIG, 0, 257)) != "");
  VhostUserMsg m = config(VHOST_USER_GET_CONFIG, 0, 57);
  m.size -= 1;
  CHECK(judge(m) == "wrong payload size");
  CHECK(judge(config(VHOST_USER_SET_CONFIG, 0, 8)) != "");
  CHECK(judge(config(VHOST_USER_SET_CONFIG, 33, 1)) != "");
  m = config(VHOST_USER_SET_CONFIG, 32, 1);
  m.payload.config.region[0] = 2;
  CHECK(judge(m) != "");
}

TEST_CASE("message: a memory table is as long as it says, and at most 8 regions") {
  CHECK(judge(table(8, 8)) == "");
  CHECK(judge(table(9, 8)) == "more than 8 regions");
  CHECK(judge(message(VHOST_USER_SET_MEM_TABLE, 4)) == "wrong payload size");
  VhostUserMsg m = table(2, 2);
  m.size -= 32;
  CHECK(judge(m) == "wrong payload size");
  m = table(2, 2);
  m.payload.memory.nregions = UINT32_MAX;
  CHECK(judge(m) == "more than 8 regions");
}

TEST_CASE("message: every request has a name for the log") {
  CHECK(std::string(request_name(VHOST_USER_SET_VRING_ADDR)) == "SET_VRING_ADDR");
  for (uint32_t request = 0; request < 100; ++request)
    CHECK(std::string(request_name(request)).size() < 40);
  CHECK(std::string(request_name(34)) == "RESET_DEVICE");
  CHECK(std::string(request_name(63)) == "request");
  CHECK(std::string(request_name(UINT32_MAX)) == "request");
}

TEST_CASE("region: size, wrap-around, file") {
  const VhostUserMemoryRegion good{.guest_phys_addr = 0,
                                   .memory_size = kGiB / 2,
                                   .userspace_addr = 0x7f0000000000,
                                   .mmap_offset = kGiB / 2};
  CHECK(check_region(good, kFile) == nullptr);
  auto with = [&](auto change) {
    VhostUserMemoryRegion r = good;
    change(r);
    return check_region(r, kFile) != nullptr;
  };
  CHECK(with([](auto& r) { r.memory_size = 0; }));
  CHECK(with([](auto& r) { r.memory_size += 1; }));
  CHECK(with([](auto& r) { r.mmap_offset += 4096; }));
  CHECK(with([](auto& r) { r.mmap_offset += 8; }));
  CHECK(with([](auto& r) { r.mmap_offset = UINT64_MAX - 4095; }));
  CHECK(with([](auto& r) { r.guest_phys_addr = UINT64_MAX - 1; }));
  CHECK(with([](auto& r) { r.userspace_addr = UINT64_MAX - 1; }));
  CHECK(check_region(good, SharedFile{}) != nullptr);
  // A device that is memory does not tell its size.
  CHECK(check_region(good, SharedFile{.mappable = true}) == nullptr);
}

TEST_CASE("region: overlap in guest addresses") {
  const auto at = [](uint64_t start, uint64_t size) {
    return VhostUserMemoryRegion{
        .guest_phys_addr = start, .memory_size = size, .userspace_addr = 0, .mmap_offset = 0};
  };
  CHECK_FALSE(regions_overlap(at(0, 4096), at(4096, 4096)));
  CHECK(regions_overlap(at(0, 4097), at(4096, 4096)));
  CHECK(regions_overlap(at(4096, 1), at(0, 1 << 20)));
  CHECK(find_overlap(at(0x1ffff, 1), kMapped) == &kMapped[1]);
  CHECK(find_overlap(at(0x20000, 4096), kMapped) == nullptr);
}

TEST_CASE("rings: found through the front-end's addresses") {
  Rings rings;
  REQUIRE(locate_rings(addresses(0x501000, 0x502000, 0x513000), 256, kMapped, &rings) == nullptr);
  CHECK(reinterpret_cast<uint64_t>(rings.desc) == kHost + 0x1000);
  CHECK(reinterpret_cast<uint64_t>(rings.avail) == kHost + 0x2000);
  CHECK(reinterpret_cast<uint64_t>(rings.used) == kHost + 0x100000 + 0x1000 + 0x3000);
}

TEST_CASE("rings: each ends inside the region it begins in") {
  constexpr uint32_t kSize = 128;
  constexpr uint64_t kEnd = 0x520000;
  Rings rings;
  const auto fits = [&](uint64_t desc, uint64_t avail, uint64_t used) {
    return locate_rings(addresses(desc, avail, used), kSize, kMapped, &rings) == nullptr;
  };
  CHECK(fits(kEnd - 16 * kSize, 0x500000, 0x501000));
  CHECK_FALSE(fits(kEnd - 16 * kSize + 16, 0x500000, 0x501000));
  CHECK(fits(0x500000, kEnd - 6 - 2 * kSize, 0x501000));
  CHECK_FALSE(fits(0x500000, kEnd - 4 - 2 * kSize, 0x501000));
  CHECK(fits(0x500000, 0x501000, kEnd - 8 - 8 * kSize));
  CHECK_FALSE(fits(0x500000, 0x501000, kEnd - 4 - 8 * kSize));
  // Over the border of two regions that adjoin for the front-end only.
  CHECK_FALSE(fits(0x510000 - 16, 0x500000, 0x501000));
  CHECK_FALSE(fits(0x4ffff0, 0x500000, 0x501000));
  CHECK_FALSE(fits(UINT64_MAX - 15, 0x500000, 0x501000));
  CHECK_FALSE(fits(0, 0x500000, 0x501000));
}

TEST_CASE("rings: alignment 16, 2 and 4") {
  Rings rings;
  const auto fits = [&](uint64_t desc, uint64_t avail, uint64_t used) {
    return locate_rings(addresses(desc, avail, used), 8, kMapped, &rings) == nullptr;
  };
  CHECK(fits(0x500010, 0x501002, 0x502004));
  CHECK_FALSE(fits(0x500008, 0x501002, 0x502004));
  CHECK_FALSE(fits(0x500010, 0x501001, 0x502004));
  CHECK_FALSE(fits(0x500010, 0x501002, 0x502002));
  CHECK(rings.desc != nullptr);
  CHECK(locate_rings(addresses(0x500000, 0x501000, 0x502000), 8, {}, &rings) != nullptr);
}

TEST_CASE("log: a bit for every page of memory") {
  CHECK(log_bytes(0) == 0);
  CHECK(log_bytes(1) == 1);
  CHECK(log_bytes(8 * 4096) == 1);
  CHECK(log_bytes(8 * 4096 + 1) == 2);
  CHECK(log_bytes(UINT64_MAX) == 1ull << 49);
  CHECK(memory_end({}) == 0);
  CHECK(memory_end(kMapped) == 0x20000);
  const auto judge_log = [](uint64_t size, uint64_t offset, const SharedFile& file = kFile) {
    const char* reason = check_log({.mmap_size = size, .mmap_offset = offset}, file, kMapped);
    return std::string(reason == nullptr ? "" : reason);
  };
  CHECK(judge_log(4, 0) == "");
  CHECK(judge_log(3, 0) == kLogTooSmall);
  CHECK(judge_log(4, kGiB - 4096) == "");
  CHECK(judge_log(4097, kGiB - 4096) != "");
  CHECK(judge_log(4, 512) != "");
  CHECK(judge_log(4, 0, {}) != "");
  CHECK(judge_log(4, 0, {.mappable = true, .size_known = false}) != "");
}

TEST_CASE("inflight: sizes against the file") {
  VhostUserInflight inflight{
      .mmap_size = 4 * inflight_stride(128), .mmap_offset = 0, .num_queues = 4, .queue_size = 128};
  SharedFile file{.mappable = true, .size_known = true, .size = inflight.mmap_size};
  CHECK(check_inflight(inflight, file) == nullptr);
  file.size -= 1;
  CHECK(check_inflight(inflight, file) != nullptr);
  file.size = kGiB;
  inflight.mmap_size -= 1;
  CHECK(check_inflight(inflight, file) != nullptr);
  inflight.mmap_size = UINT64_MAX;
  inflight.mmap_offset = 4096;
  CHECK(check_inflight(inflight, file) != nullptr);
  inflight.mmap_size = 4 * inflight_stride(128);
  inflight.mmap_offset = 64;
  CHECK(check_inflight(inflight, file) != nullptr);
}

TEST_CASE("inflight: one queue's part always holds header and descriptors") {
  for (uint32_t size = 1; size <= 1024; ++size) {
    const uint64_t needed = sizeof(InflightRegion) + size * sizeof(InflightDescriptor);
    CHECK(inflight_stride(static_cast<uint16_t>(size)) >= needed);
  }
}

}  // namespace remap::test
