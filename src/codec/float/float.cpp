#include "codec/float/float.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include <bit>
#include <limits>

#include "base/cpu.h"
#include "codec/builtin.h"
#include "codec/search/search.h"

namespace lissom {

float e4m3_to_float(uint8_t bits) {
  const uint32_t sign = static_cast<uint32_t>(bits & 0x80U) << 24, magnitude = bits & 0x7fU;
  if (magnitude == 0x7fU) return std::bit_cast<float>(sign | 0x7fc00000U);
  const float scaled = std::bit_cast<float>(magnitude << 20) * 0x1p120F;  // rebias; exact, denormals too
  return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(scaled));
}

uint8_t float_to_e4m3(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 24) & 0x80U, a = bits & 0x7fffffffU;
  if (a >= 0x43e80000U) return static_cast<uint8_t>(sign | 0x7fU);  // 464 and more, infinity, NaN
  if (a < 0x3c800000U) {                                            // below 2^-6: denormal result
    const float aligned = std::bit_cast<float>(a) + 0x1p14F;        // the addition rounds to a multiple of 2^-9
    return static_cast<uint8_t>(sign | (std::bit_cast<uint32_t>(aligned) - 0x46800000U));
  }
  const uint32_t rounded = a + 0x7ffffU + ((a >> 20) & 1U);
  return static_cast<uint8_t>(sign | ((rounded - 0x3c000000U) >> 20));
}

float e5m2_to_float(uint8_t bits) {
  return half_to_float(static_cast<uint16_t>(bits << 8));
}

uint8_t float_to_e5m2(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 24) & 0x80U, a = bits & 0x7fffffffU;
  if (a > 0x7f800000U) return static_cast<uint8_t>(sign | 0x7eU);
  if (a >= 0x47700000U) return static_cast<uint8_t>(sign | 0x7cU);  // rounds to 65536 or more
  if (a < 0x38800000U) {                                            // below 2^-14: denormal result
    const float aligned = std::bit_cast<float>(a) + 0x1p7F;  // the addition rounds to a multiple of 2^-16
    return static_cast<uint8_t>(sign | (std::bit_cast<uint32_t>(aligned) - 0x43000000U));
  }
  const uint32_t rounded = a + 0xfffffU + ((a >> 21) & 1U);
  return static_cast<uint8_t>(sign | ((rounded - 0x38000000U) >> 21));
}

namespace {

/// Type gives: Stored, kName, kInterval, kMax; load and store between Stored and float.
template <class Type>
class FloatCodec final : public BlockCodec {
 public:
  using Stored = typename Type::Stored;
  [[nodiscard]] std::string_view name() const override { return Type::kName; }
  [[nodiscard]] ErrorInterval error_interval() const override { return Type::kInterval; }
  [[nodiscard]] float max_magnitude() const override { return Type::kMax; }
  [[nodiscard]] int block_weights() const override { return 1; }
  [[nodiscard]] int block_bytes() const override { return sizeof(Stored); }

  void choose(const float* w, const float*, BlockGrid& grid) const override { set(Type::store(*w), grid); }
  void round(const BlockGrid&, int, int count, const float*, const float*, int8_t* codes) const override {
    if (count > 0) codes[0] = 0;
  }
  void values(const BlockGrid& grid, int, int count, const int8_t*, float* w) const override {
    if (count > 0) w[0] = grid.offset[0];
  }
  void pack(const BlockGrid& grid, const int8_t*, std::byte* block) const override {
    std::memcpy(block, grid.stored.data(), sizeof(Stored));
  }
  void unpack(const std::byte* block, BlockGrid& grid, int8_t* codes) const override {
    Stored stored;
    std::memcpy(&stored, block, sizeof stored);
    set(stored, grid);
    codes[0] = 0;
  }
  void decode_blocks(const std::byte* blocks, int64_t n, float* out) const override {
    int64_t i = 0;
    if constexpr (requires { Type::load_many(blocks, n, out); }) i = Type::load_many(blocks, n, out);
    for (; i < n; ++i) {
      Stored stored;
      std::memcpy(&stored, blocks + static_cast<size_t>(i) * sizeof stored, sizeof stored);
      out[i] = Type::load(stored);
    }
  }
  void encode_blocks(const float* w, const float*, int64_t, int64_t n, std::byte* out) const override {
    for (int64_t i = 0; i < n; ++i) {
      const Stored stored = Type::store(w[i]);
      std::memcpy(out + static_cast<size_t>(i) * sizeof stored, &stored, sizeof stored);
    }
  }

