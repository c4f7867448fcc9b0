// Fuzzing target: what a guest puts into its memory, and when. The input is a small program: it
// builds chains, well-formed or not, changes bytes between two of our loads, offers heads, and
// stops and starts the queue. A whole worker serves it on this thread.
//
//   virtqueue [--race] FILE|DIR...    --race: a second thread changes the bytes
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <sys/eventfd.h>

#include "guest.h"
#include "native/blk_request.h"
#include "volume.h"

namespace remap::fuzz {
namespace {

class Run {
 public:
  Run(Volume& volume, Guest& guest, int call, Input& in)
      : volume_(volume), worker_(volume.worker(0)), guest_(guest), call_(call), in_(in) {}

  void go() {
    GuestRaces::instance().unwatch();
    guest_.clear();
    volume_.begin(in_);
    const uint8_t flags = in_.u8();
    setup_.size = guest_.size;
    setup_.desc = guest_.desc;
    setup_.avail = guest_.avail;
    setup_.used = guest_.used;
    setup_.event_idx = (flags & 1) != 0;
    setup_.inflight = flags & 2 ? guest_.inflight : nullptr;
    setup_.used_log_address = flags & 4 ? Guest::kBase : 0;
    setup_.enabled = true;
    if (flags & 8) {  // a ring in the middle of its life, about to wrap
      guest_.avail->idx = guest_.used->idx = setup_.base = static_cast<uint16_t>(65536 - flags);
    }
    worker_.set_memory(guest_.map);
    set_log((flags & 16) != 0);
    attach();
    while (!in_.done()) step();
    worker_.poll();
    detach();
    set_log(false);
    GuestRaces::instance().reset();
  }

 private:
  void attach() {
    VringSetup setup = setup_;
    setup.call_fd = fcntl(call_, F_DUPFD_CLOEXEC, 3);
    worker_.attach(setup);
  }
  void detach() {
    volume_.unlock();
    setup_.base = worker_.detach(0);
    require(volume_.counters(0).in_flight == 0, "a stopped queue has nothing in flight");
  }

  void step() {
    switch (in_.u8() % 16) {
      case 0:
      case 1:
        return describe(&guest_.desc[in_.u8() % guest_.size]);
      case 2:
        return describe(reinterpret_cast<vring_desc*>(guest_.byte(in_.u8() % 64 * 16u)));
      case 3:
        return put_header(in_.u16() % 4096);
      case 4:
        return put_segment(in_.u16() % 4096);
      case 5:
        *guest_.byte(in_.u16()) = in_.u8();
        return;
      case 6:
      case 7:
        return offer(in_.u8());
      case 8:
        guest_.avail->idx =
            static_cast<uint16_t>(guest_.avail->idx + static_cast<int8_t>(in_.u8()));
        return;
      case 9:
        return worker_.poll();
      case 10:
        return parse_alone(in_.u8());
      case 11: {
        const uint8_t loads = in_.u8();
        uint8_t* at = guest_.byte(in_.u16());
        return GuestRaces::instance().plan({loads, at, in_.u8()});
      }
      case 12:
        return pause(in_.u8());
      case 13:
        detach();
        return attach();
      case 14:
        return request();
      default:
        return wish(in_.u8());
    }
  }

  void describe(vring_desc* desc) {
    const uint8_t flags = in_.u8();
    desc->addr = guest_.address(in_);
    desc->len = Guest::length(in_);
    desc->flags = flags % 8;
    desc->next = flags < 128 ? static_cast<uint16_t>(flags / 8) : static_cast<uint16_t>(in_.u16());
  }

  void put_header(uint64_t at) {
    static constexpr uint32_t kTypes[] = {
        VIRTIO_BLK_T_IN,      VIRTIO_BLK_T_OUT,          VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID,
        VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES, 0x80000001,         99};
    virtio_blk_outhdr header{};
    header.type = in_.pick(kTypes);
    header.sector = sector();
    memcpy(guest_.host(Guest::kBase + at, sizeof header), &header, sizeof header);
  }
  void put_segment(uint64_t at) {
    virtio_blk_discard_write_zeroes segment{};
    segment.sector = sector();
    segment.num_sectors = in_.u8() < 250 ? in_.u8() % 32 : in_.u32();
    segment.flags = in_.u8() % 4;
    memcpy(guest_.host(Guest::kBase + at, sizeof segment), &segment, sizeof segment);
  }
  uint64_t sector() {
    constexpr uint64_t kSectors = Volume::kSectors;
    static constexpr uint64_t kEdges[] = {kSectors - 1,     kSectors,           kSectors + 1,
                                          UINT64_MAX / 512, UINT64_MAX,         UINT64_MAX / 1024,
                                          1ull << 63,       UINT64_MAX - 0x1000};
    const uint8_t n = in_.u8();
    return n < 240 ? n % kSectors : kEdges[n % 8];
  }

