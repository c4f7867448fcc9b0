#include "remap_index.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>
#include <new>

#include "limits.h"

namespace remap {

namespace {

constexpr uint64_t kRegionSectors = RemapIndex::kRegionSectors;
constexpr uint64_t kRegionsPerWord = 64;
constexpr uint64_t kWordSectors = kRegionsPerWord * kRegionSectors;

uint64_t words_of(uint64_t sectors) { return (sectors + kWordSectors - 1) / kWordSectors; }

// Memory is taken when it is touched, so room to grow costs address space only.
uint64_t room_of(uint64_t capacity_sectors) {
  if (capacity_sectors >= RemapIndex::kRoomMaxSectors) return capacity_sectors;
  return std::clamp(4 * capacity_sectors, RemapIndex::kRoomSectors, RemapIndex::kRoomMaxSectors);
}

// An extent inside one region. What is only pending lies on main: device 0, target as the volume.
struct Entry {
  uint16_t start;  // sector in the region
  uint16_t count;
  uint8_t device;
  uint8_t flags;  // abi::IndexFlags
  uint16_t unused;
  uint64_t target;

  uint32_t end() const { return uint32_t{start} + count; }
  // [from, to) of it.
  Entry part(uint32_t from, uint32_t to) const {
    Entry cut = *this;
    cut.start = static_cast<uint16_t>(from);
    cut.count = static_cast<uint16_t>(to - from);
    cut.target += from - start;
    return cut;
  }
  bool continues(const Entry& left) const {
    return left.end() == start && left.device == device && left.flags == flags &&
           left.target + left.count == target;
  }
};
static_assert(sizeof(Entry) == 16);
static_assert(kDevicesMax <= UINT8_MAX);

// The extents of one region, sorted, never empty, never changed.
struct Array {
  uint64_t size;
  Entry entries[];
};

// The regions of one bitmap word that have extents, one array for each bit of `mask` from the
// lowest. Only the pointers are ever changed.
struct Page {
  uint64_t mask;
  Array* arrays[];

  uint64_t size() const { return static_cast<uint64_t>(std::popcount(mask)); }
  uint64_t place(uint64_t bit) const {
    return static_cast<uint64_t>(std::popcount(mask & ((uint64_t{1} << bit) - 1)));
  }
};

uint64_t bytes_of(const Array& array) { return sizeof(Array) + array.size * sizeof(Entry); }
uint64_t bytes_of(const Page& page) { return sizeof(Page) + page.size() * sizeof(Array*); }

// Readers and writer order pointers and slots in the single total order of sequentially consistent
// operations; see Impl::reclaim.
template <typename T>
T* load(T*& pointer) {
  return std::atomic_ref<T*>(pointer).load();
}

template <typename T>
void store(T*& pointer, T* value) {
  std::atomic_ref<T*>(pointer).store(value);
}

// One reader's place: the epoch in which it entered pieces(), 0 outside. A cache line each.
struct alignas(64) Slot {
  std::atomic<uint64_t> epoch{0};
  std::atomic<bool> taken{false};
};

void append(std::vector<RemapIndex::Piece>* out, const RemapIndex::Piece& piece) {
  if (!out->empty()) {
    RemapIndex::Piece& last = out->back();
    if (last.device == piece.device && last.pending == piece.pending &&
        last.target + last.count == piece.target) {
      last.count += piece.count;
      return;
    }
  }
  out->push_back(piece);
}

void append_plain(std::vector<RemapIndex::Piece>* out, uint64_t start, uint64_t end) {
  if (start < end) append(out, {start, end - start, start, 0, false});
}

}  // namespace

struct RemapIndex::Impl {
  Impl(uint64_t capacity_sectors, uint64_t* bitmap_words)
      : capacity(capacity_sectors),
        room(room_of(capacity_sectors)),
        words(words_of(capacity_sectors)),
        bitmap(bitmap_words),
        root(static_cast<Page**>(std::calloc(words_of(room) + 1, sizeof(Page*)))) {
    if (root == nullptr) throw std::bad_alloc();
    bytes = words * kWordBytes;
  }

