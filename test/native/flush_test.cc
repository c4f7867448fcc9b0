#include "served_volume.h"

namespace remap::test {

namespace {

uint8_t flush(FrontEnd& f) {
  f.offer(VIRTIO_BLK_T_FLUSH, 0, 0);
  return f.run();
}

}  // namespace

TEST_CASE("flush: reaches main and every spare that has data in its cache") {
  Volume volume;
  volume.listen();
  FrontEnd f(volume.connect());
  REQUIRE(f.negotiate());
  REQUIRE(f.share_memory() == 0u);
  REQUIRE(f.start_queue());
  for (const size_t written : {0, 1}) {
    CAPTURE(written);
    volume.device(written).note_write();
    REQUIRE(flush(f) == VIRTIO_BLK_S_OK);
    CHECK_FALSE(volume.device(written).dirty.load());
  }
}

TEST_CASE("flush: a device that cannot is told of, now and ever after") {
  for (const size_t failing : {0, 1}) {
    CAPTURE(failing);
    // The kernel has no way to flush an eventfd, and says so.
    const int unflushable = eventfd(0, EFD_CLOEXEC);
    Volume volume({.instead = {{failing, unflushable}}});
    close(unflushable);
    volume.listen();
    FrontEnd f(volume.connect());
    REQUIRE(f.negotiate());
    REQUIRE(f.share_memory() == 0u);
    REQUIRE(f.start_queue());
    volume.device(failing).note_write();
    CHECK(flush(f) == VIRTIO_BLK_S_IOERR);
    CHECK(volume.device(failing).flush_failed());
    // What the failed one lost is not made good by one that finds nothing to do.
    volume.device(failing).dirty.store(false);
    CHECK(flush(f) == VIRTIO_BLK_S_IOERR);
    CHECK(volume.events.all(abi::EventKind::kDeviceError).size() == 1);
  }
}

}  // namespace remap::test
