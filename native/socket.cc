#include "socket.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace remap {
namespace {

int open_socket() { return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0); }

// False when the path is too long.
bool make_address(const std::string& path, sockaddr_un* address) {
  *address = {};
  address->sun_family = AF_UNIX;
  if (path.size() >= sizeof address->sun_path) return false;
  memcpy(address->sun_path, path.c_str(), path.size() + 1);
  return true;
}

// 0: somebody answers there; otherwise the errno of connecting.
int probe(const sockaddr_un& address) {
  const int fd = open_socket();
  if (fd < 0) return errno;
  const int result = ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int error = result == 0 ? 0 : errno;
  ::close(fd);
  // A full backlog has somebody behind it too.
  return error == EAGAIN ? 0 : error;
}

// Makes way for a bind to a name that exists.
int remove_leftover(const sockaddr_un& address) {
  struct stat status;
  if (lstat(address.sun_path, &status) != 0) return errno == ENOENT ? 0 : errno;
  if (!S_ISSOCK(status.st_mode)) return EEXIST;
  const int error = probe(address);
  if (error == 0) return EADDRINUSE;
  if (error != ECONNREFUSED) return error == ENOENT ? 0 : error;
  return unlink(address.sun_path) == 0 || errno == ENOENT ? 0 : errno;
}

bool get_option(int fd, int option, int* value) {
  socklen_t size = sizeof *value;
  return getsockopt(fd, SOL_SOCKET, option, value, &size) == 0;
}

}  // namespace

int FrontEndSocket::bind(const std::string& path, const char** step) {
  *step = "bind";
  sockaddr_un address;
  if (!make_address(path, &address)) return ENAMETOOLONG;

  const int fd = open_socket();
  if (fd < 0) return errno;
  const auto* name = reinterpret_cast<const sockaddr*>(&address);
  int error = ::bind(fd, name, sizeof address) == 0 ? 0 : errno;
  if (error == EADDRINUSE) {
    error = remove_leftover(address);
    if (error == 0) error = ::bind(fd, name, sizeof address) == 0 ? 0 : errno;
  }
  if (error == 0) {
    struct stat status;
    if (lstat(address.sun_path, &status) == 0) {
      path_ = path;
      device_ = status.st_dev;
      inode_ = status.st_ino;
    }
    *step = "listen";
    if (::listen(fd, 4) != 0) error = errno;
  }
  listening_ = fd;
  if (error != 0) close();
  return error;
}

int FrontEndSocket::adopt(int fd, const char** step) {
  *step = "getsockopt";
  int domain = 0;
  int type = 0;
  int accepts = 0;
  if (!get_option(fd, SO_DOMAIN, &domain) || !get_option(fd, SO_TYPE, &type) ||
      !get_option(fd, SO_ACCEPTCONN, &accepts))
    return errno;
  if (domain != AF_UNIX || type != SOCK_STREAM) return ENOTSOCK;
  if (accepts == 0) {
    sockaddr_un peer;
    socklen_t size = sizeof peer;
    *step = "getpeername";
    if (getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) != 0) return errno;
  }
  *step = "fcntl";
  if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) return errno;
  // Another process may hold the same socket and accept what poll() showed to us.
  if (accepts != 0 && fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0) return errno;
  (accepts != 0 ? listening_ : connected_) = fd;
  return 0;
}

int FrontEndSocket::aim(const std::string& path, const char** step) {
  *step = "connect";
  sockaddr_un address;
  if (!make_address(path, &address)) return ENAMETOOLONG;
  target_ = path;
  return 0;
}

int FrontEndSocket::connect() const {
  sockaddr_un address;
  make_address(target_, &address);
  const int fd = open_socket();
  if (fd < 0) return -1;
  // Messages are read and answered whole: the connection itself blocks, as an accepted one does.
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
      fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK) == 0)
    return fd;
  const int error = errno;
  ::close(fd);
  errno = error;
  return -1;
}

int FrontEndSocket::take_connected() { return std::exchange(connected_, -1); }

int FrontEndSocket::accept() { return accept4(listening_, nullptr, nullptr, SOCK_CLOEXEC); }

void FrontEndSocket::close() {
  if (!path_.empty()) {
    struct stat status;
    if (lstat(path_.c_str(), &status) == 0 && status.st_dev == device_ && status.st_ino == inode_)
      unlink(path_.c_str());
    path_.clear();
  }
  if (listening_ >= 0) ::close(listening_);
  if (connected_ >= 0) ::close(connected_);
  listening_ = connected_ = -1;
  target_.clear();
}

}  // namespace remap
