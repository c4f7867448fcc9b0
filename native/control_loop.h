// What the control thread of a volume does all day: waits for front-ends and for their messages.
#ifndef REMAP_CONTROL_LOOP_H_
#define REMAP_CONTROL_LOOP_H_

#include <chrono>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "log_limiter.h"
#include "socket.h"
#include "vhost_session.h"
#include "volume_context.h"

namespace remap {

class ControlLoop {
 public:
  using Workers = std::vector<std::unique_ptr<QueueWorker>>;

  // `wake_fd` is written when `stopping` has become true.
  ControlLoop(VolumeContext& context, const Workers& workers, FrontEndSocket& socket, int wake_fd);

  // One front-end at a time, until `stopping`, or until nobody can come any more. Everything is
  // drained and closed when it returns.
  void run(const std::function<bool()>& stopping);

 private:
  void wait();
  void open_session(int fd);
  void close_session();
  void serve_session();
  bool serve_message();
  void accept_front_end();
  void connect_front_end();
  int wait_ms() const;
  bool session_alive() const;

  VolumeContext& context_;
  const Workers& workers_;
  FrontEndSocket& socket_;
  const int wake_fd_;
  LogLimiter complaints_;
  Negotiation negotiation_;
  std::unique_ptr<VhostSession> session_;
  // The front-end does not read our replies; nothing more is read from it until it does.
  bool blocked_ = false;
  // Where the front-end listens and we come to it.
  std::chrono::steady_clock::time_point retry_at_{};
  std::chrono::milliseconds retry_delay_{};
  bool absence_logged_ = false;
  // What wait() has found.
  bool woken_ = false;
  bool knocked_ = false;
  short session_events_ = 0;
};

// A thread with its name set and signals left to Node.
std::thread start_control_thread(std::function<void()> body);

void push_stopped(EventSink& events);

}  // namespace remap

#endif  // REMAP_CONTROL_LOOP_H_
