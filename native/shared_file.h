// Descriptors a front-end sends: what they are, learned before anything trusts them.
#ifndef REMAP_SHARED_FILE_H_
#define REMAP_SHARED_FILE_H_

#include "vhost_message.h"

namespace remap {

SharedFile inspect_file(int fd);

// Reading or writing one with 8 bytes has an effect we know.
bool is_eventfd(int fd);
bool is_socket(int fd);

// Adds one to the counter unless that would block.
void signal_eventfd(int fd);

// Close-on-exec duplicate; -1 for -1.
int duplicate(int fd);

}  // namespace remap

#endif  // REMAP_SHARED_FILE_H_
