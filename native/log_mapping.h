// The front-end's dirty log, mapped for as long as a worker may write it.
#ifndef REMAP_LOG_MAPPING_H_
#define REMAP_LOG_MAPPING_H_

#include <memory>
#include <optional>

#include "dirty_log.h"
#include "memory_guard.h"

namespace remap {

class LogMapping {
 public:
  // Size and offset have been checked against the file. nullptr when it cannot be mapped or
  // guarded. The descriptor stays the caller's.
  static std::shared_ptr<LogMapping> map(int fd, uint64_t bytes, uint64_t offset,
                                         GuardOwner& owner);
  ~LogMapping();
  LogMapping(const LogMapping&) = delete;
  LogMapping& operator=(const LogMapping&) = delete;

  uint64_t bytes() const { return bytes_; }
  // Keeps `mapping` alive.
  static std::shared_ptr<const DirtyLog> log_of(std::shared_ptr<LogMapping> mapping) {
    return mapping ? std::shared_ptr<const DirtyLog>(mapping, &mapping->log_) : nullptr;
  }

 private:
  LogMapping(void* address, uint64_t bytes, uint64_t page_size, GuardOwner& owner);

  void* address_;
  uint64_t bytes_;
  std::optional<MemoryGuard> guard_;
  DirtyLog log_;
};

}  // namespace remap

#endif  // REMAP_LOG_MAPPING_H_
