// The whole back-end behind its socket: libvhost-user, session, workers, a real file.
#include "native/vhost_session.h"

#include <dirent.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <random>

#include "front_end.h"
#include "native/backend.h"
#include "native/blk_config.h"
#include "native/inflight.h"

namespace remap::test {

namespace {

constexpr uint64_t kSectors = 2048;

class Recorder final : public EventSink {
 public:
  using EventSink::push;
  void push(const abi::EventRecord* records, size_t count) override {
    std::lock_guard guard(mutex_);
    records_.insert(records_.end(), records, records + count);
    changed_.notify_all();
  }
  // Waits for the n-th event of the kind with this count.
  bool saw(abi::EventKind kind, uint64_t count, size_t n = 1) {
    return wait(
        [=](const abi::EventRecord& r) {
          return r.kind == static_cast<uint32_t>(kind) && r.count == count;
        },
        n);
  }
  bool logged(const char* words, size_t n = 1) {
    return wait(
        [=](const abi::EventRecord& r) {
          return r.kind == static_cast<uint32_t>(abi::EventKind::kLog) && strstr(r.text, words);
        },
        n);
  }
  size_t lines() {
    std::lock_guard guard(mutex_);
    return static_cast<size_t>(std::ranges::count_if(records_, [](const auto& r) {
      return r.kind == static_cast<uint32_t>(abi::EventKind::kLog);
    }));
  }