  ~Impl() {
    for (uint64_t word = 0; word < words; ++word) {
      // The bitmap says which pages of the root were never touched; they need not be now.
      if (bitmap[word] == 0) continue;
      Page* const page = root[word];
      for (uint64_t i = 0; i < page->size(); ++i) std::free(page->arrays[i]);
      std::free(page);
    }
    for (const Retired& item : retired) std::free(item.memory);
  }

  const Array* find(uint64_t region) const {
    Page* const page = load(root[region / kRegionsPerWord]);
    const uint64_t bit = region % kRegionsPerWord;
    if (page == nullptr || (page->mask >> bit & 1) == 0) return nullptr;
    return load(page->arrays[page->place(bit)]);
  }

  bool valid(const abi::IndexRecord& record) const;
  void change(const abi::IndexRecord& record);
  void open(uint64_t region);
  void edit(uint32_t from, uint32_t to, const abi::IndexRecord& record);
  void commit();
  void publish(uint64_t region, Array* array);
  Array* make_array();
  Page* make_page(const Page* old, uint64_t mask);
  void* allocate(uint64_t size);
  void retire(void* memory, uint64_t size);
  void reclaim();

  struct Retired {
    void* memory;
    uint64_t size;
    uint64_t epoch;
  };
  // So many replaced arrays may wait within one apply(); a few hundred KiB.
  static constexpr size_t kRetiredMax = 4096;
  static constexpr uint64_t kNoRegion = ~uint64_t{0};

  static constexpr uint64_t kWordBytes = sizeof(uint64_t) + sizeof(Page*);

  uint64_t capacity;  // the writer's own
  const uint64_t room;
  uint64_t words;
  uint64_t* const bitmap;
  const std::unique_ptr<Page*[], Free> root;
  std::atomic<uint64_t> extents{0};
  std::atomic<uint64_t> bytes{0};
  std::atomic<uint64_t> epoch{1};
  Slot slots[kReadersMax];

