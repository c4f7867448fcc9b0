// Keeps the process alive when a front-end truncates memory it has shared with us: touching such a
// page raises SIGBUS. A guarded range then gets a page of zeroes in its place, and the owner is
// told, who drops the connection.
//
// io_uring is not concerned: the kernel answers EFAULT for such a buffer.
#ifndef REMAP_MEMORY_GUARD_H_
#define REMAP_MEMORY_GUARD_H_

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace remap {

// Who is told of a lost page. Outlives its guards.
struct GuardOwner {
  std::atomic<bool> lost{false};
  int wake_fd = -1;  // an eventfd, written after `lost` is set
};

class MemoryGuard {
 public:
  // Guards [address, address + size), a mapping in pages of `page_size`. Installs the handler of
  // the process on first use; what it does not know goes on to the handler before it.
  MemoryGuard(const void* address, size_t size, size_t page_size, GuardOwner& owner);
  ~MemoryGuard();
  MemoryGuard(MemoryGuard&& other) noexcept;
  MemoryGuard& operator=(MemoryGuard&& other) noexcept;

  // False when the table of guarded ranges is full.
  bool active() const { return slot_ >= 0; }

 private:
  int slot_ = -1;
};

}  // namespace remap

#endif  // REMAP_MEMORY_GUARD_H_
