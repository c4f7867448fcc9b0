// Records and shared memory that cross the line between TypeScript and native code.
// src/native/abi.ts repeats every offset; the two are compared when the addon loads.
#ifndef REMAP_ABI_H_
#define REMAP_ABI_H_

#include <cstddef>
#include <cstdint>

namespace remap::abi {

inline constexpr uint32_t kVersion = 1;

// Sectors are 512 bytes everywhere here. Device 0 is main, device n is spare n - 1.

enum class EventKind : uint32_t {
  kClient = 1,        // front-end came (count = 1) or went (count = 0)
  kQueue = 2,         // `queue` started (count = 1) or stopped (count = 0)
  kBadExtent = 3,     // one failing extent of the parked request `token`
  kParked = 4,        // request `token` is complete but for `count` bad extents sent before it
  kSpareWritten = 5,  // answer to kWriteSpare for (token, lba)
  kCopied = 6,        // answer to kCopy
  kLocked = 7,        // range lock `token` holds on every queue
  kRecovered = 8,     // a pending extent was read after all; information only
  kDeviceError = 9,   // an I/O failed for a cause that is no medium error; information only
  kLog = 10,          // `text` for the log; `error` is the level, as pino numbers it
  kStopped = 11,      // answer to stop(): all queues drained, connection closed
  kWatched = 13,      // answer to kWatch, one of each worker: `count` requests are that old, and of
                      // the oldest `lba`, `device` and `operation`; `error` is its age in ms
  kClaim = 12,        // rings are to run (count = 1): take the volume and answer `token`; or all
                      // have stopped (count = 0). On shared storage only
};

enum class Operation : uint32_t {
  kRead = 0,
  kWrite = 1,
  kFlush = 2,
  kDiscard = 3,
  kWriteZeroes = 4
};

// Why a bad extent is bad.
enum BadFlags : uint32_t {
  kBadOnSpare = 1u << 0,  // the failing I/O was on the spare the extent is remapped to
  kBadPending = 1u << 1,  // not tried: a write to a pending extent
};

struct EventRecord {
  uint32_t kind;       // EventKind
  uint32_t queue;      // virtqueue index
  uint64_t token;      // parked request, lock or copy
  uint64_t lba;        // sector of the volume
  uint64_t count;      // sectors, or as the kind says
  int32_t error;       // errno, positive; 0 for success
  uint32_t operation;  // Operation
  uint32_t flags;      // BadFlags
  uint32_t device;     // where it failed
  char text[80];       // NUL-terminated, kLog only
};
static_assert(sizeof(EventRecord) == 128);
static_assert(offsetof(EventRecord, token) == 8);
static_assert(offsetof(EventRecord, error) == 32);
static_assert(offsetof(EventRecord, text) == 48);

enum class CommandKind : uint32_t {
  kWriteSpare = 1,  // write the data of parked request `token` for [lba, lba + count) to
                    // `device` at `target`, read it back and compare
  kComplete = 2,    // answer parked request `token` with virtio status `status`
  kRetry = 3,       // run parked request `token` again from the start, through the index
  kLock = 4,        // hold writes to [lba, lba + count); `token` is the caller's own
  kUnlock = 5,
  kCopy = 6,   // copy [source, source + count) of `source_device` to `device` at `target`,
               // read it back and compare; `token` is the caller's own
  kWatch = 7,  // tell of requests that have not returned for `count` ms, as seen by the kWatch
               // commands since; `token` is the caller's own
};

struct CommandRecord {
  uint32_t kind;  // CommandKind
  uint32_t status;
  uint64_t token;
  uint64_t lba;
  uint64_t count;
  uint64_t target;
  uint64_t source;
  uint32_t device;
  uint32_t source_device;
  uint64_t reserved;
};
static_assert(sizeof(CommandRecord) == 64);
static_assert(offsetof(CommandRecord, token) == 8);
static_assert(offsetof(CommandRecord, device) == 48);

// One change of the remap index. Changes of one call are applied in order.
enum IndexFlags : uint32_t {
  kIndexRemapped = 1u << 0,  // served from `device` at `target`
  kIndexPending = 1u << 1,   // unreadable: a write is parked without being tried
};                           // no flag: the range is plain again

struct IndexRecord {
  uint64_t lba;
  uint64_t count;
  uint64_t target;
  uint32_t device;
  uint32_t flags;
};
static_assert(sizeof(IndexRecord) == 32);

inline constexpr size_t kRecentPlaces = 8;

// Counters of one virtqueue, in memory that TypeScript reads directly. Written by the one worker
// that serves the queue; whole cache lines, so that queues do not share any.
struct QueueCounters {
  uint64_t reads;
  uint64_t writes;
  uint64_t flushes;
  uint64_t discards;  // DISCARD and WRITE_ZEROES
  uint64_t read_sectors;
  uint64_t written_sectors;
  uint64_t errors;          // requests answered with IOERR
  uint64_t unsupported;     // requests answered with UNSUPP
  uint64_t malformed;       // chains that could only be returned with used length 0
  uint64_t remapped_reads;  // requests that touched a remapped extent
  uint64_t remapped_writes;
  uint64_t parked;
  uint64_t kicks;
  uint64_t calls;
  uint64_t in_flight;
  uint64_t started;  // 1 while the front-end has the queue started and enabled
  // Where the last requests began that went well: sector x 2, plus 1 for a write; 0 for none. What
  // worked before tells a failing path from failing blocks.
  uint64_t recent[kRecentPlaces];
  uint64_t reserved[8];
};
static_assert(sizeof(QueueCounters) == 256);
static_assert(offsetof(QueueCounters, recent) == 128);

}  // namespace remap::abi

#endif  // REMAP_ABI_H_
