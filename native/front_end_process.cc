#include "front_end_process.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include <cinttypes>
#include <cstdio>
#include <fstream>

namespace remap {

pid_t peer_process(int sock) {
  ucred peer{};
  socklen_t length = sizeof peer;
  return getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 ? peer.pid : 0;
}

bool is_private_mapping(const std::string& line, uint64_t address, uint64_t inode) {
  uint64_t start = 0;
  uint64_t end = 0;
  uint64_t found = 0;
  char sharing = 0;
  const int read = sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %*3c%c %*x %*x:%*x %" SCNu64,
                          &start, &end, &sharing, &found);
  return read == 4 && found == inode && address >= start && address < end && sharing == 'p';
}

bool maps_privately(pid_t process, uint64_t address, int fd) {
  struct stat status;
  if (process == 0 || fstat(fd, &status) != 0) return false;
  std::ifstream maps("/proc/" + std::to_string(process) + "/maps");
  for (std::string line; std::getline(maps, line);)
    if (is_private_mapping(line, address, status.st_ino)) return true;
  return false;
}

}  // namespace remap
