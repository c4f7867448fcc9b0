#include "device.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <utility>

#include "limits.h"

namespace remap {

namespace {

constexpr std::string_view kNullPrefix = "null:";
// Number.MAX_SAFE_INTEGER + 1: TypeScript holds sizes as numbers.
constexpr uint64_t kSizeMax = uint64_t{1} << 53;

// Image locking of QEMU (block/file-posix.c): whoever uses permission n locks byte 100 + n, whoever
// does not share it locks byte 200 + n, and each looks at the other side's byte before it starts.
constexpr off_t kUsedBytes = 100;
constexpr off_t kUnsharedBytes = 200;
constexpr off_t kConsistentRead = 0;
constexpr off_t kWrite = 1;
constexpr off_t kResize = 3;

uint64_t round_down(uint64_t value, uint64_t unit) { return value - value % unit; }
uint64_t round_up(uint64_t value, uint64_t unit) { return round_down(value + unit - 1, unit); }

int ofd_lock(int fd, short type, off_t start, off_t length) {
  struct flock request = {};
  request.l_type = type;
  request.l_whence = SEEK_SET;
  request.l_start = start;
  request.l_len = length;
  if (fcntl(fd, F_OFD_SETLK, &request) == 0) return 0;
  return errno == EAGAIN || errno == EACCES ? EBUSY : errno;
}

// EBUSY when anybody else holds any lock on the byte.
int ofd_test(int fd, off_t byte) {
  struct flock request = {};
  request.l_type = F_WRLCK;
  request.l_whence = SEEK_SET;
  request.l_start = byte;
  request.l_len = 1;
  if (fcntl(fd, F_OFD_GETLK, &request) != 0) return errno;
  return request.l_type == F_UNLCK ? 0 : EBUSY;
}

void sleep_ms(uint32_t delay_ms) {
  timespec left = {.tv_sec = delay_ms / 1000, .tv_nsec = (delay_ms % 1000) * 1'000'000L};
  while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) {
  }
}

}  // namespace

std::shared_ptr<Device> Device::open(const std::string& path, const OpenOptions& options,
                                     OpenError* error) {
  std::shared_ptr<Device> device(new Device());
  device->path_ = path;
  device->read_only_ = options.read_only;
  *error = path.starts_with(kNullPrefix) ? device->open_null(path.substr(kNullPrefix.size()))
                                         : device->open_path(options.exclusive);
  if (error->error != 0) return nullptr;
  return device;
}

Device::~Device() {
  if (fd_ < 0) return;
  // An io_uring that is being taken down may keep the file, and so the lock, for a while.
  release();
  close(fd_);
}

OpenError Device::open_null(const std::string& size) {
  constexpr std::string_view kSuffixes = "KMGT";
  const OpenError bad{EINVAL, "size"};
  uint64_t value = 0;
  const char* const end = size.data() + size.size();
  const auto [rest, failure] = std::from_chars(size.data(), end, value);
  if (failure != std::errc() || value > kSizeMax) return bad;
  uint32_t shift = 0;
  if (rest != end) {
    const size_t suffix = kSuffixes.find(*rest);
    if (suffix == std::string_view::npos || rest + 1 != end) return bad;
    shift = 10 * (static_cast<uint32_t>(suffix) + 1);
  }
  if (value == 0 || value > kSizeMax >> shift) return bad;
  size_ = value << shift;
  if (size_ % kSectorSize != 0) return bad;
  null_ = true;
  return {};
}

OpenError Device::open_path(bool exclusive) {
  // Looked at before it is opened: opening a pipe would block, and O_EXCL is for block devices.
  struct stat before;
  if (stat(path_.c_str(), &before) != 0) return {errno, "open"};
  if (!S_ISREG(before.st_mode) && !S_ISBLK(before.st_mode))
    return {S_ISDIR(before.st_mode) ? EISDIR : ENOTBLK, "kind"};
  block_ = S_ISBLK(before.st_mode);

  const int flags =
      (read_only_ ? O_RDONLY : O_RDWR) | O_CLOEXEC | (block_ && exclusive ? O_EXCL : 0);
  fd_ = ::open(path_.c_str(), flags | O_DIRECT);
  direct_ = fd_ >= 0;
  if (fd_ < 0 && errno == EINVAL) fd_ = ::open(path_.c_str(), flags);
  if (fd_ < 0) return {errno, errno == EBUSY ? "lock" : "open"};

  struct stat now;
  if (fstat(fd_, &now) != 0) return {errno, "open"};
  if (now.st_dev != before.st_dev || now.st_ino != before.st_ino) return {ESTALE, "open"};
  if (exclusive)
    if (const int failure = lock(); failure != 0) return {failure, "lock"};
  size_ = static_cast<uint64_t>(now.st_size);
  if (const OpenError failure = measure(); failure.error != 0) return failure;
  find_alignment();
  return {};
}

