// The bytes of one fuzzing input, read from front to back; past the end everything is zero.
#ifndef REMAP_FUZZ_INPUT_H_
#define REMAP_FUZZ_INPUT_H_

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>

namespace remap::fuzz {

class Input {
 public:
  Input(const uint8_t* data, size_t size) : next_(data), end_(data + size) {}

  bool done() const { return next_ == end_; }
  uint8_t u8() { return number<uint8_t>(); }
  uint16_t u16() { return number<uint16_t>(); }
  uint32_t u32() { return number<uint32_t>(); }
  uint64_t u64() { return number<uint64_t>(); }

  template <typename T, size_t N>
  T pick(const T (&from)[N]) {
    return from[u8() % N];
  }

 private:
  template <typename T>
  T number() {
    T value{};
    const size_t left = static_cast<size_t>(end_ - next_);
    const size_t take = left < sizeof value ? left : sizeof value;
    if (take > 0) memcpy(&value, next_, take);
    next_ += take;
    return value;
  }

  const uint8_t* next_;
  const uint8_t* end_;
};

// What must hold whatever the input is. Not assert(): it must be there in every build.
inline void require(bool holds, const char* what) {
  if (holds) return;
  fprintf(stderr, "broken promise: %s\n", what);
  abort();
}

}  // namespace remap::fuzz

#endif  // REMAP_FUZZ_INPUT_H_
