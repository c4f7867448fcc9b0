// Where native threads put records for TypeScript. Implemented by event_bridge, and by tests.
#ifndef REMAP_EVENT_SINK_H_
#define REMAP_EVENT_SINK_H_

#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "abi.h"

namespace remap {

enum LogLevel : int32_t { kDebug = 20, kInfo = 30, kWarn = 40, kError = 50 };

class EventSink {
 public:
  virtual ~EventSink() = default;
  // Any thread. Records of one call stay together and in order.
  virtual void push(const abi::EventRecord* records, size_t count) = 0;

  void push(const abi::EventRecord& record) { push(&record, 1); }

  __attribute__((format(printf, 3, 4))) void log(LogLevel level, const char* format, ...) {
    abi::EventRecord record{};
    record.kind = static_cast<uint32_t>(abi::EventKind::kLog);
    record.error = level;
    va_list args;
    va_start(args, format);
    vsnprintf(record.text, sizeof record.text, format, args);
    va_end(args);
    push(record);
  }
};

}  // namespace remap

#endif  // REMAP_EVENT_SINK_H_
