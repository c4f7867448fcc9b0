// Brings event records from native threads to Node's main thread: one call of the JavaScript
// function for all records that gather until it drains them.
#ifndef REMAP_EVENT_BRIDGE_H_
#define REMAP_EVENT_BRIDGE_H_

#include <napi.h>

#include <mutex>
#include <vector>

#include "event_sink.h"

namespace remap {

class EventBridge final : public EventSink {
 public:
  // Keeps Node's event loop alive until close().
  EventBridge(Napi::Env env, const Napi::Function& on_events);
  ~EventBridge() override;

  using EventSink::push;
  // Any thread. Nothing happens any more after close().
  void push(const abi::EventRecord* records, size_t count) override;

  // Main thread. Takes at most `capacity` records, oldest first; calls again when more are left.
  size_t drain(abi::EventRecord* into, size_t capacity);
  // Main thread; also called when the environment ends.
  void close();

 private:
  Napi::Env env_;
  Napi::ThreadSafeFunction function_;
  std::mutex mutex_;
  std::vector<abi::EventRecord> records_;
  size_t taken_ = 0;  // of them, by drain()
  bool closed_ = false;
};

}  // namespace remap

#endif  // REMAP_EVENT_BRIDGE_H_
