#include "native/device.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>

#include "device_files.h"

using remap::AlignedBuffer;
using remap::Device;
using remap::FaultKind;
using remap::OpenError;
using remap::OpenOptions;
using remap::test::LoopDevice;
using remap::test::TemporaryFolder;

namespace {

constexpr uint64_t kMiB = 1024 * 1024;

struct Opened {
  std::shared_ptr<Device> device;
  OpenError error;
};

Opened open_device(const std::string& path, OpenOptions options = {}) {
  Opened opened;
  opened.device = Device::open(path, options, &opened.error);
  return opened;
}

bool fails(const std::string& path, OpenOptions options, int error, const char* step) {
  const Opened opened = open_device(path, options);
  CAPTURE(opened.error.error);
  CAPTURE(opened.error.step);
  return opened.device == nullptr && opened.error.error == error &&
         std::strcmp(opened.error.step, step) == 0;
}

constexpr OpenOptions kWriter{.read_only = false, .exclusive = true};
constexpr OpenOptions kReader{.read_only = true, .exclusive = true};
constexpr OpenOptions kLook{.read_only = true, .exclusive = false};

std::string pattern(size_t size, uint32_t seed) {
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>((seed = seed * 1664525 + 1013904223) >> 24);
  return bytes;
}

// A lock as QEMU takes it.
int lock_byte(int fd, off_t byte, short type) {
  struct flock request = {};
  request.l_type = type;
  request.l_whence = SEEK_SET;
  request.l_start = byte;
  request.l_len = 1;
  return fcntl(fd, F_OFD_SETLK, &request) == 0 ? 0 : errno;
}

bool locked(int fd, off_t byte) {
  struct flock request = {};
  request.l_type = F_WRLCK;
  request.l_whence = SEEK_SET;
  request.l_start = byte;
  request.l_len = 1;
  REQUIRE(fcntl(fd, F_OFD_GETLK, &request) == 0);
  return request.l_type != F_UNLCK;
}

}  // namespace

TEST_CASE("device: what is no device is refused, with the step that failed") {
  const TemporaryFolder folder;
  const std::string pipe = folder.path / "pipe";
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  CHECK(fails(folder.path / "missing", kWriter, ENOENT, "open"));
  CHECK(fails(folder.path, kReader, EISDIR, "kind"));
  CHECK(fails(pipe, kReader, ENOTBLK, "kind"));
  CHECK(fails("/dev/null", kWriter, ENOTBLK, "kind"));
}

TEST_CASE("device: null devices have a size and nothing else") {
  for (const char* bad : {"null:", "null:0", "null:x", "null:-1", "null:1000", "null:1KB",
                          "null:1 K", "null:9000T", "null:99999999999999999999"})
    CHECK_MESSAGE(fails(bad, kWriter, EINVAL, "size"), bad);
  const Opened opened = open_device("null:3G");
  REQUIRE(opened.device != nullptr);
  Device& device = *opened.device;
  CHECK(device.is_null());
  CHECK(device.fd() == -1);
  CHECK(device.size_bytes() == 3 * 1024 * kMiB);
  std::string buffer = pattern(4096, 1);
  CHECK(device.write(buffer.data(), 4096, 0) == 0);
  CHECK(device.read(buffer.data(), 4096, 0) == 0);
  CHECK(buffer == std::string(4096, '\0'));
  CHECK(device.flush() == 0);
  CHECK(open_device("null:512").device->size_sectors() == 1);
  CHECK(open_device("null:8192T").device->size_bytes() == uint64_t{1} << 53);
}