 private:
  template <typename Match>
  bool wait(Match match, size_t n) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(5), [&] {
      return static_cast<size_t>(std::ranges::count_if(records_, match)) >= n;
    });
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<abi::EventRecord> records_;
};

size_t open_descriptors() {
  size_t count = 0;
  DIR* dir = opendir("/proc/self/fd");
  while (readdir(dir) != nullptr) ++count;
  closedir(dir);
  return count;
}

// A back-end of 4 queues over a file whose sector n holds n in every byte.
class Volume {
 public:
  Volume() {
    char name[] = "/tmp/remap-session-XXXXXX";
    directory_ = mkdtemp(name);
    const int fd = open(image().c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    for (uint64_t i = 0; i < kSectors; ++i) {
      const std::vector<uint8_t> sector(512, static_cast<uint8_t>(i));
      if (write(fd, sector.data(), sector.size()) != 512) std::abort();
    }
    close(fd);
    OpenError error;
    auto context = std::make_unique<VolumeContext>(kSectors, &events);
    context->num_queues = 4;
    context->counters = counters_;
    context->devices.push_back(Device::open(image(), OpenOptions{}, &error));
    if (context->devices[0] == nullptr) std::abort();
    backend = std::make_unique<Backend>(std::move(context), 2);
    const char* step = "";
    if (backend->start(&step) != 0) std::abort();
  }
  ~Volume() {
    backend->stop();
    CHECK(events.saw(abi::EventKind::kStopped, 0));
    backend.reset();
    unlink(image().c_str());
    rmdir(directory_.c_str());
  }

  std::string socket() const { return directory_ + "/s"; }
  std::string image() const { return directory_ + "/i"; }
  void listen() {
    const char* step = "";
    REQUIRE(backend->listen(socket(), &step) == 0);
  }
  int connect() const { return FrontEnd::connect_to(socket()); }
  const abi::QueueCounters& counters(int queue) const { return counters_[queue]; }

  Recorder events;
  std::unique_ptr<Backend> backend;

 private:
  std::string directory_;
  abi::QueueCounters counters_[4]{};
};

// A new front-end is served from the start: what came before has left nothing behind.
void check_serves(Volume& volume, uint64_t sector = 9) {
  FrontEnd f(volume.connect());
  REQUIRE(f.negotiate());
  REQUIRE(f.share_memory() == 0u);
  REQUIRE(f.start_queue());
  f.offer(VIRTIO_BLK_T_IN, sector);
  f.notify();
  CHECK(f.returned(1));
  CHECK(f.memory[FrontEnd::kStatus] == VIRTIO_BLK_S_OK);
  CHECK(f.memory[FrontEnd::kData + 511] == static_cast<uint8_t>(sector));
  CHECK(f.stop_queue() == 1u);
}

}  // namespace

TEST_CASE("session: handshake, one read, stop") {
  Volume volume;
  volume.listen();
  check_serves(volume);
  CHECK(volume.events.saw(abi::EventKind::kClient, 1));
  CHECK(volume.events.saw(abi::EventKind::kQueue, 1));
  CHECK(volume.events.saw(abi::EventKind::kQueue, 0));
  CHECK(volume.events.saw(abi::EventKind::kClient, 0));
  check_serves(volume, 200);
}

TEST_CASE("session: offers what it can do and no more") {
  Volume volume;
  volume.listen();
  FrontEnd f(volume.connect());
  CHECK(f.ask_u64(VHOST_USER_GET_FEATURES) ==
        (kFeatureSegMax | kFeatureBlkSize | kFeatureFlush | kFeatureTopology | kFeatureConfigWce |
         kFeatureMultiQueue | kFeatureIndirectDesc | kFeatureEventIdx | kFeatureProtocolFeatures |
         kFeatureVersion1));
  CHECK(f.ask_u64(VHOST_USER_GET_PROTOCOL_FEATURES) == kOfferedProtocolFeatures);
  CHECK(f.ask_u64(VHOST_USER_GET_QUEUE_NUM) == 4u);
  CHECK(f.ask_u64(VHOST_USER_GET_MAX_MEM_SLOTS) == 509u);
}

TEST_CASE("session: configuration space by offset, zero past its end, write cache") {
  Volume volume;
  volume.listen();
  FrontEnd f(volume.connect());
  REQUIRE(f.negotiate());
  const auto ask = [&](uint32_t offset, uint32_t size) {
    std::vector<uint8_t> message(12 + size);
    memcpy(message.data(), &offset, 4);
    memcpy(message.data() + 4, &size, 4);
    f.send(VHOST_USER_GET_CONFIG, message.data(), static_cast<uint32_t>(message.size()));
    auto reply = f.reply();
    REQUIRE(reply);
    REQUIRE(reply->size() == message.size());
    return std::vector<uint8_t>(reply->begin() + 12, reply->end());
  };
  const auto whole = ask(0, 256);
  virtio_blk_config config;
  memcpy(&config, whole.data(), sizeof config);
  CHECK(+config.capacity == kSectors);
  CHECK(+config.seg_max == 126);
  CHECK(+config.blk_size == 512);
  CHECK(+config.wce == 1);
  CHECK(+config.num_queues == 4);
  CHECK(ask(32, 4) == std::vector<uint8_t>(whole.begin() + 32, whole.begin() + 36));
  CHECK(ask(250, 100) == std::vector<uint8_t>(100));
  CHECK(ask(UINT32_MAX, 8) == std::vector<uint8_t>(8));

  CHECK_FALSE(volume.backend->context().write_through);
  uint8_t set[13] = {32, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0};
  f.send(VHOST_USER_SET_CONFIG, set, sizeof set, {}, true);
  CHECK(f.reply_u64() == 0u);
  CHECK(volume.backend->context().write_through);
  set[12] = 1;
  f.send(VHOST_USER_SET_CONFIG, set, sizeof set, {}, true);
  CHECK(f.reply_u64() == 0u);
  CHECK_FALSE(volume.backend->context().write_through);
  set[0] = 0;
  f.send(VHOST_USER_SET_CONFIG, set, sizeof set, {}, true);
  CHECK(f.reply_u64() == 1u);
}

TEST_CASE("session: a driver without flush gets write-through") {
  Volume volume;
  volume.listen();
  FrontEnd f(volume.connect());
  REQUIRE(f.negotiate(kFeatureFlush | kFeatureConfigWce));
  CHECK(volume.backend->context().write_through);
}

TEST_CASE("session: a kick before the ring is enabled is not lost") {
  Volume volume;
  volume.listen();
  FrontEnd f(volume.connect());
  REQUIRE(f.negotiate());
  REQUIRE(f.share_memory() == 0u);
  const vhost_vring_addr a = f.addresses();
  f.offer(VIRTIO_BLK_T_IN, 3);
  f.send_u64(VHOST_USER_SET_VRING_KICK, 0, {f.kick});
  f.notify();
  f.send_state(VHOST_USER_SET_VRING_NUM, 0, FrontEnd::kSize);
  f.send(VHOST_USER_SET_VRING_ADDR, &a, sizeof a);
  f.send_u64(VHOST_USER_SET_VRING_CALL, 0, {f.call}, true);
  REQUIRE(f.reply_u64() == 0u);
  usleep(20'000);
  CHECK(f.used_index() == 0);
  f.send_state(VHOST_USER_SET_VRING_ENABLE, 0, 1, true);
  REQUIRE(f.reply_u64() == 0u);
  CHECK(f.returned(1));
  CHECK(volume.counters(0).started == 1);
  f.send_state(VHOST_USER_SET_VRING_ENABLE, 0, 0, true);
  REQUIRE(f.reply_u64() == 0u);
  f.offer(VIRTIO_BLK_T_IN, 4);
  f.notify();
  usleep(20'000);
  CHECK(f.used_index() == 1);
  CHECK(f.stop_queue() == 1u);
}

TEST_CASE("session: rings count as enabled without protocol features") {
  Volume volume;
  volume.listen();
  FrontEnd f(volume.connect());
  REQUIRE(f.negotiate(kFeatureProtocolFeatures));
  REQUIRE(f.share_memory() == 0u);
  const vhost_vring_addr a = f.addresses();
  f.send_state(VHOST_USER_SET_VRING_NUM, 0, FrontEnd::kSize);
  f.send(VHOST_USER_SET_VRING_ADDR, &a, sizeof a);
  f.offer(VIRTIO_BLK_T_IN, 3);
  f.send_u64(VHOST_USER_SET_VRING_KICK, 0, {f.kick});
  CHECK(f.returned(1));
}

TEST_CASE("session: memory may go and come back under a running queue") {
  Volume volume;
  volume.listen();
  FrontEnd f(volume.connect());
  REQUIRE(f.negotiate());
  REQUIRE(f.share_memory() == 0u);
  REQUIRE(f.start_queue());
  f.offer(VIRTIO_BLK_T_IN, 1);
  f.notify();
  REQUIRE(f.returned(1));
  const VhostUserMemRegMsg region = f.region();
  f.send(VHOST_USER_REM_MEM_REG, &region, sizeof region, {}, true);
  REQUIRE(f.reply_u64() == 0u);
  f.offer(VIRTIO_BLK_T_IN, 2);
  f.notify();
  usleep(20'000);
  CHECK(f.used_index() == 1);
  REQUIRE(f.share_memory() == 0u);
  CHECK(f.returned(2));
  CHECK(f.memory[FrontEnd::kData] == 2);

  // The same through a table, which replaces the mapping under the ring.
  struct {
    uint32_t count = 1;
    uint32_t padding = 0;
    VhostUserMemoryRegion region;
  } table;
  table.region = region.region;
  f.send(VHOST_USER_SET_MEM_TABLE, &table, sizeof table, {f.memory_fd}, true);
  REQUIRE(f.reply_u64() == 0u);
  f.offer(VIRTIO_BLK_T_IN, 7);
  f.notify();
  CHECK(f.returned(3));
  CHECK(f.memory[FrontEnd::kData] == 7);
  CHECK(f.stop_queue() == 3u);
}

TEST_CASE("session: refusals that can be told are told, and the connection goes on") {
  Volume volume;
  volume.listen();
  FrontEnd f(volume.connect());
  REQUIRE(f.negotiate());
  REQUIRE(f.share_memory() == 0u);
  const auto refused = [&](bool sent) { return sent && f.reply_u64() == 1u; };
  const VhostUserMemRegMsg region = f.region();
  CHECK(refused(f.send(VHOST_USER_ADD_MEM_REG, &region, sizeof region, {f.memory_fd}, true)));
  CHECK(refused(f.send(VHOST_USER_ADD_MEM_REG, &region, sizeof region, {}, true)));
  CHECK(refused(f.send(VHOST_USER_ADD_MEM_REG, &region, sizeof region, {f.kick}, true)));
  VhostUserMemRegMsg other = region;
  other.region.guest_phys_addr += FrontEnd::kMemory;
  other.region.memory_size += 4096;
  CHECK(refused(f.send(VHOST_USER_ADD_MEM_REG, &other, sizeof other, {f.memory_fd}, true)));
  CHECK(refused(f.send(VHOST_USER_REM_MEM_REG, &other, sizeof other, {}, true)));
  CHECK(refused(f.send_state(VHOST_USER_SET_VRING_NUM, 4, 8, true)));
  CHECK(refused(f.send_state(VHOST_USER_SET_VRING_NUM, 0, 2048, true)));
  CHECK(refused(f.send_u64(VHOST_USER_SET_VRING_KICK, 0, {f.memory_fd}, true)));
  CHECK(refused(f.send_u64(VHOST_USER_SET_VRING_CALL, 0, {f.memory_fd}, true)));
  CHECK(refused(f.send_u64(VHOST_USER_SET_LOG_BASE, 0, {f.memory_fd}, true)));
  CHECK(refused(f.send(99, nullptr, 0, {}, true)));
  vhost_vring_addr a = f.addresses();
  a.used_user_addr = FrontEnd::kUserBase + FrontEnd::kMemory - 8;
  CHECK(refused(f.send(VHOST_USER_SET_VRING_ADDR, &a, sizeof a, {}, true)));
  REQUIRE(f.start_queue());
  CHECK(refused(f.send_state(VHOST_USER_SET_VRING_BASE, 0, 5, true)));
  CHECK(refused(f.send_state(VHOST_USER_SET_VRING_NUM, 0, 16, true)));
  f.offer(VIRTIO_BLK_T_IN, 1);
  f.notify();
  CHECK(f.returned(1));
}

TEST_CASE("session: refusals that cannot be told end the connection, and the next is served") {
  Volume volume;
  volume.listen();
  const auto drops = [&](auto send) {
    FrontEnd f(volume.connect());
    REQUIRE(f.negotiate());
    send(f);
    return f.dropped();
  };
  CHECK(drops([](FrontEnd& f) { f.send(0, nullptr, 0); }));
  CHECK(drops([](FrontEnd& f) { f.send(VHOST_USER_GET_FEATURES, "12345678", 8); }));
  CHECK(drops([](FrontEnd& f) { f.send(VHOST_USER_SET_MEM_TABLE, "\x09\0\0\0\0\0\0", 8); }));
  CHECK(drops([](FrontEnd& f) { f.send(VHOST_USER_POSTCOPY_ADVISE, nullptr, 0); }));
  CHECK(drops([](FrontEnd& f) { f.send_state(VHOST_USER_GET_VRING_BASE, 77, 0); }));
  CHECK(drops([](FrontEnd& f) {
    // A payload longer than any message.
    const uint32_t header[] = {VHOST_USER_SET_CONFIG, 1, 1u << 20};
    const auto* bytes = reinterpret_cast<const uint8_t*>(header);
    f.send_raw({bytes, bytes + sizeof header});
  }));
  CHECK(drops(
      [](FrontEnd& f) { f.send(VHOST_USER_SET_OWNER, nullptr, 0, std::vector<int>(40, f.kick)); }));
  check_serves(volume);
}

TEST_CASE("session: nothing a front-end sends leaks a descriptor") {
  Volume volume;
  volume.listen();
  check_serves(volume);
  REQUIRE(volume.events.saw(abi::EventKind::kClient, 0));
  const size_t before = open_descriptors();
  size_t left = 1;
  for (int round = 0; round < 3; ++round) {
    FrontEnd f(volume.connect());
    REQUIRE(f.negotiate());
    for (int i = 0; i < 10; ++i)
      f.send(VHOST_USER_SET_OWNER, nullptr, 0, {f.kick, f.call}, true), f.reply();
    f.send_u64(VHOST_USER_SET_VRING_KICK, 1, {f.kick});
    f.send_u64(VHOST_USER_SET_VRING_KICK, 1, {f.kick});
    f.send_u64(VHOST_USER_SET_VRING_ERR, 1, {f.kick});
    int pair[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    f.send(VHOST_USER_SET_BACKEND_REQ_FD, nullptr, 0, {pair[0]}, true);
    CHECK(f.reply_u64() == 0u);
    close(pair[0]);
    close(pair[1]);
    VhostUserInflight inflight{};
    inflight.num_queues = 4;
    inflight.queue_size = 128;
    for (int i = 0; i < 3; ++i) {
      f.send(VHOST_USER_GET_INFLIGHT_FD, &inflight, sizeof inflight);
      REQUIRE(f.reply());
    }
    f.hang_up();
    REQUIRE(volume.events.saw(abi::EventKind::kClient, 0, ++left));
  }
  // recv() without room for ancillary data throws the replies' descriptors away.
  CHECK(open_descriptors() == before);
}

TEST_CASE("session: random messages never end the process") {
  Volume volume;
  volume.listen();
  std::mt19937 random(7);
  FrontEnd files(-1);
  for (int round = 0; round < 400; ++round) {
    FrontEnd f(volume.connect());
    if (round % 2 == 0) {
      f.negotiate();
      f.share_memory();
    }
    if (round % 4 == 0) f.start_queue();
    for (int i = 0; i < 30; ++i) {
      const uint32_t request = random() % 44;
      const MessageRule* rule = message_rule(request);
      const bool exact = rule != nullptr && rule->payload != kAnyPayload && random() % 4 != 0;
      std::vector<uint8_t> payload(exact ? rule->payload : random() % 300);
      for (uint8_t& b : payload) b = random() % 3 == 0 ? static_cast<uint8_t>(random()) : 0;
      std::vector<int> fds(random() % 3);
      for (int& fd : fds) fd = random() % 2 ? files.memory_fd : files.kick;
      if (!f.send(request, payload.data(), static_cast<uint32_t>(payload.size()), fds,
                  random() % 8 != 0))
        break;
    }
    if (round % 3 == 0) f.send_raw(std::vector<uint8_t>(random() % 20, 1));
  }
  check_serves(volume);
}

TEST_CASE("session: a message whose rest does not come is given up") {
  Volume volume;
  volume.listen();
  {
    FrontEnd f(volume.connect());
    f.send_raw({1, 0, 0});
    f.hang_up();
    CHECK(volume.events.logged("middle of a message"));
  }
  FrontEnd f(volume.connect());
  REQUIRE(f.negotiate());
  f.send_raw({1, 0, 0});
  CHECK(f.dropped());
  CHECK(volume.events.logged("did not come"));
}

TEST_CASE("session: a front-end that never reads its replies does not hold up stop") {
  Volume volume;
  volume.listen();
  FrontEnd f(volume.connect());
  for (int i = 0; i < 20'000; ++i) {
    const uint32_t header[] = {VHOST_USER_GET_FEATURES, 1, 0};
    const auto* bytes = reinterpret_cast<const uint8_t*>(header);
    pollfd p{.fd = f.socket(), .events = POLLOUT, .revents = 0};
    if (poll(&p, 1, 50) != 1) break;
    if (!f.send_raw({bytes, bytes + sizeof header})) break;
  }
  // ~Volume stops with the connection still full.
}

TEST_CASE("session: memory cut off under a running queue costs the connection only") {
  Volume volume;
  volume.listen();
  {
    FrontEnd f(volume.connect());
    REQUIRE(f.negotiate());
    REQUIRE(f.share_memory() == 0u);
    REQUIRE(f.start_queue());
    REQUIRE(ftruncate(f.memory_fd, 0) == 0);
    f.notify();
    CHECK(f.dropped());
    CHECK(volume.events.logged("cut off memory"));
    REQUIRE(ftruncate(f.memory_fd, FrontEnd::kMemory) == 0);
  }
  check_serves(volume);
}

TEST_CASE("session: memory cut off before the rings are named costs the connection only") {
  Volume volume;
  volume.listen();
  {
    FrontEnd f(volume.connect());
    REQUIRE(f.negotiate());
    REQUIRE(f.share_memory() == 0u);
    REQUIRE(ftruncate(f.memory_fd, 0) == 0);
    const vhost_vring_addr a = f.addresses();
    f.send_state(VHOST_USER_SET_VRING_NUM, 0, FrontEnd::kSize);
    f.send(VHOST_USER_SET_VRING_ADDR, &a, sizeof a);
    CHECK(f.dropped());
    REQUIRE(ftruncate(f.memory_fd, FrontEnd::kMemory) == 0);
  }
  check_serves(volume);
}

TEST_CASE("session: guest memory that is not shared is named in plain words") {
  Volume volume;
  volume.listen();
  FrontEnd f(volume.connect());
  REQUIRE(f.negotiate());
  const vhost_vring_addr a = f.addresses();
  f.send_state(VHOST_USER_SET_VRING_NUM, 0, FrontEnd::kSize);
  f.send(VHOST_USER_SET_VRING_ADDR, &a, sizeof a);
  CHECK(f.dropped());
  CHECK(volume.events.logged(
      "guest memory is not shared: use -object memory-backend-memfd,share=on"));
}

TEST_CASE("session: too few queues for the front-end are named in plain words") {
  Volume volume;
  volume.listen();
  FrontEnd f(volume.connect());
  REQUIRE(f.negotiate());
  REQUIRE(f.ask_u64(VHOST_USER_GET_QUEUE_NUM) == 4u);
  f.hang_up();
  CHECK(volume.events.logged("number of queues (4)"));
  CHECK(volume.events.logged("--num-queues"));
}

TEST_CASE("session: one front-end at a time, and a dead one makes room") {
  Volume volume;
  volume.listen();
  FrontEnd first(volume.connect());
  REQUIRE(first.negotiate());
  FrontEnd second(volume.connect());
  CHECK(second.dropped());
  CHECK(volume.events.logged("second front-end"));
  CHECK(first.ask_u64(VHOST_USER_GET_QUEUE_NUM) == 4u);
  first.hang_up();
  check_serves(volume);
}

TEST_CASE("session: a front-end that goes on without a handshake is understood") {
  Volume volume;
  volume.listen();
  FrontEnd f(volume.connect());
  const uint64_t features = offered_features(volume.backend->context());
  VhostUserInflight inflight{};
  inflight.num_queues = 4;
  inflight.queue_size = FrontEnd::kSize;
  f.send_u64(VHOST_USER_SET_FEATURES, features);
  f.send(VHOST_USER_GET_INFLIGHT_FD, &inflight, sizeof inflight);
  REQUIRE(f.reply());
  REQUIRE(f.share_memory() == 0u);
  REQUIRE(f.start_queue());
  f.offer(VIRTIO_BLK_T_IN, 5);
  f.notify();
  CHECK(f.returned(1));
}

TEST_CASE("session: what was in flight when a back-end died is taken up again") {
  Volume volume;
  volume.listen();
  const int fd = memfd_create("inflight", MFD_CLOEXEC);
  const uint64_t stride = inflight_stride(FrontEnd::kSize);
  REQUIRE(ftruncate(fd, static_cast<off_t>(stride)) == 0);
  auto* region = static_cast<InflightRegion*>(
      mmap(nullptr, stride, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  region->version = 1;
  region->desc[0].inflight = 1;

  FrontEnd f(volume.connect());
  REQUIRE(f.negotiate());
  REQUIRE(f.share_memory() == 0u);
  VhostUserInflight inflight{};
  inflight.mmap_size = stride;
  inflight.num_queues = 1;
  inflight.queue_size = FrontEnd::kSize;
  f.send(VHOST_USER_SET_INFLIGHT_FD, &inflight, sizeof inflight, {fd}, true);
  REQUIRE(f.reply_u64() == 0u);
  CHECK(region->desc_num == FrontEnd::kSize);
  f.offer(VIRTIO_BLK_T_IN, 11);
  REQUIRE(f.start_queue());
  CHECK(f.returned(1));
  CHECK(f.memory[FrontEnd::kData] == 11);
  CHECK(region->desc[0].inflight == 0);
  // Not while queues run, and not for a larger queue than the region has room for.
  f.send(VHOST_USER_SET_INFLIGHT_FD, &inflight, sizeof inflight, {fd}, true);
  CHECK(f.reply_u64() == 1u);
  CHECK(f.stop_queue() == 1u);
  f.send_state(VHOST_USER_SET_VRING_NUM, 0, 2 * FrontEnd::kSize);
  f.send_u64(VHOST_USER_SET_VRING_KICK, 0, {f.kick}, true);
  CHECK(f.reply_u64() == 1u);
  munmap(region, stride);
  close(fd);
}

TEST_CASE("session: a connection that was handed over ends the back-end when it closes") {
  Volume volume;
  int pair[2];
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
  const char* step = "";
  REQUIRE(volume.backend->adopt(pair[0], &step) == 0);
  {
    FrontEnd f(pair[1]);
    REQUIRE(f.negotiate());
  }
  CHECK(volume.events.saw(abi::EventKind::kClient, 0));
  CHECK(volume.events.saw(abi::EventKind::kStopped, 0));
}

TEST_CASE("session: a hostile front-end cannot fill the log") {
  Volume volume;
  volume.listen();
  FrontEnd f(volume.connect());
  REQUIRE(f.negotiate());
  const size_t before = volume.events.lines();
  for (int i = 0; i < 500; ++i) {
    f.send(99, nullptr, 0, {}, true);
    REQUIRE(f.reply_u64() == 1u);
  }
  CHECK(volume.events.lines() - before <= 40);
}

}  // namespace remap::test
