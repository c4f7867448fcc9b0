#include "served_volume.h"

namespace remap::test {

TEST_CASE("range lock: waits for a parked write, and no longer") {
  Volume volume;
  volume.listen();
  FrontEnd f(volume.connect());
  REQUIRE(f.negotiate());
  REQUIRE(f.share_memory() == 0u);
  REQUIRE(f.start_queue());
  REQUIRE(volume.device(0).faults().add(FaultKind::kWriteError, 40, 1, 0, 0) != 0);
  f.offer(VIRTIO_BLK_T_OUT, 40);
  f.notify();
  REQUIRE(volume.events.saw(abi::EventKind::kParked, 1));

  abi::CommandRecord lock{};
  lock.kind = static_cast<uint32_t>(abi::CommandKind::kLock);
  lock.token = 7;
  lock.lba = 32;
  lock.count = 16;
  volume.backend->submit(&lock, 1);
  // Beside it there is nothing to wait for; when this one is granted the other was looked at.
  lock.token = 8;
  lock.lba = 80;
  lock.count = 5;
  volume.backend->submit(&lock, 1);
  REQUIRE(volume.events.saw(abi::EventKind::kLocked, 5));
  CHECK(volume.events.all(abi::EventKind::kLocked).size() == 1);

  const auto parked = volume.events.all(abi::EventKind::kParked);
  volume.complete(parked.at(0).token, VIRTIO_BLK_S_OK);
  CHECK(volume.events.saw(abi::EventKind::kLocked, 16));
  CHECK(f.returned(1));
  for (const uint64_t token : {7, 8}) {
    lock.kind = static_cast<uint32_t>(abi::CommandKind::kUnlock);
    lock.token = token;
    volume.backend->submit(&lock, 1);
  }
}

}  // namespace remap::test
