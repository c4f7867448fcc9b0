// Does the I/O of requests: cuts them over the remap index, runs the parts on the ring, isolates
// what fails to single blocks, parks what only TypeScript can decide, and carries out its
// decisions. One engine a worker; all calls on the worker's thread.
#ifndef REMAP_REQUEST_ENGINE_H_
#define REMAP_REQUEST_ENGINE_H_

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "blk_request.h"
#include "io_ring.h"
#include "limits.h"
#include "volume_context.h"

namespace remap {

class DataOperation;
class FlushOperation;
class CopyOperation;
class RangeOperation;

// Where finished requests go.
class RequestOwner {
 public:
  // `used_length` as virtio wants it in the used element; the status byte is written.
  virtual void finished(BlkRequest& request, uint32_t used_length) = 0;
  // The parked or held request a token names, or null when there is none (any more).
  virtual BlkRequest* find(uint64_t token) = 0;
  virtual uint64_t token_of(const BlkRequest& request) const = 0;
  // Calls visit for each request taken and not yet returned.
  virtual void each_busy(void (*visit)(BlkRequest&, void*), void* argument) = 0;

 protected:
  ~RequestOwner() = default;
};

class RequestEngine {
 public:
  RequestEngine(VolumeContext& context, IoRing& ring, RequestOwner& owner);
  ~RequestEngine();

  // A parsed request, `busy` set. Ends in owner.finished(), at once or later.
  void start(BlkRequest& request);
  void answer(BlkRequest& request, uint8_t status);

  // A decision of TypeScript for this worker.
  void command(const abi::CommandRecord& command);

  // Completions made without the kernel (faults, null device). Returns how many ran.
  unsigned run_ready();
  bool has_ready() const { return !ready_.empty(); }

  // Operations under way that belong to no request (copies).
  uint32_t background() const { return copies_; }

 private:
  friend class DataOperation;
  friend class FlushOperation;
  friend class CopyOperation;
  friend class RangeOperation;

  abi::QueueCounters& counters(const BlkRequest& r) { return context_.counters[r.queue]; }

  // request_engine.cc
  bool fits(uint64_t lba, uint64_t sectors) const;
  void start_data(BlkRequest& request);
  void start_range(BlkRequest& request);
  void start_flush(BlkRequest& request);
  void start_get_id(BlkRequest& request);
  void issue(BlkRequest& request);
  void issue_pieces(BlkRequest& request);
  void issue_piece(BlkRequest& request, const RemapIndex::Piece& piece);
  void part_done(BlkRequest& request);

  // request_recovery.cc: what happens after an error
  void operation_failed(DataOperation* operation, int error);
  void isolate(DataOperation* operation);
  bool may_run(DataOperation* operation);
  void ran(DataOperation* operation);
  void record_bad(DataOperation* operation, int error);
  void park(BlkRequest& request);
  void report_device_error(const BlkRequest& request, uint32_t device, uint64_t lba, uint64_t count,
                           int error);
  void watch(const abi::CommandRecord& command);
  uint32_t device_of(const BlkRequest& request) const;
  void grant_locks();
  void release_held();

  DataOperation* new_operation();
  void recycle(DataOperation* operation);

  // A completion to run from the loop, not from inside another one.
  void complete_later(IoOperation* operation, int result) { ready_.push_back({operation, result}); }

  struct Ready {
    IoOperation* operation;
    int result;
  };
  struct PendingLock {
    uint64_t token;
    uint64_t lba;
    uint64_t count;
  };

  // The last failure of a device that was told.
  struct Told {
    int error = 0;
    std::chrono::steady_clock::time_point at;
  };

  VolumeContext& context_;
  IoRing& ring_;
  RequestOwner& owner_;
  RemapIndex::Reader reader_;
  std::vector<RemapIndex::Piece> pieces_;
  std::vector<Ready> ready_;
  std::vector<Ready> running_;
  std::vector<std::unique_ptr<DataOperation>> operations_;
  std::vector<DataOperation*> free_;
  DataOperation* alone_ = nullptr;
  std::deque<DataOperation*> waiting_alone_;
  std::vector<PendingLock> pending_locks_;
  std::array<Told, kDevicesMax> told_;
  uint32_t held_ = 0;
  uint32_t copies_ = 0;
};

}  // namespace remap

#endif  // REMAP_REQUEST_ENGINE_H_
