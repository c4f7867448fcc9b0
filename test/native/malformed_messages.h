// One sound message of each kind, to be spoilt.
#ifndef REMAP_TEST_MALFORMED_MESSAGES_H_
#define REMAP_TEST_MALFORMED_MESSAGES_H_

#include <doctest/doctest.h>

#include "chain_driver.h"
#include "native/vhost_session.h"

namespace remap::test {

struct SoundMessage {
  uint32_t request;
  Bytes payload;
  std::vector<int> fds;
};

// Files that messages carry; all of them outlive every connection.
class Props {
 public:
  static constexpr uint64_t kBytes = 1 << 16;
  Props() : owner(-1) {
    log = file(kBytes);
    inflight = file(kBytes);
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
  }
  ~Props() {
    for (const int fd : {log, inflight, pair[0], pair[1]}) close(fd);
  }
  Props(const Props&) = delete;

  static int file(uint64_t bytes) {
    const int fd = memfd_create("prop", MFD_CLOEXEC);
    REQUIRE(ftruncate(fd, static_cast<off_t>(bytes)) == 0);
    return fd;
  }

  FrontEnd owner;  // of memory and of a kick and call that no queue waits for
  int log;
  int inflight;
  int pair[2];
};

template <typename T>
Bytes bytes_of(const T& value) {
  const auto* raw = reinterpret_cast<const uint8_t*>(&value);
  return {raw, raw + sizeof value};
}

inline VhostUserInflight small_inflight() {
  VhostUserInflight inflight{};
  inflight.num_queues = 1;
  inflight.queue_size = FrontEnd::kSize;
  inflight.mmap_size = inflight_stride(FrontEnd::kSize);
  return inflight;
}

inline SoundMessage sound_message(uint32_t request, const Props& props) {
  const FrontEnd& f = props.owner;
  const Bytes zero = bytes_of(uint64_t{0});
  const auto state = [](uint32_t num) {
    return bytes_of(vhost_vring_state{.index = 0, .num = num});
  };
  struct __attribute__((packed)) {
    uint32_t offset, size, flags;
    uint8_t byte;
  } config{32, 1, 0, 1};
  struct {
    uint64_t count = 1;
    VhostUserMemoryRegion region;
  } table{.region = f.region().region};
  switch (request) {
    case VHOST_USER_SET_FEATURES:
      return {request, bytes_of(uint64_t{kFeatureVersion1 | kFeatureProtocolFeatures}), {}};
    case VHOST_USER_SET_PROTOCOL_FEATURES:
      return {request, bytes_of(kOfferedProtocolFeatures), {}};
    case VHOST_USER_SET_MEM_TABLE:
      return {request, bytes_of(table), {f.memory_fd}};
    case VHOST_USER_SET_LOG_BASE:
      return {request,
              bytes_of(VhostUserLog{.mmap_size = Props::kBytes, .mmap_offset = 0}),
              {props.log}};
    case VHOST_USER_SET_VRING_NUM:
      return {request, state(FrontEnd::kSize), {}};
    case VHOST_USER_SET_VRING_ADDR:
      return {request, bytes_of(f.addresses()), {}};
    case VHOST_USER_SET_VRING_BASE:
    case VHOST_USER_GET_VRING_BASE:
      return {request, state(0), {}};
    case VHOST_USER_SET_VRING_ENABLE:
      return {request, state(1), {}};
    case VHOST_USER_SET_LOG_FD:
      return {request, {}, {f.call}};
    case VHOST_USER_SET_VRING_KICK:
    case VHOST_USER_SET_VRING_CALL:
    case VHOST_USER_SET_VRING_ERR:
      return {request, zero, {f.kick}};
    case VHOST_USER_SET_BACKEND_REQ_FD:
      return {request, {}, {props.pair[0]}};
    case VHOST_USER_GET_CONFIG:
    case VHOST_USER_SET_CONFIG:
      return {request, bytes_of(config), {}};
    case VHOST_USER_GET_INFLIGHT_FD:
      return {request, bytes_of(small_inflight()), {}};
    case VHOST_USER_SET_INFLIGHT_FD:
      return {request, bytes_of(small_inflight()), {props.inflight}};
    case VHOST_USER_ADD_MEM_REG:
      return {request, bytes_of(f.region()), {f.memory_fd}};
    case VHOST_USER_REM_MEM_REG:
      return {request, bytes_of(f.region()), {}};
    default:
      return {request, {}, {}};
  }
}

inline std::vector<SoundMessage> sound_messages(const Props& props) {
  std::vector<SoundMessage> all;
  for (uint32_t request = 1; request < 64; ++request)
    if (message_rule(request) != nullptr) all.push_back(sound_message(request, props));
  return all;
}

// Sends it and reads what comes back, so that it has been dealt with. False: connection over.
inline bool exchange(FrontEnd& f, const SoundMessage& m, bool acknowledged) {
  if (!f.send(m.request, m.payload.data(), static_cast<uint32_t>(m.payload.size()), m.fds, true))
    return false;
  const MessageRule* rule = message_rule(m.request);
  if (acknowledged || (rule != nullptr && rule->answered)) return f.reply().has_value();
  return f.ask_u64(VHOST_USER_GET_FEATURES).has_value();
}

// Refused: told so, or the connection is gone.
inline bool refused(FrontEnd& f, const SoundMessage& m) {
  if (!f.send(m.request, m.payload.data(), static_cast<uint32_t>(m.payload.size()), m.fds, true))
    return true;
  const auto reply = f.reply();
  return !reply || (reply->size() == 8 && (*reply)[0] != 0 && !message_rule(m.request)->answered);
}

}  // namespace remap::test

#endif  // REMAP_TEST_MALFORMED_MESSAGES_H_
