// Warnings a front-end can cause at will: ten a second are logged, the others counted.
#ifndef REMAP_LOG_LIMITER_H_
#define REMAP_LOG_LIMITER_H_

#include <chrono>
#include <cstdarg>
#include <cstdint>

#include "event_sink.h"

namespace remap {

class LogLimiter {
 public:
  static constexpr uint32_t kPerSecond = 10;

  explicit LogLimiter(EventSink& events) : events_(events) {}

  __attribute__((format(printf, 2, 3))) void warn(const char* format, ...) {
    const auto now = std::chrono::steady_clock::now();
    if (now - second_ >= std::chrono::seconds(1)) {
      flush();
      second_ = now;
      logged_ = 0;
    }
    if (logged_ == kPerSecond) {
      ++suppressed_;
      return;
    }
    ++logged_;
    char text[sizeof(abi::EventRecord::text)];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    events_.log(kWarn, "%s", text);
  }

  // Says how many were left out.
  void flush() {
    if (suppressed_ > 0) events_.log(kWarn, "%u more such warnings were left out", suppressed_);
    suppressed_ = 0;
  }

 private:
  EventSink& events_;
  std::chrono::steady_clock::time_point second_{};
  uint32_t logged_ = 0;
  uint32_t suppressed_ = 0;
};

}  // namespace remap

#endif  // REMAP_LOG_LIMITER_H_
