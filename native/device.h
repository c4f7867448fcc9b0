// One main or spare device: a file or a block device, opened once, held exclusively, used by the
// data plane and by the control plane alike.
#ifndef REMAP_DEVICE_H_
#define REMAP_DEVICE_H_

#include <sys/uio.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "fault_table.h"

namespace remap {

struct OpenOptions {
  bool read_only = false;
  // Refuse when another process holds it: O_EXCL on block devices, and open-file-description
  // locks on the bytes QEMU uses for its images (100 to 203), so that each side refuses the other.
  // A writer shares with nobody but `qemu-img --force-share`; readers of a file share with readers.
  // Without it acquire() takes the same hold later, and release() gives it up.
  bool exclusive = true;
};

// Failure of an open: errno and the step that failed.
//   "open"  ENOENT, EACCES, EROFS (a block device that takes no writes), ...
//   "kind"  neither a file nor a block device: EISDIR or ENOTBLK
//   "lock"  EBUSY: somebody else holds it, whichever of the two mechanisms told
//   "size"  the size cannot be told; EINVAL for a bad "null:SIZE"
struct OpenError {
  int error = 0;
  const char* step = "";
};

class Device {
 public:
  // nullptr and `error` filled on failure. "null:SIZE" (bytes, with an optional suffix K, M, G, T;
  // a multiple of 512) is a device without storage, for measurements only: writes vanish, read()
  // returns zeroes, fd() is -1.
  static std::shared_ptr<Device> open(const std::string& path, const OpenOptions& options,
                                      OpenError* error);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  int fd() const { return fd_; }
  bool is_null() const { return null_; }
  bool is_block_device() const { return block_; }
  bool read_only() const { return read_only_; }
  // True when I/O bypasses the page cache (O_DIRECT).
  bool direct() const { return direct_; }
  const std::string& path() const { return path_; }
  uint64_t size_bytes() const { return size_; }
  uint64_t size_sectors() const { return size_ / 512; }
  // BLKSSZGET for block devices; 512 for files.
  uint32_t logical_block_size() const { return logical_block_size_; }
  // Alignment O_DIRECT asks of buffer addresses and of offsets and lengths (STATX_DIOALIGN, or the
  // logical block size where the kernel does not tell). 1 when not direct.
  uint32_t memory_align() const { return memory_align_; }
  uint32_t offset_align() const { return offset_align_; }

  // For a device opened without `exclusive`: holds it as that would have, until release(). Fails as
  // an open does, and with ESTALE at "open" when the path leads to another device by now. One
  // thread.
  OpenError acquire();
  void release();

  // Looks again how large it is. What size_bytes() says grows with it and never shrinks. Returns 0
  // or a positive errno. Any thread.
  int remeasure(uint64_t* size_now);

  // I/O will come in multiples of `block` bytes: a file whose O_DIRECT asks for more goes through
  // the page cache from now on. False for a block device that cannot do it. Before any I/O of the
  // data plane.
  bool serve_blocks(uint32_t block);

  FaultTable& faults() { return faults_; }

  // Blocking I/O for the control plane: any buffer, offset and length multiples of 512, whole or
  // not at all (a write that failed may have changed part of its range). Any thread. Goes through
  // the fault table. Returns 0 or a positive errno:
  //   EINVAL  not multiples of 512, outside the device, or a write not aligned to offset_align()
  //   EROFS   write to a device opened read-only
  //   ENXIO   the device ended before size_bytes(): truncated or gone
  int read(void* buffer, uint64_t length, uint64_t offset);
  int write(const void* buffer, uint64_t length, uint64_t offset);
  // fdatasync. A failure is latched, and every later flush returns EIO.
  int flush();

  // After a flush has failed no later one may claim that the lost data is safe.
  void latch_flush_failure() { flush_failed_.store(true, std::memory_order_release); }
  bool flush_failed() const { return flush_failed_.load(std::memory_order_acquire); }

  // A write has completed since the last flush began. True at first: a process before us may have
  // left data in the cache. Set it only when it is not set, so that queues do not fight for the
  // line; clear it, inside `flushing`, before the flush is issued. A flush may be skipped only
  // when it is clear and no other flush is under way.
  std::atomic<bool> dirty{true};
  std::atomic<uint32_t> flushing{0};

  void note_write() {
    if (!dirty.load(std::memory_order_relaxed)) dirty.store(true, std::memory_order_seq_cst);
  }

 private:
  Device() = default;

  OpenError open_null(const std::string& size);
  OpenError open_path(bool exclusive);
  int lock();
  OpenError measure();
  void find_alignment();
  void leave_direct();

  // Checks the arguments and the fault table.
  int admit(bool is_write, uint64_t length, uint64_t offset);
  // Aligned transfers. A read is done when `needed` of `length` bytes are there.
  int read_run(uint8_t* buffer, uint64_t length, uint64_t needed, uint64_t offset);
  int write_run(const uint8_t* buffer, uint64_t length, uint64_t offset);

  std::string path_;
  int fd_ = -1;
  int claim_fd_ = -1;  // has O_EXCL on a block device that was opened without
  bool null_ = false;
  bool block_ = false;
  bool read_only_ = false;
  bool direct_ = false;
  std::atomic<uint64_t> size_{0};
  uint32_t logical_block_size_ = 512;
  uint32_t memory_align_ = 1;
  uint32_t offset_align_ = 1;
  std::atomic<bool> flush_failed_{false};
  FaultTable faults_;
};

// An aligned buffer for O_DIRECT. data() is nullptr when there is no memory.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(size_t size, size_t alignment = 4096);
  ~AlignedBuffer();
  AlignedBuffer(AlignedBuffer&& other) noexcept;
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept;
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;

  uint8_t* data() { return data_; }
  const uint8_t* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace remap

#endif  // REMAP_DEVICE_H_