  void offer(uint8_t head) {
    const uint16_t at = guest_.avail->idx;
    guest_.avail->ring[at % guest_.size] = head < 250 ? head % guest_.size : in_.u16();
    __atomic_store_n(&guest_.avail->idx, static_cast<uint16_t>(at + 1), __ATOMIC_RELEASE);
  }

  // A request as a driver makes it: header, some data, status, in the ring or in a table.
  void request() {
    const uint8_t shape = in_.u8();
    const uint16_t head = shape % guest_.size;
    const bool indirect = (shape & 64) != 0;
    const bool read = (shape & 128) != 0;
    const uint8_t pieces = in_.u8() % 5;
    put_header(0);
    auto* table =
        indirect ? reinterpret_cast<vring_desc*>(guest_.host(Guest::kBase + 512, 1)) : guest_.desc;
    const uint16_t entries = indirect ? 8 : guest_.size;
    uint16_t at = indirect ? 0 : head;
    const auto put = [&](uint64_t address, uint32_t length, bool writable, bool last) {
      const auto next = static_cast<uint16_t>((at + 1) % entries);
      table[at] = {address, length,
                   static_cast<uint16_t>((writable ? VRING_DESC_F_WRITE : 0) |
                                         (last ? 0 : VRING_DESC_F_NEXT)),
                   next};
      at = next;
    };
    put(Guest::kBase, sizeof(virtio_blk_outhdr), false, false);
    for (uint8_t i = 0; i < pieces; ++i) {
      const uint64_t address = guest_.address(in_);
      put(address, Guest::length(in_), read, false);
    }
    put(Guest::kBase + 256, 1, true, true);
    if (indirect)
      guest_.desc[head] = {Guest::kBase + 512, (pieces + 2u) * 16u, VRING_DESC_F_INDIRECT, 0};
    offer(static_cast<uint8_t>(head));
  }

  // Parses one chain, and looks at what came of it. Nobody has been told of it.
  void parse_alone(uint8_t n) {
    Virtqueue queue(guest_.size, guest_.desc, guest_.avail, guest_.used, 0, false, nullptr);
    BlkRequest request;
    uint32_t hint = 0;
    const Parse parsed = parse_request(queue, n % guest_.size, *guest_.map, &hint, &request);
    if (parsed == Parse::kMalformed) return;
    require(guest_.contains(request.status, 1), "the status byte is in guest memory");
    if (parsed == Parse::kFailed) return;
    uint64_t bytes = 0;
    for (const iovec& v : request.data) {
      require(guest_.contains(v.iov_base, v.iov_len), "data is in guest memory");
      bytes += v.iov_len;
    }
    require(bytes == request.data_bytes, "the length of the data is that of its pieces");
    require(bytes <= kRequestBytesMax && request.data.size() <= kSegmentsMax,
            "requests are bounded");
  }

  void pause(uint8_t how) {
    switch (how % 4) {
      case 0:
        return worker_.set_enabled(0, (how & 4) != 0);
      case 1:
        volume_.unlock();  // held requests count as in flight
        worker_.quiesce();
        return worker_.resume();
      case 2:
        return volume_.lock(how / 4, 4);
      default:
        return volume_.unlock();
    }
  }

  void wish(uint8_t what) {
    if (what < 64) return set_log(what % 2 != 0);
    if (what < 128) return worker_.set_used_log(0, what % 2 ? guest_.address(in_) : 0);
    if (what < 192)
      guest_.avail->ring[guest_.size] = in_.u16();  // used_event
    else
      guest_.avail->flags = what % 2;
  }

  void set_log(bool on) {
    // Short of what memory needs, and of a size that ends in a redzone.
    worker_.set_log(on ? std::make_shared<const DirtyLog>(log_, sizeof log_) : nullptr);
  }

  Volume& volume_;
  QueueWorker& worker_;
  Guest& guest_;
  const int call_;
  Input& in_;
  VringSetup setup_;
  static inline uint8_t log_[5];
};

Guest& guest_of(uint8_t choice) {
  static std::unique_ptr<Guest> guests[11];
  const unsigned shift = choice < 250 ? choice % 7u : choice % 11u;
  if (!guests[shift]) guests[shift] = std::make_unique<Guest>(static_cast<uint16_t>(1u << shift));
  return *guests[shift];
}

}  // namespace
}  // namespace remap::fuzz

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  for (int i = 1; i < *argc; ++i)
    if (strcmp((*argv)[i], "--race") == 0) remap::fuzz::GuestRaces::instance().start_thread();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace remap::fuzz;
  static Volume null(Volume::Backing::kNull, 1);
  static Volume file(Volume::Backing::kFile, 1);
  static const int call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  Input in(data, size);
  const uint8_t choice = in.u8();
  Run(choice % 4 == 3 ? file : null, guest_of(in.u8()), call, in).go();
  return 0;
}
