#include "message_io.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>

namespace remap {
namespace {

using Clock = std::chrono::steady_clock;

// SCM_MAX_FD of the kernel: no sender can fit more into one send.
constexpr size_t kDescriptorsMax = 253;

bool wait_readable(int sock, Clock::time_point deadline) {
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    if (left <= 0) return false;
    pollfd p{.fd = sock, .events = POLLIN, .revents = 0};
    const int ready = poll(&p, 1, static_cast<int>(left));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
  }
}

// Keeps the first 8 and closes the others; false when there were others.
bool collect(msghdr* header, VhostUserMsg* message) {
  bool fitted = true;
  for (cmsghdr* c = CMSG_FIRSTHDR(header); c != nullptr; c = CMSG_NXTHDR(header, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
      if (message->fd_num < VHOST_MEMORY_BASELINE_NREGIONS) {
        message->fds[message->fd_num++] = fd;
      } else {
        close(fd);
        fitted = false;
      }
    }
  }
  return fitted;
}

// Reads exactly `length` bytes. kEnd only before the first of them.
Receive receive_all(int sock, uint8_t* to, size_t length, Clock::time_point deadline,
                    VhostUserMsg* message, const char** reason) {
  size_t done = 0;
  while (done < length) {
    alignas(cmsghdr) char control[CMSG_SPACE(kDescriptorsMax * sizeof(int))];
    iovec part{.iov_base = to + done, .iov_len = length - done};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    const ssize_t got = recvmsg(sock, &header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (got > 0) {
      const bool fitted = collect(&header, message);
      if (!fitted || (header.msg_flags & MSG_CTRUNC)) {
        *reason = "more descriptors than can be taken";
        return Receive::kBroken;
      }
      done += static_cast<size_t>(got);
    } else if (got == 0) {
      *reason = "closed in the middle of a message";
      return done == 0 ? Receive::kEnd : Receive::kBroken;
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      if (!wait_readable(sock, deadline)) {
        *reason = "the rest of a message did not come";
        return Receive::kBroken;
      }
    } else if (errno != EINTR) {
      *reason = strerrordesc_np(errno);
      return errno == ECONNRESET ? Receive::kEnd : Receive::kBroken;
    }
  }
  return Receive::kMessage;
}

}  // namespace

Receive receive_message(int sock, VhostUserMsg* message, const char** reason) {
  const auto deadline = Clock::now() + std::chrono::milliseconds(kMessageTimeoutMs);
  *message = VhostUserMsg{};
  auto* bytes = reinterpret_cast<uint8_t*>(message);
  Receive result = receive_all(sock, bytes, VHOST_USER_HDR_SIZE, deadline, message, reason);
  if (result == Receive::kMessage && message->size > sizeof message->payload) {
    *reason = "message too long";
    result = Receive::kBroken;
  }
  if (result == Receive::kMessage && message->size > 0) {
    result =
        receive_all(sock, bytes + VHOST_USER_HDR_SIZE, message->size, deadline, message, reason);
    if (result == Receive::kEnd) result = Receive::kBroken;
  }
  if (result != Receive::kMessage) close_descriptors(message);
  return result;
}

bool send_acknowledgement(int sock, int request, uint64_t status) {
  struct __attribute__((packed)) {
    int32_t request;
    uint32_t flags;
    uint32_t size;
    uint64_t status;
  } reply{request, 1 | VHOST_USER_REPLY_MASK, sizeof status, status};
  ssize_t sent;
  do {
    sent = send(sock, &reply, sizeof reply, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent == sizeof reply;
}

bool send_backend_request(int channel, uint32_t request) {
  const uint32_t message[] = {request, 1, 0};
  ssize_t sent;
  do {
    sent = send(channel, message, sizeof message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return sent == sizeof message;
}

void close_descriptors(VhostUserMsg* message) {
  for (int i = 0; i < message->fd_num; ++i) close(message->fds[i]);
  message->fd_num = 0;
}

}  // namespace remap