TEST_CASE("device: a file is read and written at any offset, length and address") {
  const TemporaryFolder folder;
  const std::string path = folder.file("main", 4 * kMiB);
  const Opened opened = open_device(path);
  REQUIRE(opened.device != nullptr);
  Device& device = *opened.device;
  CHECK(device.size_bytes() == 4 * kMiB);
  CHECK(device.logical_block_size() == 512);
  CHECK_FALSE(device.is_block_device());
  CHECK(((fcntl(device.fd(), F_GETFL) & O_DIRECT) != 0) == device.direct());
  CHECK((fcntl(device.fd(), F_GETFD) & FD_CLOEXEC) != 0);

  const uint64_t unit = std::max<uint64_t>(device.offset_align(), 512);
  std::string image(4 * kMiB, '\0');
  const struct {
    uint64_t offset, length;
    size_t shift;  // of the address
  } writes[] = {{0, unit, 0},        {unit, 3 * unit, 1},        {kMiB - unit, 2 * unit, 3},
                {2 * kMiB, kMiB, 7}, {3 * kMiB, kMiB - unit, 0}, {kMiB, 2 * kMiB + unit, 5}};
  uint32_t seed = 1;
  for (const auto& [offset, length, shift] : writes) {
    CAPTURE(offset);
    const std::string data = pattern(length, ++seed);
    AlignedBuffer buffer(length + shift);
    std::memcpy(buffer.data() + shift, data.data(), length);
    REQUIRE(device.write(buffer.data() + shift, length, offset) == 0);
    image.replace(offset, length, data);
  }
  const struct {
    uint64_t offset, length;
    size_t shift;
  } reads[] = {{0, 512, 0},
               {512, 512, 1},
               {4 * kMiB - 512, 512, 3},
               {0, 4 * kMiB, 0},
               {512, 4 * kMiB - 512, 9},
               {kMiB - 512, kMiB + 1024, 2}};
  for (const auto& [offset, length, shift] : reads) {
    CAPTURE(offset);
    AlignedBuffer buffer(length + shift + 1);
    buffer.data()[shift + length] = 0x5a;
    REQUIRE(device.read(buffer.data() + shift, length, offset) == 0);
    REQUIRE(std::memcmp(buffer.data() + shift, image.data() + offset, length) == 0);
    REQUIRE(buffer.data()[shift + length] == 0x5a);
  }
}

TEST_CASE("device: requests outside the device or off the sector are refused") {
  const TemporaryFolder folder;
  const Opened opened = open_device(folder.file("main", 64 * 1024 + 100));
  REQUIRE(opened.device != nullptr);
  Device& device = *opened.device;
  CHECK(device.size_sectors() == 128);
  AlignedBuffer buffer(8192);
  CHECK(device.read(buffer.data(), 512, 64 * 1024) == EINVAL);
  CHECK(device.write(buffer.data(), 8192, 60 * 1024) == EINVAL);
  CHECK(device.read(buffer.data(), 512, ~uint64_t{511}) == EINVAL);
  CHECK(device.read(buffer.data(), 100, 0) == EINVAL);
  CHECK(device.write(buffer.data(), 512, 100) == EINVAL);
  CHECK(device.read(buffer.data(), 0, 0) == 0);
}

TEST_CASE("device: a read-only device takes no writes") {
  const TemporaryFolder folder;
  const Opened opened = open_device(folder.file("main", kMiB), kReader);
  REQUIRE(opened.device != nullptr);
  AlignedBuffer buffer(4096);
  CHECK(opened.device->read_only());
  CHECK(opened.device->read(buffer.data(), 4096, 0) == 0);
  CHECK(opened.device->write(buffer.data(), 4096, 0) == EROFS);
  CHECK(opened.device->flush() == 0);
}

TEST_CASE("device: a file cut short under us is ENXIO, not data") {
  const TemporaryFolder folder;
  const std::string path = folder.file("main", kMiB);
  const Opened opened = open_device(path);
  REQUIRE(opened.device != nullptr);
  REQUIRE(truncate(path.c_str(), 512 * 1024) == 0);
  AlignedBuffer buffer(8192);
  CHECK(opened.device->read(buffer.data(), 8192, 504 * 1024) == 0);
  CHECK(opened.device->read(buffer.data(), 8192, 512 * 1024) == ENXIO);
  CHECK(opened.device->read(buffer.data(), 8192, 508 * 1024) == ENXIO);
  CHECK(opened.device->read(buffer.data() + 1, 4096, 512 * 1024) == ENXIO);
}

