#include "control_loop.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <exception>

namespace remap {
namespace {

// A front-end that starts is met soon, and one that stays away costs nothing.
constexpr std::chrono::milliseconds kRetryFirst{100};
constexpr std::chrono::milliseconds kRetryMost{2000};

void push_client(EventSink& events, bool connected) {
  abi::EventRecord record{};
  record.kind = static_cast<uint32_t>(abi::EventKind::kClient);
  record.count = connected ? 1 : 0;
  events.push(record);
}

short poll_once(int fd, short wanted) {
  pollfd p{.fd = fd, .events = wanted, .revents = 0};
  return poll(&p, 1, 0) > 0 ? p.revents : 0;
}

}  // namespace

ControlLoop::ControlLoop(VolumeContext& context, const Workers& workers, FrontEndSocket& socket,
                         int wake_fd)
    : context_(context),
      workers_(workers),
      socket_(socket),
      wake_fd_(wake_fd),
      complaints_(*context.events) {}

void ControlLoop::run(const std::function<bool()>& stopping) {
  if (const int fd = socket_.take_connected(); fd >= 0) open_session(fd);
  while (!stopping() && (session_ || socket_.listening_fd() >= 0 || socket_.connects())) {
    if (!session_ && socket_.connects()) connect_front_end();
    wait();
    // The session first: the front-end that knocks may be the same one, come back.
    if (session_) serve_session();
    if (session_) session_->tell_config_changed();
    if (knocked_) accept_front_end();
  }
  close_session();
  socket_.close();
}

void ControlLoop::wait() {
  const bool waits = session_ && session_->waits();
  const short wanted = waits ? POLLRDHUP : blocked_ ? POLLOUT : POLLIN;
  pollfd fds[] = {
      {.fd = wake_fd_, .events = POLLIN, .revents = 0},
      {.fd = socket_.listening_fd(), .events = POLLIN, .revents = 0},
      {.fd = session_ ? session_->fd() : -1, .events = wanted, .revents = 0},
  };
  const int ready = poll(fds, 3, wait_ms());
  if (ready < 0) {
    for (pollfd& p : fds) p.revents = 0;
  }
  woken_ = fds[0].revents != 0;
  if (woken_) {
    eventfd_t ignored;
    eventfd_read(wake_fd_, &ignored);
  }
  knocked_ = fds[1].revents != 0;
  session_events_ = fds[2].revents;
}

int ControlLoop::wait_ms() const {
  if (session_ || !socket_.connects()) return -1;
  const auto left = retry_at_ - std::chrono::steady_clock::now();
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
  return static_cast<int>(std::max<int64_t>(ms, 0));
}

void ControlLoop::connect_front_end() {
  const auto now = std::chrono::steady_clock::now();
  if (now < retry_at_) return;
  retry_at_ = now + retry_delay_;
  retry_delay_ = std::clamp(2 * retry_delay_, kRetryFirst, kRetryMost);
  if (const int fd = socket_.connect(); fd >= 0) {
    absence_logged_ = false;
    open_session(fd);
  } else if (!absence_logged_) {
    context_.events->log(kInfo, "no front-end listens yet (%s); trying again",
                         strerrordesc_np(errno));
    absence_logged_ = true;
  }
}

void ControlLoop::serve_session() {
  bool alive = true;
  try {
    if (session_events_ != 0) alive = serve_message();
    if (alive && woken_) alive = session_->resume();
  } catch (const std::exception& e) {
    complaints_.warn("connection dropped: %s", e.what());
    alive = false;
  }
  if (alive && session_->memory_lost()) {
    complaints_.warn("connection dropped: the front-end cut off memory it had shared");
    alive = false;
  }
  if (!alive) close_session();
}

bool ControlLoop::serve_message() {
  if (session_->waits()) return false;  // it has left while its rings waited for the volume
  // libvhost-user would wait, or spin, for room in the socket.
  blocked_ = !(poll_once(session_->fd(), POLLOUT) & (POLLOUT | POLLHUP | POLLERR));
  return blocked_ || session_->dispatch();
}

bool ControlLoop::session_alive() const {
  return session_ && !(poll_once(session_->fd(), POLLRDHUP) & (POLLRDHUP | POLLHUP | POLLERR));
}

void ControlLoop::accept_front_end() {
  // Left in the queue while the one before it is on its way out: what it still sent is read first.
  if (session_ && !session_alive()) return;
  const int fd = socket_.accept();
  if (fd < 0) {
    if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) return;
    complaints_.warn("cannot accept a front-end: %s", strerrordesc_np(errno));
    // It stays in the queue, and poll() would say so at once.
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    return;
  }
  if (session_) {
    complaints_.warn("a second front-end was turned away: one is connected already");
    close(fd);
    return;
  }
  open_session(fd);
}

void ControlLoop::open_session(int fd) {
  try {
    session_ =
        std::make_unique<VhostSession>(context_, workers_, negotiation_, complaints_, fd, wake_fd_);
  } catch (const std::exception& e) {
    complaints_.warn("cannot serve a front-end: %s", e.what());
    close(fd);
    return;
  }
  blocked_ = false;
  push_client(*context_.events, true);
}

void ControlLoop::close_session() {
  if (!session_) return;
  session_.reset();
  retry_delay_ = kRetryFirst;
  retry_at_ = std::chrono::steady_clock::now() + kRetryFirst;
  push_client(*context_.events, false);
}

std::thread start_control_thread(std::function<void()> body) {
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  // A fault in guest memory must reach its handler on this thread.
  sigdelset(&all, SIGBUS);
  sigdelset(&all, SIGSEGV);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread(std::move(body));
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_setname_np(thread.native_handle(), "vhost-control");
  return thread;
}

void push_stopped(EventSink& events) {
  abi::EventRecord record{};
  record.kind = static_cast<uint32_t>(abi::EventKind::kStopped);
  events.push(record);
}

}  // namespace remap
