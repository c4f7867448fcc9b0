#include "front_end.h"

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <algorithm>

#include "native/blk_config.h"
#include "native/vhost_session.h"
#include "shared_mappings.h"

namespace remap::fuzz {
namespace {

constexpr uint64_t kFileBytes = 16384;  // of each shared file
constexpr uint64_t kGuestBase = 0x8000;
constexpr uint64_t kUserBase = 0x7e0000000000;
constexpr uint32_t kQueueSize = 8;
// Of each queue, in the first file.
constexpr uint64_t kQueueBytes = 0x800;
constexpr uint64_t kAvail = 0x100;
constexpr uint64_t kUsed = 0x140;
constexpr uint64_t kHeader = 0x200;
constexpr uint64_t kStatus = 0x240;
constexpr uint64_t kData = 0x400;

constexpr uint32_t kRequests[] = {
    VHOST_USER_GET_FEATURES,
    VHOST_USER_SET_FEATURES,
    VHOST_USER_SET_OWNER,
    VHOST_USER_RESET_OWNER,
    VHOST_USER_SET_MEM_TABLE,
    VHOST_USER_SET_LOG_BASE,
    VHOST_USER_SET_LOG_FD,
    VHOST_USER_SET_VRING_NUM,
    VHOST_USER_SET_VRING_ADDR,
    VHOST_USER_SET_VRING_BASE,
    VHOST_USER_GET_VRING_BASE,
    VHOST_USER_SET_VRING_KICK,
    VHOST_USER_SET_VRING_CALL,
    VHOST_USER_SET_VRING_ERR,
    VHOST_USER_GET_PROTOCOL_FEATURES,
    VHOST_USER_SET_PROTOCOL_FEATURES,
    VHOST_USER_GET_QUEUE_NUM,
    VHOST_USER_SET_VRING_ENABLE,
    VHOST_USER_SET_BACKEND_REQ_FD,
    VHOST_USER_GET_CONFIG,
    VHOST_USER_SET_CONFIG,
    VHOST_USER_GET_INFLIGHT_FD,
    VHOST_USER_SET_INFLIGHT_FD,
    kRequestResetDevice,
    VHOST_USER_GET_MAX_MEM_SLOTS,
    VHOST_USER_ADD_MEM_REG,
    VHOST_USER_REM_MEM_REG,
    VHOST_USER_POSTCOPY_ADVISE,
    VHOST_USER_SEND_RARP,
    VHOST_USER_NONE,
};

// Four of these are right, the others nearly.
uint64_t offset_of(Input& in) {
  const uint8_t n = in.u8();
  return n < 240 ? 0 : in.u16();
}

}  // namespace

FrontEnd::FrontEnd() {
  for (int i = 0; i < kShared; ++i) {
    files_[i] = memfd_create("shared", MFD_CLOEXEC);
    require(ftruncate(files_[i], kFileBytes) == 0, "there is memory");
    mapped_[i] = static_cast<uint8_t*>(
        mmap(nullptr, kFileBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, files_[i], 0));
  }
  forget_shared_mappings();
  files_[kShort] = memfd_create("short", MFD_CLOEXEC);
  require(ftruncate(files_[kShort], 100) == 0, "there is memory");
  files_[kReadOnly] = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  files_[kKick] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  files_[kCall] = eventfd(0, EFD_CLOEXEC);
  int pair[2];
  require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0,
          "there are sockets");
  files_[kChannel] = pair[0];
  channel_peer_ = pair[1];
  require(pipe2(pair, O_CLOEXEC | O_NONBLOCK) == 0, "there are pipes");
  files_[kPipe] = pair[1];
  files_[kTimer] = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
  files_[kNull] = open("/dev/null", O_RDWR | O_CLOEXEC);
  files_[kRoot] = open("/", O_PATH | O_CLOEXEC);
}

void FrontEnd::reset() {
  for (int i = 0; i < kShared; ++i) {
    if (cut_) require(ftruncate(files_[i], kFileBytes) == 0, "there is memory");
    memset(mapped_[i], 0, kFileBytes);
  }
  cut_ = false;
  eventfd_t ignored;
  eventfd_read(files_[kKick], &ignored);
  if (unread(files_[kCall])) eventfd_read(files_[kCall], &ignored);
  uint8_t bytes[256];
  while (recv(channel_peer_, bytes, sizeof bytes, MSG_DONTWAIT) > 0) {
  }
}

void FrontEnd::take(int sock) {
  if (sock_ >= 0) close(sock_);
  sock_ = sock;
}

