// Descriptor chains and rings as broken or hostile drivers have made them, each under the name of
// the bug it was elsewhere.
#ifndef REMAP_TEST_MALFORMED_CHAINS_H_
#define REMAP_TEST_MALFORMED_CHAINS_H_

#include <linux/virtio_blk.h>

#include "chain_driver.h"

namespace remap::test {

enum class Fate {
  kServed,    // harmless after all
  kFailed,    // IOERR, used length 1
  kReturned,  // used length 0, no status
  kStopped,   // the queue is left alone until it is started anew
};

struct MalformedChain {
  const char* name;
  Fate fate;
  // Writes what is wrong; chain() has laid out a good read at head 0 before, and publishes after.
  void (*spoil)(ChainDriver& f);
};

// Three descriptors in the ring or in an indirect table: header, a sector, status.
class Template {
 public:
  static constexpr uint64_t kBase = FrontEnd::kGuestBase;
  static constexpr uint64_t kEnd = kBase + FrontEnd::kMemory;
  static constexpr uint16_t kEntries = ChainDriver::kEntries;
  static constexpr uint16_t kNext = VRING_DESC_F_NEXT;
  static constexpr uint16_t kWrite = VRING_DESC_F_WRITE;
  static constexpr uint16_t kIndirect = VRING_DESC_F_INDIRECT;

  static vring_desc* table(ChainDriver& f) {
    return reinterpret_cast<vring_desc*>(f.memory + ChainDriver::kTable);
  }
  static void direct(ChainDriver& f) {
    virtio_blk_outhdr header{};
    header.sector = 5;
    memcpy(f.memory + ChainDriver::kReadable, &header, sizeof header);
    memset(f.memory + ChainDriver::kWritable, ChainDriver::kUntouched, 513);
    fill(&f.desc(0));
  }
  static void indirect(ChainDriver& f, uint32_t bytes = 48) {
    fill(table(f));
    f.desc(0) = {kBase + ChainDriver::kTable, bytes, kIndirect, 0};
  }
  static uint8_t status(const ChainDriver& f) { return f.memory[ChainDriver::kWritable + 512]; }

 private:
  static void fill(vring_desc* d) {
    d[0] = {kBase + ChainDriver::kReadable, 16, kNext, 1};
    d[1] = {kBase + ChainDriver::kWritable, 512, kNext | kWrite, 2};
    d[2] = {kBase + ChainDriver::kWritable + 512, 1, kWrite, 0};
  }
};

const std::vector<MalformedChain>& malformed_chains();

}  // namespace remap::test

#endif  // REMAP_TEST_MALFORMED_CHAINS_H_
