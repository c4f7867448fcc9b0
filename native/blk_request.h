// One virtio-blk request (virtio 1.2, section 5.2.6): what the guest asked for, and where the I/O
// for it stands.
#ifndef REMAP_BLK_REQUEST_H_
#define REMAP_BLK_REQUEST_H_

#include <sys/uio.h>

#include <cstdint>
#include <vector>

#include "abi.h"
#include "virtqueue.h"

namespace remap {

enum class Parse {
  kOk,
  kMalformed,  // nowhere to put a status: return the chain with used length 0
  kFailed,     // answer IOERR
};

struct BlkRequest {
  uint16_t head = 0;
  uint16_t queue = 0;
  bool busy = false;     // taken and not yet returned
  bool parked = false;   // waits for a decision of TypeScript
  bool held = false;     // waits for a range lock
  bool watched = false;  // a kWatch command has seen it
  bool plain = false;    // a read or write of main alone, as the guest sent it
  uint32_t sequence = 0;
  uint64_t watched_ms = 0;  // when, on the monotonic clock

  uint32_t type = 0;
  uint64_t sector = 0;      // of the header
  std::vector<iovec> data;  // the request's data, in its direction; capacity is kept over reuse
  uint64_t data_bytes = 0;
  uint8_t* status = nullptr;

  // The part of the volume that is read, written, zeroed or discarded, in sectors.
  uint64_t lba = 0;
  uint64_t sectors = 0;
  bool unmap = false;  // WRITE_ZEROES that may give the space back

  uint32_t parts = 0;  // operations under way
  int hard_error = 0;  // an error no spare can mend
  std::vector<abi::EventRecord> bad;

  // OUT, DISCARD and WRITE_ZEROES are the types with bit 0 set (VIRTIO_BLK_T_OUT).
  bool modifies() const { return (type & 1) != 0; }
};

// Gathers header, data and status of a chain of any layout into `request`.
Parse parse_request(Virtqueue& queue, uint16_t head, const MemoryMap& memory, uint32_t* hint,
                    BlkRequest* request);

// The part [offset, offset + length) of scattered data.
std::vector<iovec> slice(const std::vector<iovec>& data, uint64_t offset, uint64_t length);

void gather(const std::vector<iovec>& from, uint8_t* to);
void scatter(const uint8_t* from, const std::vector<iovec>& to);

}  // namespace remap

#endif  // REMAP_BLK_REQUEST_H_
