// Live migration under random load: memory is copied once, and then every page again that is found
// marked, while the device goes on. What it has written is in the copy at the end, and little else
// was marked. Rings and buffers that the device writes stand on pages of their own, so that the
// driver's writes, which nobody marks, are not mistaken for the device's.
#include <doctest/doctest.h>

#include <array>
#include <cstdio>
#include <random>
#include <set>

#include "native/dirty_log.h"
#include "served_volume.h"

namespace remap::test {
namespace {

constexpr uint64_t kPage = DirtyLog::kPageBytes;
constexpr uint64_t kPages = FrontEnd::kMemory / kPage;
constexpr uint64_t kFirstPage = FrontEnd::kGuestBase / kPage;
constexpr uint64_t kLogBytes = (kFirstPage + kPages) / 8;
constexpr uint16_t kQueues = 3;
constexpr uint16_t kRingSize = 64;
// Descriptors, available and used ring of a queue; the used ring crosses into a fourth page.
constexpr uint64_t kQueuePages = 4;
constexpr uint64_t kUsedInPages = 3 * kPage - 100;
constexpr uint64_t kUsedBytes = 6 + 8 * kRingSize;
// What the driver writes, then what only the device does.
constexpr uint64_t kDriverBegin = kQueues * kQueuePages * kPage;
constexpr uint64_t kDeviceBegin = 96 * kPage;
constexpr uint32_t kNoSuchType = 77;
constexpr int kRoundsAVolume = 20;
using PageSet = std::set<uint64_t>;

struct Totals {
  uint64_t requests = 0, changed = 0, marked = 0, parked = 0, in_flight = 0, failed = 0;
  uint64_t unused_marks = 0;
};

class Migrator : public FrontEnd {
 public:
  Migrator(Volume& v, uint64_t seed)
      : FrontEnd((v.listen(), v.connect())), volume_(v), random_(seed) {
    REQUIRE(negotiate(seed % 2 == 0 ? 0 : kFeatureEventIdx));
    REQUIRE(share_memory() == 0u);
    for (uint16_t q = 0; q < kQueues; ++q) {
      kicks_[q] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
      start(q);
    }
    for (int i = 0; i < 2; ++i) {
      log_fds_[i] = memfd_create("log", MFD_CLOEXEC);
      REQUIRE(ftruncate(log_fds_[i], kLogBytes) == 0);
      logs_[i] = static_cast<uint8_t*>(
          mmap(nullptr, kLogBytes, PROT_READ | PROT_WRITE, MAP_SHARED, log_fds_[i], 0));
    }
  }
  ~Migrator() {
    for (int i = 0; i < 2; ++i) {
      munmap(logs_[i], kLogBytes);
      close(log_fds_[i]);
    }
    for (const int fd : kicks_) close(fd);
  }

  // Half of the requests before the log is switched on, half after; all of them answered.
  void round(Totals& totals) {
    expected_.clear();
    next_driver_ = kDriverBegin;
    next_device_ = kDeviceBegin;
    // No status, so that each one written is a change.
    memset(memory + kDeviceBegin, 0xff, kMemory - kDeviceBegin);
    plan_faults();
    const bool early = pick(2) == 0;
    if (early) offer_some(totals);
    switch_log(true);
    totals.in_flight += outstanding();
    const std::vector<uint8_t> before(memory, memory + kMemory);
    copy_ = before;
    marked_.clear();
    offer_some(totals);
    if (pick(2) == 0) {
      use_log(1);
      offer_some(totals);
    }
    if (pick(3) != 0) settle(totals);  // else queues are stopped with requests on their way
    finish(totals);
    sync();
    compare(before, totals);
    switch_log(false);
    check_silence(totals);
  }

 private:
  uint32_t pick(uint32_t n) { return static_cast<uint32_t>(random_() % n); }

  static uint64_t base_of(uint16_t queue) { return queue * kQueuePages * kPage; }
  static uint64_t used_of(uint16_t queue) { return base_of(queue) + kUsedInPages; }
  uint16_t* avail(uint16_t q) { return reinterpret_cast<uint16_t*>(memory + base_of(q) + kPage); }
  uint16_t used_index(uint16_t q) {
    return __atomic_load_n(reinterpret_cast<uint16_t*>(memory + used_of(q)) + 1, __ATOMIC_ACQUIRE);
  }
  uint32_t outstanding() {
    uint32_t sum = 0;
    for (uint16_t q = 0; q < kQueues; ++q)
      sum += static_cast<uint16_t>(offered_[q] - used_index(q));
    return sum;
  }

