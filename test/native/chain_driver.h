// A front-end with one running queue of 256 entries over two memory regions, for descriptor chains
// of any shape, right or wrong.
#ifndef REMAP_TEST_CHAIN_DRIVER_H_
#define REMAP_TEST_CHAIN_DRIVER_H_

#include <doctest/doctest.h>
#include <sched.h>

#include <chrono>
#include <numeric>

#include "front_end.h"
#include "native/virtqueue.h"

namespace remap::test {

using Bytes = std::vector<uint8_t>;

// How the two streams of a request, what the device reads and what it writes, become descriptors.
struct Shape {
  enum Table { kDirect, kIndirect, kCrossing };  // the last lies over the border of the regions
  Table table = kDirect;
  std::vector<uint32_t> readable;  // lengths of the descriptors
  std::vector<uint32_t> writable;
  uint32_t gap = 0;  // bytes between one descriptor's memory and the next one's
};

struct ChainAnswer {
  int64_t used_length = -1;  // -1: never returned
  Bytes written;             // what the device may write; kUntouched where it did not
};

class ChainDriver : public FrontEnd {
 public:
  static constexpr uint16_t kEntries = 256;
  static constexpr uint64_t kBorder = kMemory / 2;  // of the two regions, in guest addresses too
  static constexpr uint64_t kTable = 0x8000;        // an indirect table, up to 1,026 entries
  static constexpr uint64_t kReadable = 0x20064;
  static constexpr uint64_t kWritable = 0x40030;
  static constexpr uint8_t kUntouched = 0xa5;

  explicit ChainDriver(int sock) : FrontEnd(sock) {
    REQUIRE(negotiate());
    REQUIRE(share(0, kBorder) == 0u);
    REQUIRE(share(kBorder, kMemory - kBorder) == 0u);
    REQUIRE(start());
  }

  std::optional<uint64_t> share(uint64_t offset, uint64_t size) {
    VhostUserMemRegMsg m = region();
    m.region.guest_phys_addr += offset;
    m.region.userspace_addr += offset;
    m.region.mmap_offset = offset;
    m.region.memory_size = size;
    send(VHOST_USER_ADD_MEM_REG, &m, sizeof m, {memory_fd}, true);
    return reply_u64();
  }
  // Starts the queue as a new driver does, with empty rings.
  bool start() {
    memset(memory, 0, kHeader);
    const vhost_vring_addr a = addresses();
    send_u64(VHOST_USER_SET_VRING_CALL, 0, {call});
    send_state(VHOST_USER_SET_VRING_NUM, 0, kEntries);
    send_state(VHOST_USER_SET_VRING_BASE, 0, 0);
    send(VHOST_USER_SET_VRING_ADDR, &a, sizeof a);
    send_u64(VHOST_USER_SET_VRING_KICK, 0, {kick});
    return send_state(VHOST_USER_SET_VRING_ENABLE, 0, 1, true) && reply_u64() == 0u;
  }

  vring_desc& desc(uint16_t i) { return reinterpret_cast<vring_desc*>(memory)[i % kEntries]; }
  uint16_t& avail_index() { return reinterpret_cast<uint16_t*>(memory + kAvail)[1]; }
  void set_avail_index(uint16_t value) {
    __atomic_store_n(&avail_index(), value, __ATOMIC_RELEASE);
  }
  // Shows `head` to the back-end; no kick.
  void publish(uint16_t head) {
    reinterpret_cast<uint16_t*>(memory + kAvail)[2 + avail_index() % kEntries] = head;
    set_avail_index(static_cast<uint16_t>(avail_index() + 1));
  }
  // Waits until something is returned after `before`; false after 5 s.
  bool wait_past(uint16_t before) const {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    for (uint32_t i = 0; used_index() == before; ++i) {
      if (i % 1024 == 1023 && std::chrono::steady_clock::now() > deadline) return false;
      sched_yield();
    }
    return true;
  }
  // Publishes, kicks and waits. The used length, or -1.
  int64_t run_head(uint16_t head) {
    const uint16_t before = used_index();
    publish(head);
    notify();
    if (!wait_past(before)) return -1;
    const auto* ring = reinterpret_cast<const vring_used_elem*>(memory + kUsed + 4);
    return ring[before % kEntries].len;
  }