// A writer takes its bytes for itself alone, so that of two that come at once exactly one wins. It
// leaves "others may read consistently" (byte 200) free: that is what --force-share asks for.
int Device::lock() {
  if (const int e = ofd_lock(fd_, F_RDLCK, kUsedBytes + kConsistentRead, 1); e != 0) return e;
  if (const int e = ofd_test(fd_, kUnsharedBytes + kConsistentRead); e != 0) return e;
  if (!read_only_) {
    const off_t length = kResize - kWrite + 1;
    if (const int e = ofd_lock(fd_, F_WRLCK, kUsedBytes + kWrite, length); e != 0) return e;
    return ofd_lock(fd_, F_WRLCK, kUnsharedBytes + kWrite, length);
  }
  for (const off_t permission : {kWrite, kResize}) {
    if (const int e = ofd_lock(fd_, F_RDLCK, kUnsharedBytes + permission, 1); e != 0) return e;
    if (const int e = ofd_test(fd_, kUsedBytes + permission); e != 0) return e;
  }
  return 0;
}

OpenError Device::acquire() {
  if (null_) return {};
  struct stat opened;
  struct stat now;
  if (fstat(fd_, &opened) != 0 || stat(path_.c_str(), &now) != 0) return {errno, "open"};
  if (opened.st_dev != now.st_dev || opened.st_ino != now.st_ino) return {ESTALE, "open"};
  if (block_) {
    claim_fd_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_EXCL);
    if (claim_fd_ < 0) return {errno, errno == EBUSY ? "lock" : "open"};
  }
  if (const int failure = lock(); failure != 0) {
    release();
    return {failure, "lock"};
  }
  // Whoever held it before us may have left data in the device's cache.
  dirty.store(true);
  return {};
}

void Device::release() {
  if (null_) return;
  ofd_lock(fd_, F_UNLCK, kUsedBytes, kUnsharedBytes + kResize + 1 - kUsedBytes);
  if (claim_fd_ >= 0) close(claim_fd_);
  claim_fd_ = -1;
}

OpenError Device::measure() {
  if (!block_) return {};
  int no_writes = 0;
  if (!read_only_ && ioctl(fd_, BLKROGET, &no_writes) == 0 && no_writes != 0)
    return {EROFS, "open"};
  int logical = 0;
  uint64_t size = 0;
  if (ioctl(fd_, BLKGETSIZE64, &size) != 0) return {errno, "size"};
  size_ = size;
  if (ioctl(fd_, BLKSSZGET, &logical) != 0) return {errno, "size"};
  logical_block_size_ = static_cast<uint32_t>(logical);
  return {};
}

void Device::find_alignment() {
  if (!direct_) return;
  memory_align_ = offset_align_ = logical_block_size_;
  struct statx info = {};
  if (statx(fd_, "", AT_EMPTY_PATH, STATX_DIOALIGN, &info) != 0) return;
  if ((info.stx_mask & STATX_DIOALIGN) == 0) return;
  if (info.stx_dio_mem_align != 0 && info.stx_dio_offset_align != 0) {
    memory_align_ = info.stx_dio_mem_align;
    offset_align_ = info.stx_dio_offset_align;
    return;
  }
  // The file system takes the flag but not for this file.
  leave_direct();
}

void Device::leave_direct() {
  const int flags = fcntl(fd_, F_GETFL);
  if (flags < 0 || fcntl(fd_, F_SETFL, flags & ~O_DIRECT) != 0) return;
  direct_ = false;
  memory_align_ = offset_align_ = 1;
}

int Device::remeasure(uint64_t* size_now) {
  *size_now = size_;
  if (null_) return 0;
  if (block_) {
    if (ioctl(fd_, BLKGETSIZE64, size_now) != 0) return errno;
  } else {
    struct stat now;
    if (fstat(fd_, &now) != 0) return errno;
    *size_now = static_cast<uint64_t>(now.st_size);
  }
  uint64_t known = size_;
  while (known < *size_now && !size_.compare_exchange_weak(known, *size_now)) {
  }
  return 0;
}

bool Device::serve_blocks(uint32_t block) {
  if (offset_align_ <= block) return true;
  if (block_) return false;
  leave_direct();
  return !direct_;
}

