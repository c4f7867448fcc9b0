// libvhost-user's header as C++ can take it.
#ifndef REMAP_LIBVHOST_USER_H_
#define REMAP_LIBVHOST_USER_H_

// Its copy of virtio_ring.h has legacy helpers that are not C++.
#define VIRTIO_RING_NO_LEGACY
extern "C" {
#include "libvhost-user.h"
}

#endif  // REMAP_LIBVHOST_USER_H_
