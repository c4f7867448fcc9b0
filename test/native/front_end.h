// A vhost-user front-end for native tests: sends what it is told, right or wrong, and drives one
// virtqueue in memory of its own.
#ifndef REMAP_TEST_FRONT_END_H_
#define REMAP_TEST_FRONT_END_H_

#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "native/blk_config.h"
#include "native/vhost_message.h"

namespace remap::test {

class FrontEnd {
 public:
  static constexpr uint64_t kMemory = 1 << 20;
  static constexpr uint64_t kGuestBase = 0x40000000;
  static constexpr uint64_t kUserBase =
      0x7e9000000000;  // free, and where ThreadSanitizer allows mappings
  static constexpr uint16_t kSize = 8;
  static constexpr uint64_t kAvail = 0x1000;
  static constexpr uint64_t kUsed = 0x2000;
  static constexpr uint64_t kHeader = 0x3000;
  static constexpr uint64_t kStatus = 0x3800;
  static constexpr uint64_t kData = 0x4000;

  explicit FrontEnd(int sock) : sock_(sock) {
    memory_fd = memfd_create("guest", MFD_CLOEXEC);
    if (ftruncate(memory_fd, kMemory) != 0) std::abort();
    memory = static_cast<uint8_t*>(
        mmap(nullptr, kMemory, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0));
    kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  }
  ~FrontEnd() {
    hang_up();
    munmap(memory, kMemory);
    for (int fd : {memory_fd, kick, call}) close(fd);
  }
  FrontEnd(const FrontEnd&) = delete;

  static int connect_to(const std::string& path) {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    memcpy(address.sun_path, path.c_str(), path.size() + 1);
    if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return fd;
    close(fd);
    return -1;
  }

  void hang_up() {
    if (sock_ >= 0) close(sock_);
    sock_ = -1;
  }

  int socket() const { return sock_; }

