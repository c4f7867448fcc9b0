#include "native/socket.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "front_end.h"

namespace remap::test {

namespace {

struct Directory {
  Directory() {
    char name[] = "/tmp/remap-socket-XXXXXX";
    path = mkdtemp(name);
  }
  ~Directory() {
    unlink(file("s").c_str());
    rmdir(path.c_str());
  }
  std::string file(const char* name) const { return path + "/" + name; }
  std::string path;
};

bool exists(const std::string& path) {
  struct stat status;
  return lstat(path.c_str(), &status) == 0;
}

}  // namespace

TEST_CASE("socket: listens, accepts, and takes its name away again") {
  const Directory dir;
  FrontEndSocket socket;
  const char* step = "";
  REQUIRE(socket.bind(dir.file("s"), &step) == 0);
  CHECK(socket.accept() == -1);
  const int client = FrontEnd::connect_to(dir.file("s"));
  REQUIRE(client >= 0);
  const int accepted = socket.accept();
  CHECK(accepted >= 0);
  CHECK(fcntl(accepted, F_GETFD) == FD_CLOEXEC);
  close(accepted);
  close(client);
  socket.close();
  CHECK_FALSE(exists(dir.file("s")));
}

TEST_CASE("socket: a name somebody listens at is left alone") {
  const Directory dir;
  FrontEndSocket first;
  FrontEndSocket second;
  const char* step = "";
  REQUIRE(first.bind(dir.file("s"), &step) == 0);
  CHECK(second.bind(dir.file("s"), &step) == EADDRINUSE);
  CHECK(std::string(step) == "bind");
  second.close();
  const int client = FrontEnd::connect_to(dir.file("s"));
  CHECK(client >= 0);
  close(client);
}

TEST_CASE("socket: a leftover of a dead process is replaced") {
  const Directory dir;
  const char* step = "";
  const int dead = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  strcpy(address.sun_path, dir.file("s").c_str());
  REQUIRE(bind(dead, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  close(dead);
  REQUIRE(exists(dir.file("s")));
  FrontEndSocket socket;
  CHECK(socket.bind(dir.file("s"), &step) == 0);
}

TEST_CASE("socket: nothing but a socket is removed") {
  const Directory dir;
  const char* step = "";
  close(open(dir.file("s").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  FrontEndSocket socket;
  CHECK(socket.bind(dir.file("s"), &step) == EEXIST);
  CHECK(exists(dir.file("s")));
  CHECK(socket.bind(dir.path + "/" + std::string(120, 'x'), &step) == ENAMETOOLONG);
  CHECK(socket.bind(dir.path + "/none/s", &step) == ENOENT);
}

TEST_CASE("socket: a name somebody else has taken over stays") {
  const Directory dir;
  const char* step = "";
  FrontEndSocket first;
  FrontEndSocket second;
  REQUIRE(first.bind(dir.file("s"), &step) == 0);
  REQUIRE(unlink(dir.file("s").c_str()) == 0);
  REQUIRE(second.bind(dir.file("s"), &step) == 0);
  first.close();
  CHECK(exists(dir.file("s")));
}

TEST_CASE("socket: what is handed over is told apart") {
  const char* step = "";
  int pair[2];
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
  FrontEndSocket connected;
  REQUIRE(connected.adopt(pair[0], &step) == 0);
  CHECK(connected.listening_fd() == -1);
  const int taken = connected.take_connected();
  CHECK(taken == pair[0]);
  CHECK(connected.take_connected() == -1);
  close(taken);
  close(pair[1]);

  const Directory dir;
  FrontEndSocket maker;
  REQUIRE(maker.bind(dir.file("s"), &step) == 0);
  FrontEndSocket listening;
  REQUIRE(listening.adopt(dup(maker.listening_fd()), &step) == 0);
  CHECK(listening.listening_fd() >= 0);
  CHECK(listening.take_connected() == -1);
  listening.close();
  CHECK(exists(dir.file("s")));
}

TEST_CASE("socket: what is no Unix stream socket is refused") {
  const char* step = "";
  FrontEndSocket socket;
  const int file = open("/dev/null", O_RDONLY | O_CLOEXEC);
  const int internet = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int datagram = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const int fresh = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(socket.adopt(file, &step) == ENOTSOCK);
  if (internet >= 0) CHECK(socket.adopt(internet, &step) == ENOTSOCK);
  CHECK(socket.adopt(datagram, &step) == ENOTSOCK);
  CHECK(socket.adopt(fresh, &step) == ENOTCONN);
  CHECK(socket.adopt(1 << 20, &step) == EBADF);
  for (int fd : {file, internet, datagram, fresh})
    if (fd >= 0) close(fd);
}

}  // namespace remap::test
