// What happens after an error: which blocks are bad, what only TypeScript can decide, and what it
// decided.
#include <linux/virtio_blk.h>

#include <algorithm>
#include <cerrno>
#include <span>

#include "data_operation.h"
#include "io_error.h"
#include "request_engine.h"
#include "spare_copy.h"

namespace remap {

namespace {

abi::Operation operation_of(const BlkRequest& request) {
  switch (request.type) {
    case VIRTIO_BLK_T_OUT:
      return abi::Operation::kWrite;
    case VIRTIO_BLK_T_FLUSH:
      return abi::Operation::kFlush;
    case VIRTIO_BLK_T_DISCARD:
      return abi::Operation::kDiscard;
    case VIRTIO_BLK_T_WRITE_ZEROES:
      return abi::Operation::kWriteZeroes;
    default:
      return abi::Operation::kRead;
  }
}

// A read is the last hope of the data and is tried longer than a write, unless it is known that
// the block cannot be read.
std::span<const uint32_t> retry_delays(const DataOperation& operation, ErrorClass kind) {
  if (kind == ErrorClass::kOther) return {};
  if (kind == ErrorClass::kTransient) return kReadRetryDelaysMs;
  if (operation.pending) return {};
  if (operation.write) return kWriteRetryDelaysMs;
  return kReadRetryDelaysMs;
}

}  // namespace

void RequestEngine::operation_failed(DataOperation* operation, int error) {
  BlkRequest& request = *operation->request;
  const ErrorClass kind = classify(error);
  const uint64_t block_sectors = context_.logical_block_size / kSectorSize;
  if (kind == ErrorClass::kMedium && operation->count > block_sectors) {
    isolate(operation);
    return;
  }
  const auto delays = retry_delays(*operation, kind);
  if (operation->attempts < delays.size()) {
    operation->alone = true;
    operation->submit_after(delays[operation->attempts++]);
    return;
  }
  if (kind == ErrorClass::kMedium) {
    record_bad(operation, error);
  } else {
    request.hard_error = error;
    report_device_error(request, operation->device, operation->start, operation->count, error);
  }
  recycle(operation);
  part_done(request);
}

// Does each block of a failed run by itself.
void RequestEngine::isolate(DataOperation* operation) {
  BlkRequest& request = *operation->request;
  const uint64_t step = context_.logical_block_size / kSectorSize;
  const uint64_t blocks = operation->count / step;
  const uint64_t start = operation->start;
  const uint64_t target = operation->target;
  const uint32_t device = operation->device;
  const bool pending = operation->pending;
  request.parts += static_cast<uint32_t>(blocks);
  for (uint64_t i = 0; i < blocks; ++i) {
    DataOperation* single = new_operation();
    single->set(request, start + i * step, step, device, target + i * step, pending);
    single->alone = true;
    single->submit();
  }
  recycle(operation);
  part_done(request);
}

// Blocks that are judged by themselves go to the device one after the other: the block layer joins
// neighbours that it is given together, and fails them together, good ones with the bad.
bool RequestEngine::may_run(DataOperation* operation) {
  if (alone_ == nullptr) alone_ = operation;
  if (alone_ == operation) return true;
  waiting_alone_.push_back(operation);
  return false;
}

void RequestEngine::ran(DataOperation* operation) {
  if (alone_ != operation) return;  // a planned fault has answered instead of the device
  alone_ = nullptr;
  if (waiting_alone_.empty()) return;
  DataOperation* next = waiting_alone_.front();
  waiting_alone_.pop_front();
  next->submit_io();
}

void RequestEngine::record_bad(DataOperation* operation, int error) {
  abi::EventRecord bad{};
  bad.kind = static_cast<uint32_t>(abi::EventKind::kBadExtent);
  bad.lba = operation->start;
  bad.count = operation->count;
  bad.error = error;
  bad.operation =
      static_cast<uint32_t>(operation->write ? abi::Operation::kWrite : abi::Operation::kRead);
  bad.flags = (operation->device != 0 ? abi::kBadOnSpare : 0u) |
              (operation->pending ? abi::kBadPending : 0u);
  bad.device = operation->device;
  operation->request->bad.push_back(bad);
}

// Hands the request to TypeScript: its bad extents in order, neighbours joined, then the request.
void RequestEngine::park(BlkRequest& request) {
  std::vector<abi::EventRecord>& bad = request.bad;
  std::sort(bad.begin(), bad.end(), [](const auto& a, const auto& b) { return a.lba < b.lba; });
  size_t kept = 0;
  for (size_t i = 1; i < bad.size(); ++i) {
    abi::EventRecord& back = bad[kept];
    if (back.lba + back.count == bad[i].lba && back.flags == bad[i].flags &&
        back.device == bad[i].device && back.error == bad[i].error)
      back.count += bad[i].count;
    else
      bad[++kept] = bad[i];
  }
  bad.resize(kept + 1);

  request.parked = true;
  ++request.sequence;
  ++counters(request).parked;
  const uint64_t token = owner_.token_of(request);
  for (abi::EventRecord& record : bad) {
    record.queue = request.queue;
    record.token = token;
  }
  abi::EventRecord end{};
  end.kind = static_cast<uint32_t>(abi::EventKind::kParked);
  end.queue = request.queue;
  end.token = token;
  end.lba = request.lba;
  end.count = bad.size();
  end.operation =
      static_cast<uint32_t>(request.modifies() ? abi::Operation::kWrite : abi::Operation::kRead);
  bad.push_back(end);
  context_.events->push(bad.data(), bad.size());
  bad.clear();
}

void RequestEngine::report_device_error(const BlkRequest& request, uint32_t device, uint64_t lba,
                                        uint64_t count, int error) {
  // A device that has gone fails as fast as a guest can ask.
  const auto now = std::chrono::steady_clock::now();
  Told& told = told_[device];
  if (told.error == error && now - told.at < std::chrono::milliseconds(kSameErrorEveryMs)) return;
  told = {error, now};
  abi::EventRecord event{};
  event.kind = static_cast<uint32_t>(abi::EventKind::kDeviceError);
  event.queue = request.queue;
  event.lba = lba;
  event.count = count;
  event.error = error;
  event.device = device;
  event.operation = static_cast<uint32_t>(operation_of(request));
  context_.events->push(event);
}

void RequestEngine::command(const abi::CommandRecord& command) {
  switch (static_cast<abi::CommandKind>(command.kind)) {
    case abi::CommandKind::kLock:
      pending_locks_.push_back({command.token, command.lba, command.count});
      grant_locks();
      return;
    case abi::CommandKind::kUnlock:
      release_held();
      return;
    case abi::CommandKind::kWatch:
      watch(command);
      return;
    case abi::CommandKind::kCopy:
      new CopyOperation(*this, command);  // deletes itself when done
      return;
    default:
      break;
  }
  BlkRequest* request = owner_.find(command.token);
  if (request == nullptr || !request->parked) return;
  switch (static_cast<abi::CommandKind>(command.kind)) {
    case abi::CommandKind::kWriteSpare:
      new CopyOperation(*this, command, *request);
      return;
    case abi::CommandKind::kComplete:
      request->parked = false;
      answer(*request, static_cast<uint8_t>(command.status));
      return;
    case abi::CommandKind::kRetry:
      request->parked = false;
      issue(*request);
      // What was under way and waits now may be all that a lock waited for.
      if (request->held) grant_locks();
      return;
    default:
      return;
  }
}

// A request is as old as the command that saw it first, so that none pays for being watched.
void RequestEngine::watch(const abi::CommandRecord& command) {
  struct Search {
    uint64_t now;
    uint64_t limit;
    uint64_t hung = 0;
    const BlkRequest* oldest = nullptr;
  };
  using std::chrono::milliseconds;
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  Search search{.now = static_cast<uint64_t>(std::chrono::duration_cast<milliseconds>(now).count()),
                .limit = command.count};
  owner_.each_busy(
      [](BlkRequest& request, void* argument) {
        auto* s = static_cast<Search*>(argument);
        if (!request.watched) {
          request.watched = true;
          request.watched_ms = s->now;
        }
        if (s->now - request.watched_ms < s->limit) return;
        ++s->hung;
        if (s->oldest == nullptr || request.watched_ms < s->oldest->watched_ms)
          s->oldest = &request;
      },
      &search);
  abi::EventRecord event{};
  event.kind = static_cast<uint32_t>(abi::EventKind::kWatched);
  event.token = command.token;
  event.count = search.hung;
  if (search.oldest != nullptr) {
    event.queue = search.oldest->queue;
    event.lba = search.oldest->lba;
    event.operation = static_cast<uint32_t>(operation_of(*search.oldest));
    event.device = device_of(*search.oldest);
    event.error = static_cast<int32_t>(search.now - search.oldest->watched_ms);
  }
  context_.events->push(event);
}

// Where the request has I/O under way; main when that cannot be told.
uint32_t RequestEngine::device_of(const BlkRequest& request) const {
  for (const auto& operation : operations_)
    if (operation->request == &request && std::ranges::find(free_, operation.get()) == free_.end())
      return operation->device;
  return 0;
}

// A lock holds when no write to its range is under way or parked; held ones have not begun.
void RequestEngine::grant_locks() {
  struct Search {
    const PendingLock* lock;
    bool found;
  };
  std::erase_if(pending_locks_, [this](const PendingLock& lock) {
    Search search{&lock, false};
    owner_.each_busy(
        [](BlkRequest& r, void* argument) {
          auto* s = static_cast<Search*>(argument);
          if (r.modifies() && !r.held && r.lba < s->lock->lba + s->lock->count &&
              s->lock->lba < r.lba + r.sectors)
            s->found = true;
        },
        &search);
    if (search.found) return false;
    if (context_.locks.grant(lock.token)) {
      abi::EventRecord event{};
      event.kind = static_cast<uint32_t>(abi::EventKind::kLocked);
      event.token = lock.token;
      event.lba = lock.lba;
      event.count = lock.count;
      context_.events->push(event);
    }
    return true;
  });
}

void RequestEngine::release_held() {
  if (held_ == 0) return;
  held_ = 0;
  std::vector<BlkRequest*> held;
  owner_.each_busy(
      [](BlkRequest& r, void* argument) {
        if (r.held) static_cast<std::vector<BlkRequest*>*>(argument)->push_back(&r);
      },
      &held);
  for (BlkRequest* request : held) {
    request->held = false;
    issue(*request);  // holds it again when another lock covers it
  }
}

}  // namespace remap
