// Fuzzing target: what a front-end sends, with which descriptors, in what order, and what it does
// to the memory it has shared. The input is a small program; a whole session with libvhost-user and
// two workers is on the other end of a socket pair, on this thread.
//
//   messages FILE|DIR...
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "front_end.h"
#include "native/vhost_session.h"
#include "shared_mappings.h"
#include "volume.h"

namespace remap::fuzz {
namespace {

// Connections of one input, at most: each costs as much as some messages.
constexpr int kConnectionsMax = 4;

class Run {
 public:
  Run(Volume& volume, FrontEnd& front_end, int wake, Input& in)
      : volume_(volume),
        front_end_(front_end),
        wake_(wake),
        in_(in),
        complaints_(*volume.context().events) {}

  void go() {
    volume_.begin(in_);
    connect();
    while (!in_.done()) {
      if (!session_ && connections_ == kConnectionsMax) break;
      if (!session_) connect();
      step();
      serve();
    }
    hang_up();
    GuestRaces::instance().reset();
    require(shared_mappings() == 0, "a connection leaves no mapping behind");
    for (size_t queue = 0; queue < Volume::kQueues; ++queue)
      require(volume_.counters(queue).in_flight == 0 && volume_.counters(queue).started == 0,
              "a connection leaves no queue running");
  }

 private:
  void connect() {
    int pair[2];
    require(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0, "there are sockets");
    ++connections_;
    front_end_.take(pair[0]);
    session_ = std::make_unique<VhostSession>(volume_.context(), volume_.workers(), negotiation_,
                                              complaints_, pair[1], wake_);
  }

  void hang_up() {
    volume_.unlock();  // held requests would be waited for
    session_.reset();
    front_end_.take(-1);
  }

  // As the control loop does: until there is nothing more to read.
  void serve() {
    while (session_ && front_end_.unread(session_->fd())) {
      volume_.unlock();
      if (!session_->dispatch() || session_->memory_lost()) return hang_up();
      front_end_.drain();
    }
  }

  void step() {
    switch (in_.u8() % 16) {
      default:
        return front_end_.send(in_);
      case 8:
        return front_end_.start_queue(in_);
      case 9:
        return front_end_.send_raw(in_);
      case 10:
        return front_end_.offer(in_);
      case 11:
        return poll();
      case 12:
        return front_end_.poke(in_);
      case 13:
        return front_end_.plan_change(in_);
      case 14:
        return front_end_.truncate(in_);
      case 15:
        return event(in_.u8());
    }
  }

  void poll() {
    for (const auto& worker : volume_.workers()) worker->poll();
    if (session_->memory_lost()) hang_up();
  }

  void event(uint8_t what) {
    switch (what % 4) {
      case 0:
        volume_.context().config_changed = true;
        return session_->tell_config_changed();
      case 1:
        return volume_.lock(what / 4, 4);
      case 2:
        return volume_.unlock();
      default:
        return hang_up();
    }
  }

  Volume& volume_;
  FrontEnd& front_end_;
  const int wake_;
  Input& in_;
  LogLimiter complaints_;
  Negotiation negotiation_;
  std::unique_ptr<VhostSession> session_;
  int connections_ = 0;
};

int lowest_free_descriptor() {
  const int fd = dup(0);
  close(fd);
  return fd;
}

}  // namespace
}  // namespace remap::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace remap::fuzz;
  static Volume volume(Volume::Backing::kFile, 2);
  static FrontEnd front_end;
  static const int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  const int before = lowest_free_descriptor();
  front_end.reset();
  Input in(data, size);
  Run(volume, front_end, wake, in).go();
  require(lowest_free_descriptor() == before, "a connection leaves no descriptor behind");
  return 0;
}
