#include "log_mapping.h"

#include <sys/mman.h>

#include "shared_file.h"

namespace remap {

std::shared_ptr<LogMapping> LogMapping::map(int fd, uint64_t bytes, uint64_t offset,
                                            GuardOwner& owner) {
  void* address =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, static_cast<off_t>(offset));
  if (address == MAP_FAILED) return nullptr;
  std::shared_ptr<LogMapping> mapping(
      new LogMapping(address, bytes, inspect_file(fd).page_size, owner));
  return mapping->guard_->active() ? mapping : nullptr;
}

LogMapping::LogMapping(void* address, uint64_t bytes, uint64_t page_size, GuardOwner& owner)
    : address_(address),
      bytes_(bytes),
      guard_(std::in_place, address, bytes, page_size, owner),
      log_(static_cast<uint8_t*>(address), bytes) {}

LogMapping::~LogMapping() {
  guard_.reset();
  munmap(address_, bytes_);
}

}  // namespace remap
