// One read or write of a part of a request: a run of sectors on one device.
#ifndef REMAP_DATA_OPERATION_H_
#define REMAP_DATA_OPERATION_H_

#include "request_engine.h"

namespace remap {

class DataOperation final : public IoOperation {
 public:
  explicit DataOperation(RequestEngine& engine) : engine_(engine) {}

  // Fills the operation for [start, start + count) of the volume, served by `device` at `target`.
  void set(BlkRequest& request, uint64_t start, uint64_t count, uint32_t device, uint64_t target,
           bool pending);
  // Hands it to the device, through the fault table.
  void submit();
  // The same once more, after `delay_ms`.
  void submit_after(uint32_t delay_ms);
  void complete(int result, uint32_t flags) override;
  // To the device itself; waits for its turn when it is to run alone.
  void submit_io();

  BlkRequest* request = nullptr;
  uint64_t start = 0;  // sector of the volume
  uint64_t count = 0;  // sectors
  uint64_t target = 0;
  uint32_t device = 0;
  uint32_t attempts = 0;
  bool write = false;
  bool pending = false;  // known to be unreadable: not worth retries
  bool alone = false;    // never beside another one like it: see RequestEngine::may_run

 private:
  void aim();
  void bounce();
  void advance(uint64_t bytes);

  enum class Phase { kIo, kDelay, kFaultDelay };

  RequestEngine& engine_;
  Phase phase_ = Phase::kIo;
  std::vector<iovec> own_;  // empty when the request's own list serves
  const iovec* iov_ = nullptr;
  uint32_t iov_count_ = 0;
  uint64_t offset_ = 0;     // bytes on the device
  uint64_t remaining_ = 0;  // bytes
  AlignedBuffer bounce_;
  bool bounced_ = false;
  bool advanced_ = false;
  __kernel_timespec delay_{};
};

}  // namespace remap

#endif  // REMAP_DATA_OPERATION_H_