  vhost_vring_addr addresses_of(uint16_t q, bool logged) {
    vhost_vring_addr a{};
    a.index = q;
    a.flags = logged ? 1u << VHOST_VRING_F_LOG : 0;
    a.desc_user_addr = kUserBase + base_of(q);
    a.avail_user_addr = kUserBase + base_of(q) + kPage;
    a.used_user_addr = kUserBase + used_of(q);
    a.log_guest_addr = logged ? kGuestBase + used_of(q) : 0;
    return a;
  }
  void start(uint16_t q) {
    const vhost_vring_addr a = addresses_of(q, logging_);
    send_u64(VHOST_USER_SET_VRING_CALL, q, {call});
    send_state(VHOST_USER_SET_VRING_NUM, q, kRingSize);
    send_state(VHOST_USER_SET_VRING_BASE, q, offered_[q]);
    send(VHOST_USER_SET_VRING_ADDR, &a, sizeof a);
    send_u64(VHOST_USER_SET_VRING_KICK, q, {kicks_[q]});
    REQUIRE(send_state(VHOST_USER_SET_VRING_ENABLE, q, 1, true));
    REQUIRE(reply_u64() == 0u);
  }

  void use_log(int which) {
    const VhostUserLog message{.mmap_size = kLogBytes, .mmap_offset = 0};
    send(VHOST_USER_SET_LOG_BASE, &message, sizeof message, {log_fds_[which]});
    REQUIRE(reply_u64() == 0u);
  }
  void switch_log(bool on) {
    logging_ = on;
    if (on) use_log(0);
    REQUIRE(set_features(on ? accepted | kFeatureLogAll : accepted));
    for (uint16_t q = 0; q < kQueues; ++q) {
      const vhost_vring_addr a = addresses_of(q, on);
      send(VHOST_USER_SET_VRING_ADDR, &a, sizeof a, {}, true);
      REQUIRE(reply_u64() == 0u);
    }
  }

  // Bad and slow sectors, some of which stay so; remapped and pending ones.
  void plan_faults() {
    for (size_t d = 0; d < 2; ++d) volume_.device(d).faults().clear(0);
    FaultTable& faults = volume_.device(0).faults();
    for (int i = 0; i < 64; ++i) {
      const auto kind = static_cast<FaultKind>(pick(3));
      const uint32_t delay_ms = kind == FaultKind::kSlow ? 1 + pick(8) : 0;
      faults.add(kind, pick(kSectors), 1 + pick(16), pick(3), delay_ms);
    }
    abi::IndexRecord record{};
    record.lba = pick(kSectors / 8) * 8;
    record.count = 8;
    record.target = record.lba;
    record.device = 1;
    record.flags = pick(4) == 0 ? abi::kIndexPending : abi::kIndexRemapped;
    if (record.flags == abi::kIndexPending) record.device = 0;
    REQUIRE(volume_.backend->publish(&record, 1));
  }

  // Buffers begin anywhere, so that many of them have to be bounced.
  uint64_t driver_bytes(uint64_t length) {
    const uint64_t at = next_driver_ + pick(40);
    next_driver_ = at + length;
    REQUIRE(next_driver_ <= kDeviceBegin);
    return at;
  }
  uint64_t device_bytes(uint64_t length) {
    const uint64_t at = next_device_ + (pick(3) == 0 ? pick(2 * kPage) : pick(40));
    next_device_ = at + length;
    REQUIRE(next_device_ <= kMemory);
    expect(at, length);
    return at;
  }
  void expect(uint64_t at, uint64_t length) {
    for (uint64_t page = at / kPage; page <= (at + length - 1) / kPage; ++page)
      expected_.insert(page);
  }

  void offer_some(Totals& totals) {
    for (uint16_t q = 0; q < kQueues; ++q) {
      // What is answered at once, alone: the worker sleeps and nothing follows.
      const bool alone = pick(3) == 0;
      const uint32_t wanted = alone ? 1 : 1 + pick(4);
      for (uint32_t i = 0; i < wanted; ++i) offer(q, alone);
      totals.requests += wanted;
      __atomic_store_n(&avail(q)[1], offered_[q], __ATOMIC_RELEASE);
      eventfd_write(kicks_[q], 1);
    }
  }

