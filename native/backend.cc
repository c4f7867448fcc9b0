#include "backend.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "control_loop.h"

namespace remap {
namespace {

uint16_t choose_workers(uint16_t wanted, uint16_t queues) {
  // One core is left for the front-end's own threads.
  const unsigned cores = std::max(2u, std::thread::hardware_concurrency());
  const unsigned count = wanted != 0 ? wanted : cores - 1;
  return static_cast<uint16_t>(std::clamp<unsigned>(count, 1, queues));
}

}  // namespace

Backend::Backend(std::unique_ptr<VolumeContext> context, uint16_t workers)
    : context_(std::move(context)) {
  const uint16_t count = choose_workers(workers, context_->num_queues);
  for (uint16_t i = 0; i < count; ++i)
    workers_.push_back(std::make_unique<QueueWorker>(*context_, i));
}

Backend::~Backend() {
  if (thread_.joinable()) thread_.join();
  for (size_t i = 0; i < started_; ++i) workers_[i]->stop();
  if (wake_fd_ >= 0) close(wake_fd_);
}

int Backend::start(const char** step) {
  *step = "eventfd";
  wake_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd_ < 0) return errno;
  *step = "alignment";
  for (const auto& device : context_->devices)
    if (!device->serve_blocks(context_->logical_block_size)) return EINVAL;
  *step = "io_uring";
  for (const auto& worker : workers_) {
    if (const int error = worker->start(); error != 0) return error;
    ++started_;
  }
  return 0;
}

int Backend::listen(const std::string& path, const char** step) {
  return run(socket_.bind(path, step));
}

int Backend::adopt(int fd, const char** step) { return run(socket_.adopt(fd, step)); }

int Backend::connect(const std::string& path, const char** step) {
  return run(socket_.aim(path, step));
}

int Backend::run(int error) {
  if (error != 0) return error;
  state_ = State::kRunning;
  thread_ = start_control_thread([this] {
    ControlLoop(*context_, workers_, socket_, wake_fd_).run([this] {
      std::lock_guard guard(mutex_);
      return stopping_;
    });
    std::lock_guard guard(mutex_);
    state_ = State::kEnded;
    push_stopped(*context_->events);
  });
  return 0;
}

void Backend::submit(const abi::CommandRecord* records, size_t count) {
  for (size_t i = 0; i < count; ++i) {
    const abi::CommandRecord& command = records[i];
    switch (static_cast<abi::CommandKind>(command.kind)) {
      case abi::CommandKind::kWriteSpare:
      case abi::CommandKind::kComplete:
      case abi::CommandKind::kRetry: {
        const uint16_t worker = QueueWorker::token_worker(command.token);
        if (worker < workers_.size()) workers_[worker]->post(command);
        break;
      }
      case abi::CommandKind::kCopy:
        workers_.front()->post(command);
        break;
      case abi::CommandKind::kLock:
        context_->locks.add({.token = command.token,
                             .lba = command.lba,
                             .count = command.count,
                             .waiting = static_cast<uint32_t>(workers_.size())});
        for (const auto& worker : workers_) worker->post(command);
        break;
      case abi::CommandKind::kWatch:
        for (const auto& worker : workers_) worker->post(command);
        break;
      case abi::CommandKind::kUnlock:
        context_->locks.remove(command.token);
        for (const auto& worker : workers_) worker->post(command);
        break;
    }
  }
}

bool Backend::publish(const abi::IndexRecord* records, size_t count) {
  return context_->index.apply(records, count);
}

bool Backend::set_capacity(uint64_t sectors) {
  // The index first: a request beyond the old end may come at once.
  if (sectors > context_->devices.front()->size_sectors() || !context_->index.grow(sectors))
    return false;
  if (context_->capacity_sectors.exchange(sectors) == sectors) return true;
  context_->config_changed = true;
  eventfd_write(wake_fd_, 1);
  return true;
}

void Backend::answer_claim(uint64_t claim, bool granted) {
  context_->hold.answer(claim, granted);
  eventfd_write(wake_fd_, 1);
}

void Backend::stop() {
  std::lock_guard guard(mutex_);
  if (state_ != State::kRunning) {
    state_ = State::kEnded;
    push_stopped(*context_->events);
    return;
  }
  stopping_ = true;
  eventfd_write(wake_fd_, 1);
}

bool Backend::flush_failed() const {
  return std::ranges::any_of(context_->devices,
                             [](const auto& device) { return device->flush_failed(); });
}

}  // namespace remap