int Device::admit(bool is_write, uint64_t length, uint64_t offset) {
  if (offset % kSectorSize != 0 || length % kSectorSize != 0) return EINVAL;
  const uint64_t end = size_sectors() * kSectorSize;
  if (offset > end || length > end - offset) return EINVAL;
  if (is_write && read_only_) return EROFS;
  if (is_write && (offset % offset_align_ != 0 || length % offset_align_ != 0)) return EINVAL;
  if (!faults_.active()) return 0;
  const FaultVerdict verdict = faults_.judge(is_write, offset / kSectorSize, length / kSectorSize);
  if (verdict.delay_ms != 0) sleep_ms(verdict.delay_ms);
  return verdict.error;
}

int Device::read_run(uint8_t* buffer, uint64_t length, uint64_t needed, uint64_t offset) {
  for (uint64_t done = 0;;) {
    const ssize_t n = pread(fd_, buffer + done, length - done, static_cast<off_t>(offset + done));
    if (n < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    if (done + static_cast<uint64_t>(n) >= needed) return 0;
    const uint64_t step = round_down(static_cast<uint64_t>(n), offset_align_);
    if (step == 0) return ENXIO;
    done += step;
  }
}

int Device::write_run(const uint8_t* buffer, uint64_t length, uint64_t offset) {
  for (uint64_t done = 0; done < length;) {
    const ssize_t n = pwrite(fd_, buffer + done, length - done, static_cast<off_t>(offset + done));
    if (n < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    const uint64_t step = round_down(static_cast<uint64_t>(n), offset_align_);
    if (step == 0) return EIO;
    done += step;
  }
  return 0;
}

int Device::read(void* buffer, uint64_t length, uint64_t offset) {
  if (const int e = admit(false, length, offset); e != 0) return e;
  auto* into = static_cast<uint8_t*>(buffer);
  if (null_) {
    std::memset(into, 0, length);
    return 0;
  }
  if (length == 0) return 0;
  const uint64_t end = offset + length;
  if (reinterpret_cast<uintptr_t>(into) % memory_align_ == 0 && offset % offset_align_ == 0 &&
      length % offset_align_ == 0)
    return read_run(into, length, length, offset);

  const uint64_t whole = round_up(end, offset_align_) - round_down(offset, offset_align_);
  const uint64_t room = std::min<uint64_t>(whole, uint64_t{kCopySectorsMax} * kSectorSize);
  AlignedBuffer bounce(room, std::max(memory_align_, 4096u));
  if (bounce.data() == nullptr) return ENOMEM;
  while (offset < end) {
    const uint64_t start = round_down(offset, offset_align_);
    const uint64_t stop = std::min(start + room, end);
    const uint64_t span = std::min(round_up(stop, offset_align_) - start, room);
    if (const int e = read_run(bounce.data(), span, stop - start, start); e != 0) return e;
    std::memcpy(into, bounce.data() + (offset - start), stop - offset);
    into += stop - offset;
    offset = stop;
  }
  return 0;
}

int Device::write(const void* buffer, uint64_t length, uint64_t offset) {
  if (const int e = admit(true, length, offset); e != 0) return e;
  if (null_ || length == 0) return 0;
  const auto* from = static_cast<const uint8_t*>(buffer);
  int failure = 0;
  if (reinterpret_cast<uintptr_t>(from) % memory_align_ == 0) {
    failure = write_run(from, length, offset);
  } else {
    const uint64_t room = std::min<uint64_t>(length, uint64_t{kCopySectorsMax} * kSectorSize);
    AlignedBuffer bounce(room, std::max(memory_align_, 4096u));
    if (bounce.data() == nullptr) return ENOMEM;
    for (uint64_t done = 0; done < length && failure == 0; done += room) {
      const uint64_t step = std::min(room, length - done);
      std::memcpy(bounce.data(), from + done, step);
      failure = write_run(bounce.data(), step, offset + done);
    }
  }
  note_write();  // what failed may have been written in part
  return failure;
}

int Device::flush() {
  if (flush_failed()) return EIO;
  if (null_ || read_only_) return 0;
  flushing.fetch_add(1);
  dirty.exchange(false);
  int failure = 0;
  while (fdatasync(fd_) != 0) {
    if (errno == EINTR) continue;
    failure = errno;
    latch_flush_failure();
    break;
  }
  flushing.fetch_sub(1);
  // The kernel tells a lost write to one caller only; another thread may just have been that one.
  return failure == 0 && flush_failed() ? EIO : failure;
}

AlignedBuffer::AlignedBuffer(size_t size, size_t alignment)
    : data_(static_cast<uint8_t*>(std::aligned_alloc(alignment, round_up(size, alignment)))),
      size_(data_ == nullptr ? 0 : size) {}

AlignedBuffer::~AlignedBuffer() { std::free(data_); }

AlignedBuffer::AlignedBuffer(AlignedBuffer&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

AlignedBuffer& AlignedBuffer::operator=(AlignedBuffer&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

}  // namespace remap
