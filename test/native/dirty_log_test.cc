// Live migration: which pages of guest memory are marked in the front-end's log.
#include "native/dirty_log.h"

#include <doctest/doctest.h>

#include <set>

#include "front_end.h"
#include "served_volume.h"

namespace remap::test {
namespace {

constexpr uint64_t kPage = DirtyLog::kPageBytes;
constexpr uint64_t kFirstPage = FrontEnd::kGuestBase / kPage;
constexpr uint64_t kPages = FrontEnd::kMemory / kPage;
constexpr uint64_t kLogBytes = (kFirstPage + kPages) / 8;
using PageSet = std::set<uint64_t>;  // pages of the front-end's memory, from 0

// A front-end that migrates, with queue 0 running and a log not yet announced.
struct Source : FrontEnd {
  explicit Source(Volume& v) : FrontEnd((v.listen(), v.connect())) {
    REQUIRE(negotiate());
    REQUIRE(share_memory() == 0u);
    REQUIRE(start_queue());
    log_fd = memfd_create("log", MFD_CLOEXEC);
    REQUIRE(ftruncate(log_fd, 1 << 17) == 0);
    log = static_cast<uint8_t*>(
        mmap(nullptr, 1 << 17, PROT_READ | PROT_WRITE, MAP_SHARED, log_fd, 0));
  }
  ~Source() {
    munmap(log, 1 << 17);
    close(log_fd);
  }
  bool set_log(uint64_t size = kLogBytes, uint64_t offset = 0) {
    const VhostUserLog message{.mmap_size = size, .mmap_offset = offset};
    send(VHOST_USER_SET_LOG_BASE, &message, sizeof message, {log_fd});
    return reply_u64() == 0u;
  }
  bool log_used_ring(bool on) {
    vhost_vring_addr a = addresses();
    a.flags = on ? 1u << VHOST_VRING_F_LOG : 0;
    a.log_guest_addr = on ? kGuestBase + kUsed : 0;
    send(VHOST_USER_SET_VRING_ADDR, &a, sizeof a, {}, true);
    return reply_u64() == 0u;
  }
  // The pages marked, all bits of the log looked at; forgets them.
  PageSet marked(uint64_t from = 0) {
    PageSet pages;
    for (uint64_t page = 0; page < (uint64_t{1} << 17) * 8; ++page) {
      if (!(log[page / 8] >> page % 8 & 1)) continue;
      pages.insert(page - from * 8 - kFirstPage);
    }
    memset(log, 0, 1 << 17);
    return pages;
  }
  // Runs what was offered and finds the pages that it changed.
  PageSet changed() {
    const std::vector<uint8_t> before(memory, memory + kMemory);
    REQUIRE(run() == VIRTIO_BLK_S_OK);
    usleep(20'000);  // the worker goes to sleep, and says so in the ring
    PageSet pages;
    for (uint64_t page = 0; page < kPages; ++page)
      if (memcmp(memory + page * kPage, &before[page * kPage], kPage) != 0) pages.insert(page);
    return pages;
  }
  uint8_t* log;
  int log_fd;
};

constexpr uint64_t kDataPage = FrontEnd::kData / kPage;
constexpr uint64_t kUsedPage = FrontEnd::kUsed / kPage;
constexpr uint64_t kStatusPage = FrontEnd::kStatus / kPage;

}  // namespace

TEST_CASE("dirty log: a page is marked by its guest address, and nothing past the log") {
  uint8_t table[4] = {};
  const DirtyLog log(table, 3);
  log.mark(0, 0);
  CHECK(table[0] == 0);
  log.mark(4095, 2);
  CHECK(table[0] == 3);
  log.mark(9 * kPage, 1);
  CHECK(table[1] == 2);
  log.mark(23 * kPage, 100 * kPage);
  CHECK(table[2] == 0x80);
  log.mark(UINT64_MAX - 1, 100);
  CHECK(table[3] == 0);
}

TEST_CASE("dirty log: every page that changed is marked, and only while it is asked for") {
  Volume volume;
  Source f(volume);
  // A log alone is not yet a wish to have it written.
  REQUIRE(f.set_log());
  f.offer(VIRTIO_BLK_T_IN, 1);
  CHECK(f.changed().contains(kDataPage));
  CHECK(f.marked().empty());

  REQUIRE(f.set_features(f.accepted | kFeatureLogAll));
  f.offer(VIRTIO_BLK_T_IN, 2);
  f.changed();
  CHECK(f.marked() == PageSet{kStatusPage, kDataPage});  // the used ring has a wish of its own

  REQUIRE(f.log_used_ring(true));
  CHECK(volume.events.all(abi::EventKind::kQueue).size() == 1);  // it was not stopped for it
  struct Request {
    uint32_t type;
    uint32_t bytes;
    PageSet pages;
  };
  const Request requests[] = {
      {VIRTIO_BLK_T_IN, 512, {kUsedPage, kStatusPage, kDataPage}},
      {VIRTIO_BLK_T_IN,
       3 * kPage + 512,
       {kUsedPage, kStatusPage, kDataPage, kDataPage + 1, kDataPage + 2, kDataPage + 3}},
      {VIRTIO_BLK_T_OUT, 512, {kUsedPage, kStatusPage}},
      {VIRTIO_BLK_T_GET_ID, 20, {kUsedPage, kStatusPage, kDataPage}},
  };
  for (const Request& request : requests) {
    CAPTURE(request.type);
    CAPTURE(request.bytes);
    memset(f.memory + FrontEnd::kData, 0xa5, 4 * kPage);
    f.offer(request.type, 3, request.bytes);
    const PageSet changed = f.changed();
    const PageSet marked = f.marked();
    CHECK(marked == request.pages);
    for (const uint64_t page : changed) {
      CAPTURE(page);
      CHECK(marked.contains(page));
    }
  }

  // What was read before the switch and what comes after it: each in its own log.
  f.offer(VIRTIO_BLK_T_IN, 4);
  f.changed();
  f.marked();
  REQUIRE(f.set_log(kLogBytes, 1 << 16));
  f.offer(VIRTIO_BLK_T_IN, 5);
  f.changed();
  CHECK(f.marked(1 << 16) == PageSet{kUsedPage, kStatusPage, kDataPage});

  REQUIRE(f.log_used_ring(false));
  REQUIRE(f.set_features(f.accepted));
  f.offer(VIRTIO_BLK_T_IN, 6);
  f.changed();
  CHECK(f.marked().empty());
  CHECK(f.stop_queue() == 9u);
}

TEST_CASE("dirty log: a device may start with it") {
  Volume volume;
  Source f(volume);
  CHECK(f.stop_queue() == 0u);
  REQUIRE(f.set_features(f.accepted | kFeatureLogAll));
  REQUIRE(f.start_queue());
  REQUIRE(f.log_used_ring(true));
  REQUIRE(f.set_log());
  f.offer(VIRTIO_BLK_T_IN, 2);
  f.changed();
  CHECK(f.marked() == PageSet{kUsedPage, kStatusPage, kDataPage});
}

TEST_CASE("dirty log: one that cannot hold all of memory, or is no memory, ends the connection") {
  Volume volume;
  uint64_t size = kLogBytes;
  uint64_t offset = 0;
  const char* why = "";
  SUBCASE("a byte too small") { --size, why = "too small"; }
  SUBCASE("empty") { size = 0, why = "too small"; }
  SUBCASE("beyond its file") { size = (1 << 17) + 1, why = "beyond the end"; }
  SUBCASE("beyond its file by the offset") { offset = 1 << 17, why = "beyond the end"; }
  SUBCASE("wraps around") { size = UINT64_MAX - 4095, offset = 8192, why = "beyond the end"; }
  SUBCASE("offset inside a page") { offset = 512, why = "page aligned"; }
  {
    Source f(volume);
    CHECK_FALSE(f.set_log(size, offset));
    CHECK(f.dropped());
  }
  CHECK(volume.events.logged(why));
  check_serves(volume);
}

TEST_CASE(
    "dirty log: memory beyond it, and rings outside memory, are refused while it is written") {
  Volume volume;
  Source f(volume);
  REQUIRE(f.set_log());
  VhostUserMemRegMsg more = f.region();
  more.region.guest_phys_addr += FrontEnd::kMemory;
  more.region.userspace_addr += FrontEnd::kMemory;
  REQUIRE(f.set_features(f.accepted | kFeatureLogAll));
  f.send(VHOST_USER_ADD_MEM_REG, &more, sizeof more, {f.memory_fd}, true);
  CHECK(f.reply_u64() == 1u);
  REQUIRE(f.set_log(kLogBytes + kPages / 8));
  f.send(VHOST_USER_ADD_MEM_REG, &more, sizeof more, {f.memory_fd}, true);
  CHECK(f.reply_u64() == 0u);

  vhost_vring_addr a = f.addresses();
  a.flags = 1u << VHOST_VRING_F_LOG;
  for (const uint64_t address :
       {uint64_t{0}, FrontEnd::kGuestBase + 2 * FrontEnd::kMemory - 69, UINT64_MAX}) {
    a.log_guest_addr = address;
    f.send(VHOST_USER_SET_VRING_ADDR, &a, sizeof a, {}, true);
    CHECK(f.reply_u64() == 1u);
  }
  a.log_guest_addr = FrontEnd::kGuestBase + 2 * FrontEnd::kMemory - 70;
  f.send(VHOST_USER_SET_VRING_ADDR, &a, sizeof a, {}, true);
  CHECK(f.reply_u64() == 0u);
  a.flags = 2;
  f.send(VHOST_USER_SET_VRING_ADDR, &a, sizeof a, {}, true);
  CHECK(f.reply_u64() == 1u);
  CHECK(f.ask_u64(VHOST_USER_GET_QUEUE_NUM) == 4u);
}

TEST_CASE("dirty log: one that is cut off under us costs the connection and no more") {
  Volume volume;
  {
    Source f(volume);
    REQUIRE(f.set_log());
    REQUIRE(f.set_features(f.accepted | kFeatureLogAll));
    REQUIRE(ftruncate(f.log_fd, 0) == 0);
    f.offer(VIRTIO_BLK_T_IN, 2);
    f.notify();
    CHECK(f.dropped());
  }
  CHECK(volume.events.logged("cut off memory"));
  check_serves(volume);
}

TEST_CASE("dirty log: the bell is taken when it is one") {
  Volume volume;
  Source f(volume);
  const size_t before = open_descriptors();
  f.send(VHOST_USER_SET_LOG_FD, nullptr, 0, {f.call}, true);
  CHECK(f.reply_u64() == 0u);
  f.send(VHOST_USER_SET_LOG_FD, nullptr, 0, {f.memory_fd}, true);
  CHECK(f.reply_u64() == 1u);
  CHECK(open_descriptors() == before);
}

}  // namespace remap::test
