// Which sectors of the volume are served from a spare. The data plane's picture of the durable
// remap table: read by every worker without locks, changed in place by one writer.
//
// The volume is cut into regions of 1 MiB. A bitmap with one bit a region answers "nothing here"
// with one load. A two-level directory leads from a region to an immutable sorted array of the
// extents in it: a root with one pointer for each word of the bitmap, and below it a page that
// names only those of the word's 64 regions that have extents. A change builds a new array, swaps
// the pointer, and frees the old one when no reader can still hold it.
//
// Bitmap and root are as long as the volume, 16 bytes for 64 MiB, but the system gives memory only
// to what was touched. An extent far from all others costs about 64 bytes more.
#ifndef REMAP_REMAP_INDEX_H_
#define REMAP_REMAP_INDEX_H_

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "abi.h"

namespace remap {

class RemapIndex {
 public:
  // A run of the volume served from one place. Device 0 at target == start is main.
  struct Piece {
    uint64_t start;
    uint64_t count;
    uint64_t target;  // sector on `device`
    uint32_t device;
    bool pending;
  };

  // Every thread that calls `pieces` registers once, with a Reader of its own. At most kReadersMax;
  // one more ends the process.
  class Reader;
  static constexpr uint32_t kRegionSectors = 2048;
  static constexpr uint32_t kReadersMax = 64;

  // An index can grow to 16 TiB, and to four times its first size as long as that is below 1 PiB.
  static constexpr uint64_t kRoomSectors = uint64_t{16} << 31;
  static constexpr uint64_t kRoomMaxSectors = uint64_t{1} << 41;

  explicit RemapIndex(uint64_t capacity_sectors);
  ~RemapIndex();
  RemapIndex(const RemapIndex&) = delete;
  RemapIndex& operator=(const RemapIndex&) = delete;

  // False: nothing in [start, start + count) is remapped or pending. Any thread, no lock; one load
  // for a range inside 64 regions. The range is not empty and lies inside the volume.
  bool maybe_mapped(uint64_t start, uint64_t count) const;

  // Cuts [start, start + count) into pieces in order, gaps as plain main pieces; neighbours served
  // from adjoining places are joined. Replaces the contents of `out`. The range lies inside the
  // volume. What `apply` changes meanwhile is seen region by region, each before or after.
  void pieces(Reader& reader, uint64_t start, uint64_t count, std::vector<Piece>* out) const;

  // Applies changes in order: a record replaces whatever it overlaps, one without a flag removes
  // it. One writer thread. Visible to every `maybe_mapped` and `pieces` that begins after it has
  // returned. Returns false and changes nothing when a record lies outside the volume, is empty or
  // names a device or a flag that is not there. Fastest when records come sorted by lba.
  bool apply(const abi::IndexRecord* records, size_t count);

  // The volume has become longer. The writer's thread; readers go on. False, and nothing changed,
  // when it would shrink or there is no room.
  bool grow(uint64_t capacity_sectors);

  uint64_t extents() const;       // entries held, split at region borders
  uint64_t memory_bytes() const;  // in use for them: bitmap, root, pages, arrays

 private:
  struct Impl;
  struct Free {
    void operator()(void* memory) const { std::free(memory); }
  };

  // From calloc, so that untouched pages cost nothing; read and written through atomic_ref. The
  // bitmap is here so that maybe_mapped inlines to a load.
  std::unique_ptr<uint64_t[], Free> bitmap_;
  std::unique_ptr<Impl> impl_;
};

class RemapIndex::Reader {
 public:
  explicit Reader(RemapIndex& index);
  ~Reader();
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

 private:
  friend class RemapIndex;
  RemapIndex& index_;
  uint32_t slot_;
};

inline bool RemapIndex::maybe_mapped(uint64_t start, uint64_t count) const {
  const uint64_t first = start / kRegionSectors;
  const uint64_t last = (start + count - 1) / kRegionSectors;
  for (uint64_t word = first / 64; word <= last / 64; ++word) {
    uint64_t mask = ~uint64_t{0};
    if (word == first / 64) mask &= ~uint64_t{0} << (first % 64);
    if (word == last / 64) mask &= ~uint64_t{0} >> (63 - last % 64);
    const std::atomic_ref<uint64_t> bits(bitmap_[word]);
    if (bits.load(std::memory_order_acquire) & mask) return true;
  }
  return false;
}

}  // namespace remap

#endif  // REMAP_REMAP_INDEX_H_
