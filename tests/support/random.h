#pragma once
// Numbers that are the same everywhere (xorshift64, Marsaglia 2003).

#include <cstdint>

namespace lissom::testing {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ULL + 1) {}
  uint64_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }
  float uniform() { return static_cast<float>(next() >> 40) / static_cast<float>(1 << 23) - 1.0F; }  ///< -1 … 1

 private:
  uint64_t state_;
};

}  // namespace lissom::testing
