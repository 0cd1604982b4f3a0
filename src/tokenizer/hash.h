#pragma once
// A quick hash of short strings, for tables in memory only.

#include <cstdint>
#include <cstring>
#include <string_view>

namespace lissom::tok {

__extension__ using Wide = unsigned __int128;

[[nodiscard]] inline uint64_t mix(uint64_t a, uint64_t b) {
  const auto product = static_cast<Wide>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

[[nodiscard]] inline uint64_t hash_bytes(std::string_view s) {
  const char* p = s.data();
  size_t n = s.size();
  uint64_t h = 0x9e3779b97f4a7c15U ^ n;
  const auto load = [](const char* at, size_t count) {
    uint64_t word = 0;
    std::memcpy(&word, at, count);
    return word;
  };
  for (; n > 8; p += 8, n -= 8) h = mix(h ^ load(p, 8), 0xa0761d6478bd642fU);
  // The tail by overlapping loads of fixed size: a copy of variable size would be a call.
  uint64_t tail = 0;
  if (n >= 4) {
    tail = load(p, 4) | (load(p + n - 4, 4) << 32);
  } else if (n > 0) {
    tail = static_cast<uint64_t>(static_cast<unsigned char>(p[0])) |
           (static_cast<uint64_t>(static_cast<unsigned char>(p[n / 2])) << 8) |
           (static_cast<uint64_t>(static_cast<unsigned char>(p[n - 1])) << 16);
  }
  return mix(h ^ tail, 0xe7037ed1a0b428dbU);
}

}  // namespace lissom::tok
