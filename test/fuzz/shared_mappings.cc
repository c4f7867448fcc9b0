#include "shared_mappings.h"

#include <sys/mman.h>
#include <sys/socket.h>

#include <map>

#include "guest_races.h"

namespace remap::fuzz {
namespace {

std::map<void*, size_t>& mappings() {
  static std::map<void*, size_t> all;
  return all;
}

void watch_all() {
  GuestRaces& races = GuestRaces::instance();
  races.unwatch();
  for (const auto& [at, length] : mappings()) races.watch(static_cast<uint8_t*>(at), length);
}

}  // namespace

size_t shared_mappings() { return mappings().size(); }

void forget_shared_mappings() {
  mappings().clear();
  watch_all();
}

}  // namespace remap::fuzz

extern "C" {

void* __real_mmap(void* at, size_t length, int protection, int flags, int fd, off_t offset);
int __real_munmap(void* at, size_t length);
int __real_getsockopt(int fd, int level, int name, void* value, socklen_t* length);

void* __wrap_mmap(void* at, size_t length, int protection, int flags, int fd, off_t offset) {
  void* made = __real_mmap(at, length, protection, flags, fd, offset);
  if (made != MAP_FAILED && fd >= 0 && (flags & MAP_TYPE) == MAP_SHARED) {
    remap::fuzz::mappings()[made] = length;
    remap::fuzz::watch_all();
  }
  return made;
}

int __wrap_munmap(void* at, size_t length) {
  const auto known = remap::fuzz::mappings().find(at);
  if (known != remap::fuzz::mappings().end() && known->second == length) {
    remap::fuzz::mappings().erase(known);
    remap::fuzz::watch_all();
  }
  return __real_munmap(at, length);
}

// Who the front-end is cannot be told: reading the list of its mappings takes longer than all else.
int __wrap_getsockopt(int fd, int level, int name, void* value, socklen_t* length) {
  if (level == SOL_SOCKET && name == SO_PEERCRED) return -1;
  return __real_getsockopt(fd, level, name, value, length);
}

}  // extern "C"