TEST_CASE("device: a failed flush is never forgotten") {
  const TemporaryFolder folder;
  const Opened opened = open_device(folder.file("main", kMiB));
  REQUIRE(opened.device != nullptr);
  Device& device = *opened.device;
  CHECK(device.dirty.load());
  CHECK(device.flush() == 0);
  CHECK_FALSE(device.dirty.load());
  AlignedBuffer buffer(4096);
  std::memset(buffer.data(), 1, buffer.size());
  CHECK(device.write(buffer.data(), 4096, 0) == 0);
  CHECK(device.dirty.load());
  device.latch_flush_failure();
  CHECK(device.flush() == EIO);
  CHECK(device.flush() == EIO);
}

TEST_CASE("device: planned faults fail or delay I/O and change nothing") {
  const TemporaryFolder folder;
  const Opened opened = open_device(folder.file("main", kMiB));
  REQUIRE(opened.device != nullptr);
  Device& device = *opened.device;
  AlignedBuffer ones(8192);
  AlignedBuffer buffer(8192);
  std::memset(ones.data(), 1, ones.size());
  device.faults().add(FaultKind::kWriteError, 8, 1, 1, 0);
  CHECK(device.write(ones.data(), 8192, 0) == EIO);
  CHECK(device.read(buffer.data(), 8192, 0) == 0);
  CHECK(buffer.data()[0] == 0);
  CHECK(device.write(ones.data(), 8192, 0) == 0);  // it was to fail once
  device.faults().add(FaultKind::kReadError, 8, 1, 0, 0);
  CHECK(device.read(buffer.data(), 4096, 0) == 0);
  CHECK(device.read(buffer.data(), 8192, 0) == EIO);
  device.faults().clear(0);
  device.faults().add(FaultKind::kSlow, 0, 1, 1, 30);
  const auto before = std::chrono::steady_clock::now();
  CHECK(device.read(buffer.data(), 8192, 0) == 0);
  CHECK(std::chrono::steady_clock::now() - before >= std::chrono::milliseconds(30));
  CHECK(buffer.data()[8191] == 1);
}

TEST_CASE("device: a writer shares with nobody, readers share with readers") {
  const TemporaryFolder folder;
  const std::string path = folder.file("main", kMiB);
  {
    const Opened writer = open_device(path, kWriter);
    REQUIRE(writer.device != nullptr);
    CHECK(fails(path, kWriter, EBUSY, "lock"));
    CHECK(fails(path, kReader, EBUSY, "lock"));
    CHECK(open_device(path, kLook).device != nullptr);
  }
  const Opened reader = open_device(path, kReader);
  REQUIRE(reader.device != nullptr);
  CHECK(open_device(path, kReader).device != nullptr);
  CHECK(fails(path, kWriter, EBUSY, "lock"));
}

