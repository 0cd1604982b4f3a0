#pragma once
// XXH64 (Yann Collet's xxHash, 64 bits, seed 0): tells damage, not forgery, many times faster than SHA-256.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace lissom {

class Checksum {
 public:
  void update(std::span<const std::byte> data);
  [[nodiscard]] uint64_t value() const;

 private:
  void stripe(const std::byte* p);
  static constexpr uint64_t kP1 = 0x9E3779B185EBCA87U, kP2 = 0xC2B2AE3D27D4EB4FU, kP3 = 0x165667B19E3779F9U,
                            kP4 = 0x85EBCA77C2B2AE63U, kP5 = 0x27D4EB2F165667C5U;
  std::array<uint64_t, 4> lanes_{kP1 + kP2, kP2, 0, 0 - kP1};
  std::array<std::byte, 32> rest_{};  ///< what does not fill a stripe yet
  uint64_t length_ = 0;
};

}  // namespace lissom
