#include "queue_worker.h"

#include <linux/virtio_blk.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <condition_variable>
#include <cstdio>
#include <functional>
#include <future>
#include <mutex>
#include <thread>

#include "io_ring.h"
#include "log_limiter.h"
#include "request_engine.h"
#include "worker_queue.h"

namespace remap {

class QueueWorker::Impl final : public RequestOwner {
 public:
  Impl(VolumeContext& context, uint16_t id)
      : context_(context), id_(id), complaints_(*context.events) {}
  ~Impl() { close_fd(&wake_fd_); }

  int start();
  int open();
  void stop();
  bool serve();
  void turn(bool sleep);

  // Runs `step` on the thread between batches until it says true; returns then.
  void call(std::function<bool()> step);
  void post(const abi::CommandRecord& command);

  void attach(const VringSetup& setup);
  bool detach_step(uint16_t queue, uint16_t* base);
  bool quiesce_step();
  void set_call(uint16_t queue, int fd);

  void finished(BlkRequest& request, uint32_t used_length) override;
  BlkRequest* find(uint64_t token) override;
  uint64_t token_of(const BlkRequest& request) const override;
  void each_busy(void (*visit)(BlkRequest&, void*), void* argument) override;

  VolumeContext& context_;
  const uint16_t id_;
  std::array<std::unique_ptr<WorkerQueue>, kQueuesMax> queues_;  // by virtqueue index
  std::vector<WorkerQueue*> attached_;
  std::shared_ptr<const DirtyLog> log_;
  std::shared_ptr<const MemoryMap> memory_ = std::make_shared<const MemoryMap>();
  bool paused_ = false;
  std::string engine_name_;

 private:
  struct Task {
    std::function<bool()> step;
    bool done = false;
  };

  void run(std::promise<int>* started);
  void close();
  void log_written(const BlkRequest& request);
  void log_used(const WorkerQueue& queue);
  unsigned take_all();
  unsigned take_from(WorkerQueue& queue);
  void take_one(WorkerQueue& queue, uint16_t head);
  void break_queue(WorkerQueue& queue, const char* why);
  void publish_all();
  void run_mailbox();
  bool may_sleep();

  std::thread thread_;
  bool threaded_ = false;
  int wake_fd_ = -1;
  std::unique_ptr<IoRing> ring_;
  std::unique_ptr<RequestEngine> engine_;
  WakePoll wake_;
  PollTimer timer_;
  LogLimiter complaints_;
  uint32_t hint_ = 0;
  bool exit_ = false;

