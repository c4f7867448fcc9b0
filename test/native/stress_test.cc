// Everything a front-end and the control plane may do while requests run on several queues, all at
// once and in random order. What matters is what the sanitizers say of it.
//
//   REMAP_STRESS_SECONDS=N   instead of one
//   REMAP_STRESS_SEED=N
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <random>
#include <thread>

#include "front_end.h"
#include "native/dirty_log.h"
#include "served_volume.h"

namespace remap::test {
namespace {

using Clock = std::chrono::steady_clock;

constexpr uint16_t kQueues = 4;
constexpr uint16_t kDepth = 16;
constexpr uint16_t kEntries = kDepth * 4;  // three descriptors a request
// Of each queue, in the memory of the front-end.
constexpr uint64_t kQueueBytes = 0x20000;
constexpr uint64_t kAvail = 0x1000;
constexpr uint64_t kUsed = 0x2000;
constexpr uint64_t kHeaders = 0x4000;
constexpr uint64_t kStatuses = 0x5000;
constexpr uint64_t kData = 0x8000;
constexpr uint32_t kDataBytes = 2048;
// Memory that comes and goes; each queue has a part of it.
constexpr uint64_t kExtraBase = 0x80000000;
constexpr uint64_t kExtraBytes = uint64_t{kQueues} * kDepth * kDataBytes;

uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* value = getenv(name);
  return value != nullptr ? strtoull(value, nullptr, 10) : otherwise;
}

// The driver's side of one queue. Its lock is held while it is looked at, so that the connection
// below it can be replaced.
class Driver {
 public:
  // A new ring, nothing in it.
  void attach(FrontEnd* front_end, uint32_t index) {
    std::lock_guard guard(mutex_);
    memory_ = front_end->memory + index * kQueueBytes;
    guest_ = FrontEnd::kGuestBase + index * kQueueBytes;
    extra_ = kExtraBase + index * kDepth * kDataBytes;
    memset(memory_, 0, kStatuses);
    front_end_ = front_end;
    available_ = seen_ = 0;
    for (uint16_t n = 0; n < kDepth; ++n) free_[n] = n;
    free_count_ = kDepth;
  }
  void detach() {
    std::lock_guard guard(mutex_);
    front_end_ = nullptr;
  }

  // Takes back what was returned and offers as much as fits.
  void work(std::mt19937& random) {
    std::lock_guard guard(mutex_);
    if (front_end_ == nullptr) return;
    collect();
    while (free_count_ > 0) offer(free_[--free_count_], random);
    front_end_->notify();
  }

  uint64_t requests() const { return requests_; }
  uint64_t failures() const { return failures_; }
  uint64_t nonsense() const { return nonsense_; }

 private:
  void collect() {
    const auto* index = reinterpret_cast<uint16_t*>(memory_ + kUsed) + 1;
    const uint16_t used = __atomic_load_n(index, __ATOMIC_ACQUIRE);
    const auto* ring = reinterpret_cast<vring_used_elem*>(memory_ + kUsed + 4);
    for (; seen_ != used; ++seen_) {
      const uint32_t n = ring[seen_ % kEntries].id / 4;
      const uint8_t status = n < kDepth ? memory_[kStatuses + n] : 0xff;
      if (status > VIRTIO_BLK_S_UNSUPP || free_count_ == kDepth) {
        ++nonsense_;
        continue;
      }
      ++requests_;
      if (status == VIRTIO_BLK_S_IOERR) ++failures_;
      free_[free_count_++] = static_cast<uint16_t>(n);
    }
  }

