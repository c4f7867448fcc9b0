#include "memory_guard.h"

#include <dlfcn.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <mutex>
#include <utility>

namespace remap {
namespace {

// The handler reads this table without a lock. A slot is in use while `begin` is not zero; the
// rest of it is written before `begin` and stays until after.
struct Slot {
  std::atomic<uintptr_t> begin{0};
  std::atomic<uintptr_t> end{0};
  std::atomic<uintptr_t> page_size{0};
  std::atomic<GuardOwner*> owner{nullptr};
};

// libvhost-user serves 509 regions; room for a few sessions in one process.
constexpr int kSlots = 2048;
Slot slots[kSlots];
std::mutex slots_mutex;
struct sigaction previous;

void pass_on(int signal, siginfo_t* info, void* context) {
  if ((previous.sa_flags & SA_SIGINFO) && previous.sa_sigaction != nullptr) {
    previous.sa_sigaction(signal, info, context);
  } else if (!(previous.sa_flags & SA_SIGINFO) && previous.sa_handler != SIG_DFL &&
             previous.sa_handler != SIG_IGN) {
    previous.sa_handler(signal);
  } else {
    // The faulting instruction runs again and meets the default.
    struct sigaction plain {};
    plain.sa_handler = SIG_DFL;
    sigaction(signal, &plain, nullptr);
  }
}

bool replace_page(const Slot& slot, uintptr_t address) {
  const uintptr_t page_size = slot.page_size.load(std::memory_order_relaxed);
  void* page = reinterpret_cast<void*>(address / page_size * page_size);
  return mmap(page, page_size, PROT_READ | PROT_WRITE,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) != MAP_FAILED;
}

// Async-signal-safe: atomics, mmap, write.
void on_bus_error(int signal, siginfo_t* info, void* context) {
  const int saved_errno = errno;
  const auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  for (const Slot& slot : slots) {
    const uintptr_t begin = slot.begin.load(std::memory_order_acquire);
    if (begin == 0 || address < begin || address >= slot.end.load(std::memory_order_relaxed))
      continue;
    if (!replace_page(slot, address)) break;
    GuardOwner* owner = slot.owner.load(std::memory_order_relaxed);
    owner->lost.store(true, std::memory_order_release);
    const uint64_t one = 1;
    if (owner->wake_fd >= 0 && write(owner->wake_fd, &one, sizeof one) < 0) {
      // Full: it is readable anyway.
    }
    errno = saved_errno;
    return;
  }
  errno = saved_errno;
  pass_on(signal, info, context);
}

void install() {
  // The handler must stay mapped: Node unloads an addon with the last environment that uses it.
  Dl_info self{};
  if (dladdr(reinterpret_cast<void*>(&install), &self) != 0 && self.dli_fname != nullptr)
    dlopen(self.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
  struct sigaction action {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, &previous);
}

}  // namespace

MemoryGuard::MemoryGuard(const void* address, size_t size, size_t page_size, GuardOwner& owner) {
  static std::once_flag installed;
  std::call_once(installed, install);
  std::lock_guard guard(slots_mutex);
  for (int i = 0; i < kSlots; ++i) {
    if (slots[i].begin.load(std::memory_order_relaxed) != 0) continue;
    const auto begin = reinterpret_cast<uintptr_t>(address);
    slots[i].end.store(begin + size, std::memory_order_relaxed);
    slots[i].page_size.store(page_size, std::memory_order_relaxed);
    slots[i].owner.store(&owner, std::memory_order_relaxed);
    slots[i].begin.store(begin, std::memory_order_release);
    slot_ = i;
    return;
  }
}

MemoryGuard::~MemoryGuard() {
  if (slot_ < 0) return;
  std::lock_guard guard(slots_mutex);
  slots[slot_].begin.store(0, std::memory_order_release);
}

MemoryGuard::MemoryGuard(MemoryGuard&& other) noexcept : slot_(std::exchange(other.slot_, -1)) {}

MemoryGuard& MemoryGuard::operator=(MemoryGuard&& other) noexcept {
  std::swap(slot_, other.slot_);
  return *this;
}

}  // namespace remap
