// Decides on parked requests as TypeScript would, at once and by a script: so many retries, then
// the data goes to the spare or the guest gets its error.
#ifndef REMAP_FUZZ_ANSWERING_SINK_H_
#define REMAP_FUZZ_ANSWERING_SINK_H_

#include <linux/virtio_blk.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "input.h"
#include "native/event_sink.h"

namespace remap::fuzz {

class AnsweringSink final : public EventSink {
 public:
  using EventSink::push;
  using Post = std::function<void(const abi::CommandRecord&)>;

  void answer_by(Post post) { post_ = std::move(post); }
  void begin(uint8_t retries, bool use_spare) {
    retries_ = retries;
    use_spare_ = use_spare;
  }

  void push(const abi::EventRecord* records, size_t count) override {
    for (size_t i = 0; i < count; ++i) take(records[i]);
  }

 private:
  void take(const abi::EventRecord& event) {
    switch (static_cast<abi::EventKind>(event.kind)) {
      case abi::EventKind::kBadExtent:
        bad_.push_back(event);
        return;
      case abi::EventKind::kParked:
        decide(event.token);
        return;
      case abi::EventKind::kSpareWritten:
        if (std::erase_if(bad_, [&](const auto& b) {
              return b.token == event.token && b.lba == event.lba;
            }) == 0)
          return;
        if (std::ranges::none_of(bad_, [&](const auto& b) { return b.token == event.token; }))
          complete(event.token, event.error == 0 ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR);
        return;
      case abi::EventKind::kLog:
        require(memchr(event.text, 0, sizeof event.text) != nullptr, "log text ends");
        return;
      default:
        return;
    }
  }

  void decide(uint64_t token) {
    const auto mine = [&](const auto& b) { return b.token == token; };
    require(std::ranges::any_of(bad_, mine), "a parked request has bad extents");
    if (retries_ > 0) {
      --retries_;
      std::erase_if(bad_, mine);
      command(abi::CommandKind::kRetry, token, {});
      return;
    }
    const bool writes = std::ranges::none_of(bad_, [&](const auto& b) {
      return mine(b) && b.operation == static_cast<uint32_t>(abi::Operation::kRead);
    });
    if (!use_spare_ || !writes) {
      std::erase_if(bad_, mine);
      complete(token, VIRTIO_BLK_S_IOERR);
      return;
    }
    const std::vector<abi::EventRecord> extents = bad_;
    for (const abi::EventRecord& b : extents)
      if (mine(b)) command(abi::CommandKind::kWriteSpare, token, b);
  }

  void complete(uint64_t token, uint8_t status) {
    command(abi::CommandKind::kComplete, token, {}, status);
  }

  void command(abi::CommandKind kind, uint64_t token, const abi::EventRecord& extent,
               uint8_t status = 0) {
    abi::CommandRecord record{};
    record.kind = static_cast<uint32_t>(kind);
    record.token = token;
    record.status = status;
    record.lba = record.target = extent.lba;
    record.count = extent.count;
    record.device = 1;
    post_(record);
  }

  Post post_;
  std::vector<abi::EventRecord> bad_;
  uint8_t retries_ = 0;
  bool use_spare_ = false;
};

}  // namespace remap::fuzz

#endif  // REMAP_FUZZ_ANSWERING_SINK_H_