  void offer(uint16_t n, std::mt19937& random) {
    static constexpr uint32_t kTypes[] = {
        VIRTIO_BLK_T_IN,    VIRTIO_BLK_T_IN,     VIRTIO_BLK_T_OUT,     VIRTIO_BLK_T_OUT,
        VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES};
    virtio_blk_outhdr header{};
    header.type = kTypes[random() % std::size(kTypes)];
    header.sector = random() % (kSectors - kDataBytes / 512);
    memcpy(memory_ + kHeaders + n * sizeof header, &header, sizeof header);
    const bool write = (header.type & 1) != 0;
    uint64_t data = guest_ + kData + n * kDataBytes;
    uint32_t bytes = kDataBytes;
    if (header.type > VIRTIO_BLK_T_OUT && write) {
      const virtio_blk_discard_write_zeroes segment{header.sector, 4, 0};
      memcpy(memory_ + kData + n * kDataBytes, &segment, sizeof segment);
      bytes = sizeof segment;
    } else if (random() % 8 == 0) {
      data = extra_ + n * kDataBytes;
    }
    memory_[kStatuses + n] = 0xff;
    auto* desc = reinterpret_cast<vring_desc*>(memory_) + n * 4;
    const auto at = static_cast<uint16_t>(n * 4);
    desc[0] = {guest_ + kHeaders + n * sizeof header, sizeof header, VRING_DESC_F_NEXT,
               static_cast<uint16_t>(at + 1)};
    desc[1] = {data, bytes,
               static_cast<uint16_t>(VRING_DESC_F_NEXT | (write ? 0 : VRING_DESC_F_WRITE)),
               static_cast<uint16_t>(at + 2)};
    desc[2] = {guest_ + kStatuses + n, 1, VRING_DESC_F_WRITE, 0};
    auto* avail = reinterpret_cast<uint16_t*>(memory_ + kAvail);
    avail[2 + available_ % kEntries] = at;
    __atomic_store_n(&avail[1], ++available_, __ATOMIC_RELEASE);
  }

  std::mutex mutex_;
  FrontEnd* front_end_ = nullptr;
  uint8_t* memory_ = nullptr;
  uint64_t guest_ = 0;
  uint64_t extra_ = 0;
  uint16_t available_ = 0;
  uint16_t seen_ = 0;
  uint16_t free_[kDepth];
  uint16_t free_count_ = 0;
  std::atomic<uint64_t> requests_{0};
  std::atomic<uint64_t> failures_{0};
  std::atomic<uint64_t> nonsense_{0};
};

// What the front-end asks of the back-end while its drivers work.
class Stress {
 public:
  Stress(Volume& volume, Driver* drivers, uint32_t seed)
      : volume_(volume), drivers_(drivers), random_(seed) {
    for (int* fd : {&extra_, &log_}) {
      *fd = memfd_create("stress", MFD_CLOEXEC);
      REQUIRE(ftruncate(*fd, kExtraBytes) == 0);
    }
    connect();
  }
  ~Stress() {
    for (uint16_t queue = 0; queue < kQueues; ++queue) drivers_[queue].detach();
    close(extra_);
    close(log_);
  }

  static constexpr const char* kNames[] = {"stop and start", "enable",   "memory", "log",
                                           "reset",          "reconnect"};
  static constexpr size_t kActions = std::size(kNames);

  void act() {
    const uint32_t pick = random_() % 64;
    const size_t action = pick == 0 ? 5 : pick < 3 ? 4 : pick % 4;
    ++done[action];
    const auto queue = static_cast<uint16_t>(random_() % kQueues);
    switch (action) {
      case 0:
        return restart(queue);
      case 1:
        return enable(queue);
      case 2:
        return change_memory();
      case 3:
        return change_log();
      case 4:
        return reset();
      default:
        return connect();
    }
  }

  uint64_t done[kActions] = {};

 private:
  FrontEnd& front_end() { return *front_end_; }
  void told(bool sent) { REQUIRE((sent && front_end().reply_u64() == 0u)); }

  void connect() {
    for (uint16_t queue = 0; queue < kQueues; ++queue) drivers_[queue].detach();
    front_end_.reset();  // hangs up with requests under way
    front_end_ = std::make_unique<FrontEnd>(volume_.connect());
    extra_shared_ = false;
    REQUIRE(front_end().negotiate());
    REQUIRE(front_end().share_memory() == 0u);
    begin();
  }

  void reset() {
    for (uint16_t queue = 0; queue < kQueues; ++queue) drivers_[queue].detach();
    told(front_end().send(kRequestResetDevice, nullptr, 0, {}, true));
    REQUIRE(front_end().set_features(front_end().accepted));
    begin();
  }

