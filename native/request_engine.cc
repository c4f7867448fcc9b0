#include "request_engine.h"

#include <linux/virtio_blk.h>

#include <algorithm>
#include <cerrno>

#include "data_operation.h"
#include "range_operation.h"
#include "spare_copy.h"

namespace remap {

// A flush of the main device and of every spare that has data in its cache.
class FlushOperation final : public IoOperation {
 public:
  FlushOperation(RequestEngine& engine, BlkRequest& request, uint32_t device)
      : engine_(engine), request_(request), device_(engine.context_.devices[device]) {
    device_->flushing.fetch_add(1);
    device_->dirty.store(false);
    engine_.ring_.prepare(this, [&](io_uring_sqe* sqe) {
      io_uring_prep_fsync(sqe, static_cast<int>(device), IORING_FSYNC_DATASYNC);
      sqe->flags |= IOSQE_FIXED_FILE;
    });
  }

  void complete(int result, uint32_t) override {
    if (result < 0) {
      device_->dirty.store(true);
      // The kernel may have dropped the dirty data with the error: it can only be reported.
      device_->latch_flush_failure();
      request_.hard_error = -result;
      engine_.report_device_error(request_, 0, 0, 0, -result);
    }
    device_->flushing.fetch_sub(1);
    BlkRequest& request = request_;
    RequestEngine& engine = engine_;
    delete this;
    engine.part_done(request);
  }