  // False when the back-end has closed the connection.
  bool send(uint32_t request, const void* payload, uint32_t size, std::vector<int> fds = {},
            bool need_reply = false) {
    const uint32_t header[] = {request, need_reply ? 9u : 1u, size};
    std::vector<uint8_t> bytes(sizeof header + size);
    memcpy(bytes.data(), header, sizeof header);
    if (size > 0) memcpy(bytes.data() + sizeof header, payload, size);
    return send_raw(bytes, fds);
  }
  bool send_raw(const std::vector<uint8_t>& bytes, const std::vector<int>& fds = {}) {
    iovec part{const_cast<uint8_t*>(bytes.data()), bytes.size()};
    alignas(cmsghdr) char control[CMSG_SPACE(64 * sizeof(int))] = {};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (!fds.empty()) {
      message.msg_control = control;
      message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
      cmsghdr* c = CMSG_FIRSTHDR(&message);
      c->cmsg_level = SOL_SOCKET;
      c->cmsg_type = SCM_RIGHTS;
      c->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
      memcpy(CMSG_DATA(c), fds.data(), fds.size() * sizeof(int));
    }
    return sendmsg(sock_, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
  }
  bool send_u64(uint32_t request, uint64_t value, std::vector<int> fds = {},
                bool need_reply = false) {
    return send(request, &value, sizeof value, std::move(fds), need_reply);
  }
  bool send_state(uint32_t request, uint32_t index, uint32_t num, bool need_reply = false) {
    const uint32_t state[] = {index, num};
    return send(request, state, sizeof state, {}, need_reply);
  }

  // The payload of the next reply, or nothing when the connection was closed (or 5 s went by).
  std::optional<std::vector<uint8_t>> reply() {
    uint32_t header[3];
    if (!read_all(header, sizeof header)) return std::nullopt;
    std::vector<uint8_t> payload(header[2]);
    if (!read_all(payload.data(), payload.size())) return std::nullopt;
    return payload;
  }
  std::optional<uint64_t> reply_u64() {
    const auto payload = reply();
    if (!payload || payload->size() != 8) return std::nullopt;
    uint64_t value;
    memcpy(&value, payload->data(), sizeof value);
    return value;
  }
  std::optional<uint64_t> ask_u64(uint32_t request) {
    if (!send(request, nullptr, 0)) return std::nullopt;
    return reply_u64();
  }
  // True when the back-end closes the connection.
  bool dropped() {
    uint8_t byte;
    pollfd p{.fd = sock_, .events = POLLIN, .revents = 0};
    while (poll(&p, 1, 5000) > 0) {
      const ssize_t got = recv(sock_, &byte, 1, 0);
      if (got <= 0) return true;
    }
    return false;
  }

  bool negotiate(uint64_t without = 0) {
    const auto features = ask_u64(VHOST_USER_GET_FEATURES);
    const auto protocol = ask_u64(VHOST_USER_GET_PROTOCOL_FEATURES);
    if (!features || !protocol) return false;
    send_u64(VHOST_USER_SET_PROTOCOL_FEATURES, *protocol);
    send(VHOST_USER_SET_OWNER, nullptr, 0);
    // As QEMU does: logging only while it migrates.
    accepted = *features & ~without & ~kFeatureLogAll;
    return set_features(accepted);
  }
  bool set_features(uint64_t features) {
    return send_u64(VHOST_USER_SET_FEATURES, features, {}, true) && reply_u64() == 0u;
  }

  VhostUserMemRegMsg region() const {
    VhostUserMemRegMsg m{};
    m.region = {.guest_phys_addr = kGuestBase,
                .memory_size = kMemory,
                .userspace_addr = kUserBase,
                .mmap_offset = 0};
    return m;
  }
  std::optional<uint64_t> share_memory() {
    const VhostUserMemRegMsg m = region();
    send(VHOST_USER_ADD_MEM_REG, &m, sizeof m, {memory_fd}, true);
    return reply_u64();
  }
  vhost_vring_addr addresses(uint32_t queue = 0) const {
    vhost_vring_addr a{};
    a.index = queue;
    a.desc_user_addr = kUserBase;
    a.avail_user_addr = kUserBase + kAvail;
    a.used_user_addr = kUserBase + kUsed;
    return a;
  }
  bool start_queue(uint32_t base = 0) {
    const vhost_vring_addr a = addresses();
    send_u64(VHOST_USER_SET_VRING_CALL, 0, {call});
    send_state(VHOST_USER_SET_VRING_NUM, 0, kSize);
    send_state(VHOST_USER_SET_VRING_BASE, 0, base);
    send(VHOST_USER_SET_VRING_ADDR, &a, sizeof a);
    send_u64(VHOST_USER_SET_VRING_KICK, 0, {kick});
    return send_state(VHOST_USER_SET_VRING_ENABLE, 0, 1, true) && reply_u64() == 0u;
  }
  std::optional<uint32_t> stop_queue() {
    send_state(VHOST_USER_GET_VRING_BASE, 0, 0);
    const auto payload = reply();
    if (!payload || payload->size() != 8) return std::nullopt;
    uint32_t base;
    memcpy(&base, payload->data() + 4, sizeof base);
    return base;
  }

  // Makes one request available: header, data, status.
  void offer(uint32_t type, uint64_t sector, uint32_t data_bytes = 512) {
    virtio_blk_outhdr header{};
    header.type = type;
    header.sector = sector;
    memcpy(memory + kHeader, &header, sizeof header);
    memory[kStatus] = 0xff;
    const bool in = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
    put(0, kHeader, sizeof header, VRING_DESC_F_NEXT, 1);
    put(1, kData, data_bytes, VRING_DESC_F_NEXT | (in ? VRING_DESC_F_WRITE : 0), 2);
    put(2, kStatus, 1, VRING_DESC_F_WRITE, 0);
    auto* avail = reinterpret_cast<uint16_t*>(memory + kAvail);
    avail[2 + avail[1] % kSize] = 0;
    __atomic_store_n(&avail[1], static_cast<uint16_t>(avail[1] + 1), __ATOMIC_RELEASE);
  }
  // A DISCARD or WRITE_ZEROES of these segments; `bytes` of them, all unless told.
  using Segment = virtio_blk_discard_write_zeroes;
  void offer_range(uint32_t type, std::vector<Segment> segments, uint32_t bytes = UINT32_MAX) {
    memcpy(memory + kData, segments.data(), segments.size() * sizeof(Segment));
    offer(type, 0,
          bytes != UINT32_MAX ? bytes : static_cast<uint32_t>(segments.size() * sizeof(Segment)));
  }
  void notify() { eventfd_write(kick, 1); }
  // Kicks for what was offered and waits for it: the status, or 0xff when none came.
  uint8_t run() {
    const auto wanted = static_cast<uint16_t>(used_index() + 1);
    notify();
    return returned(wanted) ? memory[kStatus] : 0xff;
  }
  // The used length of the last request returned.
  uint32_t used_length() const {
    const auto* ring = reinterpret_cast<const vring_used_elem*>(memory + kUsed + 4);
    return ring[static_cast<uint16_t>(used_index() - 1) % kSize].len;
  }
  uint16_t used_index() const {
    return __atomic_load_n(reinterpret_cast<uint16_t*>(memory + kUsed) + 1, __ATOMIC_ACQUIRE);
  }
  // Waits until `index` requests in all have been returned.
  bool returned(uint16_t index) const {
    for (int i = 0; i < 5000 && used_index() != index; ++i) usleep(1000);
    return used_index() == index;
  }

  uint64_t accepted = 0;
  uint8_t* memory;
  int memory_fd;
  int kick;
  int call;

 private:
  void put(uint16_t at, uint64_t offset, uint32_t length, uint16_t flags, uint16_t next) {
    auto* desc = reinterpret_cast<vring_desc*>(memory) + at;
    desc->addr = kGuestBase + offset;
    desc->len = length;
    desc->flags = flags;
    desc->next = next;
  }
  bool read_all(void* to, size_t size) {
    auto* bytes = static_cast<uint8_t*>(to);
    while (size > 0) {
      pollfd p{.fd = sock_, .events = POLLIN, .revents = 0};
      if (poll(&p, 1, 5000) <= 0) return false;
      const ssize_t got = recv(sock_, bytes, size, 0);
      if (got <= 0) return false;
      bytes += got;
      size -= static_cast<size_t>(got);
    }
    return true;
  }

  int sock_;
};

}  // namespace remap::test

#endif  // REMAP_TEST_FRONT_END_H_
