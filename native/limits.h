// Every bound of the data plane, each with its derivation. The control plane's are in
// src/core/limits.ts.
#ifndef REMAP_LIMITS_H_
#define REMAP_LIMITS_H_

#include <chrono>
#include <cstdint>

namespace remap {

inline constexpr uint32_t kSectorSize = 512;

// VIRTQUEUE_MAX_SIZE of QEMU; also UIO_MAXIOV, so a chain always fits one readv.
inline constexpr uint16_t kQueueSizeMax = 1024;
inline constexpr uint16_t kSegmentsMax = 1024;

// Same as QUEUES_MAX in src/core/limits.ts.
inline constexpr uint16_t kQueuesMax = 64;

// Main and eight spares, as many as the superblock has room for.
inline constexpr uint32_t kDevicesMax = 9;

// QEMU's own default queue-size of 128 less header and status.
inline constexpr uint32_t kSegMax = 126;

// Data of one request. Linux guests send at most seg_max x 64 KiB; the bound keeps what one chain
// can make us bounce in proportion.
inline constexpr uint64_t kRequestBytesMax = 64ull << 20;

// Sectors of one DISCARD or WRITE_ZEROES, max_discard_sectors: as QEMU's own devices, 16 MiB. What
// fails is done again block by block, which bounds how long that takes.
inline constexpr uint32_t kRangeSectorsMax = 32768;

// Serial of GET_ID, VIRTIO_BLK_ID_BYTES.
inline constexpr uint32_t kSerialBytes = 20;

// Reads of one block before it counts as unreadable: a drive's own recovery has been through tens
// of tries already, so a few more spread over 130 ms only catch what is transient.
inline constexpr uint32_t kReadRetryDelaysMs[] = {5, 25, 100};

// Writes of one block before it counts as unwritable: once at once and once after 4 ms, for what is
// transient. Not longer, as the data has somewhere better to go, and 64 writes at a time shall
// still make 2,000 remaps a second.
inline constexpr uint32_t kWriteRetryDelaysMs[] = {1, 4};

// Largest copy or spare write at once: one bounce buffer of 1 MiB.
inline constexpr uint32_t kCopySectorsMax = 2048;

// The same failure of the same device is told so often: often enough to notice that it is not over,
// seldom enough to leave the control plane free.
inline constexpr uint32_t kSameErrorEveryMs = 100;

// Fault rules: more than any test plan needs, few enough to scan for each request.
inline constexpr uint32_t kFaultRulesMax = 65536;

// Log lines that bad input may cause: ten at once show a fault from all sides, and one every five
// seconds after it is 2 MB a day at the most, which any log rotation holds.
inline constexpr uint32_t kLogBurst = 10;
inline constexpr std::chrono::seconds kLogRefill{5};

}  // namespace remap

#endif  // REMAP_LIMITS_H_
