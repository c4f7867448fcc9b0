#include "served_volume.h"

namespace remap::test {

TEST_CASE("end of device: a file cut short under us reads as an error, never as old memory") {
  Volume volume;
  volume.listen();
  FrontEnd f(volume.connect());
  REQUIRE(f.negotiate());
  REQUIRE(f.share_memory() == 0u);
  REQUIRE(f.start_queue());
  constexpr uint64_t kEnd = 1000;
  REQUIRE(truncate(volume.image().c_str(), kEnd * 512) == 0);

  f.offer(VIRTIO_BLK_T_IN, kEnd - 1);
  CHECK(f.run() == VIRTIO_BLK_S_OK);
  CHECK(f.memory[FrontEnd::kData] == static_cast<uint8_t>(kEnd - 1));
  // From the first sector that is gone, and over the edge: the kernel gives what there is.
  for (const uint64_t sector : {kEnd, kEnd - 2}) {
    CAPTURE(sector);
    f.offer(VIRTIO_BLK_T_IN, sector, 4 * 512);
    CHECK(f.run() == VIRTIO_BLK_S_IOERR);
  }
  CHECK(volume.events.all(abi::EventKind::kParked).empty());
  const auto errors = volume.events.all(abi::EventKind::kDeviceError);
  REQUIRE_FALSE(errors.empty());  // the same one soon after may go untold
  for (const auto& error : errors) CHECK(error.error == ENXIO);
}

}  // namespace remap::test
