// A discard, or zeroes made without writing them, on a part of main.
#ifndef REMAP_RANGE_OPERATION_H_
#define REMAP_RANGE_OPERATION_H_

#include "request_engine.h"

namespace remap {

class RangeOperation final : public IoOperation {
 public:
  // False when plain writes of zeroes must do: on a spare, or when the write must be durable at
  // once, which fallocate is not.
  static bool serves(const VolumeContext& context, const BlkRequest& request, uint32_t device);

  RangeOperation(RequestEngine& engine, BlkRequest& request, const RemapIndex::Piece& piece);
  void complete(int result, uint32_t flags) override;

 private:
  bool discard() const;
  void submit_after(uint32_t delay_ms);
  void begin();
  void submit();

  RequestEngine& engine_;
  BlkRequest& request_;
  const RemapIndex::Piece piece_;
  bool by_command_ = false;  // the block layer's discard, which older kernels do not have
  bool delayed_ = false;     // by a fault rule, before anything is done
  __kernel_timespec delay_{};
};

}  // namespace remap

#endif  // REMAP_RANGE_OPERATION_H_