  std::mutex mutex_;
  std::condition_variable done_;
  std::vector<Task*> tasks_;
  std::vector<abi::CommandRecord> commands_;
  std::vector<abi::CommandRecord> taken_commands_;
};

int QueueWorker::Impl::start() {
  std::promise<int> started;
  std::future<int> result = started.get_future();
  // Signals belong to Node's main thread.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  threaded_ = true;
  thread_ = std::thread([this, &started] { run(&started); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  const int error = result.get();
  if (error != 0) thread_.join();
  return error;
}

int QueueWorker::Impl::open() {
  wake_fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd_ < 0) return errno;
  ring_ = std::make_unique<IoRing>();
  int error = ring_->open();
  if (error == 0) error = ring_->register_devices(context_.devices);
  if (error != 0) return error;
  engine_name_ = ring_->description();
  engine_ = std::make_unique<RequestEngine>(context_, *ring_, *this);
  wake_.arm(*ring_, wake_fd_);
  return 0;
}

void QueueWorker::Impl::stop() {
  if (!engine_) return;
  call([this] {
    exit_ = engine_->background() == 0;
    return exit_;
  });
  if (threaded_)
    thread_.join();
  else
    close();
}

void QueueWorker::Impl::close() {
  engine_.reset();
  ring_.reset();
}

void QueueWorker::Impl::run(std::promise<int>* started) {
  char name[16];
  snprintf(name, sizeof name, "vhost-queue-%u", static_cast<unsigned>(id_ % 1000));
  pthread_setname_np(pthread_self(), name);
  // Faults in guest memory must reach the handler, on this thread.
  sigset_t faults;
  sigemptyset(&faults);
  sigaddset(&faults, SIGBUS);
  sigaddset(&faults, SIGSEGV);
  pthread_sigmask(SIG_UNBLOCK, &faults, nullptr);

  const int error = open();
  started->set_value(error);
  if (error != 0) return;
  while (!exit_) {
    const bool idle = serve();
    if (!exit_) turn(idle);
  }
  close();
}

// One round between two turns of the ring; true when nothing is left to do until something wakes
// us.
bool QueueWorker::Impl::serve() {
  const unsigned work = take_all() + engine_->run_ready();
  publish_all();
  run_mailbox();
  return !exit_ && work == 0 && !engine_->has_ready() && may_sleep();
}

void QueueWorker::Impl::turn(bool sleep) {
  ring_->turn(sleep);
  wake_.take_wakes();
  publish_all();
}

unsigned QueueWorker::Impl::take_all() {
  if (paused_ || memory_->lost()) return 0;
  unsigned count = 0;
  for (WorkerQueue* queue : attached_)
    if (queue->takes() && queue->waiting()) count += take_from(*queue);
  return count;
}

unsigned QueueWorker::Impl::take_from(WorkerQueue& queue) {
  unsigned count = 0;
  queue.ring.suppress_kicks();
  log_used(queue);
  while (queue.resumed < queue.ring.resumed().size()) {
    take_one(queue, queue.ring.resumed()[queue.resumed++]);
    ++count;
  }
  for (;;) {
    uint16_t head = 0;
    const Virtqueue::Take took = queue.ring.take(&head);
    if (memory_->lost()) return count;
    if (took == Virtqueue::Take::kNone) return count;
    if (took == Virtqueue::Take::kBroken) {
      break_queue(queue, "available index or head out of range");
      return count;
    }
    if (queue.slots[head].busy) {
      break_queue(queue, "head made available twice");
      return count;
    }
    take_one(queue, head);
    ++count;
  }
}

void QueueWorker::Impl::take_one(WorkerQueue& queue, uint16_t head) {
  BlkRequest& request = queue.slots[head];
  const Parse parsed = parse_request(queue.ring, head, *memory_, &hint_, &request);
  abi::QueueCounters& counters = context_.counters[queue.setup.index];
  if (parsed == Parse::kMalformed) {
    ++counters.malformed;
    complaints_.warn("queue %u: malformed descriptor chain at head %u", queue.setup.index, head);
    queue.ring.put_used(head, 0);
    return;
  }
  request.busy = true;
  request.parked = false;
  request.held = false;
  request.watched = false;
  ++queue.in_flight;
  counters.in_flight = queue.in_flight;
  if (parsed == Parse::kFailed) {
    request.type = VIRTIO_BLK_T_IN;
    request.data_bytes = 0;
    engine_->answer(request, VIRTIO_BLK_S_IOERR);
    return;
  }
  engine_->start(request);
}

void QueueWorker::Impl::break_queue(WorkerQueue& queue, const char* why) {
  queue.broken = true;
  complaints_.log(kError, "queue %u stopped: %s", queue.setup.index, why);
}

void QueueWorker::Impl::publish_all() {
  for (WorkerQueue* queue : attached_) {
    const bool due = queue->ring.has_unpublished();
    const bool call = queue->ring.publish();
    if (due) log_used(*queue);
    if (!call) continue;
    ++context_.counters[queue->setup.index].calls;
    queue->call();
  }
}

void QueueWorker::Impl::run_mailbox() {
  std::vector<Task*> tasks;
  {
    std::lock_guard guard(mutex_);
    if (commands_.empty() && tasks_.empty()) return;
    taken_commands_.swap(commands_);
    tasks = tasks_;
  }
  for (const abi::CommandRecord& command : taken_commands_) engine_->command(command);
  taken_commands_.clear();
  publish_all();  // commands may have answered requests, and we may be about to sleep
  for (Task* task : tasks) {
    if (!task->step()) continue;
    std::lock_guard guard(mutex_);
    std::erase(tasks_, task);
    task->done = true;
    done_.notify_all();
  }
}

// Asks for kicks and looks once more; true when there is nothing to do until something wakes us.
bool QueueWorker::Impl::may_sleep() {
  bool idle = true;
  for (WorkerQueue* queue : attached_) {
    if (paused_ || memory_->lost() || !queue->takes()) continue;
    if (queue->setup.kick_fd < 0) timer_.arm(*ring_);
    queue->ring.request_kicks();
    log_used(*queue);
    if (queue->waiting()) idle = false;
    context_.counters[queue->setup.index].kicks += queue->kick.take_wakes();
  }
  return idle;
}

void QueueWorker::Impl::call(std::function<bool()> step) {
  Task task{std::move(step)};
  std::unique_lock lock(mutex_);
  tasks_.push_back(&task);
  if (threaded_) {
    eventfd_write(wake_fd_, 1);
    done_.wait(lock, [&task] { return task.done; });
    return;
  }
  lock.unlock();
  for (bool idle = serve(); !task.done; idle = serve()) turn(idle);
}

void QueueWorker::Impl::post(const abi::CommandRecord& command) {
  std::lock_guard guard(mutex_);
  commands_.push_back(command);
  if (commands_.size() == 1) eventfd_write(wake_fd_, 1);
}

void QueueWorker::Impl::attach(const VringSetup& setup) {
  auto queue = std::make_unique<WorkerQueue>(setup);
  if (setup.kick_fd >= 0) queue->kick.arm(*ring_, setup.kick_fd);
  context_.counters[setup.index].started = setup.enabled;
  attached_.push_back(queue.get());
  queues_[setup.index] = std::move(queue);
}

bool QueueWorker::Impl::detach_step(uint16_t index, uint16_t* base) {
  if (!queues_[index]) return true;
  WorkerQueue& queue = *queues_[index];
  queue.stopping = true;
  queue.kick.disarm();
  if (queue.in_flight != 0 || queue.kick.armed()) return false;
  // What an earlier back-end left and we never began stays in flight for the next one.
  *base = static_cast<uint16_t>(queue.ring.next_avail());
  context_.counters[index].started = 0;
  std::erase(attached_, &queue);
  queues_[index].reset();
  return true;
}

bool QueueWorker::Impl::quiesce_step() {
  paused_ = true;
  for (WorkerQueue* queue : attached_)
    if (queue->in_flight != 0) return false;
  return true;
}

void QueueWorker::Impl::set_call(uint16_t index, int fd) {
  if (!queues_[index]) {
    close_fd(&fd);
    return;
  }
  WorkerQueue& queue = *queues_[index];
  close_fd(&queue.setup.call_fd);
  queue.take_call(fd);
  queue.call();
}

void QueueWorker::Impl::finished(BlkRequest& request, uint32_t used_length) {
  WorkerQueue& queue = *queues_[request.queue];
  if (log_) log_written(request);
  queue.ring.put_used(request.head, used_length);
  request.busy = false;
  --queue.in_flight;
  context_.counters[request.queue].in_flight = queue.in_flight;
}

// Data and status are marked before the guest can learn of them.
void QueueWorker::Impl::log_written(const BlkRequest& request) {
  auto mark = [this](const void* from, uint64_t length) {
    auto* host = static_cast<const uint8_t*>(from);
    while (length > 0) {
      uint64_t part = length;
      log_->mark(memory_->guest_of(host, &part), part);
      host += part;
      length -= part;
    }
  };
  mark(request.status, 1);
  if (request.modifies()) return;
  for (const iovec& v : request.data) mark(v.iov_base, v.iov_len);
}

// Elements, index, flags and event index: whoever wrote one of them says so here.
void QueueWorker::Impl::log_used(const WorkerQueue& queue) {
  if (!log_ || queue.setup.used_log_address == 0) return;
  log_->mark(queue.setup.used_log_address,
             sizeof(uint16_t) * 3 + sizeof(vring_used_elem) * queue.ring.size());
}

// A token: worker (16 bits), queue (8), head (16), sequence (24).
uint64_t QueueWorker::Impl::token_of(const BlkRequest& request) const {
  return uint64_t{id_} << 48 | uint64_t{request.queue & 0xffu} << 40 |
         uint64_t{request.head} << 24 | (request.sequence & 0xffffffu);
}

BlkRequest* QueueWorker::Impl::find(uint64_t token) {
  const uint64_t index = token >> 40 & 0xff;
  if (index >= queues_.size() || !queues_[index]) return nullptr;
  const uint64_t head = token >> 24 & 0xffff;
  if (head >= queues_[index]->slots.size()) return nullptr;
  BlkRequest& request = queues_[index]->slots[head];
  return request.busy && token_of(request) == token ? &request : nullptr;
}

void QueueWorker::Impl::each_busy(void (*visit)(BlkRequest&, void*), void* argument) {
  for (WorkerQueue* queue : attached_) {
    if (queue->in_flight == 0) continue;
    for (BlkRequest& request : queue->slots)
      if (request.busy) visit(request, argument);
  }
}

QueueWorker::QueueWorker(VolumeContext& context, uint16_t id)
    : impl_(std::make_unique<Impl>(context, id)) {}
QueueWorker::~QueueWorker() = default;

int QueueWorker::start() { return impl_->start(); }
int QueueWorker::open() { return impl_->open(); }
void QueueWorker::poll() {
  impl_->serve();
  impl_->turn(false);
}
void QueueWorker::stop() { impl_->stop(); }

void QueueWorker::set_memory(std::shared_ptr<const MemoryMap> memory) {
  impl_->call([&] {
    impl_->memory_ = std::move(memory);
    return true;
  });
}

void QueueWorker::set_log(std::shared_ptr<const DirtyLog> log) {
  impl_->call([&] {
    impl_->log_ = std::move(log);
    return true;
  });
}

void QueueWorker::set_used_log(uint16_t queue, uint64_t address) {
  impl_->call([&] {
    if (impl_->queues_[queue]) impl_->queues_[queue]->setup.used_log_address = address;
    return true;
  });
}

void QueueWorker::attach(const VringSetup& setup) {
  impl_->call([&] {
    impl_->attach(setup);
    return true;
  });
}

void QueueWorker::set_enabled(uint16_t queue, bool enabled) {
  impl_->call([&] {
    if (impl_->queues_[queue]) {
      impl_->queues_[queue]->enabled = enabled;
      impl_->context_.counters[queue].started = enabled;
    }
    return true;
  });
}

void QueueWorker::set_call(uint16_t queue, int fd) {
  impl_->call([&] {
    impl_->set_call(queue, fd);
    return true;
  });
}

uint16_t QueueWorker::detach(uint16_t queue) {
  uint16_t base = 0;
  impl_->call([&] { return impl_->detach_step(queue, &base); });
  return base;
}

void QueueWorker::quiesce() {
  impl_->call([&] { return impl_->quiesce_step(); });
}

void QueueWorker::resume() {
  impl_->call([&] {
    impl_->paused_ = false;
    return true;
  });
}

void QueueWorker::post(const abi::CommandRecord& command) { impl_->post(command); }

const char* QueueWorker::engine() const { return impl_->engine_name_.c_str(); }

}  // namespace remap
