// Malformed vhost-user messages, each group under the name of the bug it was elsewhere: the
// connection is lost at most.
#include <doctest/doctest.h>

#include "malformed_messages.h"
#include "siege.h"

namespace remap::test {
namespace {

// How far a connection has come before something is wrong.
enum class Stage { kNew, kNegotiated, kRunning };

struct Connection {
  Connection(const Siege& siege, Stage stage) : front_end(siege.target.connect()) {
    if (stage == Stage::kNew) return;
    REQUIRE(front_end.negotiate());
    if (stage == Stage::kNegotiated) return;
    REQUIRE(front_end.share_memory() == 0u);
    REQUIRE(front_end.start_queue());
  }
  FrontEnd front_end;
};

void every_pair(Stage stage) {
  Siege siege;
  const Props props;
  const auto messages = sound_messages(props);
  REQUIRE(messages.size() == 27);
  for (const SoundMessage& first : messages) {
    CAPTURE(request_name(first.request));
    for (const SoundMessage& second : messages) {
      CAPTURE(request_name(second.request));
      Connection c(siege, stage);
      const bool acknowledged = stage != Stage::kNew;
      if (exchange(c.front_end, first, acknowledged)) exchange(c.front_end, second, acknowledged);
    }
    siege.target.events.forget_lines();
  }
}

SoundMessage with_payload(const SoundMessage& m, size_t bytes) {
  SoundMessage changed = m;
  changed.payload.resize(bytes);
  return changed;
}

}  // namespace

TEST_CASE(
    "malformed message: every message with every wrong size (CVE-2020-10724, DPDK; an "
    "assertion in libvhost-user)") {
  Siege siege;
  const Props props;
  for (const SoundMessage& m : sound_messages(props)) {
    CAPTURE(request_name(m.request));
    for (size_t bytes = 0; bytes <= sizeof(VhostUserMemory) + 9; ++bytes) {
      if (bytes == m.payload.size()) continue;
      // Nothing tells these sizes from those of a sound message.
      if (bytes > m.payload.size() + 9 && bytes % 16 != 1) continue;
      CAPTURE(bytes);
      Connection c(siege, Stage::kNegotiated);
      REQUIRE(refused(c.front_end, with_payload(m, bytes)));
    }
  }
}

TEST_CASE("malformed message: every message with 0 to 16 descriptors (CVE-2022-0669, DPDK)") {
  Siege siege;
  const Props props;
  for (const SoundMessage& m : sound_messages(props)) {
    CAPTURE(request_name(m.request));
    const MessageRule* rule = message_rule(m.request);
    for (size_t count = 0; count <= 16; ++count) {
      if (count >= rule->fds_min && count <= rule->fds_max && count <= m.fds.size()) continue;
      CAPTURE(count);
      SoundMessage changed = m;
      changed.fds.assign(count, m.fds.empty() ? props.owner.kick : m.fds[0]);
      Connection c(siege, Stage::kNegotiated);
      // Memory may come with a descriptor or without when it goes.
      if (m.request == VHOST_USER_REM_MEM_REG && count == 1) continue;
      REQUIRE(refused(c.front_end, changed));
    }
  }
}

TEST_CASE("malformed message: every message cut at every byte") {
  Siege siege;
  const Props props;
  for (const SoundMessage& m : sound_messages(props)) {
    CAPTURE(request_name(m.request));
    Bytes whole = bytes_of(m.request);
    for (const uint32_t word : {1u, static_cast<uint32_t>(m.payload.size())}) {
      const Bytes raw = bytes_of(word);
      whole.insert(whole.end(), raw.begin(), raw.end());
    }
    whole.insert(whole.end(), m.payload.begin(), m.payload.end());
    for (size_t bytes = 1; bytes < whole.size(); ++bytes) {
      FrontEnd f(siege.target.connect());
      REQUIRE(f.send_raw({whole.begin(), whole.begin() + static_cast<ptrdiff_t>(bytes)}, m.fds));
    }
  }
}

TEST_CASE("malformed message: every two in every order, before the handshake") {
  every_pair(Stage::kNew);
}
TEST_CASE(
    "malformed message: every two in every order, after the handshake (CVE-2019-14818, "
    "DPDK)") {
  every_pair(Stage::kNegotiated);
}
TEST_CASE("malformed message: every two in every order, over a running queue (QEMU #4403)") {
  every_pair(Stage::kRunning);
}

TEST_CASE("malformed message: numbers and flags that no message has") {
  Siege siege;
  for (const uint32_t request :
       {0u, 28u, 29u, 30u, 35u, 44u, 63u, 64u, 255u, 1u << 31, UINT32_MAX}) {
    CAPTURE(request);
    if (message_rule(request) != nullptr) continue;
    Connection c(siege, Stage::kNegotiated);
    c.front_end.send(request, nullptr, 0);
    CHECK(c.front_end.dropped());
  }
  for (const uint32_t flags : {0u, 2u, 3u, 4u, 5u, 13u, 0xfffffffeu}) {
    CAPTURE(flags);
    Connection c(siege, Stage::kNegotiated);
    Bytes header = bytes_of(uint32_t{VHOST_USER_GET_FEATURES});
    for (const uint32_t word : {flags, 0u}) {
      const Bytes raw = bytes_of(word);
      header.insert(header.end(), raw.begin(), raw.end());
    }
    c.front_end.send_raw(header);
    CHECK(c.front_end.dropped());
  }
}

TEST_CASE("malformed message: a flood on a connection that is turned away") {
  Siege siege;
  const Props props;
  FrontEnd served(siege.target.connect());
  REQUIRE(served.negotiate());
  REQUIRE(served.share_memory() == 0u);
  REQUIRE(served.start_queue());
  for (const SoundMessage& m : sound_messages(props)) {
    FrontEnd other(siege.target.connect());
    for (int i = 0; i < 20; ++i)
      if (!other.send(m.request, m.payload.data(), static_cast<uint32_t>(m.payload.size()), m.fds))
        break;
    CHECK(other.dropped());
  }
  served.offer(VIRTIO_BLK_T_IN, 31);
  CHECK(served.run() == VIRTIO_BLK_S_OK);
  CHECK(served.memory[FrontEnd::kData] == 31);
}

}  // namespace remap::test