bool FrontEnd::unread(int sock) {
  pollfd p{.fd = sock, .events = POLLIN, .revents = 0};
  return ::poll(&p, 1, 0) > 0;
}

void FrontEnd::drain() {
  for (;;) {
    uint8_t bytes[1024];
    alignas(cmsghdr) char control[CMSG_SPACE(8 * sizeof(int))];
    iovec part{bytes, sizeof bytes};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    if (recvmsg(sock_, &header, MSG_DONTWAIT) <= 0) return;
    for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
      int fd;
      memcpy(&fd, CMSG_DATA(c), sizeof fd);  // the back-end sends one at most
      close(fd);
    }
  }
}

void FrontEnd::transmit(const void* bytes, size_t size, const std::vector<File>& files) {
  iovec part{const_cast<void*>(bytes), size};
  alignas(cmsghdr) char control[CMSG_SPACE(32 * sizeof(int))] = {};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (!files.empty()) {
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(files.size() * sizeof(int));
    cmsghdr* c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(files.size() * sizeof(int));
    for (size_t i = 0; i < files.size(); ++i)
      memcpy(CMSG_DATA(c) + i * sizeof(int), &files_[files[i]], sizeof(int));
  }
  sendmsg(sock_, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void FrontEnd::transmit(const Message& message) {
  transmit(&message.body, VHOST_USER_HDR_SIZE + message.body.size, message.files);
}

void FrontEnd::send(Input& in) {
  Message message;
  message.body.request = in.pick(kRequests);
  const uint8_t how = in.u8();
  message.body.flags = how < 250 ? 1 | (how & 8) : in.u32();
  fill(&message, in);
  if ((how & 0x30) == 0x30) {  // other descriptors
    message.files.resize(in.u8() % 18);
    for (File& file : message.files) file = static_cast<File>(in.u8() % kFiles);
  }
  if ((how & 0xc0) == 0xc0) {  // another payload
    reinterpret_cast<uint8_t*>(&message.body.payload)[in.u8() % 80] = in.u8();
    if (in.u8() < 16) message.body.size = in.u8();
  }
  transmit(message);
}

void FrontEnd::send_raw(Input& in) {
  Message message;
  auto* bytes = reinterpret_cast<uint8_t*>(&message.body);
  message.body.request = in.u8();
  message.body.flags = 1;
  message.body.size = in.u8() < 250 ? in.u8() : in.u32();
  const uint8_t length = in.u8();
  for (uint8_t i = VHOST_USER_HDR_SIZE; i < length; ++i) bytes[i] = in.u8();
  for (uint8_t n = in.u8() % 4; n > 0; --n)
    message.files.push_back(static_cast<File>(in.u8() % kFiles));
  if (length > 0) transmit(bytes, length, message.files);
  // The rest never comes; the back-end must not be left waiting for it.
  if (message.body.size + VHOST_USER_HDR_SIZE != length) shutdown(sock_, SHUT_WR);
}

void FrontEnd::fill(Message* message, Input& in) const {
  VhostUserMsg& body = message->body;
  static constexpr uint32_t kSizes[] = {8, 8, 8, 4, 16, 1, 2, 256, 1024, 0, 3, 2048};
  static constexpr uint64_t kKept[] = {
      ~0ull, ~kFeatureLogAll, ~kFeatureProtocolFeatures, kFeatureVersion1, ~kFeatureEventIdx, 0};
  const MessageRule* rule = message_rule(body.request);
  body.size = rule == nullptr ? 0 : rule->payload;
  const uint8_t queue = in.u8();
  body.payload.state.index = queue < 240 ? queue % 4 : queue;
  switch (body.request) {
    case VHOST_USER_SET_FEATURES: {
      const uint64_t kept = in.pick(kKept);
      body.payload.u64 = 0x174007e44 & kept;
      return;
    }
    case VHOST_USER_SET_PROTOCOL_FEATURES:
      body.payload.u64 = kOfferedProtocolFeatures & ~uint64_t{in.u16()};
      return;
    case VHOST_USER_SET_VRING_NUM:
      body.payload.state.num = in.pick(kSizes);
      return;
    case VHOST_USER_SET_VRING_BASE:
      body.payload.state.num = in.u8();
      return;
    case VHOST_USER_SET_VRING_ENABLE:
      body.payload.state.num = in.u8() % 3;
      return;
    case VHOST_USER_SET_VRING_ADDR:
      return fill_vring_address(message, in);
    case VHOST_USER_SET_VRING_KICK:
    case VHOST_USER_SET_VRING_CALL:
    case VHOST_USER_SET_VRING_ERR: {
      const bool none = in.u8() % 4 == 0;
      body.payload.u64 = queue % 4u | (none ? VHOST_USER_VRING_NOFD_MASK : 0);
      if (!none) message->files = {body.request == VHOST_USER_SET_VRING_KICK ? kKick : kCall};
      return;
    }
    case VHOST_USER_SET_MEM_TABLE: {
      body.payload.memory = {};
      const uint32_t regions = in.u8() % 4;
      body.payload.memory.nregions = regions;
      body.size = 8 + regions * VHOST_USER_MEM_REG_SIZE;
      message->files.resize(regions);
      for (uint32_t i = 0; i < regions; ++i)
        body.payload.memory.regions[i] = region(in, &message->files[i]);
      return;
    }
    case VHOST_USER_ADD_MEM_REG:
    case VHOST_USER_REM_MEM_REG:
      message->files.resize(1);
      body.payload.memreg = {};
      body.payload.memreg.region = region(in, &message->files[0]);
      if (body.request == VHOST_USER_REM_MEM_REG) message->files.clear();
      return;
    case VHOST_USER_GET_CONFIG:
    case VHOST_USER_SET_CONFIG:
      body.payload.config = {};
      body.payload.config.offset = queue < 128 ? kConfigWceOffset : in.u8();
      body.payload.config.size = body.request == VHOST_USER_SET_CONFIG ? 1 : in.u8() + 1;
      body.payload.config.region[0] = in.u8() % 2;
      body.size = 12 + body.payload.config.size;
      return;
    case VHOST_USER_GET_INFLIGHT_FD:
    case VHOST_USER_SET_INFLIGHT_FD: {
      VhostUserInflight inflight{};
      inflight.mmap_size = queue < 200 ? kFileBytes : in.u16();
      inflight.mmap_offset = offset_of(in);
      inflight.num_queues = static_cast<uint16_t>(in.u8() % 6);
      inflight.queue_size = static_cast<uint16_t>(in.pick(kSizes));
      body.payload.inflight = inflight;
      if (body.request == VHOST_USER_SET_INFLIGHT_FD) message->files = {kInflight};
      return;
    }
    case VHOST_USER_SET_LOG_BASE:
      body.payload.log = {queue < 200 ? kFileBytes : in.u16(), offset_of(in)};
      message->files = {kLog};
      return;
    case VHOST_USER_SET_LOG_FD:
      message->files = {kCall};
      return;
    case VHOST_USER_SET_BACKEND_REQ_FD:
      message->files = {kChannel};
      return;
    default:
      return;
  }
}

void FrontEnd::fill_vring_address(Message* message, Input& in) const {
  vhost_vring_addr address = message->body.payload.addr;
  const uint64_t start = address.index % 4 * kQueueBytes;
  const uint8_t how = in.u8();
  address.flags = how & 1;
  address.desc_user_addr = kUserBase + start;
  address.avail_user_addr = kUserBase + start + kAvail;
  address.used_user_addr = kUserBase + start + kUsed;
  address.log_guest_addr = kGuestBase + start + kUsed;
  if (how & 0x80) address.desc_user_addr = kUserBase + in.u16();
  if (how & 0x40) address.avail_user_addr = kUserBase + in.u16();
  if (how & 0x20) address.used_user_addr = kUserBase + in.u16();
  if (how & 0x10) address.log_guest_addr = in.u16();
  message->body.payload.addr = address;
}

// Regions adjoin, and come from two files in turn.
VhostUserMemoryRegion FrontEnd::region(Input& in, File* file) const {
  const uint8_t how = in.u8();
  const uint64_t n = how % 4;
  *file = n % 2 ? kMemory1 : kMemory0;
  VhostUserMemoryRegion region{};
  region.guest_phys_addr = kGuestBase + n * kFileBytes;
  region.memory_size = kFileBytes;
  region.userspace_addr = kUserBase + n * kFileBytes;
  if (how & 0x80) region.mmap_offset = in.u8() % 5 * 4096u;
  if (how & 0x40) region.memory_size = in.u16();
  if (how & 0x20) region.guest_phys_addr = in.u8() < 128 ? in.u16() : 0 - uint64_t{in.u16()};
  if (how & 0x10) region.userspace_addr = in.u8() < 128 ? kUserBase + in.u16() : in.u64();
  return region;
}

void FrontEnd::tell(uint32_t request, std::vector<File> files) {
  Message message;
  message.body.request = request;
  message.body.flags = 1;
  message.files = std::move(files);
  transmit(message);
}
void FrontEnd::tell_u64(uint32_t request, uint64_t value, std::vector<File> files) {
  Message message;
  message.body.request = request;
  message.body.flags = 1;
  message.body.size = sizeof value;
  message.body.payload.u64 = value;
  message.files = std::move(files);
  transmit(message);
}
void FrontEnd::tell_state(uint32_t request, uint32_t index, uint32_t value) {
  tell_u64(request, index | uint64_t{value} << 32);
}

void FrontEnd::start_queue(Input& in) {
  const uint8_t how = in.u8();
  const uint32_t queue = how % 4;
  if (how & 4) {
    tell_u64(VHOST_USER_SET_PROTOCOL_FEATURES, kOfferedProtocolFeatures);
    tell_u64(VHOST_USER_SET_FEATURES, 0x174007e44 & ~(how & 8 ? kFeatureEventIdx : 0));
    Message message;
    message.body.request = VHOST_USER_ADD_MEM_REG;
    message.body.flags = 1;
    message.body.size = sizeof message.body.payload.memreg;
    message.body.payload.memreg.region = {kGuestBase, kFileBytes, kUserBase, 0};
    message.files = {kMemory0};
    transmit(message);
  }
  if (how & 16) {
    Message message;
    message.body.request = VHOST_USER_SET_INFLIGHT_FD;
    message.body.flags = 1;
    message.body.size = sizeof message.body.payload.inflight;
    message.body.payload.inflight = {kFileBytes, 0, 4, kQueueSize};
    message.files = {kInflight};
    transmit(message);
  }
  tell_u64(VHOST_USER_SET_VRING_CALL, queue, {kCall});
  tell_state(VHOST_USER_SET_VRING_NUM, queue, kQueueSize);
  tell_state(VHOST_USER_SET_VRING_BASE, queue, 0);
  Message message;
  message.body.request = VHOST_USER_SET_VRING_ADDR;
  message.body.flags = 1;
  message.body.size = sizeof message.body.payload.addr;
  message.body.payload.addr.index = queue;
  Input nothing(nullptr, 0);
  fill_vring_address(&message, nothing);
  transmit(message);
  tell_u64(VHOST_USER_SET_VRING_KICK, queue, {kKick});
  tell_state(VHOST_USER_SET_VRING_ENABLE, queue, 1);
}

void FrontEnd::offer(Input& in) {
  static constexpr uint32_t kTypes[] = {VIRTIO_BLK_T_OUT,     VIRTIO_BLK_T_IN,
                                        VIRTIO_BLK_T_FLUSH,   VIRTIO_BLK_T_GET_ID,
                                        VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES};
  const uint8_t queue = in.u8() % 4;
  if (cut_) return;
  uint8_t* at = mapped_[kMemory0] + queue * kQueueBytes;
  const uint64_t guest = kGuestBase + queue * kQueueBytes;
  virtio_blk_outhdr header{};
  header.type = in.pick(kTypes);
  header.sector = in.u8() % 140;
  memcpy(at + kHeader, &header, sizeof header);
  const bool write = (header.type & 1) != 0;
  const uint32_t bytes = header.type > VIRTIO_BLK_T_OUT && write ? 16 : 512u * (in.u8() % 3);
  const uint16_t flags = VRING_DESC_F_NEXT | (write ? 0 : VRING_DESC_F_WRITE);
  const vring_desc chain[] = {{guest + kHeader, sizeof header, VRING_DESC_F_NEXT, 1},
                              {guest + kData, bytes, flags, 2},
                              {guest + kStatus, 1, VRING_DESC_F_WRITE, 0}};
  memcpy(at, chain, sizeof chain);
  auto* avail = reinterpret_cast<uint16_t*>(at + kAvail);
  avail[2 + avail[1] % kQueueSize] = in.u8() % 16;
  ++avail[1];
  eventfd_write(files_[kKick], 1);
}

uint8_t* FrontEnd::shared_byte(Input& in) {
  const uint16_t n = in.u16();
  return mapped_[n / kFileBytes % kShared] + n % kFileBytes;
}

void FrontEnd::poke(Input& in) {
  uint8_t* at = shared_byte(in);
  const uint8_t value = in.u8();
  if (!cut_) *at = value;
}

void FrontEnd::plan_change(Input& in) {
  const uint8_t loads = in.u8();
  uint8_t* at = shared_byte(in);
  const uint8_t value = in.u8();
  if (!cut_) GuestRaces::instance().plan({loads, at, value});
}

void FrontEnd::truncate(Input& in) {
  const uint8_t n = in.u8();
  // Planned changes would touch what is gone.
  GuestRaces::instance().reset();
  cut_ = true;
  require(ftruncate(files_[n % kShared], n / 64 * 4096) == 0, "files can be cut");
}

}  // namespace remap::fuzz