 private:
  RequestEngine& engine_;
  BlkRequest& request_;
  std::shared_ptr<Device> device_;
};

RequestEngine::RequestEngine(VolumeContext& context, IoRing& ring, RequestOwner& owner)
    : context_(context), ring_(ring), owner_(owner), reader_(context.index) {}

RequestEngine::~RequestEngine() = default;

void RequestEngine::start(BlkRequest& request) {
  request.parts = 0;
  request.hard_error = 0;
  request.bad.clear();
  switch (request.type) {
    case VIRTIO_BLK_T_IN:
    case VIRTIO_BLK_T_OUT:
      start_data(request);
      return;
    case VIRTIO_BLK_T_FLUSH:
      start_flush(request);
      return;
    case VIRTIO_BLK_T_GET_ID:
      start_get_id(request);
      return;
    case VIRTIO_BLK_T_DISCARD:
    case VIRTIO_BLK_T_WRITE_ZEROES:
      start_range(request);
      return;
    default:
      answer(request, VIRTIO_BLK_S_UNSUPP);
  }
}

void RequestEngine::answer(BlkRequest& request, uint8_t status) {
  abi::QueueCounters& c = counters(request);
  uint32_t length = 1;
  if (status == VIRTIO_BLK_S_OK) {
    if (request.type == VIRTIO_BLK_T_IN) {
      ++c.reads;
      c.read_sectors += request.sectors;
    } else if (request.type == VIRTIO_BLK_T_OUT) {
      ++c.writes;
      c.written_sectors += request.sectors;
    } else if (request.type == VIRTIO_BLK_T_FLUSH) {
      ++c.flushes;
    } else if (request.modifies()) {
      ++c.discards;
    }
    if ((request.type & VIRTIO_BLK_T_OUT) == 0) length += static_cast<uint32_t>(request.data_bytes);
  } else if (status == VIRTIO_BLK_S_UNSUPP) {
    ++c.unsupported;
  } else {
    ++c.errors;
  }
  // A guest may have named one byte for the status of two requests.
  __atomic_store_n(request.status, status, __ATOMIC_RELAXED);
  const bool modified = request.modifies();
  owner_.finished(request, length);
  if (modified && !pending_locks_.empty()) grant_locks();
}

// Whole blocks inside the volume?
bool RequestEngine::fits(uint64_t lba, uint64_t sectors) const {
  const uint64_t block = context_.logical_block_size / kSectorSize;
  const uint64_t capacity = context_.capacity_sectors.load(std::memory_order_relaxed);
  return lba % block == 0 && sectors % block == 0 && sectors <= capacity &&
         lba <= capacity - sectors;
}

void RequestEngine::start_data(BlkRequest& request) {
  request.lba = request.sector;
  request.sectors = request.data_bytes / kSectorSize;
  if ((request.modifies() && context_.read_only) || request.data_bytes == 0 ||
      request.data_bytes % kSectorSize != 0 || !fits(request.lba, request.sectors)) {
    answer(request, VIRTIO_BLK_S_IOERR);
    return;
  }
  issue(request);
}

// DISCARD and WRITE_ZEROES of one segment, virtio 1.2, 5.2.6.2.
void RequestEngine::start_range(BlkRequest& request) {
  virtio_blk_discard_write_zeroes segment{};
  if (request.data_bytes == 0 || request.data_bytes % sizeof segment != 0 || context_.read_only) {
    answer(request, VIRTIO_BLK_S_IOERR);
    return;
  }
  if (request.data_bytes > sizeof segment) {  // more than max_discard_seg
    answer(request, VIRTIO_BLK_S_UNSUPP);
    return;
  }
  gather(request.data, reinterpret_cast<uint8_t*>(&segment));
  const bool zeroes = request.type == VIRTIO_BLK_T_WRITE_ZEROES;
  if ((segment.flags & ~(zeroes ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0u)) != 0) {
    answer(request, VIRTIO_BLK_S_UNSUPP);
    return;
  }
  request.lba = segment.sector;
  request.sectors = segment.num_sectors;
  request.unmap = segment.flags != 0;
  if (request.sectors > kRangeSectorsMax || !fits(request.lba, request.sectors)) {
    answer(request, VIRTIO_BLK_S_IOERR);
  } else if (request.sectors == 0) {
    answer(request, VIRTIO_BLK_S_OK);
  } else {
    issue(request);
  }
}

void RequestEngine::start_get_id(BlkRequest& request) {
  // virtio 1.2, 5.2.6.1: at most 20 bytes, NUL-terminated only when shorter.
  char id[kSerialBytes] = {};
  context_.serial.copy(id, kSerialBytes);
  const uint64_t length = std::min<uint64_t>(kSerialBytes, request.data_bytes);
  request.data = slice(request.data, 0, length);
  request.data_bytes = length;
  scatter(reinterpret_cast<const uint8_t*>(id), request.data);
  answer(request, VIRTIO_BLK_S_OK);
}

void RequestEngine::start_flush(BlkRequest& request) {
  request.data_bytes = 0;
  request.plain = false;
  for (const auto& device : context_.devices) {
    if (device->flush_failed()) {
      answer(request, VIRTIO_BLK_S_IOERR);
      return;
    }
  }
  request.parts = 1;  // held until every device has been looked at
  for (uint32_t i = 0; i < context_.devices.size(); ++i) {
    Device& device = *context_.devices[i];
    if (device.is_null() || device.read_only()) continue;
    if (!device.dirty.load() && device.flushing.load() == 0) continue;
    ++request.parts;
    new FlushOperation(*this, request, i);  // deletes itself when it completes
  }
  part_done(request);
}

// Runs a request from the start. Also one that was held or parked before.
void RequestEngine::issue(BlkRequest& request) {
  request.hard_error = 0;
  request.bad.clear();
  if (request.modifies() && context_.locks.any() &&
      context_.locks.covers(request.lba, request.sectors)) [[unlikely]] {
    request.held = true;
    ++held_;
    return;
  }
  if (context_.index.maybe_mapped(request.lba, request.sectors)) [[unlikely]] {
    request.plain = false;
    issue_pieces(request);
    return;
  }
  request.plain = request.type <= VIRTIO_BLK_T_OUT;
  request.parts = 1;
  issue_piece(request, {request.lba, request.sectors, request.lba, 0, false});
}

void RequestEngine::issue_piece(BlkRequest& request, const RemapIndex::Piece& piece) {
  if (request.type > VIRTIO_BLK_T_OUT && RangeOperation::serves(context_, request, piece.device)) {
    new RangeOperation(*this, request, piece);  // deletes itself when it completes
    return;
  }
  DataOperation* operation = new_operation();
  operation->set(request, piece.start, piece.count, piece.device, piece.target, piece.pending);
  operation->submit();
}

void RequestEngine::issue_pieces(BlkRequest& request) {
  const bool write = request.modifies();
  const bool discard = request.type == VIRTIO_BLK_T_DISCARD;
  context_.index.pieces(reader_, request.lba, request.sectors, &pieces_);
  request.parts = 1;  // held until every piece is under way
  bool remapped = false;
  for (const RemapIndex::Piece& piece : pieces_) {
    remapped = remapped || piece.device != 0;
    // A discard is a wish: a spare block stays what it is, and so does one that cannot be read.
    if (discard && (piece.device != 0 || piece.pending)) continue;
    if (write && piece.pending) {
      abi::EventRecord bad{};
      bad.kind = static_cast<uint32_t>(abi::EventKind::kBadExtent);
      bad.lba = piece.start;
      bad.count = piece.count;
      bad.operation = static_cast<uint32_t>(abi::Operation::kWrite);
      bad.flags = abi::kBadPending | (piece.device != 0 ? abi::kBadOnSpare : 0u);
      bad.device = piece.device;
      request.bad.push_back(bad);
      continue;
    }
    ++request.parts;
    issue_piece(request, piece);
  }
  if (remapped) {
    if (write)
      ++counters(request).remapped_writes;
    else
      ++counters(request).remapped_reads;
  }
  part_done(request);
}

void RequestEngine::part_done(BlkRequest& request) {
  if (--request.parts != 0) return;
  if (request.hard_error != 0) [[unlikely]] {
    answer(request, VIRTIO_BLK_S_IOERR);
  } else if (!request.bad.empty()) [[unlikely]] {
    park(request);
  } else {
    if (request.plain) {
      abi::QueueCounters& c = counters(request);
      c.recent[(c.reads + c.writes) % abi::kRecentPlaces] = request.lba << 1 | request.modifies();
    }
    answer(request, VIRTIO_BLK_S_OK);
  }
}

unsigned RequestEngine::run_ready() {
  unsigned count = 0;
  while (!ready_.empty()) {
    running_.clear();
    running_.swap(ready_);
    for (const Ready& r : running_) r.operation->complete(r.result, 0);
    count += static_cast<unsigned>(running_.size());
  }
  return count;
}

DataOperation* RequestEngine::new_operation() {
  if (free_.empty()) {
    operations_.push_back(std::make_unique<DataOperation>(*this));
    return operations_.back().get();
  }
  DataOperation* operation = free_.back();
  free_.pop_back();
  return operation;
}

void RequestEngine::recycle(DataOperation* operation) { free_.push_back(operation); }

}  // namespace remap
