// What a front-end may send. Every message is judged here before libvhost-user sees it, because
// the library trusts sizes, indexes and addresses. Pure: no I/O and no state.
//
// vhost-user specification, "Front-end message types". Each check returns nullptr when all is well
// and otherwise a few words for the log.
#ifndef REMAP_VHOST_MESSAGE_H_
#define REMAP_VHOST_MESSAGE_H_

#include <cstdint>
#include <span>

#include "libvhost_user.h"

namespace remap {

// Of the specification; libvhost-user has neither name.
inline constexpr uint32_t kRequestResetDevice = 34;
inline constexpr uint32_t kProtocolResetDevice = 13;

// What becomes of the connection after a refused message that carries no wish for a reply.
enum class Refusal : uint8_t {
  kIgnore,      // nothing the front-end goes on to do depends on it
  kDisconnect,  // the front-end would wait for an answer, or go on from a state we do not share
};

struct MessageRule {
  uint32_t request;
  uint32_t payload;  // bytes, exactly; kAnyPayload where it depends on the contents
  uint8_t fds_min;
  uint8_t fds_max;
  bool answered;  // has a reply of its own, so never an acknowledgement
  Refusal refusal;
};
inline constexpr uint32_t kAnyPayload = UINT32_MAX;

// nullptr for a request that is not served.
const MessageRule* message_rule(uint32_t request);

// "SET_VRING_NUM", or "request" for one without a name.
const char* request_name(uint32_t request);

struct Offer {
  uint16_t queues;
  uint64_t features;
  uint64_t protocol_features;
};

// Header, payload size, number of descriptors, and all that the payload alone can tell.
const char* check_message(const VhostUserMsg& message, const Offer& offer);

// Virtqueue index of a message about one queue; check_message has passed it.
uint16_t queue_of(const VhostUserMsg& message);

// The file behind a descriptor the front-end sent.
struct SharedFile {
  bool mappable = false;    // regular file, memfd, or a device that can be memory (DAX)
  bool size_known = false;  // false for devices
  uint64_t size = 0;
  uint64_t page_size = 4096;  // of hugetlbfs where it is that
};

const char* check_region(const VhostUserMemoryRegion& region, const SharedFile& file);
bool regions_overlap(const VhostUserMemoryRegion& a, const VhostUserMemoryRegion& b);
// The mapped region that covers part of `region` in guest addresses, or nullptr.
const VuDevRegion* find_overlap(const VhostUserMemoryRegion& region,
                                std::span<const VuDevRegion> mapped);

// Host addresses of one virtqueue's three rings.
struct Rings {
  uint8_t* desc = nullptr;
  uint8_t* avail = nullptr;
  uint8_t* used = nullptr;
  bool operator==(const Rings&) const = default;
};

// Finds the rings of a queue of `size` entries (0: not known yet, taken as 1). Each must lie inside
// one region from its first to its last byte and be aligned as virtio 1.2, 2.7 wants.
const char* locate_rings(const vhost_vring_addr& addresses, uint32_t size,
                         std::span<const VuDevRegion> mapped, Rings* rings);

// Guest addresses of the used ring as SET_VRING_ADDR gives them for the dirty log: inside memory.
const char* check_used_log(const vhost_vring_addr& addresses, uint32_t size,
                           std::span<const VuDevRegion> mapped);

inline constexpr char kLogTooSmall[] = "dirty log too small for guest memory";
// Bytes of a dirty log with a bit for every page up to `end`, the first address past guest memory.
uint64_t log_bytes(uint64_t end);
uint64_t memory_end(std::span<const VuDevRegion> mapped);
const char* check_log(const VhostUserLog& log, const SharedFile& file,
                      std::span<const VuDevRegion> mapped);

// Bytes from one queue's part of the inflight region to the next one's.
uint64_t inflight_stride(uint16_t queue_size);
const char* check_inflight(const VhostUserInflight& inflight, const SharedFile& file);

}  // namespace remap

#endif  // REMAP_VHOST_MESSAGE_H_
