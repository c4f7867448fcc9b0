#include "spare_copy.h"

#include <linux/virtio_blk.h>

#include <cerrno>
#include <cstring>

namespace remap {

CopyOperation::CopyOperation(RequestEngine& engine, const abi::CommandRecord& command)
    : engine_(engine),
      command_(command),
      answer_(abi::EventKind::kCopied),
      bytes_(command.count * kSectorSize),
      data_(bytes_),
      check_(bytes_) {
  ++engine_.copies_;
  run(Phase::kReadSource);
}

CopyOperation::CopyOperation(RequestEngine& engine, const abi::CommandRecord& command,
                             BlkRequest& request)
    : engine_(engine),
      command_(command),
      answer_(abi::EventKind::kSpareWritten),
      bytes_(command.count * kSectorSize),
      data_(bytes_),
      check_(bytes_) {
  ++engine_.copies_;
  if (request.type == VIRTIO_BLK_T_WRITE_ZEROES)
    memset(data_.data(), 0, bytes_);
  else
    gather(slice(request.data, (command.lba - request.lba) * kSectorSize, bytes_), data_.data());
  run(Phase::kWrite);
}

void CopyOperation::run(Phase phase) {
  if (phase != phase_) done_ = 0;
  phase_ = phase;
  const bool write = phase == Phase::kWrite;
  const uint32_t index = phase == Phase::kReadSource ? command_.source_device : command_.device;
  const uint64_t sector = phase == Phase::kReadSource ? command_.source : command_.target;
  Device& device = *engine_.context_.devices[index];
  if (device.faults().active()) {
    // Delays are left out: nobody waits here but the control plane.
    const FaultVerdict verdict = device.faults().judge(write, sector, command_.count);
    if (verdict.error != 0) {
      engine_.complete_later(this, -verdict.error);
      return;
    }
  }
  if (device.is_null()) {
    if (phase == Phase::kReadBack) memcpy(check_.data(), data_.data(), bytes_);
    engine_.complete_later(this, static_cast<int>(bytes_ - done_));
    return;
  }
  uint8_t* buffer = (phase == Phase::kReadBack ? check_ : data_).data() + done_;
  engine_.ring_.prepare(this, [&](io_uring_sqe* sqe) {
    const auto length = static_cast<unsigned>(bytes_ - done_);
    const uint64_t offset = sector * kSectorSize + done_;
    if (write)
      io_uring_prep_write(sqe, static_cast<int>(index), buffer, length, offset);
    else
      io_uring_prep_read(sqe, static_cast<int>(index), buffer, length, offset);
    sqe->flags |= IOSQE_FIXED_FILE;
  });
}

void CopyOperation::complete(int result, uint32_t) {
  const uint32_t index = phase_ == Phase::kReadSource ? command_.source_device : command_.device;
  if (result <= 0) {
    finish(result == 0 ? ENXIO : -result, index);
    return;
  }
  done_ += static_cast<uint64_t>(result);
  if (done_ < bytes_) {
    run(phase_);
    return;
  }
  switch (phase_) {
    case Phase::kReadSource:
      run(Phase::kWrite);
      return;
    case Phase::kWrite:
      engine_.context_.devices[index]->note_write();
      run(Phase::kReadBack);
      return;
    case Phase::kReadBack:
      finish(memcmp(data_.data(), check_.data(), bytes_) == 0 ? 0 : EILSEQ, index);
      return;
  }
}

void CopyOperation::finish(int error, uint32_t device) {
  abi::EventRecord event{};
  event.kind = static_cast<uint32_t>(answer_);
  event.token = command_.token;
  event.lba = command_.lba;
  event.count = command_.count;
  event.error = error;
  event.device = device;
  event.operation = static_cast<uint32_t>(phase_ == Phase::kWrite ? abi::Operation::kWrite
                                                                  : abi::Operation::kRead);
  --engine_.copies_;
  engine_.context_.events->push(event);
  delete this;
}

}  // namespace remap