  void begin() {
    logging_ = false;
    for (uint16_t queue = 0; queue < kQueues; ++queue) {
      drivers_[queue].attach(front_end_.get(), queue);
      start(queue, 0);
    }
  }

  void start(uint16_t queue, uint32_t base) {
    front_end().send_u64(VHOST_USER_SET_VRING_CALL, queue, {front_end().call});
    front_end().send_state(VHOST_USER_SET_VRING_NUM, queue, kEntries);
    front_end().send_state(VHOST_USER_SET_VRING_BASE, queue, base);
    address(queue);
    front_end().send_u64(VHOST_USER_SET_VRING_KICK, queue, {front_end().kick});
    told(front_end().send_state(VHOST_USER_SET_VRING_ENABLE, queue, 1, true));
  }

  void address(uint16_t queue) {
    const uint64_t at = FrontEnd::kUserBase + queue * kQueueBytes;
    vhost_vring_addr a{};
    a.index = queue;
    a.flags = logging_ ? 1u << VHOST_VRING_F_LOG : 0;
    a.desc_user_addr = at;
    a.avail_user_addr = at + kAvail;
    a.used_user_addr = at + kUsed;
    a.log_guest_addr = FrontEnd::kGuestBase + queue * kQueueBytes + kUsed;
    told(front_end().send(VHOST_USER_SET_VRING_ADDR, &a, sizeof a, {}, true));
  }

  void restart(uint16_t queue) {
    front_end().send_state(VHOST_USER_GET_VRING_BASE, queue, 0);
    const auto state = front_end().reply_u64();
    REQUIRE(state);
    start(queue, static_cast<uint32_t>(*state >> 32));
  }

  void enable(uint16_t queue) {
    told(front_end().send_state(VHOST_USER_SET_VRING_ENABLE, queue, 0, true));
    told(front_end().send_state(VHOST_USER_SET_VRING_ENABLE, queue, 1, true));
  }

  void change_memory() {
    VhostUserMemRegMsg m{};
    m.region = {.guest_phys_addr = kExtraBase,
                .memory_size = kExtraBytes,
                .userspace_addr = FrontEnd::kUserBase + (1 << 30),
                .mmap_offset = 0};
    if (extra_shared_)
      told(front_end().send(VHOST_USER_REM_MEM_REG, &m, sizeof m, {}, true));
    else
      told(front_end().send(VHOST_USER_ADD_MEM_REG, &m, sizeof m, {extra_}, true));
    extra_shared_ = !extra_shared_;
  }

  // As QEMU: the log, then that it is wanted, then the used rings; and all back.
  void change_log() {
    logging_ = !logging_;
    if (logging_) {
      const VhostUserLog log{.mmap_size = kExtraBytes, .mmap_offset = 0};
      front_end().send(VHOST_USER_SET_LOG_BASE, &log, sizeof log, {log_});
      REQUIRE(front_end().reply_u64() == 0u);
    }
    REQUIRE(front_end().set_features(front_end().accepted | (logging_ ? kFeatureLogAll : 0)));
    for (uint16_t queue = 0; queue < kQueues; ++queue) address(queue);
  }

  Volume& volume_;
  Driver* drivers_;
  std::mt19937 random_;
  std::unique_ptr<FrontEnd> front_end_;
  int extra_ = -1;
  int log_ = -1;
  bool extra_shared_ = false;
  bool logging_ = false;
};

// What TypeScript asks for meanwhile: remaps, pending blocks, locks, copies, a longer main.
class ControlPlane {
 public:
  ControlPlane(Volume& volume, uint32_t seed) : volume_(volume), random_(seed) {}

  void act() {
    const uint64_t lba = random_() % (kSectors - 64);
    switch (random_() % 4) {
      case 0:
        return lock(lba);
      case 1:
        return copy(lba);
      case 2:
        if (random_() % 16 == 0) return grow();
        [[fallthrough]];
      default:
        return publish(lba);
    }
  }
  uint64_t done = 0;