 private:
  static void set(Stored stored, BlockGrid& grid) {
    grid.scale[0] = 0;
    grid.offset[0] = Type::load(stored);
    std::memcpy(grid.stored.data(), &stored, sizeof stored);
  }
};

struct F64 {
  using Stored = double;
  static constexpr std::string_view kName = "F64";
  static constexpr ErrorInterval kInterval = {0, 0};
  static constexpr float kMax = std::numeric_limits<float>::max();
  static float load(double x) { return static_cast<float>(x); }
  static double store(float x) { return static_cast<double>(x); }
};
struct F32 {
  using Stored = float;
  static constexpr std::string_view kName = "F32";
  static constexpr ErrorInterval kInterval = {0, 0};
  static constexpr float kMax = std::numeric_limits<float>::max();
  static float load(float x) { return x; }
  static float store(float x) { return x; }
};
struct F16 {
  using Stored = uint16_t;
  static constexpr std::string_view kName = "F16";
  static constexpr ErrorInterval kInterval = {1.9e-4, 2.3e-4};
  static constexpr float kMax = 65504.0F;
  static float load(uint16_t x) { return half_to_float(x); }
  static uint16_t store(float x) { return float_to_half(x); }
  /// As many values, from the first, as the machine's own instruction gives alike: it makes signalling NaNs
  /// quiet, so it stops before NaN and Inf. Returns how many.
  static int64_t load_many(const std::byte* in, int64_t n, float* out);
};
struct BF16 {
  using Stored = uint16_t;
  static constexpr std::string_view kName = "BF16";
  static constexpr ErrorInterval kInterval = {1.5e-3, 1.8e-3};
  static constexpr float kMax = 0x1.fep127F;
  static float load(uint16_t x) { return bf16_to_float(x); }
  static uint16_t store(float x) { return float_to_bf16(x); }
};
struct F8E4M3 {
  using Stored = uint8_t;
  static constexpr std::string_view kName = "F8_E4M3";
  static constexpr ErrorInterval kInterval = {0.029, 0.037};
  static constexpr float kMax = 448.0F;
  static float load(uint8_t x) { return e4m3_to_float(x); }
  static uint8_t store(float x) { return float_to_e4m3(x); }
};
struct F8E5M2 {
  using Stored = uint8_t;
  static constexpr std::string_view kName = "F8_E5M2";
  static constexpr ErrorInterval kInterval = {0.048, 0.057};
  static constexpr float kMax = 57344.0F;
  static float load(uint8_t x) { return e5m2_to_float(x); }
  static uint8_t store(float x) { return float_to_e5m2(x); }
};

#if defined(__x86_64__)
__attribute__((target("avx2,f16c"))) int64_t load_halves(const std::byte* in, int64_t n, float* out) {
  const __m256i exponent = _mm256_set1_epi16(0x7c00);
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in + 2 * i));
    const __m256i special = _mm256_cmpeq_epi16(_mm256_and_si256(halves, exponent), exponent);
    if (!_mm256_testz_si256(special, special)) return i;
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm256_castsi256_si128(halves)));
    _mm256_storeu_ps(out + i + 8, _mm256_cvtph_ps(_mm256_extracti128_si256(halves, 1)));
  }
  return i;
}

int64_t F16::load_many(const std::byte* in, int64_t n, float* out) {
  return active_search_target().target != Target::scalar ? load_halves(in, n, out) : 0;
}
#elif defined(__aarch64__)
int64_t F16::load_many(const std::byte* in, int64_t n, float* out) {
  if (active_search_target().target == Target::scalar) return 0;
  const uint16x8_t exponent = vdupq_n_u16(0x7c00);
  int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const uint16x8_t halves = vreinterpretq_u16_u8(vld1q_u8(reinterpret_cast<const uint8_t*>(in + 2 * i)));
    if (vmaxvq_u16(vceqq_u16(vandq_u16(halves, exponent), exponent)) != 0) return i;
    vst1q_f32(out + i, vcvt_f32_f16(vreinterpret_f16_u16(vget_low_u16(halves))));
    vst1q_f32(out + i + 4, vcvt_high_f32_f16(vreinterpretq_f16_u16(halves)));
  }
  return i;
}
#else
int64_t F16::load_many(const std::byte*, int64_t, float*) {
  return 0;
}
#endif

template <class Type>
const BlockCodec& instance() {
  static const FloatCodec<Type> codec;
  return codec;
}

}  // namespace

const BlockCodec& f64_codec() {
  return instance<F64>();
}
const BlockCodec& f32_codec() {
  return instance<F32>();
}
const BlockCodec& f16_codec() {
  return instance<F16>();
}
const BlockCodec& bf16_codec() {
  return instance<BF16>();
}
const BlockCodec& f8_e4m3_codec() {
  return instance<F8E4M3>();
}
const BlockCodec& f8_e5m2_codec() {
  return instance<F8E5M2>();
}

}  // namespace lissom