  // Writes descriptors into a table of any kind, linked in order.
  static void link(vring_desc* table, size_t i, uint64_t address, uint32_t length, bool writable,
                   bool last, uint16_t next) {
    table[i].addr = address;
    table[i].len = length;
    table[i].flags =
        static_cast<uint16_t>((writable ? VRING_DESC_F_WRITE : 0) | (last ? 0 : VRING_DESC_F_NEXT));
    table[i].next = next;
  }

  // Lays the request out as `shape` says; returns the head.
  uint16_t lay(const Bytes& readable, uint32_t writable, const Shape& shape) {
    ++count_;
    const uint64_t spread = shape.gap * (shape.readable.size() + shape.writable.size());
    // Unless the table does, one of the streams lies over the border.
    read_at_ = kReadable;
    write_at_ = kWritable;
    if (shape.table != Shape::kCrossing && count_ % 2 == 0)
      read_at_ = kBorder - (readable.size() + spread) / 2;
    else if (shape.table != Shape::kCrossing)
      write_at_ = kBorder - (writable + spread) / 2;
    std::vector<std::pair<uint64_t, uint32_t>> pieces;
    uint64_t at = read_at_;
    size_t done = 0;
    for (const uint32_t length : shape.readable) {
      memcpy(memory + at, readable.data() + done, length);
      pieces.emplace_back(at, length);
      done += length;
      at += length + shape.gap;
    }
    REQUIRE(done == readable.size());
    at = write_at_;
    for (const uint32_t length : shape.writable) {
      memset(memory + at, kUntouched, length);
      pieces.emplace_back(at, length);
      at += length + shape.gap;
    }
    return shape.table == Shape::kDirect ? direct(pieces, shape.readable.size())
                                         : indirect(pieces, shape);
  }

  ChainAnswer run_chain(const Bytes& readable, uint32_t writable, const Shape& shape) {
    ChainAnswer answer;
    answer.used_length = run_head(lay(readable, writable, shape));
    uint64_t at = write_at_;
    for (const uint32_t length : shape.writable) {
      answer.written.insert(answer.written.end(), memory + at, memory + at + length);
      at += length + shape.gap;
    }
    return answer;
  }

 private:
  using Pieces = std::vector<std::pair<uint64_t, uint32_t>>;

  uint16_t direct(const Pieces& pieces, size_t readable) {
    REQUIRE(pieces.size() <= kEntries);
    // Anywhere in the table, and not in its order.
    const auto head = static_cast<uint16_t>(count_ * 7 % kEntries);
    for (size_t i = 0; i < pieces.size(); ++i) {
      const auto here = static_cast<uint16_t>((head + i * 5) % kEntries);
      link(&desc(here), 0, kGuestBase + pieces[i].first, pieces[i].second, i >= readable,
           i + 1 == pieces.size(), static_cast<uint16_t>((here + 5) % kEntries));
    }
    return head;
  }
  uint16_t indirect(const Pieces& pieces, const Shape& shape) {
    const auto bytes = static_cast<uint32_t>(pieces.size() * sizeof(vring_desc));
    std::vector<vring_desc> table(pieces.size());
    for (size_t i = 0; i < pieces.size(); ++i)
      link(table.data(), i, kGuestBase + pieces[i].first, pieces[i].second,
           i >= shape.readable.size(), i + 1 == pieces.size(), static_cast<uint16_t>(i + 1));
    // The border at any byte of it.
    const uint64_t at =
        shape.table == Shape::kCrossing ? kBorder - 1 - count_ * 7 % (bytes - 1) : kTable;
    memcpy(memory + at, table.data(), bytes);
    const auto head = static_cast<uint16_t>(count_ % kEntries);
    desc(head) = {kGuestBase + at, bytes, VRING_DESC_F_INDIRECT, 0};
    return head;
  }

  uint64_t count_ = 0;
  uint64_t read_at_ = kReadable;
  uint64_t write_at_ = kWritable;
};

}  // namespace remap::test

#endif  // REMAP_TEST_CHAIN_DRIVER_H_