 private:
  void publish(uint64_t lba) {
    static constexpr uint32_t kFlags[] = {0, abi::kIndexRemapped, abi::kIndexRemapped,
                                          abi::kIndexPending};
    const uint32_t flags = kFlags[random_() % std::size(kFlags)];
    const bool mapped = (flags & abi::kIndexRemapped) != 0;
    const abi::IndexRecord record{lba, 1 + random_() % 8, mapped ? lba : 0, mapped ? 1u : 0u,
                                  flags};
    CHECK(volume_.backend->publish(&record, 1));
    ++done;
  }
  void lock(uint64_t lba) {
    abi::CommandRecord command{};
    command.kind = static_cast<uint32_t>(abi::CommandKind::kLock);
    command.token = ++token_;
    command.lba = lba;
    command.count = 16;
    volume_.backend->submit(&command, 1);
    std::this_thread::yield();
    command.kind = static_cast<uint32_t>(abi::CommandKind::kUnlock);
    volume_.backend->submit(&command, 1);
    ++done;
  }
  // To where nothing is served from.
  void copy(uint64_t lba) {
    abi::CommandRecord command{};
    command.kind = static_cast<uint32_t>(abi::CommandKind::kCopy);
    command.token = ++token_;
    command.lba = command.source = lba;
    command.target = kSectors - 16;
    command.count = 8;
    command.device = 1;
    volume_.backend->submit(&command, 1);
    ++done;
  }
  void grow() {
    if (sectors_ == kSectors * 4) return;
    sectors_ += 64;
    uint64_t size = 0;
    CHECK(truncate(volume_.image().c_str(), static_cast<off_t>(sectors_ * 512)) == 0);
    CHECK(volume_.device(0).remeasure(&size) == 0);
    CHECK(volume_.backend->set_capacity(sectors_));
    ++done;
  }

  Volume& volume_;
  std::mt19937 random_;
  uint64_t token_ = 0;
  uint64_t sectors_ = kSectors;
};

}  // namespace

TEST_CASE("stress: everything at once, on four queues under load") {
  const uint64_t seconds = from_environment("REMAP_STRESS_SECONDS", 1);
  const auto seed = static_cast<uint32_t>(
      from_environment("REMAP_STRESS_SEED", Clock::now().time_since_epoch().count() % 1'000'000));
  MESSAGE("REMAP_STRESS_SEED=" << seed);
  Volume volume({.refuse_parked = true});
  volume.device(0).faults().add(FaultKind::kWriteError, 100, 8, 0, 0);
  volume.listen();
  Driver drivers[kQueues];
  Stress stress(volume, drivers, seed);
  ControlPlane control(volume, seed + 1);

  std::jthread guest([&](std::stop_token over) {
    std::mt19937 random(seed + 2);
    while (!over.stop_requested()) {
      for (Driver& driver : drivers) driver.work(random);
      std::this_thread::yield();
    }
  });
  std::jthread plane([&](std::stop_token over) {
    while (!over.stop_requested()) {
      control.act();
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  });
  // By the clock, but never without having done every thing at least once.
  const auto all_done = [&] {
    return std::ranges::all_of(stress.done, [](uint64_t n) { return n > 0; });
  };
  const auto end = Clock::now() + std::chrono::seconds(seconds);
  while (Clock::now() < end || !all_done()) {
    stress.act();
    volume.events.forget();
  }
  for (std::jthread* thread : {&guest, &plane}) {
    thread->request_stop();
    thread->join();
  }

  uint64_t requests = 0;
  for (const Driver& driver : drivers) {
    requests += driver.requests();
    CHECK(driver.nonsense() == 0);
    CHECK(driver.requests() > driver.failures());
  }
  std::string told;
  for (size_t i = 0; i < Stress::kActions; ++i)
    told += std::string(Stress::kNames[i]) + " " + std::to_string(stress.done[i]) + ", ";
  MESSAGE(told << "control plane " << control.done << ", requests " << requests);
  CHECK(control.done > 0);
}

}  // namespace remap::test
