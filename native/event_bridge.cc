#include "event_bridge.h"

#include <algorithm>

namespace remap {
namespace {

void on_environment_end(void* bridge) { static_cast<EventBridge*>(bridge)->close(); }

}  // namespace

EventBridge::EventBridge(Napi::Env env, const Napi::Function& on_events)
    : env_(env),
      function_(Napi::ThreadSafeFunction::New(env, on_events, "vhost-user events", 0, 1)) {
  napi_add_env_cleanup_hook(env_, on_environment_end, this);
}

EventBridge::~EventBridge() { close(); }

void EventBridge::push(const abi::EventRecord* records, size_t count) {
  if (count == 0) return;
  std::lock_guard guard(mutex_);
  if (closed_) return;
  // Whoever finds records waiting knows that a call is on its way.
  if (records_.empty()) function_.NonBlockingCall();
  records_.insert(records_.end(), records, records + count);
}

size_t EventBridge::drain(abi::EventRecord* into, size_t capacity) {
  std::lock_guard guard(mutex_);
  const size_t count = std::min(capacity, records_.size() - taken_);
  std::copy_n(records_.begin() + static_cast<ptrdiff_t>(taken_), count, into);
  taken_ += count;
  if (taken_ == records_.size()) {
    records_.clear();
    taken_ = 0;
  } else if (!closed_) {
    function_.NonBlockingCall();
  }
  return count;
}

void EventBridge::close() {
  std::lock_guard guard(mutex_);
  if (closed_) return;
  closed_ = true;
  records_.clear();
  taken_ = 0;
  napi_remove_env_cleanup_hook(env_, on_environment_end, this);
  function_.Abort();
}

}  // namespace remap