  // The writer's own.
  uint64_t region = kNoRegion;  // being changed
  std::vector<Entry> entries;   // its extents as they will be
  std::vector<Retired> retired;
};

bool RemapIndex::Impl::valid(const abi::IndexRecord& record) const {
  constexpr uint32_t kKnown = abi::kIndexRemapped | abi::kIndexPending;
  return record.count != 0 && record.lba < capacity && record.count <= capacity - record.lba &&
         record.device < kDevicesMax && (record.flags & ~kKnown) == 0;
}

void RemapIndex::Impl::change(const abi::IndexRecord& record) {
  const uint64_t end = record.lba + record.count;
  uint64_t position = record.lba;
  while (position < end) {
    const uint64_t here = position / kRegionSectors;
    if (here != region) {
      if (record.flags == 0 && bitmap[here / kRegionsPerWord] == 0) {
        // Nothing to remove in the whole word, unless it is what is being changed.
        if (region == kNoRegion || region / kRegionsPerWord != here / kRegionsPerWord) {
          position = (here / kRegionsPerWord + 1) * kWordSectors;
          continue;
        }
      }
      commit();
      open(here);
    }
    const uint64_t base = here * kRegionSectors;
    const uint64_t stop = std::min(end, base + kRegionSectors);
    edit(static_cast<uint32_t>(position - base), static_cast<uint32_t>(stop - base), record);
    position = stop;
  }
}

void RemapIndex::Impl::open(uint64_t here) {
  region = here;
  entries.clear();
  if (const Array* array = find(here)) entries.assign(array->entries, array->entries + array->size);
}

// Replaces [from, to) of the open region by what the record says.
void RemapIndex::Impl::edit(uint32_t from, uint32_t to, const abi::IndexRecord& record) {
  const auto first = std::partition_point(entries.begin(), entries.end(),
                                          [from](const Entry& e) { return e.end() <= from; });
  const auto last =
      std::partition_point(first, entries.end(), [to](const Entry& e) { return e.start < to; });
  Entry made[3];
  size_t count = 0;
  if (first != last && first->start < from) made[count++] = first->part(first->start, from);
  if (record.flags != 0) {
    const uint64_t lba = region * kRegionSectors + from;
    const bool remapped = (record.flags & abi::kIndexRemapped) != 0;
    made[count++] = {.start = static_cast<uint16_t>(from),
                     .count = static_cast<uint16_t>(to - from),
                     .device = static_cast<uint8_t>(remapped ? record.device : 0),
                     .flags = static_cast<uint8_t>(record.flags),
                     .unused = 0,
                     .target = remapped ? record.target + (lba - record.lba) : lba};
  }
  if (first != last && (last - 1)->end() > to)
    made[count++] = (last - 1)->part(to, (last - 1)->end());

  const size_t replaced = std::min(count, static_cast<size_t>(last - first));
  const auto rest = std::copy_n(made, replaced, first);
  if (rest != last) {
    entries.erase(rest, last);
  } else {
    entries.insert(rest, made + replaced, made + count);
  }
}

// Publishes the open region.
void RemapIndex::Impl::commit() {
  if (region == kNoRegion) return;
  size_t kept = 0;
  for (size_t i = 0; i < entries.size(); ++i) {
    if (kept != 0 && entries[i].continues(entries[kept - 1])) {
      entries[kept - 1].count = static_cast<uint16_t>(entries[kept - 1].count + entries[i].count);
    } else {
      entries[kept++] = entries[i];
    }
  }
  entries.resize(kept);
  publish(region, entries.empty() ? nullptr : make_array());
  region = kNoRegion;
}

void RemapIndex::Impl::publish(uint64_t here, Array* array) {
  Page*& link = root[here / kRegionsPerWord];
  Page* const page = link;
  const uint64_t bit = uint64_t{1} << here % kRegionsPerWord;
  const uint64_t place = page == nullptr ? 0 : page->place(here % kRegionsPerWord);
  const bool present = page != nullptr && (page->mask & bit) != 0;
  if (!present && array == nullptr) return;

  Array* const old = present ? page->arrays[place] : nullptr;
  const std::atomic_ref<uint64_t> bits(bitmap[here / kRegionsPerWord]);
  if (present && array != nullptr) {
    store(page->arrays[place], array);
  } else {
    Page* const next = make_page(page, (page == nullptr ? 0 : page->mask) ^ bit);
    if (array != nullptr) next->arrays[place] = array;
    store(link, next);
    bits.store(next == nullptr ? 0 : next->mask, std::memory_order_release);
    if (page != nullptr) retire(page, bytes_of(*page));
  }
  extents += (array == nullptr ? 0 : array->size) - (old == nullptr ? 0 : old->size);
  if (old != nullptr) retire(old, bytes_of(*old));
}

Array* RemapIndex::Impl::make_array() {
  auto* array = static_cast<Array*>(allocate(sizeof(Array) + entries.size() * sizeof(Entry)));
  array->size = entries.size();
  std::copy(entries.begin(), entries.end(), array->entries);
  return array;
}

// A page for `mask`, with the arrays of `old` that it shares; nullptr for an empty mask.
Page* RemapIndex::Impl::make_page(const Page* old, uint64_t mask) {
  if (mask == 0) return nullptr;
  const auto size = static_cast<uint64_t>(std::popcount(mask));
  auto* page = static_cast<Page*>(allocate(sizeof(Page) + size * sizeof(Array*)));
  page->mask = mask;
  uint64_t place = 0;
  for (uint64_t left = mask; left != 0; left &= left - 1, ++place) {
    const auto bit = static_cast<uint64_t>(std::countr_zero(left));
    const bool shared = old != nullptr && (old->mask >> bit & 1) != 0;
    page->arrays[place] = shared ? old->arrays[old->place(bit)] : nullptr;
  }
  return page;
}

void* RemapIndex::Impl::allocate(uint64_t size) {
  void* const memory = std::malloc(size);
  if (memory == nullptr) throw std::bad_alloc();
  bytes.fetch_add(size, std::memory_order_relaxed);
  return memory;
}

void RemapIndex::Impl::retire(void* memory, uint64_t size) {
  retired.push_back({memory, size, epoch.load(std::memory_order_relaxed)});
  if (retired.size() % kRetiredMax == 0) reclaim();
}

// A reader stores the epoch in its slot and then loads pointers; we have stored pointers and now
// load the slots. Both in one total order, so either we see the reader here, or it sees the new
// pointers. A reader that entered in a later epoch than the one in which memory was unlinked cannot
// have found it.
void RemapIndex::Impl::reclaim() {
  epoch.fetch_add(1);
  uint64_t oldest = ~uint64_t{0};
  for (const Slot& slot : slots)
    if (const uint64_t entered = slot.epoch.load(); entered != 0)
      oldest = std::min(oldest, entered);
  const auto keep =
      std::partition_point(retired.begin(), retired.end(),
                           [oldest](const Retired& item) { return item.epoch < oldest; });
  for (auto item = retired.begin(); item != keep; ++item) {
    std::free(item->memory);
    bytes.fetch_sub(item->size, std::memory_order_relaxed);
  }
  retired.erase(retired.begin(), keep);
}

RemapIndex::RemapIndex(uint64_t capacity_sectors)
    : bitmap_(static_cast<uint64_t*>(
          std::calloc(words_of(room_of(capacity_sectors)) + 1, sizeof(uint64_t)))) {
  if (bitmap_ == nullptr) throw std::bad_alloc();
  impl_ = std::make_unique<Impl>(capacity_sectors, bitmap_.get());
}

RemapIndex::~RemapIndex() = default;

void RemapIndex::pieces(Reader& reader, uint64_t start, uint64_t count,
                        std::vector<Piece>* out) const {
  Slot& slot = impl_->slots[reader.slot_];
  slot.epoch.store(impl_->epoch.load());
  out->clear();
  const uint64_t end = start + count;
  for (uint64_t position = start; position < end;) {
    const uint64_t region = position / kRegionSectors;
    const uint64_t base = region * kRegionSectors;
    uint64_t stop = std::min(end, base + kRegionSectors);
    if (load(impl_->root[region / kRegionsPerWord]) == nullptr) {
      stop = std::min(end, (region / kRegionsPerWord + 1) * kWordSectors);
    } else if (const Array* array = impl_->find(region); array != nullptr) {
      const Entry* const last = array->entries + array->size;
      const Entry* entry = std::partition_point(
          array->entries, last, [=](const Entry& e) { return base + e.end() <= position; });
      for (; entry != last && base + entry->start < stop; ++entry) {
        const uint64_t from = std::max(position, base + entry->start);
        const uint64_t to = std::min(stop, base + entry->end());
        append_plain(out, position, from);
        append(out, {from, to - from, entry->target + (from - base - entry->start), entry->device,
                     (entry->flags & abi::kIndexPending) != 0});
        position = to;
      }
    }
    append_plain(out, position, stop);
    position = stop;
  }
  slot.epoch.store(0, std::memory_order_release);
}

bool RemapIndex::apply(const abi::IndexRecord* records, size_t count) {
  const abi::IndexRecord* const end = records + count;
  if (!std::all_of(records, end, [this](const auto& record) { return impl_->valid(record); }))
    return false;
  for (; records != end; ++records) impl_->change(*records);
  impl_->commit();
  impl_->reclaim();
  return true;
}

bool RemapIndex::grow(uint64_t capacity_sectors) {
  if (capacity_sectors < impl_->capacity || capacity_sectors > impl_->room) return false;
  const uint64_t words = words_of(capacity_sectors);
  impl_->bytes += (words - impl_->words) * Impl::kWordBytes;
  impl_->words = words;
  impl_->capacity = capacity_sectors;
  return true;
}

uint64_t RemapIndex::extents() const { return impl_->extents; }
uint64_t RemapIndex::memory_bytes() const { return impl_->bytes; }

RemapIndex::Reader::Reader(RemapIndex& index) : index_(index), slot_(0) {
  Slot* const slots = index.impl_->slots;
  while (slots[slot_].taken.exchange(true)) {
    if (++slot_ == kReadersMax) {
      std::fprintf(stderr, "remap index: more than %u readers\n", kReadersMax);
      std::abort();
    }
  }
}

RemapIndex::Reader::~Reader() { index_.impl_->slots[slot_].taken.store(false); }

}  // namespace remap
