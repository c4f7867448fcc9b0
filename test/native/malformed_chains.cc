#include "malformed_chains.h"

namespace remap::test {
namespace {

using T = Template;

const std::vector<MalformedChain> kLoops = {
    {"loop: a descriptor after itself (CVE-2019-9547, SPDK)", Fate::kReturned,
     [](ChainDriver& f) { f.desc(0).next = 0; }},
    {"loop: of two (CVE-2019-9547, SPDK)", Fate::kReturned,
     [](ChainDriver& f) {
       f.desc(1).flags = T::kNext;
       f.desc(1).next = 0;
     }},
    {"loop: one descriptor more than the queue has (CVE-2019-9547, SPDK)", Fate::kReturned,
     [](ChainDriver& f) {
       for (uint16_t i = 0; i < T::kEntries; ++i)
         f.desc(i) = {T::kBase + ChainDriver::kReadable, 1, T::kNext,
                      static_cast<uint16_t>((i + 1) % T::kEntries)};
     }},
    {"loop: writable, without end (CVE-2019-9547, SPDK)", Fate::kReturned,
     [](ChainDriver& f) {
       f.desc(2).flags |= T::kNext;
       f.desc(2).next = 1;
     }},
    {"loop: in an indirect table, itself (CVE-2019-9547, SPDK)", Fate::kReturned,
     [](ChainDriver& f) {
       T::indirect(f);
       T::table(f)[0].next = 0;
     }},
    {"loop: in an indirect table, of two (CVE-2019-9547, SPDK)", Fate::kReturned,
     [](ChainDriver& f) {
       T::indirect(f);
       T::table(f)[2].flags |= T::kNext;
       T::table(f)[2].next = 1;
     }},
    {"loop: one entry more than an indirect table has (CVE-2019-9547, SPDK)", Fate::kReturned,
     [](ChainDriver& f) {
       T::indirect(f, 1026 * 16);
       for (uint16_t i = 0; i < 1026; ++i)
         T::table(f)[i] = {T::kBase + ChainDriver::kReadable, 1, T::kNext,
                           static_cast<uint16_t>((i + 1) % 1026)};
     }},
    {"loop: the table points back at the ring's own descriptors", Fate::kReturned,
     [](ChainDriver& f) {
       f.desc(0) = {T::kBase, 48, T::kIndirect, 0};
     }},
};

const std::vector<MalformedChain> kIndexes = {
    {"index: next is the size of the queue (CVE-2026-86847, DPDK)", Fate::kReturned,
     [](ChainDriver& f) { f.desc(0).next = T::kEntries; }},
    {"index: next is 65535 (CVE-2026-86847, DPDK)", Fate::kReturned,
     [](ChainDriver& f) { f.desc(1).next = 65535; }},
    {"index: next is the size of the indirect table (CVE-2026-86847, DPDK)", Fate::kReturned,
     [](ChainDriver& f) {
       T::indirect(f);
       T::table(f)[1].next = 3;
     }},
    {"index: next is 65535 in an indirect table (CVE-2026-86847, DPDK)", Fate::kReturned,
     [](ChainDriver& f) {
       T::indirect(f);
       T::table(f)[0].next = 65535;
     }},
    {"index: a head that is the size of the queue (CVE-2026-86846, DPDK)", Fate::kStopped,
     [](ChainDriver& f) { f.publish(T::kEntries); }},
    {"index: a head of 65535 (SPDK #3860)", Fate::kStopped,
     [](ChainDriver& f) { f.publish(65535); }},
    {"index: available jumps by one more than the queue (CVE-2026-86846, DPDK)", Fate::kStopped,
     [](ChainDriver& f) {
       f.set_avail_index(static_cast<uint16_t>(f.avail_index() + T::kEntries + 1));
     }},
    {"index: available jumps by half of all (CVE-2026-86846, DPDK)", Fate::kStopped,
     [](ChainDriver& f) { f.set_avail_index(static_cast<uint16_t>(f.avail_index() + 32768)); }},
    {"index: available goes back by one (CVE-2026-86846, DPDK)", Fate::kStopped,
     [](ChainDriver& f) { f.set_avail_index(static_cast<uint16_t>(f.avail_index() - 1)); }},
};

const std::vector<MalformedChain> kTables = {
    {"indirect: no entries (QEMU #3984)", Fate::kReturned,
     [](ChainDriver& f) { T::indirect(f, 0); }},
    {"indirect: 1 byte", Fate::kReturned, [](ChainDriver& f) { T::indirect(f, 1); }},
    {"indirect: 15 bytes", Fate::kReturned, [](ChainDriver& f) { T::indirect(f, 15); }},
    {"indirect: 17 bytes", Fate::kReturned, [](ChainDriver& f) { T::indirect(f, 17); }},
    {"indirect: 47 bytes", Fate::kReturned, [](ChainDriver& f) { T::indirect(f, 47); }},
    {"indirect: one entry of three", Fate::kReturned, [](ChainDriver& f) { T::indirect(f, 16); }},
    {"indirect: 1,027 entries", Fate::kReturned, [](ChainDriver& f) { T::indirect(f, 1027 * 16); }},
    {"indirect: most entries a length can tell", Fate::kReturned,
     [](ChainDriver& f) { T::indirect(f, 0xfffffff0); }},
    {"indirect: nested (virtio 1.2, 2.7.5.3.1)", Fate::kReturned,
     [](ChainDriver& f) {
       T::indirect(f);
       T::table(f)[0] = {T::kBase + ChainDriver::kTable, 48, T::kIndirect, 0};
     }},
    {"indirect: nested at its end", Fate::kReturned,
     [](ChainDriver& f) {
       T::indirect(f);
       T::table(f)[2] = {T::kBase + ChainDriver::kTable, 48, T::kIndirect, 0};
     }},
    {"indirect: with a next", Fate::kReturned,
     [](ChainDriver& f) {
       T::indirect(f);
       f.desc(0).flags |= T::kNext;
     }},
    {"indirect: after a descriptor that has a next is served", Fate::kServed,
     [](ChainDriver& f) {
       const vring_desc header = f.desc(0);
       T::indirect(f, 32);
       T::table(f)[0] = {T::kBase + ChainDriver::kWritable, 512, T::kNext | T::kWrite, 1};
       T::table(f)[1] = {T::kBase + ChainDriver::kWritable + 512, 1, T::kWrite, 0};
       f.desc(1) = f.desc(0);
       f.desc(0) = header;
     }},
    {"indirect: outside memory (CVE-2018-1059, DPDK)", Fate::kReturned,
     [](ChainDriver& f) {
       f.desc(0) = {T::kEnd, 48, T::kIndirect, 0};
     }},
    {"indirect: over the end of memory (CVE-2026-86566, DPDK)", Fate::kReturned,
     [](ChainDriver& f) {
       f.desc(0) = {T::kEnd - 40, 48, T::kIndirect, 0};
     }},
    {"indirect: over the end of all addresses", Fate::kReturned,
     [](ChainDriver& f) {
       f.desc(0) = {UINT64_MAX - 15, 48, T::kIndirect, 0};
     }},
    {"indirect: over the border of two regions is served (QEMU #2149, libvhost-user)",
     Fate::kServed,
     [](ChainDriver& f) {
       T::indirect(f);
       memcpy(f.memory + ChainDriver::kBorder - 20, T::table(f), 48);
       f.desc(0).addr = T::kBase + ChainDriver::kBorder - 20;
     }},
};

const std::vector<MalformedChain> kBuffers = {
    {"order: readable after writable", Fate::kReturned,
     [](ChainDriver& f) { f.desc(2).flags = 0; }},
    {"length: header of 0 bytes (CVE-2026-86566, DPDK)", Fate::kReturned,
     [](ChainDriver& f) { f.desc(0).len = 0; }},
    {"length: header of 15 bytes (CVE-2026-86566, DPDK)", Fate::kReturned,
     [](ChainDriver& f) { f.desc(0).len = 15; }},
    {"length: status of 0 bytes", Fate::kFailed,
     [](ChainDriver& f) {
       // The last byte that can be written is the data's: a sector less one byte, and the status.
       f.desc(1).addr += 1;
       f.desc(2).len = 0;
     }},
    {"length: nothing at all", Fate::kReturned,
     [](ChainDriver& f) {
       for (uint16_t i = 0; i < 3; ++i) f.desc(i).len = 0;
     }},
    {"length: an empty descriptor before the header is served", Fate::kServed,
     [](ChainDriver& f) {
       for (uint16_t i = 4; i > 0; --i) f.desc(i) = f.desc(static_cast<uint16_t>(i - 1));
       for (uint16_t i = 1; i < 3; ++i) f.desc(i).next = static_cast<uint16_t>(i + 1);
       f.desc(0) = {T::kBase, 0, T::kNext, 1};
     }},
    {"length: 4 GiB less one of data (CVE-2020-10724, DPDK)", Fate::kFailed,
     [](ChainDriver& f) { f.desc(1).len = UINT32_MAX; }},
    {"length: every descriptor of 4 GiB (CVE-2016-5403, QEMU)", Fate::kFailed,
     [](ChainDriver& f) {
       T::indirect(f, 1026 * 16);
       for (uint16_t i = 1; i < 1025; ++i)
         T::table(f)[i] = {T::kBase, UINT32_MAX, T::kNext | T::kWrite,
                           static_cast<uint16_t>(i + 1)};
       T::table(f)[1025] = {T::kBase + ChainDriver::kWritable + 512, 1, T::kWrite, 0};
     }},
    {"memory: header outside (CVE-2018-1059, DPDK)", Fate::kReturned,
     [](ChainDriver& f) { f.desc(0).addr = T::kEnd; }},
    {"memory: header over the end (CVE-2018-1059, DPDK)", Fate::kReturned,
     [](ChainDriver& f) { f.desc(0).addr = T::kEnd - 8; }},
    {"memory: data outside (CVE-2018-1059, DPDK)", Fate::kFailed,
     [](ChainDriver& f) { f.desc(1).addr = T::kBase - 512; }},
    {"memory: data over the end (CVE-2018-1059, DPDK)", Fate::kFailed,
     [](ChainDriver& f) { f.desc(1).addr = T::kEnd - 256; }},
    {"memory: data over the end of all addresses", Fate::kFailed,
     [](ChainDriver& f) { f.desc(1).addr = UINT64_MAX - 255; }},
    {"memory: data at 0", Fate::kFailed, [](ChainDriver& f) { f.desc(1).addr = 0; }},
    {"memory: status outside", Fate::kReturned, [](ChainDriver& f) { f.desc(2).addr = T::kEnd; }},
    {"memory: status just past the end", Fate::kReturned,
     [](ChainDriver& f) {
       f.desc(1) = {T::kEnd - 512, 513, T::kWrite, 0};
     }},
    {"memory: status at the last address of all", Fate::kReturned,
     [](ChainDriver& f) { f.desc(2).addr = UINT64_MAX; }},
};

}  // namespace

const std::vector<MalformedChain>& malformed_chains() {
  static const std::vector<MalformedChain> all = [] {
    std::vector<MalformedChain> joined;
    for (const auto* part : {&kLoops, &kIndexes, &kTables, &kBuffers})
      joined.insert(joined.end(), part->begin(), part->end());
    return joined;
  }();
  return all;
}

}  // namespace remap::test
