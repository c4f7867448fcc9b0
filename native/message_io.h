// One vhost-user message from or to the socket, whole or not at all.
#ifndef REMAP_MESSAGE_IO_H_
#define REMAP_MESSAGE_IO_H_

#include "libvhost_user.h"

namespace remap {

// The rest of a message must follow its first byte within this: front-ends send it in one piece,
// and stop() waits for it.
inline constexpr int kMessageTimeoutMs = 2000;

enum class Receive {
  kMessage,
  kEnd,     // closed before a message began
  kBroken,  // cut off, too long, too slow, or with descriptors that did not fit
};

// Fills `message`, whose descriptors are then the caller's, close-on-exec. On kEnd and kBroken
// none is left open; *reason is words for the log.
Receive receive_message(int sock, VhostUserMsg* message, const char** reason);

// The answer to a message with NEED_REPLY: 0 for success.
bool send_acknowledgement(int sock, int request, uint64_t status);

// A message without payload on the back-end's channel, no reply wanted. Does not wait; false, with
// errno, when it was not sent.
bool send_backend_request(int channel, uint32_t request);

void close_descriptors(VhostUserMsg* message);

}  // namespace remap

#endif  // REMAP_MESSAGE_IO_H_
