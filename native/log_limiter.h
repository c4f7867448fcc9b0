// Lines a guest or a front-end can cause at will: a few at once, then one now and then; the others
// are counted.
#ifndef REMAP_LOG_LIMITER_H_
#define REMAP_LOG_LIMITER_H_

#include <algorithm>
#include <chrono>
#include <cstdarg>
#include <cstdint>

#include "event_sink.h"
#include "limits.h"

namespace remap {

class LogLimiter {
 public:
  using Clock = std::chrono::steady_clock;

  explicit LogLimiter(EventSink& events) : events_(events) {}
  // Says how many were left out at last.
  ~LogLimiter() { tell_left_out(); }
  LogLimiter(const LogLimiter&) = delete;

  __attribute__((format(printf, 2, 3))) void warn(const char* format, ...) {
    va_list args;
    va_start(args, format);
    say(kWarn, format, args);
    va_end(args);
  }
  __attribute__((format(printf, 3, 4))) void log(LogLevel level, const char* format, ...) {
    va_list args;
    va_start(args, format);
    say(level, format, args);
    va_end(args);
  }

 private:
  void say(LogLevel level, const char* format, va_list args) {
    refill(Clock::now());
    if (left_ == 0) {
      ++left_out_;
      return;
    }
    --left_;
    tell_left_out();
    char text[sizeof(abi::EventRecord::text)];
    vsnprintf(text, sizeof text, format, args);
    events_.log(level, "%s", text);
  }
  void refill(Clock::time_point now) {
    const auto count = (now - refilled_) / kLogRefill;
    if (count == 0) return;
    left_ = static_cast<uint32_t>(std::min<int64_t>(kLogBurst, left_ + count));
    refilled_ += count * kLogRefill;
  }
  void tell_left_out() {
    if (left_out_ > 0) events_.log(kWarn, "%lu more such lines were left out", left_out_);
    left_out_ = 0;
  }

  EventSink& events_;
  Clock::time_point refilled_ = Clock::now();
  uint32_t left_ = kLogBurst;
  uint64_t left_out_ = 0;
};

}  // namespace remap

#endif  // REMAP_LOG_LIMITER_H_