// QEMU: 100 read consistently, 101 write, 102 write unchanged, 103 resize; + 100 for "not shared".
TEST_CASE("device: locks agree with those of QEMU") {
  const TemporaryFolder folder;
  const std::string path = folder.file("main", kMiB);
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  REQUIRE(fd >= 0);

  SUBCASE("a QEMU that uses or denies what we want keeps us out") {
    const struct {
      off_t byte;
      bool writer, reader;  // kept out
    } cases[] = {{100, false, false}, {101, true, true},  {102, true, false}, {103, true, true},
                 {200, true, true},   {201, true, false}, {202, true, false}, {203, true, false}};
    for (const auto& [byte, writer, reader] : cases) {
      CAPTURE(byte);
      REQUIRE(lock_byte(fd, byte, F_RDLCK) == 0);
      CHECK(fails(path, kWriter, EBUSY, "lock") == writer);
      CHECK(fails(path, kReader, EBUSY, "lock") == reader);
      REQUIRE(lock_byte(fd, byte, F_UNLCK) == 0);
    }
  }
  SUBCASE("our writer keeps out all but a reader that shares everything") {
    const Opened opened = open_device(path, kWriter);
    REQUIRE(opened.device != nullptr);
    CHECK(lock_byte(fd, 100, F_RDLCK) == 0);
    CHECK_FALSE(locked(fd, 200));
    for (const off_t byte : {101, 102, 103, 201, 202, 203}) {
      CAPTURE(byte);
      CHECK(lock_byte(fd, byte, F_RDLCK) == EAGAIN);
    }
  }
  SUBCASE("our reader keeps out writers") {
    const Opened opened = open_device(path, kReader);
    REQUIRE(opened.device != nullptr);
    CHECK(locked(fd, 100));
    CHECK(locked(fd, 201));
    CHECK(locked(fd, 203));
    for (const off_t byte : {101, 102, 103, 200, 202}) {
      CAPTURE(byte);
      CHECK_FALSE(locked(fd, byte));
    }
  }
  SUBCASE("a device that was only looked at holds nothing") {
    const Opened opened = open_device(path, kLook);
    REQUIRE(opened.device != nullptr);
    for (off_t byte = 100; byte < 204; ++byte) CHECK_FALSE(locked(fd, byte));
  }
  close(fd);
}

TEST_CASE("device: a block device of 4096-byte blocks") {
  const TemporaryFolder folder;
  const std::string file = folder.file("backing", 2 * kMiB);
  const LoopDevice loop(file, 4096);
  if (loop.path.empty()) return;
  {
    const Opened opened = open_device(loop.path);
    REQUIRE(opened.device != nullptr);
    Device& device = *opened.device;
    CHECK(device.is_block_device());
    CHECK(device.direct());
    CHECK(device.size_bytes() == 2 * kMiB);
    CHECK(device.logical_block_size() == 4096);
    CHECK(device.offset_align() == 4096);
    CHECK(fails(loop.path, kWriter, EBUSY, "lock"));
    CHECK(fails(loop.path, kReader, EBUSY, "lock"));
    CHECK(open_device(loop.path, kLook).device != nullptr);

    const std::string data = pattern(2 * kMiB, 7);
    CHECK(device.write(data.data(), data.size(), 0) == 0);
    CHECK(device.write(data.data(), 512, 0) == EINVAL);
    CHECK(device.write(data.data(), 4096, 512) == EINVAL);
    CHECK(device.flush() == 0);
    // Reads may begin and end anywhere: the blocks around them are read as a whole.
    std::string buffer(2 * kMiB, '\0');
    for (const auto& [offset, length] : {std::pair<uint64_t, uint64_t>{512, 512},
                                         {4096 - 512, 1024},
                                         {2 * kMiB - 512, 512},
                                         {512, 2 * kMiB - 1024},
                                         {kMiB - 1024, 4096}}) {
      CAPTURE(offset);
      REQUIRE(device.read(buffer.data(), length, offset) == 0);
      REQUIRE(buffer.compare(0, length, data, offset, length) == 0);
    }
  }
  // Whoever mounts it, say, holds it like this and takes no locks.
  const int holder = open(loop.path.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC);
  REQUIRE(holder >= 0);
  CHECK(fails(loop.path, kWriter, EBUSY, "lock"));
  CHECK(fails(loop.path, kReader, EBUSY, "lock"));
  close(holder);

  int read_only = 1;
  REQUIRE(ioctl(loop.fd, BLKROSET, &read_only) == 0);
  CHECK(open_device(loop.path, kReader).device != nullptr);
  const Opened writer = open_device(loop.path);
  CHECK(writer.device == nullptr);
  CHECK((writer.error.error == EROFS || writer.error.error == EACCES));
  read_only = 0;
  ioctl(loop.fd, BLKROSET, &read_only);
}
