// Every mapping that the code under test makes of memory it shares with a front-end: the linker
// leads its mmap and munmap here (--wrap). None may be left when a connection is over, and what is
// loaded from one counts for GuestRaces.
#ifndef REMAP_FUZZ_SHARED_MAPPINGS_H_
#define REMAP_FUZZ_SHARED_MAPPINGS_H_

#include <cstddef>

namespace remap::fuzz {

size_t shared_mappings();
// Those made so far are the test's own.
void forget_shared_mappings();

}  // namespace remap::fuzz

#endif  // REMAP_FUZZ_SHARED_MAPPINGS_H_
