// A whole back-end behind its socket: libvhost-user, session, workers, a real file.
#ifndef REMAP_TEST_SERVED_VOLUME_H_
#define REMAP_TEST_SERVED_VOLUME_H_

#include <dirent.h>
#include <doctest/doctest.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <functional>
#include <mutex>

#include "front_end.h"
#include "native/backend.h"

namespace remap::test {

inline constexpr uint64_t kSectors = 2048;

class Recorder final : public EventSink {
 public:
  using EventSink::push;
  void push(const abi::EventRecord* records, size_t count) override {
    {
      std::lock_guard guard(mutex_);
      records_.insert(records_.end(), records, records + count);
      changed_.notify_all();
    }
    if (on_parked == nullptr) return;
    for (size_t i = 0; i < count; ++i)
      if (records[i].kind == static_cast<uint32_t>(abi::EventKind::kParked))
        on_parked(records[i].token);
  }
  // Waits for the n-th event of the kind with this count.
  bool saw(abi::EventKind kind, uint64_t count, size_t n = 1) {
    return wait(
        [=](const abi::EventRecord& r) {
          return r.kind == static_cast<uint32_t>(kind) && r.count == count;
        },
        n);
  }
  bool logged(const char* words, size_t n = 1) {
    return wait(
        [=](const abi::EventRecord& r) {
          return r.kind == static_cast<uint32_t>(abi::EventKind::kLog) && strstr(r.text, words);
        },
        n);
  }
  // All records of the kind so far.
  std::vector<abi::EventRecord> all(abi::EventKind kind) {
    std::lock_guard guard(mutex_);
    std::vector<abi::EventRecord> found;
    std::ranges::copy_if(records_, std::back_inserter(found),
                         [=](const auto& r) { return r.kind == static_cast<uint32_t>(kind); });
    return found;
  }
  void forget() {
    std::lock_guard guard(mutex_);
    records_ = {};
  }
  // Drops the log lines that came so far; returns how many.
  size_t forget_lines() {
    std::lock_guard guard(mutex_);
    return std::erase_if(records_, [](const auto& r) {
      return r.kind == static_cast<uint32_t>(abi::EventKind::kLog);
    });
  }
  std::function<void(uint64_t token)> on_parked;  // set before the back-end starts

  size_t lines() {
    std::lock_guard guard(mutex_);
    return static_cast<size_t>(std::ranges::count_if(records_, [](const auto& r) {
      return r.kind == static_cast<uint32_t>(abi::EventKind::kLog);
    }));
  }

 private:
  template <typename Match>
  bool wait(Match match, size_t n) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(5), [&] {
      return static_cast<size_t>(std::ranges::count_if(records_, match)) >= n;
    });
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<abi::EventRecord> records_;
};

inline size_t open_descriptors() {
  size_t count = 0;
  DIR* dir = opendir("/proc/self/fd");
  while (readdir(dir) != nullptr) ++count;
  closedir(dir);
  return count;
}

struct VolumeOptions {
  bool read_only = false;
  // A descriptor to take the place of a device's own, once that is open and checked.
  std::vector<std::pair<size_t, int>> instead = {};
  uint32_t logical_block_size = 512;
  std::string serial = "";
  std::string directory = "/tmp";
  std::string main = "";       // in place of a file of 2,048 sectors; only "null:SIZE" makes sense
  bool refuse_parked = false;  // answer what is parked with IOERR, as TypeScript might
};

