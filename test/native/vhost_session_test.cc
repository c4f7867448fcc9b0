#include "native/vhost_session.h"

#include <doctest/doctest.h>

#include "front_end.h"
#include "native/blk_config.h"
#include "native/inflight.h"
#include "native/socket.h"
#include "served_volume.h"

namespace remap::test {

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
         kFeatureMultiQueue | kFeatureDiscard | kFeatureWriteZeroes | kFeatureLogAll |
         kFeatureIndirectDesc | kFeatureEventIdx | kFeatureProtocolFeatures | kFeatureVersion1));
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
  CHECK(+config.max_discard_sectors == 32768);
  CHECK(+config.max_discard_seg == 1);
  CHECK(+config.discard_sector_alignment == 1);
  CHECK(+config.max_write_zeroes_sectors == 32768);
  CHECK(+config.max_write_zeroes_seg == 1);
  CHECK(+config.write_zeroes_may_unmap == 1);
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

TEST_CASE("session: a reset drains and stops the queues and keeps memory and connection") {
  Volume volume;
  volume.listen();
  FrontEnd f(volume.connect());
  REQUIRE(f.negotiate());
  REQUIRE(f.share_memory() == 0u);
  const auto reset = [&] {
    return f.send(kRequestResetDevice, nullptr, 0, {}, true) && f.reply_u64() == 0u;
  };
  CHECK(reset());  // QEMU begins with one
  REQUIRE(f.set_features(f.accepted));
  REQUIRE(f.start_queue());
  f.offer(VIRTIO_BLK_T_IN, 5);
  CHECK(f.run() == VIRTIO_BLK_S_OK);

  // A slow request under way is answered before the reset is acknowledged.
  volume.device(0).faults().add(FaultKind::kSlow, 0, kSectors, 1, 100);
  f.offer(VIRTIO_BLK_T_IN, 6);
  f.notify();
  while (volume.counters(0).in_flight == 0) usleep(100);
  uint8_t write_through[13] = {32, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0};
  f.send(VHOST_USER_SET_CONFIG, write_through, sizeof write_through);
  CHECK(reset());
  CHECK(f.used_index() == 2);
  CHECK(volume.counters(0).started == 0);
  CHECK(volume.events.saw(abi::EventKind::kQueue, 0));

  // Neither a kick nor the old enable starts anything.
  f.offer(VIRTIO_BLK_T_IN, 7);
  f.notify();
  f.send_state(VHOST_USER_SET_VRING_ENABLE, 0, 1, true);
  REQUIRE(f.reply_u64() == 0u);
  usleep(20'000);
  CHECK(f.used_index() == 2);

  // The next driver: a new ring in the memory of before, and the write cache on.
  memset(f.memory, 0, FrontEnd::kHeader);
  REQUIRE(f.set_features(f.accepted));
  CHECK_FALSE(volume.backend->context().write_through);
  REQUIRE(f.start_queue());
  f.offer(VIRTIO_BLK_T_IN, 8);
  CHECK(f.run() == VIRTIO_BLK_S_OK);
  CHECK(f.memory[FrontEnd::kData] == 8);
  CHECK(f.stop_queue() == 1u);
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
  // Its last words are read before the next one is let in, who is not turned away for it.
  for (int i = 0; i < 100; ++i) first.send(VHOST_USER_SET_OWNER, nullptr, 0);
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

TEST_CASE("session: where the front-end listens we come to it, and come again") {
  Volume volume;
  const char* step = "";
  REQUIRE(volume.backend->connect(volume.socket(), &step) == 0);
  CHECK(volume.events.logged("no front-end listens yet"));
  for (size_t round = 1; round <= 2; ++round) {
    FrontEndSocket server;
    REQUIRE(server.bind(volume.socket(), &step) == 0);
    pollfd p{.fd = server.listening_fd(), .events = POLLIN, .revents = 0};
    REQUIRE(poll(&p, 1, 5000) == 1);
    FrontEnd f(server.accept());
    server.close();  // a second connection would be refused, and none is tried
    REQUIRE(f.negotiate());
    REQUIRE(f.share_memory() == 0u);
    REQUIRE(f.start_queue());
    f.offer(VIRTIO_BLK_T_IN, 7);
    CHECK(f.run() == VIRTIO_BLK_S_OK);
    usleep(150'000);
    CHECK(volume.events.all(abi::EventKind::kClient).size() == 2 * round - 1);
  }
  CHECK(volume.events.saw(abi::EventKind::kClient, 0, 2));
  CHECK(volume.events.logged("no front-end listens yet", 2));
}

TEST_CASE("session: stopping does not wait for a front-end that never comes") {
  Volume volume;
  const char* step = "";
  REQUIRE(volume.backend->connect(volume.socket(), &step) == 0);
  CHECK(volume.events.logged("no front-end listens yet"));
  CHECK(volume.backend->connect(std::string(108, 'x'), &step) == ENAMETOOLONG);
}

}  // namespace remap::test
