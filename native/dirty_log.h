// The bitmap in which a migrating front-end wants every page of guest memory that we write marked:
// vhost-user specification, "Migration". One bit a page of 4 KiB, set after the page was written.
#ifndef REMAP_DIRTY_LOG_H_
#define REMAP_DIRTY_LOG_H_

#include <cstdint>

namespace remap {

class DirtyLog {
 public:
  static constexpr uint64_t kPageBytes = 4096;

  // `table` of `bytes` stays mapped for as long as a worker has the log.
  DirtyLog(uint8_t* table, uint64_t bytes) : table_(table), bytes_(bytes) {}

  void mark(uint64_t guest_address, uint64_t length) const {
    if (length == 0) return;
    const uint64_t last = (guest_address + length - 1) / kPageBytes;
    for (uint64_t page = guest_address / kPageBytes; page <= last; ++page) {
      if (page / 8 >= bytes_) return;
      __atomic_fetch_or(&table_[page / 8], static_cast<uint8_t>(1u << page % 8), __ATOMIC_SEQ_CST);
    }
  }

 private:
  uint8_t* table_;
  uint64_t bytes_;
};

}  // namespace remap

#endif  // REMAP_DIRTY_LOG_H_
