#include "shared_file.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

namespace remap {

SharedFile inspect_file(int fd) {
  SharedFile file;
  struct stat status;
  if (fstat(fd, &status) != 0) return file;
  file.size_known = S_ISREG(status.st_mode);
  file.mappable = file.size_known || S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode);
  file.size = static_cast<uint64_t>(status.st_size);
  struct statfs system;
  if (fstatfs(fd, &system) == 0 && static_cast<unsigned>(system.f_type) == HUGETLBFS_MAGIC)
    file.page_size = static_cast<uint64_t>(system.f_bsize);
  return file;
}

bool is_eventfd(int fd) {
  struct stat status;
  // Anonymous inodes have no file type.
  if (fstat(fd, &status) != 0 || (status.st_mode & S_IFMT) != 0) return false;
  char path[64];
  char target[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(path, target, sizeof target - 1);
  if (length < 0) return true;  // no /proc here: the type is the best we know
  target[length] = '\0';
  return strcmp(target, "anon_inode:[eventfd]") == 0;
}

bool is_socket(int fd) {
  struct stat status;
  return fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode);
}

void signal_eventfd(int fd) {
  pollfd p{.fd = fd, .events = POLLOUT, .revents = 0};
  if (fd >= 0 && poll(&p, 1, 0) == 1 && (p.revents & POLLOUT)) eventfd_write(fd, 1);
}

int duplicate(int fd) { return fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3); }

}  // namespace remap
