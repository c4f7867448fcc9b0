// The part of VhostSession that keeps memory and queues: what a message may ask for in the present
// state, and what the workers are told.
#include <sys/mman.h>
#include <unistd.h>

#include "blk_config.h"
#include "front_end_process.h"
#include "shared_file.h"
#include "vhost_session.h"

namespace remap {
namespace {

uint64_t end_of(const VhostUserMemoryRegion& region) {
  return region.guest_phys_addr + region.memory_size;
}

}  // namespace

const char* VhostSession::check_state(const VhostUserMsg& message) const {
  switch (message.request) {
    case VHOST_USER_SET_FEATURES:
      return check_logged(message.payload.u64, log_bytes(memory_end(regions())));
    case VHOST_USER_SET_LOG_BASE: {
      const VhostUserLog log = message.payload.log;  // messages are packed
      return check_log(log, inspect_file(message.fds[0]), regions());
    }
    case VHOST_USER_SET_LOG_FD:
      return is_eventfd(message.fds[0]) ? nullptr : "no eventfd";
    case VHOST_USER_SET_MEM_TABLE:
      return check_new_table(message);
    case VHOST_USER_ADD_MEM_REG:
      return check_new_region(message);
    case VHOST_USER_REM_MEM_REG:
      return check_old_region(message);
    case VHOST_USER_SET_VRING_NUM:
    case VHOST_USER_SET_VRING_BASE:
    case VHOST_USER_SET_VRING_ADDR:
      return check_vring_state(message);
    case VHOST_USER_SET_VRING_KICK:
    case VHOST_USER_SET_VRING_CALL:
    case VHOST_USER_SET_VRING_ERR:
      return check_vring_fd(message);
    case VHOST_USER_SET_BACKEND_REQ_FD:
      return is_socket(message.fds[0]) ? nullptr : "no socket";
    case VHOST_USER_GET_INFLIGHT_FD:
      return any_attached() ? "queues are running" : nullptr;
    case VHOST_USER_SET_INFLIGHT_FD: {
      if (any_attached()) return "queues are running";
      const VhostUserInflight inflight = message.payload.inflight;
      return check_inflight(inflight, inspect_file(message.fds[0]));
    }
    default:
      return nullptr;
  }
}

// Whether a log of at least `bytes` is there, or none is needed: while queues run every page must
// have its bit. A front-end that starts a device gives the log last, so an old one may be short.
const char* VhostSession::check_logged(uint64_t features, uint64_t bytes) const {
  const bool needed = (features & kFeatureLogAll) && log_ && any_attached();
  return needed && log_->bytes() < bytes ? kLogTooSmall : nullptr;
}

const char* VhostSession::check_new_table(const VhostUserMsg& message) const {
  const VhostUserMemory table = message.payload.memory;
  for (uint32_t i = 0; i < table.nregions; ++i) {
    const char* reason = check_region(table.regions[i], inspect_file(message.fds[i]));
    if (reason != nullptr) return reason;
    for (uint32_t j = 0; j < i; ++j)
      if (regions_overlap(table.regions[i], table.regions[j])) return "regions overlap";
    reason = check_logged(library_.device.features, log_bytes(end_of(table.regions[i])));
    if (reason != nullptr) return reason;
  }
  return nullptr;
}

const char* VhostSession::check_new_region(const VhostUserMsg& message) const {
  const VhostUserMemoryRegion region = message.payload.memreg.region;
  if (regions().size() >= VHOST_USER_MAX_RAM_SLOTS) return "no memory slot left";
  const char* reason = check_region(region, inspect_file(message.fds[0]));
  if (reason != nullptr) return reason;
  if (find_overlap(region, regions()) != nullptr) return "regions overlap";
  return check_logged(library_.device.features, log_bytes(end_of(region)));
}

const char* VhostSession::check_old_region(const VhostUserMsg& message) const {
  const VhostUserMemoryRegion region = message.payload.memreg.region;
  for (const VuDevRegion& r : regions()) {
    if (r.gpa == region.guest_phys_addr && r.size == region.memory_size &&
        r.qva == region.userspace_addr)
      return nullptr;
  }
  return "no such region";
}

const char* VhostSession::check_vring_state(const VhostUserMsg& message) const {
  const uint16_t index = queue_of(message);
  const Queue& queue = queues_[index];
  const VuVirtq& vring = library_.device.vq[index];
  Rings rings;
  switch (message.request) {
    case VHOST_USER_SET_VRING_ADDR: {
      const std::vector<VuDevRegion> shared = shared_regions();
      if (shared.empty()) return kMemoryNotShared;
      const vhost_vring_addr addresses = message.payload.addr;
      const char* reason = locate_rings(addresses, vring.vring.num, shared, &rings);
      return reason != nullptr ? reason : check_used_log(addresses, vring.vring.num, regions());
    }
    case VHOST_USER_SET_VRING_NUM: {
      if (queue.attached) return "queue is running";
      const uint32_t size = message.payload.state.num;
      // Rings that memory was taken from come back with the memory.
      if (!queue.addressed || locate_rings(vring.vra, 1, shared_regions(), &rings)) return nullptr;
      return locate_rings(vring.vra, size, shared_regions(), &rings);
    }
    default:
      return queue.attached ? "queue is running" : nullptr;
  }
}

const char* VhostSession::check_vring_fd(const VhostUserMsg& message) const {
  if (message.fd_num == 1 && !is_eventfd(message.fds[0])) return "no eventfd";
  if (message.request != VHOST_USER_SET_VRING_KICK) return nullptr;
  const uint16_t index = queue_of(message);
  const bool fits = queues_[index].inflight == nullptr ||
                    library_.device.vq[index].vring.num <= inflight_queue_size_;
  return fits ? nullptr : "queue larger than its inflight region";
}

bool VhostSession::any_attached() const {
  for (const Queue& queue : queues_)
    if (queue.attached) return true;
  return false;
}

bool VhostSession::any_wanted() const {
  for (const Queue& queue : queues_)
    if (queue.wanted) return true;
  return false;
}

std::span<const VuDevRegion> VhostSession::regions() const {
  return {library_.device.regions, library_.device.nregions};
}

std::vector<VuDevRegion> VhostSession::shared_regions() const {
  std::vector<VuDevRegion> shared;
  for (const VuDevRegion& r : regions()) {
    const auto known = known_regions_.find(r.gpa);
    if (known == known_regions_.end() || known->second.shared) shared.push_back(r);
  }
  return shared;
}

// Refusing a private region would keep QEMU from starting the device at all.
void VhostSession::note_region(const VhostUserMemoryRegion& region, int fd) {
  Region& known = known_regions_[region.guest_phys_addr];
  known.page_size = inspect_file(fd).page_size;
  known.shared = !maps_privately(peer_process(this->fd()), region.userspace_addr, fd);
  if (!known.shared) complaints_.warn("%s", kRegionPrivate);
}

void VhostSession::begin_memory_change(const VhostUserMsg& message) {
  const VhostUserMemoryRegion one = message.payload.memreg.region;  // messages are packed
  if (request_ == VHOST_USER_ADD_MEM_REG) {
    note_region(one, message.fds[0]);
    return;
  }
  // Memory goes away: nothing may be under way that uses it, on any queue, and the library must
  // not look for rings in it. sync_queue() starts again what still can.
  detach_all();
  for (uint16_t i = 0; i < queues_.size(); ++i) {
    VuRing& ring = vring(i).vring;
    ring.desc = nullptr;
    ring.avail = nullptr;
    ring.used = nullptr;
  }
  if (request_ == VHOST_USER_REM_MEM_REG) {
    known_regions_.erase(one.guest_phys_addr);
    return;
  }
  known_regions_.clear();
  const VhostUserMemory table = message.payload.memory;
  for (uint32_t i = 0; i < table.nregions; ++i) note_region(table.regions[i], message.fds[i]);
}

void VhostSession::end_memory_change() {
  std::vector<MemoryRegion> map;
  for (const VuDevRegion& r : regions()) {
    Region& region = known_regions_[r.gpa];
    if (!region.shared) continue;
    if (!region.guard)
      region.guard.emplace(reinterpret_cast<void*>(r.mmap_addr), r.size + r.mmap_offset,
                           region.page_size, guard_owner_);
    if (!region.guard->active()) {
      complaints_.warn("connection dropped: too many memory regions in this process");
      over_ = true;
    }
    map.push_back({.guest_address = r.gpa,
                   .size = r.size,
                   .host = reinterpret_cast<uint8_t*>(r.mmap_addr + r.mmap_offset)});
  }
  const auto shared = std::make_shared<const MemoryMap>(std::move(map), &guard_owner_.lost);
  for (const auto& worker : workers_) worker->set_memory(shared);
}

int VhostSession::map_inflight(VhostUserMsg* message) {
  forget_inflight();
  const VhostUserInflight wanted = message->payload.inflight;
  const int fd = message->fds[0];
  void* address = mmap(nullptr, wanted.mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                       static_cast<off_t>(wanted.mmap_offset));
  if (address == MAP_FAILED) return refuse(message, "inflight region cannot be mapped");
  message->fd_num = 0;
  library_.device.inflight_info = {.fd = fd, .addr = address, .size = wanted.mmap_size};
  inflight_guard_.emplace(address, wanted.mmap_size, inspect_file(fd).page_size, guard_owner_);
  if (!inflight_guard_->active()) {
    forget_inflight();
    return refuse(message, "too many memory regions in this process");
  }
  inflight_queue_size_ = wanted.queue_size;
  const uint64_t stride = inflight_stride(wanted.queue_size);
  for (uint16_t i = 0; i < wanted.num_queues; ++i) {
    auto* region = reinterpret_cast<InflightRegion*>(static_cast<uint8_t*>(address) + i * stride);
    region->desc_num = wanted.queue_size;
    queues_[i].inflight = region;
  }
  return 1;
}

void VhostSession::forget_inflight() {
  for (Queue& queue : queues_) queue.inflight = nullptr;
  inflight_guard_.reset();
  VuDevInflightInfo& info = library_.device.inflight_info;
  if (info.addr != nullptr) {
    munmap(info.addr, info.size);
    close(info.fd);
  }
  info = {};
}

// As before the first driver, but for what belongs to the connection: memory, the protocol's own
// features, the back-end's channel.
void VhostSession::reset_device() {
  detach_all();
  forget_inflight();
  for (uint16_t i = 0; i < queues_.size(); ++i) {
    const bool announced = queues_[i].announced;
    queues_[i] = {};
    queues_[i].announced = announced;
    VuVirtq& vring = this->vring(i);
    vring.started = false;
    vring.enable = false;
    vring.vring = {};
    vring.vra = {};
    vring.last_avail_idx = vring.shadow_avail_idx = 0;
    if (vring.kick_fd >= 0) close(vring.kick_fd);
    vring.kick_fd = -1;
  }
  library_.device.features = negotiation_.features = 0;
  negotiation_.write_cache = true;
  ever_attached_ = false;
  const auto log = std::move(log_);
  sync_log();
}

// When it returns the workers write the log of the moment, and no other.
void VhostSession::sync_log() {
  const bool wanted = log_ && (library_.device.features & kFeatureLogAll);
  if (!wanted && !logging_) return;
  const auto log = wanted ? LogMapping::log_of(log_) : nullptr;
  for (const auto& worker : workers_) worker->set_log(log);
  logging_ = wanted;
}

void VhostSession::sync_queues() {
  for (uint16_t i = 0; i < queues_.size(); ++i) sync_queue(i);
  announce();
  // Last: when no ring is left all of them have been drained, and TypeScript has heard of all.
  context_.hold.claim(any_wanted(), *context_.events);
}

void VhostSession::sync_queue(uint16_t index) {
  Queue& queue = queues_[index];
  const VuVirtq& vring = this->vring(index);
  const uint32_t size = vring.vring.num;
  const bool event_idx = (library_.device.features & kFeatureEventIdx) != 0;
  Rings rings;
  queue.wanted = vring.started && queue.addressed && size != 0 &&
                 (queue.inflight == nullptr || size <= inflight_queue_size_) &&
                 locate_rings(vring.vra, size, shared_regions(), &rings) == nullptr;
  const bool changed = queue.renew || rings != queue.rings || event_idx != queue.event_idx;
  if (queue.attached && (!queue.wanted || changed)) detach(index);
  // It starts once the volume is ours.
  if (!queue.wanted || context_.hold.state() != VolumeHold::State::kGranted) return;
  const bool logged = (vring.vra.flags & 1u << VHOST_VRING_F_LOG) != 0;
  const uint64_t used_log = logged ? vring.vra.log_guest_addr : 0;
  if (queue.attached && queue.used_log != used_log) worker(index).set_used_log(index, used_log);
  queue.used_log = used_log;
  if (!queue.attached) {
    attach(index, rings, event_idx);
  } else if (queue.taking != counts_as_enabled(queue)) {
    queue.taking = counts_as_enabled(queue);
    worker(index).set_enabled(index, queue.taking);
  }
}

void VhostSession::attach(uint16_t index, const Rings& rings, bool event_idx) {
  Queue& queue = queues_[index];
  const VuVirtq& vring = this->vring(index);
  queue.rings = rings;
  queue.event_idx = event_idx;
  queue.taking = counts_as_enabled(queue);
  queue.attached = true;
  queue.renew = false;
  ever_attached_ = true;

  VringSetup setup;
  setup.index = index;
  setup.size = static_cast<uint16_t>(vring.vring.num);
  setup.desc = reinterpret_cast<vring_desc*>(rings.desc);
  setup.avail = reinterpret_cast<vring_avail*>(rings.avail);
  setup.used = reinterpret_cast<vring_used*>(rings.used);
  setup.base = vring.last_avail_idx;
  setup.event_idx = event_idx;
  setup.enabled = queue.taking;
  setup.kick_fd = share_fd(vring.kick_fd);
  setup.call_fd = share_fd(vring.call_fd);
  setup.inflight = queue.inflight;
  setup.used_log_address = queue.used_log;
  worker(index).attach(setup);
  // A back-end that died between returning requests and the call for them left the driver waiting.
  signal_eventfd(vring.call_fd);
}

void VhostSession::detach(uint16_t index) {
  Queue& queue = queues_[index];
  if (!queue.attached) return;
  VuVirtq& vring = this->vring(index);
  vring.last_avail_idx = vring.shadow_avail_idx = worker(index).detach(index);
  queue.attached = queue.renew = false;
}

void VhostSession::detach_all() {
  for (uint16_t i = 0; i < queues_.size(); ++i) detach(i);
}

// Tells TypeScript which queues have started or stopped for the front-end; a queue that was only
// taken off its worker and put back has not.
void VhostSession::announce() {
  for (uint16_t i = 0; i < queues_.size(); ++i) {
    Queue& queue = queues_[i];
    if (queue.announced == queue.attached) continue;
    queue.announced = queue.attached;
    abi::EventRecord record{};
    record.kind = static_cast<uint32_t>(abi::EventKind::kQueue);
    record.queue = i;
    record.count = queue.attached ? 1 : 0;
    context_.events->push(record);
  }
}

// A worker's own duplicate of a descriptor.
int VhostSession::share_fd(int fd) {
  const int copy = duplicate(fd);
  if (fd >= 0 && copy < 0) {
    complaints_.warn("connection dropped: out of file descriptors");
    over_ = true;
  }
  return copy;
}

bool VhostSession::counts_as_enabled(const Queue& queue) const {
  return queue.enabled || !(library_.device.features & kFeatureProtocolFeatures);
}

}  // namespace remap
