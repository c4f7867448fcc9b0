// The data plane of one volume: its workers, and the thread that accepts front-ends, handles their
// messages, and alone touches libvhost-user.
#ifndef REMAP_BACKEND_H_
#define REMAP_BACKEND_H_

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "queue_worker.h"
#include "socket.h"
#include "volume_context.h"

namespace remap {

class Backend {
 public:
  // `context` is complete; `workers` threads serve its queues, 0 for as many as there are cores
  // less one, at most one a queue.
  Backend(std::unique_ptr<VolumeContext> context, uint16_t workers);
  // Joins everything; stop() has been answered, or listen() never succeeded.
  ~Backend();
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;

  // Each returns 0 or a positive errno and names the failed step.
  int start(const char** step);  // the workers
  int listen(const std::string& path, const char** step);
  int adopt(int fd, const char** step);
  // The front-end listens at `path`; tried again until it does, and after it has left.
  int connect(const std::string& path, const char** step);

  // The calls below are for one thread, Node's, and do not block.

  void submit(const abi::CommandRecord* records, size_t count);
  // False and nothing changed when a record is bad.
  bool publish(const abi::IndexRecord* records, size_t count);
  // The volume has become longer. False and nothing changed when it would shrink, when main is
  // shorter, or when the index has no room (RemapIndex::kRoomSectors). The front-end is told.
  bool set_capacity(uint64_t sectors);
  // Answers a kClaim: the volume is held and loaded, or it cannot be had in time.
  void answer_claim(uint64_t claim, bool granted);
  // Drains all queues, closes the connection and the socket; kStopped comes when that is done. A
  // connection that was handed over ends the same way when the front-end leaves.
  void stop();

  const VolumeContext& context() const { return *context_; }
  uint16_t workers() const { return static_cast<uint16_t>(workers_.size()); }
  const char* engine() const { return workers_.front()->engine(); }
  bool flush_failed() const;

 private:
  class Control;
  enum class State { kIdle, kRunning, kEnded };

  int run(int error);

  std::unique_ptr<VolumeContext> context_;
  std::vector<std::unique_ptr<QueueWorker>> workers_;
  FrontEndSocket socket_;
  int wake_fd_ = -1;
  std::thread thread_;
  size_t started_ = 0;
  std::mutex mutex_;
  State state_ = State::kIdle;
  bool stopping_ = false;
};

}  // namespace remap

#endif  // REMAP_BACKEND_H_