  // Every chain has five descriptors of its own, so that none is used twice in a round.
  void offer(uint16_t q, bool refused) {
    static constexpr uint32_t kTypes[] = {
        VIRTIO_BLK_T_IN,    VIRTIO_BLK_T_IN,     VIRTIO_BLK_T_IN,          VIRTIO_BLK_T_OUT,
        VIRTIO_BLK_T_OUT,   VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_FLUSH,       VIRTIO_BLK_T_DISCARD,
        VIRTIO_BLK_T_FLUSH, kNoSuchType,         VIRTIO_BLK_T_WRITE_ZEROES};
    const uint32_t type = refused ? kNoSuchType : kTypes[pick(std::size(kTypes))];
    const bool range = type == VIRTIO_BLK_T_DISCARD || type == VIRTIO_BLK_T_WRITE_ZEROES;
    const bool in = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
    const uint32_t sectors = 1 + pick(16);
    uint32_t bytes = sectors * 512;
    if (type == VIRTIO_BLK_T_GET_ID) bytes = 20;
    if (range) bytes = sizeof(FrontEnd::Segment);
    if (type == VIRTIO_BLK_T_FLUSH || type == kNoSuchType) bytes = 0;

    virtio_blk_outhdr header{};
    header.type = type;
    // Now and then past the end.
    header.sector = range ? 0 : pick(kSectors + 8);
    const uint64_t at = driver_bytes(sizeof header);
    memcpy(memory + at, &header, sizeof header);
    std::vector<vring_desc> chain = {{kGuestBase + at, sizeof header, 0, 0}};
    for (uint32_t left = bytes; left > 0;) {
      const uint32_t part = chain.size() == 3 || left < 40 ? left : 1 + pick(left);
      const uint64_t data = in ? device_bytes(part) : driver_bytes(part);
      const uint16_t flags = in ? VRING_DESC_F_WRITE : 0;
      chain.push_back({kGuestBase + data, part, flags, 0});
      if (range) {
        // One piece: its content is a segment.
        const FrontEnd::Segment segment{
            .sector = pick(kSectors - 16), .num_sectors = sectors, .flags = 0};
        const uint64_t whole = part == bytes ? data : driver_bytes(bytes);
        memcpy(memory + whole, &segment, sizeof segment);
        chain.back() = {kGuestBase + whole, bytes, 0, 0};
        break;
      }
      if (!in) memset(memory + data, static_cast<int>(pick(256)), part);
      left -= part;
    }
    if (pick(20) != 0) {
      const uint64_t status = device_bytes(1);
      chain.push_back({kGuestBase + status, 1, VRING_DESC_F_WRITE, 0});
    }
    put(q, chain);
  }

  void put(uint16_t q, const std::vector<vring_desc>& chain) {
    const auto first = static_cast<uint16_t>(offered_[q] % (kRingSize / 5) * 5);
    auto* table = reinterpret_cast<vring_desc*>(memory + base_of(q));
    for (uint16_t i = 0; i < chain.size(); ++i) {
      table[first + i] = chain[i];
      if (i + 1u == chain.size()) continue;
      table[first + i].flags |= VRING_DESC_F_NEXT;
      table[first + i].next = static_cast<uint16_t>(first + i + 1);
    }
    avail(q)[2 + offered_[q] % kRingSize] = first;
    ++offered_[q];
    expect(used_of(q), kUsedBytes);
  }

  // Answers what is parked, as the control plane would: done, failed, or tried once more.
  void answer_parked(Totals& totals) {
    const auto all = volume_.events.all(abi::EventKind::kParked);
    for (; parked_seen_ < all.size(); ++parked_seen_) {
      abi::CommandRecord command{};
      const bool again = pick(3) == 0;
      const auto kind = again ? abi::CommandKind::kRetry : abi::CommandKind::kComplete;
      command.kind = static_cast<uint32_t>(kind);
      command.token = all[parked_seen_].token;
      command.status = pick(2) == 0 ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR;
      volume_.backend->submit(&command, 1);
      ++totals.parked;
    }
  }
  void settle(Totals& totals) {
    for (int i = 0; i < 10'000 && outstanding() > 0; ++i) {
      answer_parked(totals);
      sync_for_us(500);
    }
    REQUIRE(outstanding() == 0);
    sync_for_us(2000);  // workers go to sleep, and say so in the rings
  }
  void sync_for_us(int64_t us) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(us);
    // Tight, to come between a mark and a write that the mark is for.
    do {
      for (int i = 0; i < 100; ++i) sync();
    } while (std::chrono::steady_clock::now() < until);
  }
  // GET_VRING_BASE of every queue, the last word of the source of a migration.
  void finish(Totals& totals) {
    for (uint16_t q = 0; q < kQueues; ++q) {
      send_state(VHOST_USER_GET_VRING_BASE, q, 0);
      pollfd p{.fd = socket(), .events = POLLIN, .revents = 0};
      for (int i = 0; i < 5000 && poll(&p, 1, 1) == 0; ++i) {
        answer_parked(totals);
        sync();
      }
      const auto base = reply();
      REQUIRE(base.has_value());
      uint32_t number;
      memcpy(&number, base->data() + 4, sizeof number);
      // What was not begun yet is begun after the next start.
      while (static_cast<uint16_t>(number) != offered_[q]) {
        --offered_[q];
      }
      __atomic_store_n(&avail(q)[1], offered_[q], __ATOMIC_RELEASE);
    }
    REQUIRE(outstanding() == 0);
  }

