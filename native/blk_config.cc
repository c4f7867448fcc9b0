#include "blk_config.h"

#include <linux/fs.h>
#include <linux/virtio_blk.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>

#include "limits.h"

namespace remap {
namespace {

static_assert(offsetof(virtio_blk_config, wce) == kConfigWceOffset);
static_assert(std::endian::native == std::endian::little, "written without conversion");

// What the device writes at once, so that guests align to it.
uint32_t physical_block_size(const Device& device) {
  unsigned int size = 0;
  if (device.is_block_device() && ioctl(device.fd(), BLKPBSZGET, &size) == 0) return size;
  return device.offset_align();
}

}  // namespace

uint64_t offered_features(const VolumeContext& context) {
  uint64_t features = kFeatureSegMax | kFeatureBlkSize | kFeatureFlush | kFeatureTopology |
                      kFeatureConfigWce | kFeatureMultiQueue | kFeatureLogAll |
                      kFeatureIndirectDesc | kFeatureEventIdx | kFeatureProtocolFeatures |
                      kFeatureVersion1;
  return features | (context.read_only ? kFeatureReadOnly : kFeatureDiscard | kFeatureWriteZeroes);
}

std::array<uint8_t, kConfigBytes> config_space(const VolumeContext& context, bool write_cache) {
  uint32_t physical = context.logical_block_size;
  for (const auto& device : context.devices)
    physical = std::max(physical, physical_block_size(*device));

  virtio_blk_config config{};
  config.capacity = context.capacity_sectors;
  config.seg_max = kSegMax;
  config.blk_size = context.logical_block_size;
  config.physical_block_exp =
      static_cast<uint8_t>(std::bit_width(physical / context.logical_block_size) - 1);
  config.min_io_size = 1;
  config.wce = write_cache ? 1 : 0;
  config.num_queues = context.num_queues;
  if (!context.read_only) {
    config.max_discard_sectors = kRangeSectorsMax;
    config.max_discard_seg = 1;
    config.discard_sector_alignment = context.logical_block_size / kSectorSize;
    config.max_write_zeroes_sectors = kRangeSectorsMax;
    config.max_write_zeroes_seg = 1;
    config.write_zeroes_may_unmap = 1;
  }

  std::array<uint8_t, kConfigBytes> bytes{};
  static_assert(sizeof config <= kConfigBytes);
  memcpy(bytes.data(), &config, sizeof config);
  return bytes;
}

bool is_write_through(uint64_t features, bool write_cache) {
  if (features & kFeatureConfigWce) return !write_cache;
  return !(features & kFeatureFlush);
}

}  // namespace remap
