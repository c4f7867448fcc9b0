// A volume under attack and, in the same process, one that must not notice.
#ifndef REMAP_TEST_SIEGE_H_
#define REMAP_TEST_SIEGE_H_

#include <doctest/doctest.h>

#include <cstdio>
#include <fstream>

#include "chain_driver.h"
#include "served_volume.h"

namespace remap::test {

inline VolumeOptions in_memory() {
  VolumeOptions options;
  if (access("/dev/shm", W_OK) == 0) options.directory = "/dev/shm";
  return options;
}

// What the process holds.
struct Holdings {
  size_t descriptors = 0;
  size_t mappings = 0;
  size_t resident_kib = 0;
  static Holdings now() {
    Holdings h{.descriptors = open_descriptors()};
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) ++h.mappings;
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);)
      if (line.starts_with("VmRSS:")) h.resident_kib = std::stoul(line.substr(6));
    return h;
  }
};

class Siege {
 public:
  Siege() : target(in_memory()), neighbour(in_memory()) {
    target.listen();
    neighbour.listen();
    calm_.emplace(neighbour.connect());
    REQUIRE(calm_->negotiate());
    REQUIRE(calm_->share_memory() == 0u);
    REQUIRE(calm_->start_queue());
    check_serves(target);
    descriptors_ = descriptors_at_rest();
  }
  ~Siege() {
    if (std::uncaught_exceptions() > 0) return;
    calm_->offer(VIRTIO_BLK_T_IN, 77);
    CHECK(calm_->run() == VIRTIO_BLK_S_OK);
    CHECK(calm_->memory[FrontEnd::kData] == 77);
    CHECK(neighbour.events.lines() == 0);
    CHECK(neighbour.events.all(abi::EventKind::kClient).size() == 1);
    check_serves(target);
    CHECK(descriptors_at_rest() == descriptors_);
  }

  // Once the connections that were closed have been noticed.
  size_t descriptors_at_rest() {
    size_t came = 1;
    size_t left = 0;
    for (int i = 0; i < 5000 && came != left; ++i) {
      if (i > 0) usleep(1000);
      came = left = 0;
      for (const abi::EventRecord& r : target.events.all(abi::EventKind::kClient))
        ++(r.count == 1 ? came : left);
    }
    CHECK(came == left);
    return open_descriptors();
  }

  Volume target;
  Volume neighbour;

 private:
  std::optional<FrontEnd> calm_;
  size_t descriptors_ = 0;
};

}  // namespace remap::test

#endif  // REMAP_TEST_SIEGE_H_