  void compare(const std::vector<uint8_t>& before, Totals& totals) {
    for (uint64_t page = 0; page < kPages; ++page) {
      if (!expected_.contains(page) && page < kDeviceBegin / kPage) continue;
      const uint8_t* now = memory + page * kPage;
      totals.changed += memcmp(now, &before[page * kPage], kPage) != 0;
      CAPTURE(page);
      CHECK(memcmp(now, &copy_[page * kPage], kPage) == 0);
    }
    for (const uint64_t page : marked_) {
      CAPTURE(page);
      CHECK(expected_.contains(page));
    }
    totals.marked += marked_.size();
  }
  // As the source of a migration does any number of times: takes the marks, and then the pages.
  void sync() {
    for (uint8_t* log : logs_) {
      for (uint64_t byte = kFirstPage / 8; byte < kLogBytes; ++byte) {
        if (log[byte] == 0) continue;
        const uint8_t bits = __atomic_exchange_n(&log[byte], 0, __ATOMIC_SEQ_CST);
        for (uint64_t bit = 0; bit < 8; ++bit) {
          if (!(bits >> bit & 1)) continue;
          const uint64_t page = byte * 8 + bit - kFirstPage;
          marked_.insert(page);
          memcpy(&copy_[page * kPage], memory + page * kPage, kPage);
        }
      }
    }
  }
  // Served again, and not logged any more.
  void check_silence(Totals& totals) {
    for (uint16_t q = 0; q < kQueues; ++q) start(q);
    next_driver_ = kDriverBegin;
    next_device_ = kDeviceBegin;
    offer_some(totals);
    marked_.clear();
    settle(totals);
    totals.unused_marks += marked_.size();
  }

  Volume& volume_;
  std::mt19937_64 random_;
  std::array<int, kQueues> kicks_{};
  std::array<int, 2> log_fds_{};
  std::array<uint8_t*, 2> logs_{};
  std::array<uint16_t, kQueues> offered_{};
  PageSet expected_;
  PageSet marked_;
  std::vector<uint8_t> copy_;
  uint64_t next_driver_ = 0;
  uint64_t next_device_ = 0;
  size_t parked_seen_ = 0;
  bool logging_ = false;
};

}  // namespace

// REMAP_LOG_ROUNDS in the environment makes it a campaign, REMAP_LOG_SEED another one.
TEST_CASE("dirty log: whatever random requests change is marked, on all queues") {
  const char* wanted = getenv("REMAP_LOG_ROUNDS");
  const char* seeded = getenv("REMAP_LOG_SEED");
  const int rounds = wanted != nullptr ? atoi(wanted) : 40;
  const uint64_t seed = seeded != nullptr ? strtoull(seeded, nullptr, 10) : 1;
  Totals totals;
  for (int done = 0; done < rounds; done += kRoundsAVolume) {
    Volume volume;
    Migrator migrator(volume, seed + static_cast<uint64_t>(done / kRoundsAVolume));
    for (int i = done; i < std::min(rounds, done + kRoundsAVolume); ++i) migrator.round(totals);
    for (int q = 0; q < kQueues; ++q) totals.failed += volume.counters(q).errors;
  }
  std::printf(
      "dirty log: %d rounds, seed %lu: %lu requests, %lu failed, %lu parked, %lu on their way when "
      "the log came; %lu pages changed, %lu marked\n",
      rounds, seed, totals.requests, totals.failed, totals.parked, totals.in_flight, totals.changed,
      totals.marked);
  CHECK(totals.unused_marks == 0);
  CHECK(totals.parked > 0);
  CHECK(totals.failed > 0);
  CHECK(totals.in_flight > 0);
  CHECK(totals.changed > 100);
}

}  // namespace remap::test
