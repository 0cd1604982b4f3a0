#include "compress/sha256_pair.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "base/cpu.h"
#include "compress/digest.h"

namespace lissom {
namespace {

constexpr size_t kBlock = 64;

#if defined(__x86_64__)
#define LISSOM_SHA __attribute__((target("sha,sse4.1")))

alignas(16) constexpr uint32_t kRound[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

/// The state as the instructions want it: words A B E F and C D G H, from the highest.
struct State {
  __m128i abef, cdgh;
};

LISSOM_SHA State first_state() {
  return {_mm_set_epi32(0x6a09e667, static_cast<int>(0xbb67ae85), 0x510e527f, static_cast<int>(0x9b05688c)),
          _mm_set_epi32(0x3c6ef372, static_cast<int>(0xa54ff53a), 0x1f83d9ab, 0x5be0cd19)};
}

/// `blocks` blocks of 64 bytes from each of N pieces.
template <int N>
LISSOM_SHA void compress_blocks(State* states, const std::byte* const* pieces, size_t blocks) {
  const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  State now[N];
  for (int n = 0; n < N; ++n) now[n] = states[n];
  for (size_t block = 0; block < blocks; ++block) {
    __m128i w[N][4];
    for (int n = 0; n < N; ++n)
      for (size_t i = 0; i < 4; ++i)
        w[n][i] = _mm_shuffle_epi8(
            _mm_loadu_si128(reinterpret_cast<const __m128i*>(pieces[n] + block * kBlock + 16 * i)), swap);
#pragma GCC unroll 16
    for (size_t i = 0; i < 16; ++i) {
      const __m128i k = _mm_load_si128(reinterpret_cast<const __m128i*>(kRound + 4 * i));
      for (int n = 0; n < N; ++n) {
        const __m128i sum = _mm_add_epi32(w[n][i % 4], k);
        now[n].cdgh = _mm_sha256rnds2_epu32(now[n].cdgh, now[n].abef, sum);
        now[n].abef = _mm_sha256rnds2_epu32(now[n].abef, now[n].cdgh, _mm_shuffle_epi32(sum, 0x0e));
        // The four words that are wanted four groups later.
        const __m128i &second = w[n][(i + 1) % 4], &third = w[n][(i + 2) % 4], &last = w[n][(i + 3) % 4];
        const __m128i early =
            _mm_add_epi32(_mm_sha256msg1_epu32(w[n][i % 4], second), _mm_alignr_epi8(last, third, 4));
        w[n][i % 4] = _mm_sha256msg2_epu32(early, last);
      }
    }
    for (int n = 0; n < N; ++n) {
      now[n].abef = states[n].abef = _mm_add_epi32(now[n].abef, states[n].abef);
      now[n].cdgh = states[n].cdgh = _mm_add_epi32(now[n].cdgh, states[n].cdgh);
    }
  }
}

/// The last blocks, with the padding, and the digest.
LISSOM_SHA Sha256Digest finish(State state, std::span<const std::byte> rest, uint64_t length) {
  std::array<std::byte, 2 * kBlock> tail{};
  std::ranges::copy(rest, tail.begin());
  tail[rest.size()] = std::byte{0x80};
  const size_t blocks = rest.size() + 9 <= kBlock ? 1 : 2;
  for (size_t i = 0; i < 8; ++i) tail[blocks * kBlock - 1 - i] = static_cast<std::byte>(8 * length >> (8 * i));
  const std::byte* piece = tail.data();
  compress_blocks<1>(&state, &piece, blocks);
  alignas(16) uint32_t words[8];
  _mm_store_si128(reinterpret_cast<__m128i*>(words), state.abef);
  _mm_store_si128(reinterpret_cast<__m128i*>(words + 4), state.cdgh);
  Sha256Digest digest;
  constexpr size_t kOrder[8] = {3, 2, 7, 6, 1, 0, 5, 4};  // where A … H lie
  for (size_t i = 0; i < digest.size(); ++i)
    digest[i] = static_cast<std::byte>(words[kOrder[i / 4]] >> (24 - 8 * (i % 4)));
  return digest;
}

LISSOM_SHA std::array<Sha256Digest, 2> pair_by_instructions(std::span<const std::byte> a,
                                                            std::span<const std::byte> b) {
  State states[2] = {first_state(), first_state()};
  const std::span<const std::byte> pieces[2] = {a, b};
  const std::byte* at[2] = {a.data(), b.data()};
  const size_t both = std::min(a.size(), b.size()) / kBlock;
  compress_blocks<2>(states, at, both);
  std::array<Sha256Digest, 2> digests;
  for (size_t n = 0; n < 2; ++n) {
    const auto left = pieces[n].subspan(both * kBlock);
    const std::byte* from = left.data();
    compress_blocks<1>(states + n, &from, left.size() / kBlock);
    digests[n] = finish(states[n], left.subspan(left.size() / kBlock * kBlock), pieces[n].size());
  }
  return digests;
}
#endif

Sha256Digest plain(std::span<const std::byte> data) {
  Sha256 hash;
  hash.update(data);
  return hash.finish();
}

}  // namespace

std::array<Sha256Digest, 2> sha256_pair(std::span<const std::byte> a, std::span<const std::byte> b) {
#if defined(__x86_64__)
  static const bool able = __builtin_cpu_supports("sse4.1") && cpu_has_sha();
  if (able) return pair_by_instructions(a, b);
#endif
  return {plain(a), plain(b)};
}

}  // namespace lissom
