// One front-end's connection: libvhost-user with our own reading, checking and quiescing around
// it, and the workers kept in the state the front-end asked for. All on the control thread.
//
// A message is checked (check_message and what needs the state here), then whatever must stand
// still is stopped, then libvhost-user or we handle it, then the workers are brought to the new
// state, and only then is it acknowledged.
#ifndef REMAP_VHOST_SESSION_H_
#define REMAP_VHOST_SESSION_H_

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "log_limiter.h"
#include "log_mapping.h"
#include "memory_guard.h"
#include "message_io.h"
#include "queue_worker.h"
#include "vhost_message.h"
#include "volume_context.h"

namespace remap {

inline constexpr uint64_t kOfferedProtocolFeatures =
    1ull << VHOST_USER_PROTOCOL_F_MQ | 1ull << VHOST_USER_PROTOCOL_F_LOG_SHMFD |
    1ull << VHOST_USER_PROTOCOL_F_REPLY_ACK | 1ull << VHOST_USER_PROTOCOL_F_BACKEND_REQ |
    1ull << VHOST_USER_PROTOCOL_F_CONFIG | 1ull << VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD |
    1ull << kProtocolResetDevice | 1ull << VHOST_USER_PROTOCOL_F_CONFIGURE_MEM_SLOTS;

// What front-ends have settled with us; it outlives a connection, because QEMU before 9.1 may come
// back without a handshake and go on from where it was.
struct Negotiation {
  uint64_t features = 0;
  // Of a back-end before us, if of nobody yet: it offered the same.
  uint64_t protocol_features = kOfferedProtocolFeatures;
  bool write_cache = true;  // config.wce
};

// Logged as it stands: every new user meets it.
inline constexpr char kMemoryNotShared[] =
    "guest memory is not shared: use -object memory-backend-memfd,share=on";
inline constexpr char kRegionPrivate[] =
    "privately mapped guest memory is not used: set share=on on its memory backend";

class VhostSession {
 public:
  using Workers = std::span<const std::unique_ptr<QueueWorker>>;

  // Takes over `sock`. `wake_fd` is written when guest memory is lost. Queue q belongs to worker
  // q % workers.size().
  VhostSession(VolumeContext& context, Workers workers, Negotiation& negotiation,
               LogLimiter& complaints, int sock, int wake_fd);
  // Drains and detaches every queue, forgets all memory, closes the connection.
  ~VhostSession();
  VhostSession(const VhostSession&) = delete;
  VhostSession& operator=(const VhostSession&) = delete;

  // Handles one message; the socket is readable, and writable, so that nothing here waits for the
  // front-end. False: the connection is over, and why has been logged.
  bool dispatch();

  // The volume has been granted or denied: starts the rings that wait for it, and sends the
  // acknowledgement that was put off. False: the connection is over.
  bool resume();
  // An acknowledgement has been put off. No message is read until resume() has sent it.
  bool waits() const { return put_off_.has_value(); }

  // Sends CONFIG_CHANGE_MSG when the configuration has changed and somebody can hear it.
  void tell_config_changed();

  int fd() const { return library_.device.sock; }
  // The front-end took guest memory away under us.
  bool memory_lost() const { return guard_owner_.lost.load(std::memory_order_acquire); }

 private:
  // libvhost-user's state, and the way back from it to us in its callbacks.
  struct Library {
    VuDev device;
    VhostSession* session;
  };

  struct Queue {
    bool enabled = false;    // SET_VRING_ENABLE
    bool addressed = false;  // SET_VRING_ADDR has been accepted
    bool wanted = false;     // can run, as far as the front-end has to do with it
    bool attached = false;
    bool announced = false;  // as TypeScript knows it
    bool renew = false;      // attached with a kick descriptor that has been replaced
    InflightRegion* inflight = nullptr;
    // What it is attached with.
    Rings rings;
    bool event_idx = false;
    bool taking = false;
    uint64_t used_log = 0;
  };

  struct Region {
    uint64_t page_size = 4096;
    bool shared = true;
    std::optional<MemoryGuard> guard;
  };

  static VhostSession& of(VuDev* device) { return *reinterpret_cast<Library*>(device)->session; }
  static bool on_read(VuDev* device, int sock, VhostUserMsg* message);
  static int on_message(VuDev* device, VhostUserMsg* message, int* reply);
  static void on_panic(VuDev* device, const char* text);
  static const VuDevIface kInterface;

  // vhost_session.cc: messages
  void greet(uint32_t request);
  int process(VhostUserMsg* message, int* reply);
  void prepare(const VhostUserMsg& message);
  void settle();
  int refuse(VhostUserMsg* message, const char* reason);
  int answer_u64(VhostUserMsg* message, int* reply, uint64_t value);
  int answer_config(VhostUserMsg* message, int* reply);
  int set_config(const VhostUserMsg& message);
  int set_vring_fd(VhostUserMsg* message);
  int set_log_base(VhostUserMsg* message, int* reply);
  void end(Receive received, const char* reason);

  // vhost_state.cc: checks against the state, memory, queues
  const char* check_state(const VhostUserMsg& message) const;
  const char* check_new_region(const VhostUserMsg& message) const;
  const char* check_new_table(const VhostUserMsg& message) const;
  const char* check_old_region(const VhostUserMsg& message) const;
  const char* check_vring_state(const VhostUserMsg& message) const;
  const char* check_vring_fd(const VhostUserMsg& message) const;
  const char* check_logged(uint64_t features, uint64_t bytes) const;
  bool any_attached() const;
  bool any_wanted() const;
  std::span<const VuDevRegion> regions() const;
  std::vector<VuDevRegion> shared_regions() const;
  void note_region(const VhostUserMemoryRegion& region, int fd);
  void begin_memory_change(const VhostUserMsg& message);
  void end_memory_change();
  int map_inflight(VhostUserMsg* message);
  void forget_inflight();
  void reset_device();
  void sync_log();
  void sync_queues();
  void sync_queue(uint16_t index);
  void attach(uint16_t index, const Rings& rings, bool event_idx);
  void detach(uint16_t index);
  void detach_all();
  void announce();
  bool counts_as_enabled(const Queue& queue) const;
  int share_fd(int fd);
  QueueWorker& worker(uint16_t index) { return *workers_[index % workers_.size()]; }
  VuVirtq& vring(uint16_t index) { return library_.device.vq[index]; }

  VolumeContext& context_;
  const Workers workers_;
  Negotiation& negotiation_;
  LogLimiter& complaints_;
  const Offer offer_;
  Library library_{};
  GuardOwner guard_owner_;
  std::vector<Queue> queues_;
  std::map<uint64_t, Region> known_regions_;  // by guest address
  std::optional<MemoryGuard> inflight_guard_;
  uint16_t inflight_queue_size_ = 0;
  std::shared_ptr<LogMapping> log_;  // SET_LOG_BASE
  bool logging_ = false;             // the workers have it
  bool greeted_ = false;
  bool ever_attached_ = false;

  // The message in hand, and after it the last one.
  uint32_t request_ = VHOST_USER_NONE;
  std::optional<uint16_t> starting_;  // the queue that the message sets going
  bool need_reply_ = false;
  bool refused_ = false;
  bool over_ = false;
  std::string panic_;
  // The message to be acknowledged once it is known whether the volume is ours.
  std::optional<uint32_t> put_off_;
};

}  // namespace remap

#endif  // REMAP_VHOST_SESSION_H_
