// Processes that want one device at the same moment. Everybody who got it keeps it until all have
// tried, so that the winners of a round can be counted.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <vector>

#include "device_files.h"
#include "native/device.h"

namespace remap::test {
namespace {

enum class Racer { kWriter, kReader, kQemu };

struct Track {
  pthread_barrier_t gate;
  std::atomic<uint64_t> arrived{0};
  std::atomic<uint32_t> writers{0};
  std::atomic<uint32_t> readers{0};
  // Of all rounds.
  std::atomic<uint64_t> won{0};
  std::atomic<uint64_t> refused{0};
  std::atomic<uint64_t> shared{0};  // rounds in which a writer was not alone
  std::atomic<uint64_t> nobody{0};  // rounds without a winner
  std::atomic<uint64_t> failed{0};  // neither won nor refused
};

// REMAP_RACES in the environment makes it a campaign.
uint32_t rounds() {
  const char* wanted = getenv("REMAP_RACES");
  return wanted != nullptr ? static_cast<uint32_t>(atoi(wanted)) : 200;
}

int set_lock(int fd, short type, off_t byte) {
  struct flock request = {};
  request.l_type = type;
  request.l_whence = SEEK_SET;
  request.l_start = byte;
  request.l_len = 1;
  return fcntl(fd, F_OFD_SETLK, &request) == 0 ? 0 : errno;
}

bool foreign_lock(int fd, off_t byte) {
  struct flock request = {};
  request.l_type = F_WRLCK;
  request.l_whence = SEEK_SET;
  request.l_start = byte;
  request.l_len = 1;
  return fcntl(fd, F_OFD_GETLK, &request) != 0 || request.l_type != F_UNLCK;
}

// As raw_check_perm of QEMU's block/file-posix.c for an image opened to be written: it locks what
// it uses (read, write, resize) and what it denies others (write, resize), and then looks whether
// somebody denies the one or uses the other. Returns the descriptor that holds the locks, or -1.
int open_as_qemu(const std::string& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  bool free = fd >= 0;
  for (const off_t byte : {100, 101, 103, 201, 203})
    free = free && set_lock(fd, F_RDLCK, byte) == 0;
  for (const off_t byte : {200, 201, 203, 101, 103}) free = free && !foreign_lock(fd, byte);
  if (free || fd < 0) return fd;
  close(fd);
  return -1;
}

class Holder {
 public:
  bool take(Racer racer, const std::string& path, Track& track) {
    if (racer == Racer::kQemu) {
      fd_ = open_as_qemu(path);
      return fd_ >= 0;
    }
    OpenError error;
    device_ = Device::open(path, {.read_only = racer == Racer::kReader, .exclusive = true}, &error);
    if (device_ == nullptr && error.error != EBUSY) ++track.failed;
    return device_ != nullptr;
  }
  void give_back() {
    device_.reset();
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }

 private:
  std::shared_ptr<Device> device_;
  int fd_ = -1;
};

void race(Racer racer, uint32_t number, uint32_t racers, const std::string& path, Track& track) {
  // On a busy machine they would otherwise hardly ever run at the same time. Not everybody may.
  const sched_param urgent{.sched_priority = 1};
  sched_setscheduler(0, SCHED_RR, &urgent);
  Holder holder;
  uint32_t random = number * 2654435761u + 1;
  std::atomic<uint32_t>& mine = racer == Racer::kReader ? track.readers : track.writers;
  for (uint32_t round = 0; round < rounds(); ++round) {
    const bool counts = pthread_barrier_wait(&track.gate) == PTHREAD_BARRIER_SERIAL_THREAD;
    // The gate wakes one after the other; this lets them go at once where there are cores for it,
    // and now one, now another a little earlier.
    const uint64_t all = (++track.arrived - 1) / racers * racers + racers;
    for (uint32_t spin = 1; track.arrived < all; ++spin)
      if (spin % 1024 == 0) sched_yield();
    random = random * 1664525 + 1013904223;
    for (uint32_t spin = random >> 21; spin > 0; --spin) asm volatile("" ::: "memory");
    const bool won = holder.take(racer, path, track);
    if (won) ++mine;
    ++(won ? track.won : track.refused);
    pthread_barrier_wait(&track.gate);
    if (counts) {
      const uint32_t writers = track.writers;
      if (writers > 1 || (writers == 1 && track.readers > 0)) ++track.shared;
      if (writers + track.readers == 0) ++track.nobody;
    }
    pthread_barrier_wait(&track.gate);
    holder.give_back();
    if (won) --mine;
  }
}

// A child for each racer; what they found.
Track& run_race(const std::vector<Racer>& racers, const std::string& path) {
  void* memory =
      mmap(nullptr, sizeof(Track), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  REQUIRE(memory != MAP_FAILED);
  Track& track = *new (memory) Track;
  pthread_barrierattr_t attributes;
  pthread_barrierattr_init(&attributes);
  pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_barrier_init(&track.gate, &attributes, static_cast<unsigned>(racers.size()));
  std::vector<pid_t> children;
  for (uint32_t i = 0; i < racers.size(); ++i) {
    const pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
      race(racers[i], i, static_cast<uint32_t>(racers.size()), path, track);
      _exit(0);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(status == 0);
  }
  return track;
}

void check_race(const std::vector<Racer>& racers, const std::string& path, bool one_wins) {
  Track& track = run_race(racers, path);
  std::printf("%u races of %zu for %s: %lu won, %lu refused, %lu shared, %lu without a winner\n",
              rounds(), racers.size(), path.c_str(), track.won.load(), track.refused.load(),
              track.shared.load(), track.nobody.load());
  CHECK(track.won + track.refused == uint64_t{rounds()} * racers.size());
  CHECK(track.refused > 0);
  CHECK(track.failed == 0);
  CHECK(track.shared == 0);
  if (one_wins) CHECK(track.nobody == 0);
  CHECK(track.nobody < rounds());
  munmap(&track, sizeof track);
}

}  // namespace

TEST_CASE("device races: a file has one writer, or readers") {
  const TemporaryFolder folder;
  const std::string path = folder.file("main", 1 << 20);
  SUBCASE("two writers: one of them") { check_race({Racer::kWriter, Racer::kWriter}, path, true); }
  SUBCASE("three writers: one of them") {
    check_race({Racer::kWriter, Racer::kWriter, Racer::kWriter}, path, true);
  }
  SUBCASE("a writer and two readers") {
    check_race({Racer::kWriter, Racer::kReader, Racer::kReader}, path, false);
  }
  SUBCASE("a writer and a QEMU") { check_race({Racer::kWriter, Racer::kQemu}, path, false); }
  SUBCASE("a reader and a QEMU") { check_race({Racer::kReader, Racer::kQemu}, path, false); }
}

TEST_CASE("device races: a block device has one writer") {
  const TemporaryFolder folder;
  const LoopDevice loop(folder.file("backing", 1 << 20), 512);
  if (loop.path.empty()) return;
  check_race({Racer::kWriter, Racer::kWriter}, loop.path, true);
}

}  // namespace remap::test
