#include "blk_request.h"

#include <linux/virtio_blk.h>

#include <algorithm>
#include <cstring>

namespace remap {

namespace {

// Collects the pieces of one chain.
struct Chain {
  virtio_blk_outhdr header{};
  uint32_t header_bytes = 0;
  uint64_t bytes = 0;
  bool unmapped = false;    // some data lies outside guest memory
  bool excess = false;      // far more than is served
  uint8_t* last = nullptr;  // last writable byte
  size_t readable = 0;      // entries of `data` before the first writable one
  bool writable_seen = false;
};

void append(std::vector<iovec>* data, size_t from, uint8_t* host, uint64_t length) {
  if (data->size() > from) {
    iovec& back = data->back();
    if (static_cast<uint8_t*>(back.iov_base) + back.iov_len == host) {
      back.iov_len += length;
      return;
    }
  }
  data->push_back({host, length});
}

void add_piece(Chain* chain, std::vector<iovec>* data, uint8_t* host, uint64_t length,
               bool writable) {
  if (writable) {
    append(data, chain->readable, host, length);
    chain->last = host + length - 1;
    return;
  }
  if (chain->header_bytes < sizeof chain->header) {
    const uint64_t take = std::min<uint64_t>(length, sizeof chain->header - chain->header_bytes);
    memcpy(reinterpret_cast<uint8_t*>(&chain->header) + chain->header_bytes, host, take);
    chain->header_bytes += take;
    host += take;
    length -= take;
  }
  if (length > 0) append(data, 0, host, length);
}

// The last of `length` bytes, or nullptr when it is not in guest memory.
uint8_t* last_byte(const MemoryMap& memory, uint32_t* hint, uint64_t address, uint64_t length) {
  uint64_t one = 1;
  return length - 1 > UINT64_MAX - address ? nullptr
                                           : memory.translate(address + length - 1, &one, hint);
}

}  // namespace

Parse parse_request(Virtqueue& queue, uint16_t head, const MemoryMap& memory, uint32_t* hint,
                    BlkRequest* request) {
  Chain chain;
  std::vector<iovec>& data = request->data;
  data.clear();
  const bool whole =
      queue.walk(head, memory, hint, [&](uint64_t address, uint64_t length, bool writable) -> bool {
        if (writable && !chain.writable_seen) {
          chain.writable_seen = true;
          chain.readable = data.size();
        }
        chain.bytes += length;
        // A chain may name all of memory a thousand times over. Only where its status goes matters
        // once it cannot be served: nothing is gathered that grows with it.
        chain.excess =
            chain.excess || data.size() > 2 * kSegmentsMax || chain.bytes > 2 * kRequestBytesMax;
        if (chain.excess) {
          if (writable && length > 0) chain.last = last_byte(memory, hint, address, length);
          return true;
        }
        while (length > 0) {
          uint64_t part = length;
          uint8_t* host = memory.translate(address, &part, hint);
          if (host == nullptr) {
            chain.unmapped = true;
            if (writable) chain.last = nullptr;
            break;
          }
          add_piece(&chain, &data, host, part, writable);
          address += part;
          length -= part;
        }
        return true;
      });
  if (!whole || chain.last == nullptr || chain.header_bytes < sizeof chain.header)
    return Parse::kMalformed;
  request->status = chain.last;
  if (chain.unmapped || chain.excess) return Parse::kFailed;
  // Old drivers mark a barrier here whether it was offered or not; it never was.
  request->type = chain.header.type & ~uint32_t{VIRTIO_BLK_T_BARRIER};
  request->sector = chain.header.sector;

  const bool out = (chain.header.type & VIRTIO_BLK_T_OUT) != 0;
  if (out) {
    data.resize(chain.readable);
  } else {
    // The last writable byte is the status, wherever the descriptors are cut.
    if (--data.back().iov_len == 0) data.pop_back();
    if (chain.readable > 0) data.erase(data.begin(), data.begin() + chain.readable);
  }
  request->data_bytes = 0;
  for (const iovec& v : data) request->data_bytes += v.iov_len;
  if (data.size() > kSegmentsMax || request->data_bytes > kRequestBytesMax) return Parse::kFailed;
  return Parse::kOk;
}

std::vector<iovec> slice(const std::vector<iovec>& data, uint64_t offset, uint64_t length) {
  std::vector<iovec> part;
  for (const iovec& v : data) {
    if (length == 0) break;
    if (offset >= v.iov_len) {
      offset -= v.iov_len;
      continue;
    }
    const uint64_t take = std::min<uint64_t>(length, v.iov_len - offset);
    part.push_back({static_cast<uint8_t*>(v.iov_base) + offset, take});
    length -= take;
    offset = 0;
  }
  return part;
}

void gather(const std::vector<iovec>& from, uint8_t* to) {
  for (const iovec& v : from) {
    memcpy(to, v.iov_base, v.iov_len);
    to += v.iov_len;
  }
}

void scatter(const uint8_t* from, const std::vector<iovec>& to) {
  for (const iovec& v : to) {
    memcpy(v.iov_base, from, v.iov_len);
    from += v.iov_len;
  }
}

}  // namespace remap
