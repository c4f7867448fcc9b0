// The front-end of the `messages` target: knows how messages should look, and sends them that way
// or nearly.
#ifndef REMAP_FUZZ_FRONT_END_H_
#define REMAP_FUZZ_FRONT_END_H_

#include <vector>

#include "guest_races.h"
#include "input.h"
#include "native/vhost_message.h"

namespace remap::fuzz {

class FrontEnd {
 public:
  FrontEnd();

  // Everything shared is as it was at first.
  void reset();
  // The connection to use from now on; the one before it is closed.
  void take(int sock);

  void send(Input& in);         // one message of any kind
  void send_raw(Input& in);     // bytes that may be a message, or a part of one
  void start_queue(Input& in);  // the whole handshake, and memory, and a ring
  void offer(Input& in);        // a request in that ring, and a kick
  void poke(Input& in);         // one byte of shared memory
  void plan_change(Input& in);  // the same, between two loads of the back-end
  void truncate(Input& in);

  static bool unread(int sock);
  // Reads all that the back-end has sent.
  void drain();

 private:
  // Files a message can carry, and what it is expected to carry.
  enum File : uint8_t {
    kMemory0,
    kMemory1,
    kLog,
    kInflight,
    kShort,     // 100 bytes
    kReadOnly,  // memory that cannot be mapped for writing
    kKick,
    kCall,
    kChannel,  // a socket for the back-end's requests
    kPipe,
    kTimer,
    kNull,
    kRoot,  // a directory, open as a path only
    kFiles,
    kShared = kShort,  // so many are mapped here
  };

  struct Message {
    VhostUserMsg body{};
    std::vector<File> files;
  };

  void fill(Message* message, Input& in) const;
  void fill_vring_address(Message* message, Input& in) const;
  VhostUserMemoryRegion region(Input& in, File* file) const;
  void transmit(const void* bytes, size_t size, const std::vector<File>& files);
  void transmit(const Message& message);
  void tell(uint32_t request, std::vector<File> files = {});
  void tell_u64(uint32_t request, uint64_t value, std::vector<File> files = {});
  void tell_state(uint32_t request, uint32_t index, uint32_t value);
  uint8_t* shared_byte(Input& in);

  int files_[kFiles];
  uint8_t* mapped_[kShared];
  int channel_peer_ = -1;
  int sock_ = -1;
  bool cut_ = false;  // some shared file is shorter than it should be
};

}  // namespace remap::fuzz

#endif  // REMAP_FUZZ_FRONT_END_H_
