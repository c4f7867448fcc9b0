// What a front-end that is broken or means harm can do: lose its own connection.
#include <doctest/doctest.h>

#include <random>

#include "front_end.h"
#include "native/vhost_session.h"
#include "served_volume.h"

namespace remap::test {

TEST_CASE("hostile front-end: refusals that can be told are told, and the connection goes on") {
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

TEST_CASE(
    "hostile front-end: refusals that cannot be told end the connection, and the next is served") {
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
  CHECK(drops([](FrontEnd& f) { f.send_u64(VHOST_USER_SET_LOG_BASE, 0, {f.memory_fd}, true); }));
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

TEST_CASE("hostile front-end: nothing a front-end sends leaks a descriptor") {
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

TEST_CASE("hostile front-end: random messages never end the process") {
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

TEST_CASE("hostile front-end: a message whose rest does not come is given up") {
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

TEST_CASE("hostile front-end: a front-end that never reads its replies does not hold up stop") {
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
  volume.backend->stop();
  CHECK(volume.events.saw(abi::EventKind::kStopped, 0));
}

TEST_CASE("hostile front-end: memory cut off under a running queue costs the connection only") {
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

TEST_CASE(
    "hostile front-end: memory cut off before the rings are named costs the connection only") {
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

TEST_CASE("hostile front-end: a hostile front-end cannot fill the log") {
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
