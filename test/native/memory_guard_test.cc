#include "native/memory_guard.h"

#include <doctest/doctest.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <utility>

namespace remap::test {

namespace {

constexpr size_t kPage = 4096;

// Two pages of a file that has been cut down to one.
struct Truncated {
  Truncated() {
    fd = memfd_create("guard", MFD_CLOEXEC);
    if (ftruncate(fd, 2 * kPage) != 0) std::abort();
    address = static_cast<volatile uint8_t*>(
        mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    address[0] = 1;
    if (ftruncate(fd, kPage) != 0) std::abort();
  }
  ~Truncated() {
    munmap(const_cast<uint8_t*>(address), 2 * kPage);
    close(fd);
  }
  void* begin() { return const_cast<uint8_t*>(address); }

  int fd;
  volatile uint8_t* address;
};

}  // namespace

TEST_CASE("memory guard: a page that has gone reads as zeroes and the owner is told") {
  Truncated file;
  GuardOwner owner;
  owner.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  const MemoryGuard guard(file.begin(), 2 * kPage, kPage, owner);
  REQUIRE(guard.active());
  CHECK(file.address[kPage + 5] == 0);
  file.address[kPage + 5] = 7;
  CHECK(file.address[kPage + 5] == 7);
  CHECK(file.address[0] == 1);
  CHECK(owner.lost);
  eventfd_t count = 0;
  CHECK(eventfd_read(owner.wake_fd, &count) == 0);
  close(owner.wake_fd);
}

TEST_CASE("memory guard: moving keeps the guard, an untouched range says nothing") {
  Truncated file;
  GuardOwner owner;
  MemoryGuard guard(file.begin(), 2 * kPage, kPage, owner);
  const MemoryGuard moved(std::move(guard));
  CHECK_FALSE(guard.active());
  CHECK(moved.active());
  CHECK(file.address[0] == 1);
  CHECK_FALSE(owner.lost);
}

TEST_CASE("memory guard: a fault outside every guarded range ends the process as ever") {
  const pid_t child = fork();
  if (child == 0) {
    // The test framework has handlers of its own.
    signal(SIGBUS, SIG_DFL);
    Truncated other;
    Truncated file;
    GuardOwner owner;
    {
      const MemoryGuard guard(other.begin(), 2 * kPage, kPage, owner);
      const MemoryGuard gone(file.begin(), 2 * kPage, kPage, owner);
    }
    file.address[kPage] = 1;
    _exit(0);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGBUS);
}

}  // namespace remap::test
