#pragma once
// SHA-256 (FIPS 180-4) of two pieces at once. A round waits for the one before, so with the processor's SHA
// instructions one piece leaves the unit idle half of the time; a second piece fills it.

#include <array>
#include <cstddef>
#include <span>

namespace lissom {

using Sha256Digest = std::array<std::byte, 32>;

/// Of any lengths; as fast as it gets where they are alike.
[[nodiscard]] std::array<Sha256Digest, 2> sha256_pair(std::span<const std::byte> a,
                                                      std::span<const std::byte> b);

}  // namespace lissom
