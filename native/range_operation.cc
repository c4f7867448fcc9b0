#include "range_operation.h"

#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/virtio_blk.h>

#include <cerrno>

#include "data_operation.h"

namespace remap {

namespace {

// <linux/blkdev.h> of kernel 6.12 and later: BLOCK_URING_CMD_DISCARD, _IO(0x12, 0).
constexpr uint32_t kBlockUringCommandDiscard = 0x1200;

// The device or the kernel has no such thing.
bool unsupported(int error) {
  return error == EOPNOTSUPP || error == EINVAL || error == ENOTTY || error == ENOSYS ||
         error == ENODEV;
}

}  // namespace

bool RangeOperation::serves(const VolumeContext& context, const BlkRequest& request,
                            uint32_t device) {
  if (request.type == VIRTIO_BLK_T_DISCARD) return true;
  return device == 0 && !context.write_through.load(std::memory_order_relaxed);
}

bool RangeOperation::discard() const { return request_.type == VIRTIO_BLK_T_DISCARD; }

RangeOperation::RangeOperation(RequestEngine& engine, BlkRequest& request,
                               const RemapIndex::Piece& piece)
    : engine_(engine), request_(request), piece_(piece) {
  Device& device = *engine_.context_.devices[piece.device];
  if (device.faults().active()) {
    const FaultVerdict verdict = device.faults().judge(true, piece.target, piece.count);
    if (verdict.error != 0) {
      engine_.complete_later(this, -verdict.error);
      return;
    }
    if (verdict.delay_ms != 0) {
      submit_after(verdict.delay_ms);
      return;
    }
  }
  begin();
}

void RangeOperation::submit_after(uint32_t delay_ms) {
  delayed_ = true;
  delay_ = timespec_of(delay_ms);
  engine_.ring_.prepare(this,
                        [&](io_uring_sqe* sqe) { io_uring_prep_timeout(sqe, &delay_, 0, 0); });
}

void RangeOperation::begin() {
  const Device& device = *engine_.context_.devices[piece_.device];
  if (device.is_null()) {
    engine_.complete_later(this, 0);
    return;
  }
  by_command_ = discard() && device.is_block_device();
  submit();
}

void RangeOperation::submit() {
  const uint64_t offset = piece_.target * kSectorSize;
  const uint64_t length = piece_.count * kSectorSize;
  engine_.ring_.prepare(this, [&](io_uring_sqe* sqe) {
    const int file = static_cast<int>(piece_.device);
    if (by_command_) {
      io_uring_prep_nop(sqe);
      sqe->opcode = IORING_OP_URING_CMD;
      sqe->fd = file;
      sqe->cmd_op = kBlockUringCommandDiscard;
      sqe->addr = offset;
      sqe->addr3 = length;
    } else {
      const bool punch = discard() || request_.unmap;
      io_uring_prep_fallocate(
          sqe, file, FALLOC_FL_KEEP_SIZE | (punch ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE),
          offset, length);
    }
    sqe->flags |= IOSQE_FIXED_FILE;
  });
}

void RangeOperation::complete(int result, uint32_t) {
  if (delayed_) {
    delayed_ = false;
    begin();
    return;
  }
  if (result < 0 && by_command_ && unsupported(-result)) {
    by_command_ = false;
    submit();
    return;
  }
  RequestEngine& engine = engine_;
  BlkRequest& request = request_;
  const RemapIndex::Piece piece = piece_;
  const bool wish = discard();
  delete this;
  if (result >= 0 || wish) {
    // A discard that was not done has done no harm: the guest may not rely on it.
    engine.context_.devices[piece.device]->note_write();
    engine.part_done(request);
    return;
  }
  // The zeroes are written instead, and what cannot be written is found block by block.
  DataOperation* operation = engine.new_operation();
  operation->set(request, piece.start, piece.count, piece.device, piece.target, piece.pending);
  if (unsupported(-result))
    operation->submit();
  else
    engine.operation_failed(operation, -result);
}

}  // namespace remap
