// Memory, rings and inflight regions that lie, each under the name of the bug it was elsewhere.
#include <doctest/doctest.h>
#include <linux/virtio_blk.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <thread>

#include "malformed_messages.h"
#include "native/inflight.h"
#include "siege.h"

namespace remap::test {
namespace {

constexpr uint64_t kPage = 4096;

struct Region {
  const char* name;
  void (*spoil)(VhostUserMemoryRegion& r);
};

// Refused over a region of pages 16 to 31 that is there already.
const Region kRegions[] = {
    {"empty", [](auto& r) { r.memory_size = 0; }},
    {"the same", [](auto& r) { r.guest_phys_addr += 16 * kPage; }},
    {"over the other's start by a byte", [](auto& r) { r.memory_size = 16 * kPage + 1; }},
    {"over the other's end by a byte", [](auto& r) { r.guest_phys_addr += 32 * kPage - 1; }},
    {"around the other", [](auto& r) { r.memory_size = 64 * kPage; }},
    {"inside the other",
     [](auto& r) {
       r.guest_phys_addr += 20 * kPage;
       r.memory_size = kPage;
     }},
    {"to past the last guest address", [](auto& r) { r.guest_phys_addr = UINT64_MAX - 10; }},
    {"to past the last user address", [](auto& r) { r.userspace_addr = UINT64_MAX - 10; }},
    {"offset and size overflow (CVE-2020-10722, DPDK)",
     [](auto& r) { r.mmap_offset = UINT64_MAX - kPage + 1; }},
    {"size of all addresses", [](auto& r) { r.memory_size = UINT64_MAX; }},
    {"beyond its file by a byte", [](auto& r) { r.memory_size = FrontEnd::kMemory + 1; }},
    {"offset beyond its file", [](auto& r) { r.mmap_offset = FrontEnd::kMemory; }},
    {"offset of half a page", [](auto& r) { r.mmap_offset = kPage / 2; }},
};

VhostUserMemRegMsg region_at(const FrontEnd& f, uint64_t first_page, uint64_t pages) {
  VhostUserMemRegMsg m = f.region();
  m.region.guest_phys_addr += first_page * kPage;
  m.region.userspace_addr += first_page * kPage;
  m.region.mmap_offset = first_page * kPage;
  m.region.memory_size = pages * kPage;
  return m;
}

SoundMessage table_of(const FrontEnd& f, uint32_t count, size_t fds) {
  Bytes payload = bytes_of(uint64_t{count});
  for (uint32_t i = 0; i < std::min(count, 9u); ++i) {
    const Bytes one = bytes_of(region_at(f, i, 1).region);
    payload.insert(payload.end(), one.begin(), one.end());
  }
  return {VHOST_USER_SET_MEM_TABLE, payload, std::vector<int>(fds, f.memory_fd)};
}

struct Lie {
  const char* name;
  void (*spoil)(VhostUserInflight& i);
};

const Lie kLies[] = {
    {"no queues", [](auto& i) { i.num_queues = 0; }},
    {"more queues than there are (CVE-2021-3839, DPDK)", [](auto& i) { i.num_queues = 5; }},
    {"65,535 queues (CVE-2021-3839, DPDK)", [](auto& i) { i.num_queues = 65535; }},
    {"four queues in the room of one (QEMU #4403)", [](auto& i) { i.num_queues = 4; }},
    {"no entries", [](auto& i) { i.queue_size = 0; }},
    {"1,025 entries", [](auto& i) { i.queue_size = 1025; }},
    {"65,535 entries", [](auto& i) { i.queue_size = 65535; }},
    {"a thousand entries in the room of eight (CVE-2026-86565, DPDK)",
     [](auto& i) { i.queue_size = 1024; }},
    {"no room", [](auto& i) { i.mmap_size = 0; }},
    {"a byte too little", [](auto& i) { i.mmap_size -= 1; }},
    {"more than its file", [](auto& i) { i.mmap_size = Props::kBytes + 1; }},
    {"all addresses", [](auto& i) { i.mmap_size = UINT64_MAX; }},
    {"an offset of a byte", [](auto& i) { i.mmap_offset = 1; }},
    {"an offset past its file", [](auto& i) { i.mmap_offset = Props::kBytes; }},
    {"an offset that overflows (CVE-2020-10722, DPDK)",
     [](auto& i) { i.mmap_offset = UINT64_MAX - 4095; }},
};

// Inflight memory of our own in front of a canary that nobody may touch.
struct Shared {
  explicit Shared(uint16_t entries) : used(inflight_stride(entries)), fd(Props::file(kBytes)) {
    bytes = static_cast<uint8_t*>(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    std::fill(bytes + used, bytes + kBytes, kCanary);
  }
  ~Shared() {
    CHECK(std::all_of(bytes + used, bytes + kBytes, [](uint8_t b) { return b == kCanary; }));
    munmap(bytes, kBytes);
    close(fd);
  }
  static constexpr uint64_t kBytes = 1 << 15;
  static constexpr uint8_t kCanary = 0x3c;
  uint64_t used;
  int fd;
  uint8_t* bytes;
};

SoundMessage give(const Shared& shared) {
  VhostUserInflight inflight = small_inflight();
  inflight.mmap_size = shared.used;
  return {VHOST_USER_SET_INFLIGHT_FD, bytes_of(inflight), {shared.fd}};
}

}  // namespace

TEST_CASE("malformed memory: regions that are none (CVE-2020-10722, CVE-2018-1059, DPDK)") {
  Siege siege;
  FrontEnd f(siege.target.connect());
  REQUIRE(f.negotiate());
  const VhostUserMemRegMsg there = region_at(f, 16, 16);
  f.send(VHOST_USER_ADD_MEM_REG, &there, sizeof there, {f.memory_fd}, true);
  REQUIRE(f.reply_u64() == 0u);
  for (const Region& region : kRegions) {
    CAPTURE(region.name);
    VhostUserMemRegMsg m = region_at(f, 0, 16);
    region.spoil(m.region);
    CHECK(refused(f, {VHOST_USER_ADD_MEM_REG, bytes_of(m), {f.memory_fd}}));
    Bytes table = bytes_of(uint64_t{2});
    for (const VhostUserMemoryRegion& r : {there.region, m.region}) {
      const Bytes raw = bytes_of(r);
      table.insert(table.end(), raw.begin(), raw.end());
    }
    CHECK(refused(f, {VHOST_USER_SET_MEM_TABLE, table, {f.memory_fd, f.memory_fd}}));
    if (memcmp(&m.region.guest_phys_addr, &there.region, 16) != 0)
      CHECK(refused(f, {VHOST_USER_REM_MEM_REG, bytes_of(m), {}}));
  }
  // What was there still is.
  f.send(VHOST_USER_REM_MEM_REG, &there, sizeof there, {}, true);
  CHECK(f.reply_u64() == 0u);
}

TEST_CASE("malformed memory: nine regions in a table (a stack overflow in libvhost-user)") {
  Siege siege;
  for (const uint32_t count : {9u, 10u, 255u, 1u << 16, UINT32_MAX}) {
    CAPTURE(count);
    for (const size_t fds : {size_t{0}, size_t{8}, size_t{9}}) {
      FrontEnd f(siege.target.connect());
      REQUIRE(f.negotiate());
      CHECK(refused(f, table_of(f, count, fds)));
    }
  }
  FrontEnd f(siege.target.connect());
  REQUIRE(f.negotiate());
  CHECK_FALSE(refused(f, table_of(f, 8, 8)));
}

TEST_CASE("malformed memory: files that cannot be mapped") {
  Siege siege;
  const Props props;
  FrontEnd sparse(-1);
  REQUIRE(ftruncate(sparse.memory_fd, INT64_MAX) == 0);
  int sealed = memfd_create("sealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  REQUIRE(ftruncate(sealed, FrontEnd::kMemory) == 0);
  REQUIRE(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE) == 0);
  const int read_only = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  const int directory = open("/", O_RDONLY | O_CLOEXEC);
  for (const int fd :
       {sparse.memory_fd, sealed, read_only, directory, props.pair[0], sparse.kick}) {
    CAPTURE(fd);
    VhostUserMemRegMsg m = sparse.region();
    m.region.memory_size = fd == sparse.memory_fd ? 1ull << 62 : kPage;
    m.region.guest_phys_addr = m.region.userspace_addr = 0;
    FrontEnd f(siege.target.connect());
    REQUIRE(f.negotiate());
    CHECK(refused(f, {VHOST_USER_ADD_MEM_REG, bytes_of(m), {fd}}));
  }
  for (const int fd : {sealed, read_only, directory}) close(fd);
}

TEST_CASE("malformed memory: rings outside their region and out of line (libvhost-user)") {
  struct Place {
    const char* name;
    uint64_t desc, avail, used;
  };
  constexpr uint64_t kEnd = FrontEnd::kMemory;
  constexpr uint64_t kSize = FrontEnd::kSize;
  const Place places[] = {
      {"descriptors past the end", kEnd - 16 * kSize + 16, 0x1000, 0x2000},
      {"available past the end", 0, kEnd - 6 - 2 * kSize + 2, 0x2000},
      {"used past the end (libvhost-user)", 0, 0x1000, kEnd - 6 - 8 * kSize + 2},
      {"descriptors at the end", kEnd, 0x1000, 0x2000},
      {"used below the start", 0, 0x1000, UINT64_MAX - 7},
      {"descriptors out of line", 8, 0x1000, 0x2000},
      {"available out of line", 0, 0x1001, 0x2000},
      {"used out of line", 0, 0x1000, 0x2002},
  };
  Siege siege;
  FrontEnd f(siege.target.connect());
  REQUIRE(f.negotiate());
  REQUIRE(f.share_memory() == 0u);
  f.send_state(VHOST_USER_SET_VRING_NUM, 0, FrontEnd::kSize);
  for (const Place& place : places) {
    CAPTURE(place.name);
    vhost_vring_addr a = f.addresses();
    a.desc_user_addr = FrontEnd::kUserBase + place.desc;
    a.avail_user_addr = FrontEnd::kUserBase + place.avail;
    a.used_user_addr = FrontEnd::kUserBase + place.used;
    CHECK(refused(f, {VHOST_USER_SET_VRING_ADDR, bytes_of(a), {}}));
  }
  // A size that makes them too long afterwards.
  vhost_vring_addr a = f.addresses();
  a.used_user_addr = FrontEnd::kUserBase + kEnd - 6 - 8 * kSize - 2;
  CHECK_FALSE(refused(f, {VHOST_USER_SET_VRING_ADDR, bytes_of(a), {}}));
  const vhost_vring_state larger{.index = 0, .num = 2 * FrontEnd::kSize};
  CHECK(refused(f, {VHOST_USER_SET_VRING_NUM, bytes_of(larger), {}}));
}

TEST_CASE("malformed memory: a memory file cut off at every point of a start") {
  for (int when = 0; when < 5; ++when) {
    CAPTURE(when);
    Siege siege;
    FrontEnd f(siege.target.connect());
    const auto cut = [&](int now) {
      if (now == when) REQUIRE(ftruncate(f.memory_fd, 0) == 0);
    };
    REQUIRE(f.negotiate());
    cut(0);
    const auto shared = f.share_memory();
    CHECK(shared == (when == 0 ? 1u : 0u));
    cut(1);
    const vhost_vring_addr a = f.addresses();
    f.send_state(VHOST_USER_SET_VRING_NUM, 0, FrontEnd::kSize);
    cut(2);
    f.send(VHOST_USER_SET_VRING_ADDR, &a, sizeof a);
    f.send_u64(VHOST_USER_SET_VRING_KICK, 0, {f.kick}, true);
    const bool alive = f.reply().has_value();
    cut(3);
    if (alive) f.send_state(VHOST_USER_SET_VRING_ENABLE, 0, 1, true);
    if (alive) f.reply();
    cut(4);
    f.notify();
    CHECK(f.dropped());
    REQUIRE(ftruncate(f.memory_fd, FrontEnd::kMemory) == 0);
  }
}

TEST_CASE("malformed memory: rings cut off are not taken for requests") {
  Siege siege;
  FrontEnd f(siege.target.connect());
  REQUIRE(f.negotiate());
  REQUIRE(f.share_memory() == 0u);
  // A request that was never offered, all of it in the first page; zeroes in place of the rings
  // would offer it, because the next index is 0.
  const virtio_blk_outhdr header{.type = VIRTIO_BLK_T_OUT, .ioprio = 0, .sector = 40};
  memcpy(f.memory + 0x100, &header, sizeof header);
  memset(f.memory + 0x400, 0x77, 512);
  const uint64_t base = FrontEnd::kGuestBase;
  auto* desc = reinterpret_cast<vring_desc*>(f.memory);
  desc[0] = {base + 0x100, 16, VRING_DESC_F_NEXT, 1};
  desc[1] = {base + 0x400, 512, VRING_DESC_F_NEXT, 2};
  desc[2] = {base + 0x200, 1, VRING_DESC_F_WRITE, 0};
  reinterpret_cast<uint16_t*>(f.memory + FrontEnd::kAvail)[1] = 65535;
  REQUIRE(f.start_queue(65535));
  REQUIRE(ftruncate(f.memory_fd, kPage) == 0);
  f.notify();
  CHECK(f.dropped());
  CHECK(siege.target.events.logged("cut off memory"));
  REQUIRE(ftruncate(f.memory_fd, FrontEnd::kMemory) == 0);
  check_serves(siege.target, 40);
}

TEST_CASE("malformed inflight: sizes that lie (CVE-2021-3839, CVE-2026-86565, QEMU #4403)") {
  Siege siege;
  const Props props;
  for (const Lie& lie : kLies) {
    CAPTURE(lie.name);
    VhostUserInflight inflight = small_inflight();
    lie.spoil(inflight);
    FrontEnd f(siege.target.connect());
    REQUIRE(f.negotiate());
    CHECK(refused(f, {VHOST_USER_SET_INFLIGHT_FD, bytes_of(inflight), {props.inflight}}));
  }
}

TEST_CASE("malformed inflight: contents that lie (QEMU #3974, libvhost-user)") {
  constexpr uint32_t kSeed = 3974;
  CAPTURE(kSeed);
  Siege siege;
  std::mt19937 random(kSeed);
  FrontEnd f(siege.target.connect());
  REQUIRE(f.negotiate());
  REQUIRE(f.share_memory() == 0u);
  for (int round = 0; round < 200; ++round) {
    CAPTURE(round);
    Shared shared(FrontEnd::kSize);
    for (uint64_t i = 0; i < shared.used; ++i)
      shared.bytes[i] = static_cast<uint8_t>(random() % 2 ? random() : random() % 2);
    auto* region = reinterpret_cast<InflightRegion*>(shared.bytes);
    region->version = 1;
    for (uint16_t i = 0; i < FrontEnd::kSize; ++i) region->desc[i].inflight = random() % 2;
    memset(f.memory, 0, FrontEnd::kHeader);
    REQUIRE(exchange(f, give(shared), true));
    f.offer(VIRTIO_BLK_T_IN, 3);
    REQUIRE(f.start_queue());
    f.notify();
    REQUIRE(f.stop_queue());
  }
}

TEST_CASE("malformed inflight: contents that change all the while (QEMU #3974)") {
  constexpr uint32_t kSeed = 4974;
  CAPTURE(kSeed);
  Siege siege;
  Shared shared(FrontEnd::kSize);
  FrontEnd f(siege.target.connect());
  REQUIRE(f.negotiate());
  REQUIRE(f.share_memory() == 0u);
  std::atomic<bool> done{false};
  std::thread mutator([&] {
    std::mt19937 random(kSeed);
    while (!done.load(std::memory_order_relaxed))
      __atomic_store_n(&shared.bytes[random() % shared.used], static_cast<uint8_t>(random()),
                       __ATOMIC_RELAXED);
  });
  for (int round = 0; round < 200; ++round) {
    memset(f.memory, 0, FrontEnd::kHeader);
    REQUIRE(exchange(f, give(shared), true));
    f.offer(VIRTIO_BLK_T_IN, 3);
    REQUIRE(f.start_queue());
    f.notify();
    REQUIRE(f.stop_queue());
  }
  done = true;
  mutator.join();
}

TEST_CASE("malformed inflight: a region cut off while the queue runs") {
  Siege siege;
  Shared shared(FrontEnd::kSize);
  FrontEnd f(siege.target.connect());
  REQUIRE(f.negotiate());
  REQUIRE(f.share_memory() == 0u);
  REQUIRE(exchange(f, give(shared), true));
  REQUIRE(f.start_queue());
  REQUIRE(ftruncate(shared.fd, 0) == 0);
  f.offer(VIRTIO_BLK_T_IN, 3);
  f.notify();
  CHECK(f.dropped());
  REQUIRE(ftruncate(shared.fd, Shared::kBytes) == 0);
  std::fill(shared.bytes + shared.used, shared.bytes + Shared::kBytes, Shared::kCanary);
}

TEST_CASE(
    "malformed inflight: a larger queue and a small region in every order (CVE-2026-86565, "
    "DPDK)") {
  Siege siege;
  std::vector<int> order = {0, 1, 2, 3, 4};
  do {
    std::string digits;
    for (const int step : order) digits += static_cast<char>('0' + step);
    CAPTURE(digits);
    Shared shared(FrontEnd::kSize);
    FrontEnd f(siege.target.connect());
    REQUIRE(f.negotiate());
    REQUIRE(f.share_memory() == 0u);
    memset(f.memory, 0, FrontEnd::kHeader);
    // Takes every head of a queue of 32, four times what the region has room for.
    for (uint16_t head = 0; head < 32; ++head)
      reinterpret_cast<uint16_t*>(f.memory + FrontEnd::kAvail)[2 + head] = head;
    reinterpret_cast<uint16_t*>(f.memory + FrontEnd::kAvail)[1] = 32;
    const SoundMessage messages[] = {
        {VHOST_USER_SET_VRING_NUM, bytes_of(vhost_vring_state{.index = 0, .num = 32}), {}},
        give(shared),
        {VHOST_USER_SET_VRING_ADDR, bytes_of(f.addresses()), {}},
        {VHOST_USER_SET_VRING_KICK, bytes_of(uint64_t{0}), {f.kick}},
        {VHOST_USER_SET_VRING_ENABLE, bytes_of(vhost_vring_state{.index = 0, .num = 1}), {}},
    };
    for (const int step : order)
      if (!exchange(f, messages[step], true)) break;
    f.notify();
    usleep(200);
    auto* region = reinterpret_cast<InflightRegion*>(shared.bytes);
    CHECK((region->desc_num == 0 || region->desc_num == FrontEnd::kSize));
  } while (std::next_permutation(order.begin(), order.end()));
}

}  // namespace remap::test
