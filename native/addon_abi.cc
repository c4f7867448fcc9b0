#include "addon_abi.h"

#include "abi.h"

namespace remap {
namespace {

struct Number {
  const char* name;
  double value;
};

#define SIZE(record) \
  { #record, sizeof(abi::record) }
#define FIELD(record, field) \
  { #record "." #field, offsetof(abi::record, field) }
#define VALUE(kind, name, value) \
  { #kind "." name, static_cast < double>(abi::value) }

const Number kNumbers[] = {
    {"version", abi::kVersion},

    SIZE(EventRecord),
    FIELD(EventRecord, kind),
    FIELD(EventRecord, queue),
    FIELD(EventRecord, token),
    FIELD(EventRecord, lba),
    FIELD(EventRecord, count),
    FIELD(EventRecord, error),
    FIELD(EventRecord, operation),
    FIELD(EventRecord, flags),
    FIELD(EventRecord, device),
    FIELD(EventRecord, text),

    SIZE(CommandRecord),
    FIELD(CommandRecord, kind),
    FIELD(CommandRecord, status),
    FIELD(CommandRecord, token),
    FIELD(CommandRecord, lba),
    FIELD(CommandRecord, count),
    FIELD(CommandRecord, target),
    FIELD(CommandRecord, source),
    FIELD(CommandRecord, device),
    FIELD(CommandRecord, source_device),

    SIZE(IndexRecord),
    FIELD(IndexRecord, lba),
    FIELD(IndexRecord, count),
    FIELD(IndexRecord, target),
    FIELD(IndexRecord, device),
    FIELD(IndexRecord, flags),

    SIZE(QueueCounters),
    FIELD(QueueCounters, reads),
    FIELD(QueueCounters, writes),
    FIELD(QueueCounters, flushes),
    FIELD(QueueCounters, discards),
    FIELD(QueueCounters, read_sectors),
    FIELD(QueueCounters, written_sectors),
    FIELD(QueueCounters, errors),
    FIELD(QueueCounters, unsupported),
    FIELD(QueueCounters, malformed),
    FIELD(QueueCounters, remapped_reads),
    FIELD(QueueCounters, remapped_writes),
    FIELD(QueueCounters, parked),
    FIELD(QueueCounters, kicks),
    FIELD(QueueCounters, calls),
    FIELD(QueueCounters, in_flight),
    FIELD(QueueCounters, started),
    FIELD(QueueCounters, recent),

    VALUE(EventKind, "client", EventKind::kClient),
    VALUE(EventKind, "queue", EventKind::kQueue),
    VALUE(EventKind, "badExtent", EventKind::kBadExtent),
    VALUE(EventKind, "parked", EventKind::kParked),
    VALUE(EventKind, "spareWritten", EventKind::kSpareWritten),
    VALUE(EventKind, "copied", EventKind::kCopied),
    VALUE(EventKind, "locked", EventKind::kLocked),
    VALUE(EventKind, "recovered", EventKind::kRecovered),
    VALUE(EventKind, "deviceError", EventKind::kDeviceError),
    VALUE(EventKind, "log", EventKind::kLog),
    VALUE(EventKind, "stopped", EventKind::kStopped),
    VALUE(EventKind, "watched", EventKind::kWatched),
    VALUE(EventKind, "claim", EventKind::kClaim),

    VALUE(Operation, "read", Operation::kRead),
    VALUE(Operation, "write", Operation::kWrite),
    VALUE(Operation, "flush", Operation::kFlush),
    VALUE(Operation, "discard", Operation::kDiscard),
    VALUE(Operation, "writeZeroes", Operation::kWriteZeroes),

    VALUE(BadFlags, "onSpare", kBadOnSpare),
    VALUE(BadFlags, "pending", kBadPending),

    VALUE(CommandKind, "writeSpare", CommandKind::kWriteSpare),
    VALUE(CommandKind, "complete", CommandKind::kComplete),
    VALUE(CommandKind, "retry", CommandKind::kRetry),
    VALUE(CommandKind, "lock", CommandKind::kLock),
    VALUE(CommandKind, "unlock", CommandKind::kUnlock),
    VALUE(CommandKind, "copy", CommandKind::kCopy),
    VALUE(CommandKind, "watch", CommandKind::kWatch),

    VALUE(IndexFlags, "remapped", kIndexRemapped),
    VALUE(IndexFlags, "pending", kIndexPending),
};

#undef SIZE
#undef FIELD
#undef VALUE

}  // namespace

Napi::Object abi_numbers(Napi::Env env) {
  Napi::Object numbers = Napi::Object::New(env);
  for (const Number& n : kNumbers) numbers.Set(n.name, n.value);
  return numbers;
}

}  // namespace remap
