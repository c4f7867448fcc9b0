#include "vhost_message.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "blk_config.h"
#include "dirty_log.h"
#include "limits.h"

namespace remap {
namespace {

constexpr uint32_t kU64 = sizeof(uint64_t);
constexpr uint32_t kState = sizeof(vhost_vring_state);
constexpr uint32_t kConfigHeader = 12;
constexpr Refusal kIgnore = Refusal::kIgnore;
constexpr Refusal kDisconnect = Refusal::kDisconnect;

constexpr MessageRule kRules[] = {
    {VHOST_USER_GET_FEATURES, 0, 0, 0, true, kDisconnect},
    {VHOST_USER_SET_FEATURES, kU64, 0, 0, false, kDisconnect},
    {VHOST_USER_SET_OWNER, 0, 0, 0, false, kIgnore},
    {VHOST_USER_RESET_OWNER, 0, 0, 0, false, kIgnore},
    {VHOST_USER_SET_MEM_TABLE, kAnyPayload, 0, 8, false, kDisconnect},
    {VHOST_USER_SET_LOG_BASE, sizeof(VhostUserLog), 1, 1, true, kDisconnect},
    {VHOST_USER_SET_LOG_FD, 0, 1, 1, false, kIgnore},
    {VHOST_USER_SET_VRING_NUM, kState, 0, 0, false, kDisconnect},
    {VHOST_USER_SET_VRING_ADDR, sizeof(vhost_vring_addr), 0, 0, false, kDisconnect},
    {VHOST_USER_SET_VRING_BASE, kState, 0, 0, false, kDisconnect},
    {VHOST_USER_GET_VRING_BASE, kState, 0, 0, true, kDisconnect},
    {VHOST_USER_SET_VRING_KICK, kU64, 0, 1, false, kDisconnect},
    {VHOST_USER_SET_VRING_CALL, kU64, 0, 1, false, kDisconnect},
    {VHOST_USER_SET_VRING_ERR, kU64, 0, 1, false, kIgnore},
    {VHOST_USER_GET_PROTOCOL_FEATURES, 0, 0, 0, true, kDisconnect},
    {VHOST_USER_SET_PROTOCOL_FEATURES, kU64, 0, 0, false, kDisconnect},
    {VHOST_USER_GET_QUEUE_NUM, 0, 0, 0, true, kDisconnect},
    {VHOST_USER_SET_VRING_ENABLE, kState, 0, 0, false, kIgnore},
    {VHOST_USER_SET_BACKEND_REQ_FD, 0, 1, 1, false, kIgnore},
    {VHOST_USER_GET_CONFIG, kAnyPayload, 0, 0, true, kDisconnect},
    {VHOST_USER_SET_CONFIG, kAnyPayload, 0, 0, false, kIgnore},
    {VHOST_USER_GET_INFLIGHT_FD, sizeof(VhostUserInflight), 0, 0, true, kDisconnect},
    {VHOST_USER_SET_INFLIGHT_FD, sizeof(VhostUserInflight), 1, 1, false, kDisconnect},
    {kRequestResetDevice, 0, 0, 0, false, kIgnore},
    {VHOST_USER_GET_MAX_MEM_SLOTS, 0, 0, 0, true, kDisconnect},
    {VHOST_USER_ADD_MEM_REG, sizeof(VhostUserMemRegMsg), 1, 1, false, kDisconnect},
    {VHOST_USER_REM_MEM_REG, sizeof(VhostUserMemRegMsg), 0, 1, false, kDisconnect},
};

bool is_power_of_two_size(uint32_t size) {
  return std::has_single_bit(size) && size <= kQueueSizeMax;
}

bool overflows(uint64_t start, uint64_t length) { return length > UINT64_MAX - start; }

const char* check_features(uint64_t features, const Offer& offer) {
  if (features & ~offer.features) return "a feature that was not offered";
  if (!(features & kFeatureVersion1)) return "legacy virtio; use disable-legacy=on";
  return nullptr;
}

const char* check_state(const VhostUserMsg& message, const Offer& offer) {
  const vhost_vring_state state = message.payload.state;
  if (state.index >= offer.queues) return "no such queue";
  switch (message.request) {
    case VHOST_USER_SET_VRING_NUM:
      return is_power_of_two_size(state.num) ? nullptr : "queue size is no power of two to 1024";
    case VHOST_USER_SET_VRING_BASE:
      return state.num <= UINT16_MAX ? nullptr : "base beyond 65535";
    case VHOST_USER_SET_VRING_ENABLE:
      return state.num <= 1 ? nullptr : "neither 0 nor 1";
    default:
      return nullptr;
  }
}

const char* check_queue_fd(const VhostUserMsg& message, const Offer& offer) {
  const uint64_t value = message.payload.u64;
  if ((value & VHOST_USER_VRING_IDX_MASK) >= offer.queues) return "no such queue";
  const int wanted = (value & VHOST_USER_VRING_NOFD_MASK) ? 0 : 1;
  return message.fd_num == wanted ? nullptr : "wrong number of descriptors";
}

const char* check_config(const VhostUserMsg& message) {
  if (message.size < kConfigHeader) return "wrong payload size";
  const uint32_t offset = message.payload.config.offset;
  const uint32_t size = message.payload.config.size;
  if (size == 0 || size > VHOST_USER_MAX_CONFIG_SIZE) return "config size not 1 to 256";
  if (message.size != kConfigHeader + size) return "wrong payload size";
  if (message.request == VHOST_USER_GET_CONFIG) return nullptr;
  if (offset != kConfigWceOffset || size != 1) return "only the write cache mode can be set";
  return message.payload.config.region[0] <= 1 ? nullptr : "write cache neither 0 nor 1";
}

const char* check_memory_table(const VhostUserMsg& message) {
  if (message.size < kU64) return "wrong payload size";
  const uint32_t count = message.payload.memory.nregions;
  if (count > VHOST_MEMORY_BASELINE_NREGIONS) return "more than 8 regions";
  if (message.size != kU64 + count * VHOST_USER_MEM_REG_SIZE) return "wrong payload size";
  return static_cast<uint32_t>(message.fd_num) == count ? nullptr : "wrong number of descriptors";
}

const char* check_inflight_shape(const VhostUserInflight& inflight, const Offer& offer) {
  if (inflight.num_queues == 0 || inflight.num_queues > offer.queues) return "no such queue";
  if (inflight.queue_size == 0 || inflight.queue_size > kQueueSizeMax) return "bad queue size";
  return nullptr;
}

const VuDevRegion* find_by_user_address(uint64_t address, std::span<const VuDevRegion> mapped) {
  for (const VuDevRegion& r : mapped)
    if (address >= r.qva && address - r.qva < r.size) return &r;
  return nullptr;
}

// nullptr unless `length` bytes from front-end address `address` lie in one region, aligned here.
uint8_t* locate(uint64_t address, uint64_t length, uint64_t align,
                std::span<const VuDevRegion> mapped) {
  const VuDevRegion* r = find_by_user_address(address, mapped);
  if (r == nullptr || length > r->size - (address - r->qva)) return nullptr;
  const uint64_t host = r->mmap_addr + r->mmap_offset + (address - r->qva);
  return host % align == 0 ? reinterpret_cast<uint8_t*>(host) : nullptr;
}

}  // namespace

const MessageRule* message_rule(uint32_t request) {
  const auto* rule = std::ranges::find_if(
      kRules, [request](const MessageRule& r) { return r.request == request; });
  return rule == std::end(kRules) ? nullptr : rule;
}

const char* request_name(uint32_t request) {
  if (request == kRequestResetDevice) return "RESET_DEVICE";
  constexpr char kPrefix[] = "VHOST_USER_";
  const char* name = vu_request_to_string(request);
  // The library's table has holes.
  if (name == nullptr || strncmp(name, kPrefix, sizeof kPrefix - 1) != 0) return "request";
  return name + sizeof kPrefix - 1;
}

const char* check_message(const VhostUserMsg& message, const Offer& offer) {
  if ((message.flags & VHOST_USER_VERSION_MASK) != 1) return "protocol version is not 1";
  if (message.flags & VHOST_USER_REPLY_MASK) return "a reply to nothing";
  const MessageRule* rule = message_rule(message.request);
  if (rule == nullptr) return "not offered";
  if (rule->payload != kAnyPayload && message.size != rule->payload) return "wrong payload size";
  if (message.fd_num < rule->fds_min || message.fd_num > rule->fds_max)
    return "wrong number of descriptors";
  switch (message.request) {
    case VHOST_USER_SET_FEATURES:
      return check_features(message.payload.u64, offer);
    case VHOST_USER_SET_PROTOCOL_FEATURES:
      return (message.payload.u64 & ~offer.protocol_features) ? "a feature that was not offered"
                                                              : nullptr;
    case VHOST_USER_SET_MEM_TABLE:
      return check_memory_table(message);
    case VHOST_USER_SET_VRING_NUM:
    case VHOST_USER_SET_VRING_BASE:
    case VHOST_USER_GET_VRING_BASE:
    case VHOST_USER_SET_VRING_ENABLE:
      return check_state(message, offer);
    case VHOST_USER_SET_VRING_ADDR:
      if (message.payload.addr.index >= offer.queues) return "no such queue";
      return message.payload.addr.flags <= 1u << VHOST_VRING_F_LOG ? nullptr : "unknown flag";
    case VHOST_USER_SET_VRING_KICK:
    case VHOST_USER_SET_VRING_CALL:
    case VHOST_USER_SET_VRING_ERR:
      return check_queue_fd(message, offer);
    case VHOST_USER_GET_CONFIG:
    case VHOST_USER_SET_CONFIG:
      return check_config(message);
    case VHOST_USER_GET_INFLIGHT_FD:
    case VHOST_USER_SET_INFLIGHT_FD: {
      const VhostUserInflight inflight = message.payload.inflight;  // messages are packed
      return check_inflight_shape(inflight, offer);
    }
    default:
      return nullptr;
  }
}

uint16_t queue_of(const VhostUserMsg& message) {
  switch (message.request) {
    case VHOST_USER_SET_VRING_KICK:
    case VHOST_USER_SET_VRING_CALL:
    case VHOST_USER_SET_VRING_ERR:
      return message.payload.u64 & VHOST_USER_VRING_IDX_MASK;
    default:
      // The index comes first in vhost_vring_addr as well.
      return static_cast<uint16_t>(message.payload.state.index);
  }
}

const char* check_region(const VhostUserMemoryRegion& region, const SharedFile& file) {
  if (region.memory_size == 0) return "empty region";
  if (overflows(region.guest_phys_addr, region.memory_size) ||
      overflows(region.userspace_addr, region.memory_size) ||
      overflows(region.mmap_offset, region.memory_size))
    return "region wraps around";
  if (!file.mappable) return "region is no memory file";
  // On hugetlbfs the library rounds down to the huge page; elsewhere mmap wants whole pages.
  if (region.mmap_offset % 4096 != 0) return "region offset is not page aligned";
  if (file.size_known && region.mmap_offset + region.memory_size > file.size)
    return "region beyond the end of its file";
  return nullptr;
}

bool regions_overlap(const VhostUserMemoryRegion& a, const VhostUserMemoryRegion& b) {
  return a.guest_phys_addr < b.guest_phys_addr + b.memory_size &&
         b.guest_phys_addr < a.guest_phys_addr + a.memory_size;
}

const VuDevRegion* find_overlap(const VhostUserMemoryRegion& region,
                                std::span<const VuDevRegion> mapped) {
  for (const VuDevRegion& r : mapped) {
    if (region.guest_phys_addr < r.gpa + r.size &&
        r.gpa < region.guest_phys_addr + region.memory_size)
      return &r;
  }
  return nullptr;
}

const char* locate_rings(const vhost_vring_addr& addresses, uint32_t size,
                         std::span<const VuDevRegion> mapped, Rings* rings) {
  const uint64_t n = std::max<uint32_t>(size, 1);
  const Rings found{
      .desc = locate(addresses.desc_user_addr, 16 * n, 16, mapped),
      .avail = locate(addresses.avail_user_addr, 6 + 2 * n, 2, mapped),
      .used = locate(addresses.used_user_addr, 6 + 8 * n, 4, mapped),
  };
  if (!found.desc || !found.avail || !found.used) return "ring not inside shared memory";
  *rings = found;
  return nullptr;
}

const char* check_used_log(const vhost_vring_addr& addresses, uint32_t size,
                           std::span<const VuDevRegion> mapped) {
  if (!(addresses.flags & 1u << VHOST_VRING_F_LOG)) return nullptr;
  const uint64_t start = addresses.log_guest_addr;
  const uint64_t length = 6 + 8 * uint64_t{std::max<uint32_t>(size, 1)};
  for (const VuDevRegion& r : mapped)
    if (start >= r.gpa && start - r.gpa < r.size && length <= r.size - (start - r.gpa))
      return nullptr;
  return "log address outside guest memory";
}

uint64_t log_bytes(uint64_t end) {
  const uint64_t pages = end / DirtyLog::kPageBytes + (end % DirtyLog::kPageBytes != 0);
  return (pages + 7) / 8;
}

uint64_t memory_end(std::span<const VuDevRegion> mapped) {
  uint64_t end = 0;
  for (const VuDevRegion& r : mapped) end = std::max(end, r.gpa + r.size);
  return end;
}

const char* check_log(const VhostUserLog& log, const SharedFile& file,
                      std::span<const VuDevRegion> mapped) {
  if (!file.mappable || !file.size_known) return "dirty log is no memory file";
  if (log.mmap_offset % 4096 != 0) return "dirty log is not page aligned";
  if (log.mmap_size == 0 || log.mmap_size < log_bytes(memory_end(mapped))) return kLogTooSmall;
  if (overflows(log.mmap_offset, log.mmap_size) || log.mmap_offset + log.mmap_size > file.size)
    return "dirty log beyond the end of its file";
  return nullptr;
}

uint64_t inflight_stride(uint16_t queue_size) {
  // As libvhost-user reckons it, which is what other back-ends laid out; the rounding always has
  // room for the 16 byte header it leaves out.
  const uint64_t bytes = sizeof(VuDescStateSplit) * queue_size + sizeof(uint16_t);
  return (bytes + 63) / 64 * 64;
}

const char* check_inflight(const VhostUserInflight& inflight, const SharedFile& file) {
  if (!file.mappable || !file.size_known) return "inflight region is no memory file";
  if (inflight.mmap_offset % 4096 != 0) return "inflight region is not page aligned";
  if (inflight.mmap_size < inflight_stride(inflight.queue_size) * inflight.num_queues)
    return "inflight region too small";
  if (overflows(inflight.mmap_offset, inflight.mmap_size) ||
      inflight.mmap_offset + inflight.mmap_size > file.size)
    return "inflight region beyond the end of its file";
  return nullptr;
}

}  // namespace remap
