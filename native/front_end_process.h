// The process at the other end of the connection, as far as /proc shows it to us.
#ifndef REMAP_FRONT_END_PROCESS_H_
#define REMAP_FRONT_END_PROCESS_H_

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace remap {

// Process id of the peer of a Unix socket; 0 where it cannot be seen from here.
pid_t peer_process(int sock);

// Whether a line of /proc/PID/maps is a private mapping of this inode that covers `address`.
bool is_private_mapping(const std::string& line, uint64_t address, uint64_t inode);

// Whether the process maps the file `fd` at `address` for itself alone (MAP_PRIVATE): QEMU offers
// such memory all the same, and what it writes there never reaches the file. False where that
// cannot be seen.
bool maps_privately(pid_t process, uint64_t address, int fd);

}  // namespace remap

#endif  // REMAP_FRONT_END_PROCESS_H_
