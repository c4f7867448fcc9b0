#include "native/front_end_process.h"

#include <doctest/doctest.h>

#include "front_end.h"
#include "served_volume.h"

namespace remap::test {

namespace {

// Memory of this process at an address of its choice: the one a front-end names.
struct Mapping {
  static constexpr uint64_t kBytes = FrontEnd::kMemory;

  Mapping(uint64_t address, int fd, int sharing) {
    at = mmap(reinterpret_cast<void*>(address), kBytes, PROT_READ | PROT_WRITE,
              sharing | MAP_FIXED_NOREPLACE, fd, 0);
    if (at == MAP_FAILED) std::abort();
  }
  ~Mapping() { munmap(at, kBytes); }
  Mapping(const Mapping&) = delete;

  void* at;
};

VhostUserMemRegMsg second_region(const FrontEnd& f) {
  VhostUserMemRegMsg second = f.region();
  second.region.guest_phys_addr += FrontEnd::kMemory;
  second.region.userspace_addr += FrontEnd::kMemory;
  return second;
}

// A read whose data lies right behind the first region.
uint8_t read_into_second(FrontEnd& f) {
  f.offer(VIRTIO_BLK_T_IN, 5);
  reinterpret_cast<vring_desc*>(f.memory)[1].addr = FrontEnd::kGuestBase + FrontEnd::kMemory;
  return f.run();
}

}  // namespace

TEST_CASE("front-end process: a line of its maps") {
  const std::string line = "7f0000001000-7f0000003000 rw-p 00000000 00:01 4242       /memfd:ram";
  std::string shared = line;
  shared[shared.find('p')] = 's';
  CHECK(is_private_mapping(line, 0x7f0000001000, 4242));
  CHECK(is_private_mapping(line, 0x7f0000002fff, 4242));
  CHECK_FALSE(is_private_mapping(line, 0x7f0000000fff, 4242));
  CHECK_FALSE(is_private_mapping(line, 0x7f0000003000, 4242));
  CHECK_FALSE(is_private_mapping(line, 0x7f0000001000, 4243));
  CHECK_FALSE(is_private_mapping(shared, 0x7f0000001000, 4242));
  CHECK_FALSE(is_private_mapping("", 0x7f0000001000, 4242));
}

TEST_CASE("front-end process: memory that it keeps to itself is not used") {
  Volume volume;
  volume.listen();
  FrontEnd f(volume.connect());
  REQUIRE(f.negotiate());
  REQUIRE(f.share_memory() == 0u);
  const int fd = memfd_create("second", MFD_CLOEXEC);
  REQUIRE(ftruncate(fd, Mapping::kBytes) == 0);
  const VhostUserMemRegMsg second = second_region(f);
  {
    const Mapping mapping(second.region.userspace_addr, fd, MAP_PRIVATE);
    // Refused, it would keep QEMU from starting the device.
    f.send(VHOST_USER_ADD_MEM_REG, &second, sizeof second, {fd}, true);
    REQUIRE(f.reply_u64() == 0u);
    CHECK(volume.events.logged("set share=on"));
    REQUIRE(f.start_queue());
    CHECK(read_into_second(f) == VIRTIO_BLK_S_IOERR);
    f.offer(VIRTIO_BLK_T_IN, 7);
    CHECK(f.run() == VIRTIO_BLK_S_OK);
    CHECK(f.memory[FrontEnd::kData] == 7);
    f.send(VHOST_USER_REM_MEM_REG, &second, sizeof second, {}, true);
    REQUIRE(f.reply_u64() == 0u);
  }
  const Mapping mapping(second.region.userspace_addr, fd, MAP_SHARED);
  f.send(VHOST_USER_ADD_MEM_REG, &second, sizeof second, {fd}, true);
  REQUIRE(f.reply_u64() == 0u);
  CHECK(read_into_second(f) == VIRTIO_BLK_S_OK);
  CHECK(static_cast<const uint8_t*>(mapping.at)[0] == 5);
  close(fd);
}

TEST_CASE("front-end process: rings in memory that it keeps to itself are refused") {
  Volume volume;
  volume.listen();
  FrontEnd f(volume.connect());
  REQUIRE(f.negotiate());
  const Mapping mapping(FrontEnd::kUserBase, f.memory_fd, MAP_PRIVATE);
  REQUIRE(f.share_memory() == 0u);
  f.send_state(VHOST_USER_SET_VRING_NUM, 0, FrontEnd::kSize);
  const vhost_vring_addr addresses = f.addresses();
  f.send(VHOST_USER_SET_VRING_ADDR, &addresses, sizeof addresses, {}, true);
  CHECK(f.reply_u64() == 1u);
  CHECK(volume.events.logged("guest memory is not shared"));
}

}  // namespace remap::test
