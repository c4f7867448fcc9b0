// Files and loop devices for tests of devices, gone with the test.
#ifndef REMAP_TEST_DEVICE_FILES_H_
#define REMAP_TEST_DEVICE_FILES_H_

#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

namespace remap::test {

struct TemporaryFolder {
  TemporaryFolder() {
    std::string pattern = std::filesystem::temp_directory_path() / "device_test.XXXXXX";
    REQUIRE(mkdtemp(pattern.data()) != nullptr);
    path = pattern;
  }
  ~TemporaryFolder() { std::filesystem::remove_all(path); }

  std::string file(const char* name, uint64_t size) const {
    const std::string made = path / name;
    const int fd = open(made.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0);
    REQUIRE(ftruncate(fd, static_cast<off_t>(size)) == 0);
    close(fd);
    return made;
  }

  std::filesystem::path path;
};

// A loop device over a file, given up when the last user closes it. Empty where there is none to
// be had: that takes root.
struct LoopDevice {
  LoopDevice(const std::string& file, uint32_t block_size) {
    const int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    const int backing = open(file.c_str(), O_RDWR | O_CLOEXEC);
    const int number = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE);
    if (number >= 0) {
      path = "/dev/loop" + std::to_string(number);
      fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
    }
    loop_config config = {};
    config.fd = static_cast<uint32_t>(backing);
    config.block_size = block_size;
    config.info.lo_flags = LO_FLAGS_AUTOCLEAR;
    if (fd < 0 || ioctl(fd, LOOP_CONFIGURE, &config) != 0) path.clear();
    if (path.empty()) std::printf("SKIP loop device (root, /dev/loop-control)\n");
    if (control >= 0) close(control);
    if (backing >= 0) close(backing);
  }
  ~LoopDevice() {
    if (fd >= 0) close(fd);
  }
  LoopDevice(const LoopDevice&) = delete;
  LoopDevice& operator=(const LoopDevice&) = delete;

  std::string path;
  int fd = -1;
};

}  // namespace remap::test

#endif  // REMAP_TEST_DEVICE_FILES_H_
