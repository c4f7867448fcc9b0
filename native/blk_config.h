// What the virtio-blk device offers: feature bits and configuration space. virtio 1.2, section 5.2.
#ifndef REMAP_BLK_CONFIG_H_
#define REMAP_BLK_CONFIG_H_

#include <array>
#include <cstdint>

#include "volume_context.h"

namespace remap {

inline constexpr uint64_t kFeatureSegMax = 1ull << 2;
inline constexpr uint64_t kFeatureReadOnly = 1ull << 5;
inline constexpr uint64_t kFeatureBlkSize = 1ull << 6;
inline constexpr uint64_t kFeatureFlush = 1ull << 9;
inline constexpr uint64_t kFeatureTopology = 1ull << 10;
inline constexpr uint64_t kFeatureConfigWce = 1ull << 11;
inline constexpr uint64_t kFeatureMultiQueue = 1ull << 12;
inline constexpr uint64_t kFeatureDiscard = 1ull << 13;
inline constexpr uint64_t kFeatureWriteZeroes = 1ull << 14;
inline constexpr uint64_t kFeatureLogAll = 1ull << 26;  // vhost's own
inline constexpr uint64_t kFeatureIndirectDesc = 1ull << 28;
inline constexpr uint64_t kFeatureEventIdx = 1ull << 29;
inline constexpr uint64_t kFeatureProtocolFeatures = 1ull << 30;  // vhost-user's own
inline constexpr uint64_t kFeatureVersion1 = 1ull << 32;

uint64_t offered_features(const VolumeContext& context);

// Configuration space is at most VHOST_USER_MAX_CONFIG_SIZE; zero past the end of the structure.
inline constexpr uint32_t kConfigBytes = 256;
inline constexpr uint32_t kConfigWceOffset = 32;
std::array<uint8_t, kConfigBytes> config_space(const VolumeContext& context, bool write_cache);

// Whether every write must be durable before it is answered, by what the driver has accepted.
bool is_write_through(uint64_t features, bool write_cache);

}  // namespace remap

#endif  // REMAP_BLK_CONFIG_H_
