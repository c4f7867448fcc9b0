// A volume to fuzz: main and a spare of 64 KiB each, a few sectors remapped, pending or failing,
// and workers that run on the caller's thread.
#ifndef REMAP_FUZZ_VOLUME_H_
#define REMAP_FUZZ_VOLUME_H_

#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "answering_sink.h"
#include "native/queue_worker.h"

namespace remap::fuzz {

class Volume {
 public:
  enum class Backing { kNull, kFile };
  static constexpr uint64_t kSectors = 128;
  static constexpr uint16_t kQueues = 4;

  Volume(Backing backing, uint16_t workers) : context_(kSectors, &sink_) {
    context_.counters = counters_;
    context_.num_queues = kQueues;
    context_.serial = "fuzz";
    for (int i = 0; i < 2; ++i) context_.devices.push_back(open(backing));
    const abi::IndexRecord records[] = {{8, 4, 100, 1, abi::kIndexRemapped},
                                        {16, 2, 0, 0, abi::kIndexPending},
                                        {20, 1, 110, 1, abi::kIndexRemapped | abi::kIndexPending}};
    require(context_.index.apply(records, 3), "the index takes the remaps");
    context_.devices[0]->faults().add(FaultKind::kWriteError, 30, 3, 0, 0);
    context_.devices[1]->faults().add(FaultKind::kWriteError, 31, 1, 0, 0);
    sink_.answer_by([this](const abi::CommandRecord& command) {
      workers_[QueueWorker::token_worker(command.token)]->post(command);
    });
    for (uint16_t i = 0; i < workers; ++i) {
      workers_.push_back(std::make_unique<QueueWorker>(context_, i));
      require(workers_.back()->open() == 0, "the worker starts");
    }
  }

  void begin(Input& in) {
    const uint8_t flags = in.u8();
    context_.read_only = (flags & 7) == 7;
    context_.write_through = (flags & 8) != 0;
    context_.logical_block_size = flags & 16 ? 4096 : 512;
    context_.config_changed = false;
    sink_.begin(flags >> 5 & 3, (flags & 128) != 0);
    for (abi::QueueCounters& counters : counters_) counters = {};
  }

  // Writes to the range wait; one range at a time.
  void lock(uint64_t lba, uint64_t count) {
    if (context_.locks.any()) return;
    context_.locks.add({.token = 1,
                        .lba = lba,
                        .count = count,
                        .waiting = static_cast<uint32_t>(workers_.size())});
    tell(abi::CommandKind::kLock, lba, count);
  }
  void unlock() {
    if (!context_.locks.any()) return;
    context_.locks.remove(1);
    tell(abi::CommandKind::kUnlock, 0, 0);
  }

  VolumeContext& context() { return context_; }
  QueueWorker& worker(size_t n) { return *workers_[n]; }
  const std::vector<std::unique_ptr<QueueWorker>>& workers() const { return workers_; }
  const abi::QueueCounters& counters(size_t queue) const { return counters_[queue]; }

 private:
  static std::shared_ptr<Device> open(Backing backing) {
    std::string path = "null:64K";
    if (backing == Backing::kFile) {
      const int fd = memfd_create("device", MFD_CLOEXEC);
      require(ftruncate(fd, kSectors * 512) == 0, "there is memory");
      path = "/proc/self/fd/" + std::to_string(fd);
    }
    OpenError error;
    auto device = Device::open(path, {}, &error);
    require(device && device->serve_blocks(512), "a device opens");
    return device;
  }
  void tell(abi::CommandKind kind, uint64_t lba, uint64_t count) {
    abi::CommandRecord record{};
    record.kind = static_cast<uint32_t>(kind);
    record.token = 1;
    record.lba = lba;
    record.count = count;
    for (const auto& worker : workers_) worker->post(record);
  }

  AnsweringSink sink_;
  abi::QueueCounters counters_[kQueues]{};
  VolumeContext context_;
  std::vector<std::unique_ptr<QueueWorker>> workers_;
};

}  // namespace remap::fuzz

#endif  // REMAP_FUZZ_VOLUME_H_
