#include "data_operation.h"

#include <linux/virtio_blk.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace remap {

namespace {

// O_DIRECT wants addresses and lengths aligned; most guests' buffers are.
bool aligned(const iovec* iov, uint32_t count, uint32_t align) {
  uintptr_t bits = 0;
  for (uint32_t i = 0; i < count; ++i)
    bits |= reinterpret_cast<uintptr_t>(iov[i].iov_base) | iov[i].iov_len;
  return (bits & (align - 1)) == 0;
}

// `bytes` of zeroes, the same few pages over and over.
std::vector<iovec> zeroes(uint64_t bytes) {
  alignas(4096) static const uint8_t kZeroes[65536] = {};
  std::vector<iovec> list;
  for (; bytes > 0; bytes -= list.back().iov_len)
    list.push_back({const_cast<uint8_t*>(kZeroes), std::min<uint64_t>(bytes, sizeof kZeroes)});
  return list;
}

}  // namespace

void DataOperation::set(BlkRequest& r, uint64_t first, uint64_t sectors, uint32_t on, uint64_t at,
                        bool is_pending) {
  request = &r;
  start = first;
  count = sectors;
  device = on;
  target = at;
  attempts = 0;
  pending = is_pending;
  alone = false;
  write = r.modifies();
  bounced_ = false;
  aim();
}

// Points at the whole of the data, as the request has it.
void DataOperation::aim() {
  advanced_ = false;
  own_.clear();
  if (request->type == VIRTIO_BLK_T_WRITE_ZEROES) {
    own_ = zeroes(count * kSectorSize);
    iov_ = own_.data();
    iov_count_ = static_cast<uint32_t>(own_.size());
  } else if (count == request->sectors) {
    iov_ = request->data.data();
    iov_count_ = static_cast<uint32_t>(request->data.size());
  } else {
    own_ = slice(request->data, (start - request->lba) * kSectorSize, count * kSectorSize);
    iov_ = own_.data();
    iov_count_ = static_cast<uint32_t>(own_.size());
  }
}

void DataOperation::submit() {
  offset_ = target * kSectorSize;
  remaining_ = count * kSectorSize;
  Device& dev = *engine_.context_.devices[device];
  if (advanced_) aim();
  if (bounced_) bounce();
  if (!bounced_ && dev.memory_align() > 1 && !aligned(iov_, iov_count_, dev.memory_align()))
    bounce();
  if (dev.faults().active()) [[unlikely]] {
    const FaultVerdict verdict = dev.faults().judge(write, target, count);
    if (verdict.error != 0) {
      phase_ = Phase::kIo;
      engine_.complete_later(this, -verdict.error);
      return;
    }
    if (verdict.delay_ms != 0) {
      submit_after(verdict.delay_ms);
      phase_ = Phase::kFaultDelay;
      return;
    }
  }
  submit_io();
}

void DataOperation::submit_after(uint32_t delay_ms) {
  phase_ = Phase::kDelay;
  delay_ = timespec_of(delay_ms);
  engine_.ring_.prepare(this,
                        [&](io_uring_sqe* sqe) { io_uring_prep_timeout(sqe, &delay_, 0, 0); });
}

void DataOperation::submit_io() {
  phase_ = Phase::kIo;
  if (alone && !engine_.may_run(this)) return;
  Device& dev = *engine_.context_.devices[device];
  if (dev.is_null()) {
    engine_.complete_later(this, static_cast<int>(remaining_));
    return;
  }
  const int durable =
      write && engine_.context_.write_through.load(std::memory_order_relaxed) ? RWF_DSYNC : 0;
  engine_.ring_.prepare(this, [&](io_uring_sqe* sqe) {
    const int file = static_cast<int>(device);
    if (iov_count_ == 1) {
      if (write)
        io_uring_prep_write(sqe, file, iov_->iov_base, iov_->iov_len, offset_);
      else
        io_uring_prep_read(sqe, file, iov_->iov_base, iov_->iov_len, offset_);
    } else if (write) {
      io_uring_prep_writev(sqe, file, iov_, iov_count_, offset_);
    } else {
      io_uring_prep_readv(sqe, file, iov_, iov_count_, offset_);
    }
    sqe->flags |= IOSQE_FIXED_FILE;
    sqe->rw_flags = durable;
  });
}

// Goes on through an aligned buffer of our own.
void DataOperation::bounce() {
  if (bounce_.size() < remaining_) bounce_ = AlignedBuffer(remaining_);
  const uint64_t at = (start - request->lba) * kSectorSize;
  if (request->type == VIRTIO_BLK_T_WRITE_ZEROES)
    memset(bounce_.data(), 0, remaining_);
  else if (write)
    gather(slice(request->data, at, remaining_), bounce_.data());
  own_.assign(1, {bounce_.data(), remaining_});
  iov_ = own_.data();
  iov_count_ = 1;
  bounced_ = true;
}

// After a short transfer: the rest only.
void DataOperation::advance(uint64_t bytes) {
  advanced_ = true;
  offset_ += bytes;
  remaining_ -= bytes;
  std::vector<iovec> whole(iov_, iov_ + iov_count_);
  own_ = slice(whole, bytes, remaining_);
  iov_ = own_.data();
  iov_count_ = static_cast<uint32_t>(own_.size());
}

void DataOperation::complete(int result, uint32_t) {
  switch (phase_) {
    case Phase::kDelay:
      submit();
      return;
    case Phase::kFaultDelay:
      submit_io();
      return;
    case Phase::kIo:
      break;
  }
  if (alone) engine_.ran(this);
  Device& dev = *engine_.context_.devices[device];
  if (result < 0) {
    if (result == -EINVAL && !bounced_ && dev.direct()) {
      // The kernel's own idea of alignment is stricter than what it told us.
      bounced_ = true;
      submit();
      return;
    }
    engine_.operation_failed(this, -result);
    return;
  }
  if (result == 0) {
    engine_.operation_failed(this, ENXIO);  // the device ends before its size
    return;
  }
  if (static_cast<uint64_t>(result) < remaining_) {
    advance(static_cast<uint64_t>(result));
    submit_io();
    return;
  }
  BlkRequest& r = *request;
  if (write) {
    dev.note_write();
  } else if (bounced_) {
    scatter(bounce_.data(), slice(r.data, (start - r.lba) * kSectorSize, count * kSectorSize));
  }
  if (pending && !write) {
    abi::EventRecord event{};
    event.kind = static_cast<uint32_t>(abi::EventKind::kRecovered);
    event.queue = r.queue;
    event.lba = start;
    event.count = count;
    event.device = device;
    engine_.context_.events->push(event);
  }
  engine_.recycle(this);
  engine_.part_done(r);
}

}  // namespace remap
