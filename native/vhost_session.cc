#include "vhost_session.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <exception>
#include <new>

#include "blk_config.h"
#include "shared_file.h"

namespace remap {
namespace {

// The library wants to watch kick descriptors; workers do that with descriptors of their own.
void ignore_watch(VuDev*, int, int, vu_watch_cb, void*) {}
void ignore_unwatch(VuDev*, int) {}

bool is_handshake(uint32_t request) {
  switch (request) {
    case VHOST_USER_GET_FEATURES:
    case VHOST_USER_SET_OWNER:
    case VHOST_USER_RESET_OWNER:
    case VHOST_USER_GET_PROTOCOL_FEATURES:
    case VHOST_USER_SET_PROTOCOL_FEATURES:
      return true;
    default:
      return false;
  }
}

void replace_fd(int* slot, int fd) {
  if (*slot >= 0) close(*slot);
  *slot = fd;
}

}  // namespace

const VuDevIface VhostSession::kInterface = [] {
  VuDevIface interface {};
  interface.process_msg = on_message;
  return interface;
}();

VhostSession::VhostSession(VolumeContext& context, Workers workers, Negotiation& negotiation,
                           LogLimiter& complaints, int sock, int wake_fd)
    : context_(context),
      workers_(workers),
      negotiation_(negotiation),
      complaints_(complaints),
      offer_{context.num_queues, offered_features(context), kOfferedProtocolFeatures},
      queues_(context.num_queues) {
  guard_owner_.wake_fd = wake_fd;
  library_.session = this;
  if (!vu_init(&library_.device, context.num_queues, sock, on_panic, on_read, ignore_watch,
               ignore_unwatch, &kInterface))
    throw std::bad_alloc();
}

VhostSession::~VhostSession() {
  detach_all();
  announce();
  context_.hold.claim(false, *context_.events);
  log_.reset();
  sync_log();
  for (const auto& worker : workers_) worker->set_memory(std::make_shared<const MemoryMap>());
  known_regions_.clear();
  forget_inflight();
  vu_deinit(&library_.device);
}

bool VhostSession::dispatch() {
  need_reply_ = refused_ = false;
  starting_.reset();
  const bool done = vu_dispatch(&library_.device);
  if (library_.device.broken) {
    complaints_.warn("connection dropped: %s", panic_.c_str());
    return false;
  }
  if (!done || over_) return false;
  if (!refused_) settle();
  const MessageRule* rule = message_rule(request_);
  if (need_reply_ && !(rule != nullptr && rule->answered)) {
    if (!refused_ && !over_ && starting_ && any_wanted() &&
        context_.hold.state() != VolumeHold::State::kGranted) {
      put_off_ = request_;
      return resume();
    }
    if (!send_acknowledgement(fd(), static_cast<int>(request_), refused_ ? 1 : 0)) return false;
  }
  return !over_;
}

bool VhostSession::resume() {
  const VolumeHold::State hold = context_.hold.state();
  if (hold == VolumeHold::State::kGranted) sync_queues();
  if (!put_off_ || hold == VolumeHold::State::kWaiting) return !over_;
  const bool denied = hold == VolumeHold::State::kDenied;
  if (denied) {
    // What has been refused does not come about later, behind the front-end's back.
    complaints_.warn("%s refused: the volume is held elsewhere", request_name(*put_off_));
    if (*put_off_ == VHOST_USER_SET_VRING_ENABLE)
      queues_[*starting_].enabled = false;
    else
      vring(*starting_).started = false;
    sync_queues();
  }
  const auto request = static_cast<int>(*put_off_);
  put_off_.reset();
  return send_acknowledgement(fd(), request, denied ? 1 : 0) && !over_;
}

void VhostSession::tell_config_changed() {
  VuDev& device = library_.device;
  // QEMU forgets a notice that comes while the device is stopped, so it waits for the rings.
  if (!context_.config_changed.load(std::memory_order_relaxed) || !any_attached()) return;
  if (device.backend_fd < 0 || !(device.protocol_features >> VHOST_USER_PROTOCOL_F_BACKEND_REQ & 1))
    return;
  context_.config_changed = false;
  // No reply is asked for: the front-end reads the configuration first, through this thread.
  if (send_backend_request(device.backend_fd, VHOST_USER_BACKEND_CONFIG_CHANGE_MSG)) return;
  complaints_.warn("the front-end could not be told of the new size: %s", strerrordesc_np(errno));
}

bool VhostSession::on_read(VuDev* device, int sock, VhostUserMsg* message) {
  VhostSession& self = of(device);
  const char* reason = "";
  const Receive received = receive_message(sock, message, &reason);
  if (received != Receive::kMessage) {
    self.end(received, reason);
    return false;
  }
  const auto request = static_cast<uint32_t>(message->request);
  if (!self.greeted_ && message_rule(request) != nullptr) self.greet(request);
  // We acknowledge ourselves, once the workers are in the new state.
  self.need_reply_ = (message->flags & VHOST_USER_NEED_REPLY_MASK) &&
                     (device->protocol_features >> VHOST_USER_PROTOCOL_F_REPLY_ACK & 1);
  message->flags &= ~VHOST_USER_NEED_REPLY_MASK;
  return true;
}

// C code calls this: nothing may be thrown through it.
int VhostSession::on_message(VuDev* device, VhostUserMsg* message, int* reply) {
  VhostSession& self = of(device);
  try {
    return self.process(message, reply);
  } catch (const std::exception&) {
    self.over_ = true;
    return self.refuse(message, "out of memory");
  }
}

void VhostSession::on_panic(VuDev* device, const char* text) {
  of(device).panic_ = text != nullptr ? text : "out of memory";
}

void VhostSession::greet(uint32_t request) {
  greeted_ = true;
  if (is_handshake(request)) return;
  // QEMU 7.2 after a restart of ours while the guest had the device stopped.
  library_.device.features = negotiation_.features;
  library_.device.protocol_features = negotiation_.protocol_features;
  complaints_.log(kInfo, "front-end came back without a handshake; going on with the last one");
}

void VhostSession::end(Receive received, const char* reason) {
  if (received == Receive::kBroken) complaints_.warn("connection dropped: %s", reason);
  if (received == Receive::kEnd && request_ == VHOST_USER_GET_QUEUE_NUM) {
    complaints_.log(
        kInfo, "front-end left after asking for the number of queues (%u):", context_.num_queues);
    complaints_.log(kInfo, "start with --num-queues of at least its vCPUs");
  }
}

int VhostSession::process(VhostUserMsg* message, int* reply) {
  request_ = static_cast<uint32_t>(message->request);
  const char* reason = check_message(*message, offer_);
  if (reason == nullptr) reason = check_state(*message);
  if (reason != nullptr) return refuse(message, reason);
  switch (request_) {
    case VHOST_USER_GET_FEATURES:
      return answer_u64(message, reply, offer_.features);
    case VHOST_USER_GET_PROTOCOL_FEATURES:
      return answer_u64(message, reply, offer_.protocol_features);
    case VHOST_USER_GET_CONFIG:
      return answer_config(message, reply);
    case VHOST_USER_SET_CONFIG:
      return set_config(*message);
    case VHOST_USER_SET_VRING_KICK:
    case VHOST_USER_SET_VRING_CALL:
    case VHOST_USER_SET_VRING_ERR:
      return set_vring_fd(message);
    case VHOST_USER_SET_INFLIGHT_FD:
      return map_inflight(message);
    case VHOST_USER_SET_LOG_BASE:
      return set_log_base(message, reply);
    case VHOST_USER_SET_LOG_FD:
      // A bell for who waits for the log; front-ends read it when they want it.
      close_descriptors(message);
      return 1;
    case kRequestResetDevice:
      reset_device();
      return 1;
    default:
      prepare(*message);
      return 0;
  }
}

// What must have happened before libvhost-user acts.
void VhostSession::prepare(const VhostUserMsg& message) {
  switch (request_) {
    case VHOST_USER_SET_MEM_TABLE:
    case VHOST_USER_ADD_MEM_REG:
    case VHOST_USER_REM_MEM_REG:
      begin_memory_change(message);
      break;
    case VHOST_USER_GET_VRING_BASE:
      // Drained, and the library answers with the base that detaching leaves behind.
      detach(queue_of(message));
      break;
    case VHOST_USER_SET_VRING_ADDR:
      queues_[queue_of(message)].addressed = true;
      break;
    case VHOST_USER_SET_VRING_ENABLE:
      queues_[queue_of(message)].enabled = message.payload.state.num != 0;
      if (message.payload.state.num != 0) starting_ = queue_of(message);
      break;
    case VHOST_USER_RESET_OWNER:
      for (Queue& queue : queues_) queue.enabled = false;
      break;
    case VHOST_USER_GET_INFLIGHT_FD:
      // The library would lose the region before.
      forget_inflight();
      break;
    default:
      break;
  }
}

// Brings the workers to the state the message asked for.
void VhostSession::settle() {
  VuDev& device = library_.device;
  std::shared_ptr<LogMapping> log_retired;
  switch (request_) {
    case VHOST_USER_SET_FEATURES:
      // The front-end frees its log when it has switched logging off.
      if (negotiation_.features & ~device.features & kFeatureLogAll) log_retired = std::move(log_);
      negotiation_.features = device.features;
      sync_log();
      break;
    case VHOST_USER_SET_PROTOCOL_FEATURES:
      negotiation_.protocol_features = device.protocol_features;
      break;
    case VHOST_USER_SET_MEM_TABLE:
    case VHOST_USER_ADD_MEM_REG:
    case VHOST_USER_REM_MEM_REG:
      end_memory_change();
      break;
    default:
      break;
  }
  context_.write_through.store(is_write_through(device.features, negotiation_.write_cache),
                               std::memory_order_release);
  sync_queues();
}

int VhostSession::refuse(VhostUserMsg* message, const char* reason) {
  close_descriptors(message);
  refused_ = true;
  if (reason == kMemoryNotShared) {
    complaints_.warn("%s", reason);
  } else {
    complaints_.warn("%s refused: %s", request_name(request_), reason);
  }
  const MessageRule* rule = message_rule(request_);
  const bool answered = rule != nullptr && rule->answered;
  const bool ignored = rule != nullptr && rule->refusal == Refusal::kIgnore;
  if (answered || !(need_reply_ || ignored)) over_ = true;
  return 1;
}

int VhostSession::answer_u64(VhostUserMsg* message, int* reply, uint64_t value) {
  message->payload.u64 = value;
  message->size = sizeof value;
  *reply = 1;
  return 1;
}

int VhostSession::answer_config(VhostUserMsg* message, int* reply) {
  // A driver that looks at the device for the first time meets it as it is after a reset. Who
  // comes back after a break does not ask again.
  if (!ever_attached_) negotiation_.write_cache = true;
  if (!any_attached()) context_.config_changed = false;  // it learns the size now
  const auto bytes = config_space(context_, negotiation_.write_cache);
  for (uint64_t i = 0; i < message->payload.config.size; ++i) {
    const uint64_t at = message->payload.config.offset + i;
    message->payload.config.region[i] = at < bytes.size() ? bytes[at] : 0;
  }
  *reply = 1;
  return 1;
}

int VhostSession::set_config(const VhostUserMsg& message) {
  const bool write_cache = message.payload.config.region[0] != 0;
  if (write_cache == negotiation_.write_cache) return 1;
  negotiation_.write_cache = write_cache;
  if (write_cache) return 1;  // settle() tells the workers
  // From here on the driver will not ask for a flush, so what it has written so far is made
  // durable now, with no write under way that would miss it.
  for (const auto& worker : workers_) worker->quiesce();
  context_.write_through.store(is_write_through(library_.device.features, false),
                               std::memory_order_release);
  for (const auto& device : context_.devices) {
    if (const int error = device->flush(); error != 0)
      complaints_.log(kError, "flush failed while the write cache was turned off: %s",
                      strerrordesc_np(error));
  }
  for (const auto& worker : workers_) worker->resume();
  return 1;
}

int VhostSession::set_log_base(VhostUserMsg* message, int* reply) {
  const VhostUserLog wanted = message->payload.log;
  std::shared_ptr<LogMapping> log =
      LogMapping::map(message->fds[0], wanted.mmap_size, wanted.mmap_offset, guard_owner_);
  if (!log) return refuse(message, "dirty log cannot be mapped");
  close_descriptors(message);
  std::swap(log_, log);
  if (!log) context_.events->log(kInfo, "the front-end asks for a dirty log: it is to migrate");
  sync_log();  // before the answer: then the front-end reads the log it had
  return answer_u64(message, reply, 0);
}

int VhostSession::set_vring_fd(VhostUserMsg* message) {
  const uint16_t index = queue_of(*message);
  Queue& queue = queues_[index];
  VuVirtq& vring = this->vring(index);
  const int fd = message->fd_num == 1 ? message->fds[0] : -1;
  message->fd_num = 0;
  switch (request_) {
    case VHOST_USER_SET_VRING_KICK:
      replace_fd(&vring.kick_fd, fd);
      vring.started = true;
      queue.renew = queue.attached;
      starting_ = index;
      break;
    case VHOST_USER_SET_VRING_CALL:
      replace_fd(&vring.call_fd, fd);
      if (queue.attached) worker(index).set_call(index, share_fd(fd));
      break;
    default:
      replace_fd(&vring.err_fd, fd);
      break;
  }
  return 1;
}

}  // namespace remap
