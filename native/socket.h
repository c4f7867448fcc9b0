// Where front-ends come from: a listening socket made here, or one that was handed over, or one
// connection that was handed over, or a socket at which the front-end listens.
#ifndef REMAP_SOCKET_H_
#define REMAP_SOCKET_H_

#include <sys/types.h>

#include <string>

namespace remap {

class FrontEndSocket {
 public:
  FrontEndSocket() = default;
  ~FrontEndSocket() { close(); }
  FrontEndSocket(const FrontEndSocket&) = delete;
  FrontEndSocket& operator=(const FrontEndSocket&) = delete;

  // Both return 0 or a positive errno, and name the step that failed in *step.

  // Listens at `path`. A socket nobody answers at is a leftover and is replaced. EADDRINUSE:
  // somebody answers there; EEXIST: something else has the name; ENAMETOOLONG.
  int bind(const std::string& path, const char** step);
  // Takes over `fd`, listening or connected. ENOTSOCK: no Unix stream socket; ENOTCONN: neither
  // listening nor connected.
  int adopt(int fd, const char** step);

  // Front-ends listen at `path`, one after the other. Nobody needs to be there yet. ENAMETOOLONG.
  int aim(const std::string& path, const char** step);

  // To poll for front-ends; -1 when there is nothing (more) to accept.
  int listening_fd() const { return listening_; }
  // The connection that was handed over, once; -1 otherwise.
  int take_connected();
  // A front-end's connection, or -1 when it has gone again.
  int accept();

  // Whether connect() may bring a front-end.
  bool connects() const { return !target_.empty(); }
  // A connection to the front-end that listens, or -1 with errno; never waits.
  int connect() const;

  // Stops listening; removes the name that bind() made, unless somebody else has it by now.
  void close();

 private:
  int listening_ = -1;
  int connected_ = -1;
  std::string path_;
  std::string target_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace remap

#endif  // REMAP_SOCKET_H_
