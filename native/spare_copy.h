// Puts data on a device and makes sure it is there: read (from another device or from a parked
// request), write, read back, compare. Used for spare blocks and for moves.
#ifndef REMAP_SPARE_COPY_H_
#define REMAP_SPARE_COPY_H_

#include "request_engine.h"

namespace remap {

class CopyOperation final : public IoOperation {
 public:
  // kCopy: `source_device` at `source` to `device` at `target`; answered with kCopied.
  CopyOperation(RequestEngine& engine, const abi::CommandRecord& command);
  // kWriteSpare: the request's data for [lba, lba + count); answered with kSpareWritten.
  CopyOperation(RequestEngine& engine, const abi::CommandRecord& command, BlkRequest& request);

  void complete(int result, uint32_t flags) override;

 private:
  enum class Phase { kReadSource, kWrite, kReadBack };

  void run(Phase phase);
  void finish(int error, uint32_t device);

  RequestEngine& engine_;
  abi::CommandRecord command_;
  abi::EventKind answer_;
  Phase phase_ = Phase::kReadSource;
  uint64_t bytes_;
  uint64_t done_ = 0;
  AlignedBuffer data_;
  AlignedBuffer check_;
};

}  // namespace remap

#endif  // REMAP_SPARE_COPY_H_