// A back-end of 4 queues over a file whose sector n holds n in every byte, and a spare of the same
// size full of 0xee.
class Volume {
 public:
  explicit Volume(const VolumeOptions& options = {}) {
    directory_ = options.directory + "/remap-session-XXXXXX";
    if (mkdtemp(directory_.data()) == nullptr) std::abort();
    fill(image(), [](uint64_t i) { return static_cast<uint8_t>(i); });
    fill(spare(), [](uint64_t) { return uint8_t{0xee}; });
    std::vector<std::shared_ptr<Device>> devices;
    for (const std::string& path : {options.main.empty() ? image() : options.main, spare()}) {
      OpenError error;
      devices.push_back(Device::open(path, OpenOptions{.read_only = options.read_only}, &error));
      if (devices.back() == nullptr) std::abort();
    }
    auto context = std::make_unique<VolumeContext>(devices[0]->size_sectors(), &events);
    context->num_queues = 4;
    context->counters = counters_;
    context->read_only = options.read_only;
    context->logical_block_size = options.logical_block_size;
    context->serial = options.serial;
    context->devices = std::move(devices);
    for (const auto& [device, fd] : options.instead)
      if (dup2(fd, context->devices[device]->fd()) < 0) std::abort();
    if (options.refuse_parked)
      events.on_parked = [this](uint64_t token) { complete(token, VIRTIO_BLK_S_IOERR); };
    backend = std::make_unique<Backend>(std::move(context), 2);
    const char* step = "";
    if (backend->start(&step) != 0) std::abort();
  }
  ~Volume() {
    // A test that failed may have left requests parked, and stopping waits for them.
    for (const abi::EventRecord& parked : events.all(abi::EventKind::kParked))
      complete(parked.token, VIRTIO_BLK_S_IOERR);
    backend->stop();
    CHECK(events.saw(abi::EventKind::kStopped, 0));
    backend.reset();
    unlink(image().c_str());
    unlink(spare().c_str());
    rmdir(directory_.c_str());
  }

  std::string socket() const { return directory_ + "/s"; }
  std::string image() const { return directory_ + "/i"; }
  std::string spare() const { return directory_ + "/p"; }
  void complete(uint64_t token, uint8_t status) {
    abi::CommandRecord command{};
    command.kind = static_cast<uint32_t>(abi::CommandKind::kComplete);
    command.token = token;
    command.status = status;
    backend->submit(&command, 1);
  }
  Device& device(size_t n) { return *backend->context().devices[n]; }
  void listen() {
    const char* step = "";
    REQUIRE(backend->listen(socket(), &step) == 0);
  }
  int connect() const { return FrontEnd::connect_to(socket()); }
  // As TypeScript reads them: word by word, while the worker counts on.
  __attribute__((no_sanitize("thread"))) abi::QueueCounters counters(int queue) const {
    abi::QueueCounters copy;
    const auto* from = reinterpret_cast<const volatile uint64_t*>(&counters_[queue]);
    auto* to = reinterpret_cast<uint64_t*>(&copy);
    for (size_t i = 0; i < sizeof copy / sizeof *to; ++i) to[i] = from[i];
    return copy;
  }

  Recorder events;
  std::unique_ptr<Backend> backend;

 private:
  static void fill(const std::string& path, uint8_t (*value)(uint64_t sector)) {
    std::vector<uint8_t> bytes(kSectors * 512);
    for (uint64_t i = 0; i < kSectors; ++i) memset(&bytes[i * 512], value(i), 512);
    const int fd = open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    if (write(fd, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) std::abort();
    close(fd);
  }

  std::string directory_;
  abi::QueueCounters counters_[4]{};
};

// A new front-end is served from the start: what came before has left nothing behind.
inline void check_serves(Volume& volume, uint64_t sector = 9) {
  FrontEnd f(volume.connect());
  REQUIRE(f.negotiate());
  REQUIRE(f.share_memory() == 0u);
  REQUIRE(f.start_queue());
  f.offer(VIRTIO_BLK_T_IN, sector);
  f.notify();
  CHECK(f.returned(1));
  CHECK(f.memory[FrontEnd::kStatus] == VIRTIO_BLK_S_OK);
  CHECK(f.memory[FrontEnd::kData + 511] == static_cast<uint8_t>(sector));
  CHECK(f.stop_queue() == 1u);
}

}  // namespace remap::test

#endif  // REMAP_TEST_SERVED_VOLUME_H_
