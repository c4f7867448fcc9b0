// The volume becomes longer while a driver uses it.
#include <doctest/doctest.h>

#include "front_end.h"
#include "native/backend.h"
#include "served_volume.h"

namespace remap::test {
namespace {

constexpr uint64_t kMore = 2 * kSectors;

struct Driver : FrontEnd {
  explicit Driver(Volume& v) : FrontEnd(v.connect()) {
    REQUIRE(negotiate());
    REQUIRE(share_memory() == 0u);
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, channel) == 0);
    REQUIRE(send(VHOST_USER_SET_BACKEND_REQ_FD, nullptr, 0, {channel[1]}, true));
    REQUIRE(reply_u64() == 0u);
  }
  ~Driver() {
    for (int fd : channel) close(fd);
  }
  uint8_t read(uint64_t sector) {
    offer(VIRTIO_BLK_T_IN, sector);
    return run();
  }
  uint64_t capacity() {
    uint32_t message[3 + 2] = {0, 8, 0, 0, 0};
    send(VHOST_USER_GET_CONFIG, message, sizeof message);
    const auto payload = reply();
    REQUIRE(payload);
    uint64_t sectors;
    memcpy(&sectors, payload->data() + 12, sizeof sectors);
    return sectors;
  }
  // Whether a notice comes, which it does at once or not at all.
  bool told(int timeout_ms = 5000) {
    pollfd p{.fd = channel[0], .events = POLLIN, .revents = 0};
    if (poll(&p, 1, timeout_ms) <= 0) return false;
    uint32_t message[4] = {};
    const ssize_t got = recv(channel[0], message, sizeof message, 0);
    CHECK(got == 12);
    CHECK(message[0] == VHOST_USER_BACKEND_CONFIG_CHANGE_MSG);
    CHECK(message[1] == 1);  // no reply wanted: the front-end may be waiting for us
    CHECK(message[2] == 0);
    return true;
  }
  int channel[2];
};

void grow_main(Volume& volume) {
  REQUIRE(truncate(volume.image().c_str(), kMore * 512) == 0);
  uint64_t size = 0;
  REQUIRE(volume.device(0).remeasure(&size) == 0);
  REQUIRE(size == kMore * 512);
}

}  // namespace

TEST_CASE("resize: a running driver is told, reads the new size, and uses it") {
  Volume volume;
  volume.listen();
  Driver f(volume);
  REQUIRE(f.start_queue());
  CHECK(f.capacity() == kSectors);
  CHECK(f.read(kSectors) == VIRTIO_BLK_S_IOERR);
  grow_main(volume);
  CHECK(f.read(kSectors) == VIRTIO_BLK_S_IOERR);  // not before it is said
  REQUIRE(volume.backend->set_capacity(kMore));
  CHECK(f.told());
  CHECK(f.capacity() == kMore);
  CHECK(f.read(kSectors) == VIRTIO_BLK_S_OK);
  CHECK(f.read(kMore - 1) == VIRTIO_BLK_S_OK);
  CHECK(f.read(kMore) == VIRTIO_BLK_S_IOERR);
  const abi::IndexRecord record{kMore - 1, 1, 7, 1, abi::kIndexRemapped};
  REQUIRE(volume.backend->publish(&record, 1));
  CHECK(f.read(kMore - 1) == VIRTIO_BLK_S_OK);
  CHECK(f.memory[FrontEnd::kData] == 0xee);
  // The same again says nothing.
  REQUIRE(volume.backend->set_capacity(kMore));
  CHECK_FALSE(f.told(50));
}

TEST_CASE("resize: shrinking, and more than main has, change nothing") {
  Volume volume;
  volume.listen();
  Driver f(volume);
  REQUIRE(f.start_queue());
  CHECK_FALSE(volume.backend->set_capacity(kSectors - 1));
  CHECK_FALSE(volume.backend->set_capacity(kSectors + 1));
  CHECK_FALSE(f.told(50));
  CHECK(f.capacity() == kSectors);
  REQUIRE(truncate(volume.image().c_str(), kSectors * 256) == 0);
  uint64_t size = 0;
  REQUIRE(volume.device(0).remeasure(&size) == 0);
  CHECK(size == kSectors * 256);
  CHECK(volume.device(0).size_sectors() == kSectors);
}

TEST_CASE("resize: the notice waits for a driver that can hear it") {
  Volume volume;
  volume.listen();
  grow_main(volume);
  {
    Driver f(volume);
    CHECK(f.capacity() == kSectors);
    REQUIRE(volume.backend->set_capacity(kMore));
    CHECK_FALSE(f.told(50));
    REQUIRE(f.start_queue());
    CHECK(f.told());
  }
  // Nobody has read the new size here: QEMU comes back without asking for it.
  REQUIRE(truncate(volume.image().c_str(), 2 * kMore * 512) == 0);
  uint64_t size = 0;
  REQUIRE(volume.device(0).remeasure(&size) == 0);
  REQUIRE(volume.events.saw(abi::EventKind::kClient, 0));
  REQUIRE(volume.backend->set_capacity(2 * kMore));
  {
    Driver f(volume);
    REQUIRE(f.start_queue());
    CHECK(f.told());
  }
}

TEST_CASE("resize: a front-end without the channel, or one that does not listen, is served on") {
  Volume volume;
  volume.listen();
  grow_main(volume);
  Driver f(volume);
  REQUIRE(f.start_queue());
  SUBCASE("closed") { shutdown(f.channel[0], SHUT_RDWR); }
  SUBCASE("full") {
    std::vector<uint8_t> bytes(65536);
    while (send(f.channel[1], bytes.data(), bytes.size(), MSG_DONTWAIT) > 0) {
    }
    while (send(f.channel[1], bytes.data(), 1, MSG_DONTWAIT) > 0) {
    }
  }
  REQUIRE(volume.backend->set_capacity(kMore));
  CHECK(volume.events.logged("could not be told"));
  CHECK(f.capacity() == kMore);
  CHECK(f.read(kMore - 1) == VIRTIO_BLK_S_OK);
}

}  // namespace remap::test
