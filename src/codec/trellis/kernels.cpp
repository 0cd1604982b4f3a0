#include <cstring>

#include "base/cpu.h"
#include "codec/panels.h"
#include "codec/trellis/trellis.h"

#if defined(__x86_64__)
#include <immintrin.h>
// GCC 12 takes the undefined upper parts inside its own intrinsics for uninitialised variables.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace lissom::trellis {

namespace {

void merge_scalar(const Step& s, const float* costs, float* merged, uint8_t* from) {
  const int groups = 1 << (s.window - s.rate), choices = 1 << s.rate;
  for (int g = 0; g < groups; ++g) {
    merged[g] = costs[g];
    from[g] = 0;
  }
  for (int j = 1; j < choices; ++j)
    for (int g = 0; g < groups; ++g) {
      const float x = costs[j * groups + g];
      if (x < merged[g]) from[g] = static_cast<uint8_t>(j);
      merged[g] = x < merged[g] ? x : merged[g];
    }
}

void step_scalar(const Step& s, const float* costs, float* next, float* merged, uint8_t* from) {
  merge_scalar(s, costs, merged, from);
  const int states = 1 << s.window;
  for (int i = 0; i < states; ++i) {
    const float d = s.x - s.values[i];
    next[i] = merged[i >> s.rate] + (d * d) * s.weight;
  }
}

/// The value of the weight whose last bit comes before bit `end` of the codes.
float value_before(const RowStreams& s, uint32_t end) {
  const uint32_t byte = (end - 25) >> 3;  // of the four that end with that bit
  uint32_t word = 0;
  std::memcpy(&word, s.codes + byte, 4);
  const uint32_t mask = (1U << s.window) - 1;
  return s.values[(word >> (end - static_cast<uint32_t>(s.window) - 8 * byte)) & mask];
}

void decode_columns_scalar(const RowStreams& s, int64_t row, float row_scale, int64_t first, float* out) {
  for (int64_t j = first; j < s.cols; ++j) {
    const uint32_t end = s.begin[j] + static_cast<uint32_t>(s.rates[j]) * static_cast<uint32_t>(row + 1);
    out[j] = row_scale * s.scales[j] * value_before(s, end);
  }
}

void decode_row_scalar(const RowStreams& s, int64_t row, float row_scale, float* out) {
  decode_columns_scalar(s, row, row_scale, 0, out);
}

constexpr int64_t kLanes = PanelDecoder::kLanes;

void decode_panel_scalar(const RowStreams& s, int64_t row, int64_t count, const float* row_scales, float* out) {
  for (int64_t j = 0; j < s.cols; ++j, out += kLanes)
    for (int64_t i = 0; i < count; ++i) {
      const uint32_t end = s.begin[j] + static_cast<uint32_t>(s.rates[j]) * static_cast<uint32_t>(row + i + 1);
      out[i] = row_scales[i] * s.scales[j] * value_before(s, end);
    }
}

constexpr Kernels kScalar{step_scalar, decode_row_scalar, decode_panel_scalar};

#if defined(__x86_64__)

// No fused multiplication and addition anywhere: every target computes the same bits.
#define LISSOM_AVX2 __attribute__((target("avx2")))
#define LISSOM_AVX512 __attribute__((target("avx2,avx512f,avx512bw,avx512dq,avx512vl")))

LISSOM_AVX2 void step_avx2(const Step& s, const float* costs, float* next, float* merged, uint8_t* from) {
  const int groups = 1 << (s.window - s.rate), choices = 1 << s.rate, states = 1 << s.window;
  for (int g = 0; g < groups; g += 8) {
    __m256 best = _mm256_loadu_ps(costs + g);
    __m256i at = _mm256_setzero_si256();
    for (int j = 1; j < choices; ++j) {
      const __m256 x = _mm256_loadu_ps(costs + j * groups + g);
      const __m256 less = _mm256_cmp_ps(x, best, _CMP_LT_OQ);
      best = _mm256_min_ps(x, best);
      at = _mm256_blendv_epi8(at, _mm256_set1_epi32(j), _mm256_castps_si256(less));
    }
    _mm256_storeu_ps(merged + g, best);
    const __m128i words = _mm_packus_epi32(_mm256_castsi256_si128(at), _mm256_extracti128_si256(at, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(from + g), _mm_packus_epi16(words, words));
  }
  const __m256 x = _mm256_set1_ps(s.x), weight = _mm256_set1_ps(s.weight);
  const __m256i places = _mm256_srli_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), s.rate < 3 ? s.rate : 3);
  for (int i = 0; i < states; i += 8) {
    // The groups of eight states: one, or the first few from here.
    const __m256 before = s.rate >= 3
                              ? _mm256_set1_ps(merged[i >> s.rate])
                              : _mm256_permutevar8x32_ps(_mm256_loadu_ps(merged + (i >> s.rate)), places);
    const __m256 d = _mm256_sub_ps(x, _mm256_loadu_ps(s.values + i));
    _mm256_storeu_ps(next + i, _mm256_add_ps(before, _mm256_mul_ps(_mm256_mul_ps(d, d), weight)));
  }
}

LISSOM_AVX2 void decode_row_avx2(const RowStreams& s, int64_t row, float row_scale, float* out) {
  const __m256 scale = _mm256_set1_ps(row_scale);
  const __m256i rows = _mm256_set1_epi32(static_cast<int>(row + 1)), back = _mm256_set1_epi32(25);
  const __m256i mask = _mm256_set1_epi32((1 << s.window) - 1), window = _mm256_set1_epi32(s.window);
  int64_t j = 0;
  for (; j + 8 <= s.cols; j += 8) {
    const auto load = [&](const void* p) __attribute__((target("avx2"))) {
      return _mm256_loadu_si256(static_cast<const __m256i*>(p));
    };
    const __m256i end = _mm256_add_epi32(load(s.begin + j), _mm256_mullo_epi32(load(s.rates + j), rows));
    const __m256i byte = _mm256_srli_epi32(_mm256_sub_epi32(end, back), 3);
    const __m256i word = _mm256_i32gather_epi32(reinterpret_cast<const int*>(s.codes), byte, 1);
    const __m256i shift = _mm256_sub_epi32(_mm256_sub_epi32(end, window), _mm256_slli_epi32(byte, 3));
    const __m256i state = _mm256_and_si256(_mm256_srlv_epi32(word, shift), mask);
    const __m256 value = _mm256_i32gather_ps(s.values, state, 4);
    _mm256_storeu_ps(out + j, _mm256_mul_ps(_mm256_mul_ps(scale, _mm256_loadu_ps(s.scales + j)), value));
  }
  decode_columns_scalar(s, row, row_scale, j, out);
}

LISSOM_AVX512 void step_avx512(const Step& s, const float* costs, float* next, float* merged, uint8_t* from) {
  const int groups = 1 << (s.window - s.rate), choices = 1 << s.rate, states = 1 << s.window;
  for (int g = 0; g < groups; g += 16) {
    __m512 best = _mm512_loadu_ps(costs + g);
    __m512i at = _mm512_setzero_si512();
    for (int j = 1; j < choices; ++j) {
      const __m512 x = _mm512_loadu_ps(costs + j * groups + g);
      at = _mm512_mask_mov_epi32(at, _mm512_cmp_ps_mask(x, best, _CMP_LT_OQ), _mm512_set1_epi32(j));
      best = _mm512_min_ps(x, best);
    }
    _mm512_storeu_ps(merged + g, best);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(from + g), _mm512_cvtepi32_epi8(at));
  }
  const __m512 x = _mm512_set1_ps(s.x), weight = _mm512_set1_ps(s.weight);
  const __m512i counting = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i places = _mm512_srlv_epi32(counting, _mm512_set1_epi32(s.rate < 4 ? s.rate : 4));
  for (int i = 0; i < states; i += 16) {
    const __m512 before = s.rate >= 4 ? _mm512_set1_ps(merged[i >> s.rate])
                                      : _mm512_permutexvar_ps(places, _mm512_loadu_ps(merged + (i >> s.rate)));
    const __m512 d = _mm512_sub_ps(x, _mm512_loadu_ps(s.values + i));
    _mm512_storeu_ps(next + i, _mm512_add_ps(before, _mm512_mul_ps(_mm512_mul_ps(d, d), weight)));
  }
}

LISSOM_AVX512 void decode_row_avx512(const RowStreams& s, int64_t row, float row_scale, float* out) {
  const __m512 scale = _mm512_set1_ps(row_scale);
  const __m512i rows = _mm512_set1_epi32(static_cast<int>(row + 1)), back = _mm512_set1_epi32(25);
  const __m512i mask = _mm512_set1_epi32((1 << s.window) - 1), window = _mm512_set1_epi32(s.window);
  int64_t j = 0;
  for (; j + 16 <= s.cols; j += 16) {
    const __m512i begin = _mm512_loadu_si512(s.begin + j), rate = _mm512_loadu_si512(s.rates + j);
    const __m512i end = _mm512_add_epi32(begin, _mm512_mullo_epi32(rate, rows));
    const __m512i byte = _mm512_srli_epi32(_mm512_sub_epi32(end, back), 3);
    const __m512i word = _mm512_i32gather_epi32(byte, s.codes, 1);
    const __m512i shift = _mm512_sub_epi32(_mm512_sub_epi32(end, window), _mm512_slli_epi32(byte, 3));
    const __m512i state = _mm512_and_si512(_mm512_srlv_epi32(word, shift), mask);
    const __m512 value = _mm512_i32gather_ps(state, s.values, 4);
    _mm512_storeu_ps(out + j, _mm512_mul_ps(_mm512_mul_ps(scale, _mm512_loadu_ps(s.scales + j)), value));
  }
  decode_columns_scalar(s, row, row_scale, j, out);
}

/// The 32 bytes from `at`, zeros past `end`; `room` is where they are put together where that is needed.
const uint8_t* bytes_from(const uint8_t* at, const uint8_t* end, uint8_t* room) {
  if (end - at >= 32) return at;
  std::memset(room, 0, 32);
  std::memcpy(room, at, static_cast<size_t>(end - at));
  return room;
}

// A column's 16 states lie side by side: their first bits are `rate` apart, and all of them within 18 bytes.

LISSOM_AVX2 void decode_panel_avx2(const RowStreams& s, int64_t row, int64_t count, const float* row_scales,
                                   float* out) {
  alignas(32) float scales[kLanes] = {};
  std::memcpy(scales, row_scales, static_cast<size_t>(count) * sizeof(float));
  const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  const __m256i mask = _mm256_set1_epi32((1 << s.window) - 1), low = _mm256_set1_epi32(31);
  uint8_t room[32];
  for (int64_t j = 0; j < s.cols; ++j, out += kLanes) {
    const auto rate = static_cast<uint32_t>(s.rates[j]);
    const uint32_t begin = s.begin[j] + rate * static_cast<uint32_t>(row + 1) - static_cast<uint32_t>(s.window);
    const uint8_t* bytes = bytes_from(s.codes + begin / 8, s.end, room);
    const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
    const __m256 column = _mm256_set1_ps(s.scales[j]);
    for (int64_t i = 0; i < count; i += 8) {
      const __m256i bit =
          _mm256_add_epi32(_mm256_set1_epi32(static_cast<int>(begin % 8 + rate * static_cast<uint32_t>(i))),
                           _mm256_mullo_epi32(lanes, _mm256_set1_epi32(static_cast<int>(rate))));
      const __m256i word = _mm256_srli_epi32(bit, 5), shift = _mm256_and_si256(bit, low);
      const __m256i first = _mm256_srlv_epi32(_mm256_permutevar8x32_epi32(words, word), shift);
      const __m256i next = _mm256_permutevar8x32_epi32(words, _mm256_add_epi32(word, _mm256_set1_epi32(1)));
      const __m256i both =
          _mm256_or_si256(first, _mm256_sllv_epi32(next, _mm256_sub_epi32(_mm256_set1_epi32(32), shift)));
      const __m256 value = _mm256_i32gather_ps(s.values, _mm256_and_si256(both, mask), 4);
      const __m256 made = _mm256_mul_ps(_mm256_mul_ps(_mm256_load_ps(scales + i), column), value);
      if (count - i >= 8) {
        _mm256_storeu_ps(out + i, made);
        continue;
      }
      alignas(32) float some[8];
      _mm256_store_ps(some, made);
      std::memcpy(out + i, some, static_cast<size_t>(count - i) * sizeof(float));
    }
  }
}

/// As a gather, which takes half as long again on Zen 5.
LISSOM_AVX512 inline __m512 look_up_avx512(const float* table, __m512i at) {
  uint64_t pairs[8];
  _mm512_storeu_si512(pairs, at);
  __m128 four[4];
  for (int i = 0; i < 4; ++i) {
    const uint64_t a = pairs[2 * i], b = pairs[2 * i + 1];
    four[i] = _mm_setr_ps(table[static_cast<uint32_t>(a)], table[a >> 32], table[static_cast<uint32_t>(b)],
                          table[b >> 32]);
  }
  const __m512 low = _mm512_castps256_ps512(_mm256_set_m128(four[1], four[0]));
  return _mm512_insertf32x8(low, _mm256_set_m128(four[3], four[2]), 1);
}

LISSOM_AVX512 void decode_panel_avx512(const RowStreams& s, int64_t row, int64_t count, const float* row_scales,
                                       float* out) {
  const auto some = static_cast<__mmask16>((1U << count) - 1);
  const __m512 scales = _mm512_maskz_loadu_ps(some, row_scales);
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i mask = _mm512_set1_epi32((1 << s.window) - 1), low = _mm512_set1_epi32(31);
  __m512i apart[kMaxRate + 1];
  for (int rate = 0; rate <= kMaxRate; ++rate) apart[rate] = _mm512_mullo_epi32(lanes, _mm512_set1_epi32(rate));
  uint8_t room[32];
  for (int64_t j = 0; j < s.cols; ++j, out += kLanes) {
    const auto rate = static_cast<uint32_t>(s.rates[j]);
    const uint32_t begin = s.begin[j] + rate * static_cast<uint32_t>(row + 1) - static_cast<uint32_t>(s.window);
    const uint8_t* bytes = bytes_from(s.codes + begin / 8, s.end, room);
    const __m512i words = _mm512_castsi256_si512(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes)));
    const __m512i bit = _mm512_add_epi32(_mm512_set1_epi32(static_cast<int>(begin % 8)), apart[rate]);
    const __m512i word = _mm512_srli_epi32(bit, 5), shift = _mm512_and_si512(bit, low);
    const __m512i first = _mm512_srlv_epi32(_mm512_permutexvar_epi32(word, words), shift);
    const __m512i next = _mm512_permutexvar_epi32(_mm512_add_epi32(word, _mm512_set1_epi32(1)), words);
    const __m512i both =
        _mm512_or_si512(first, _mm512_sllv_epi32(next, _mm512_sub_epi32(_mm512_set1_epi32(32), shift)));
    const __m512 value = look_up_avx512(s.values, _mm512_and_si512(both, mask));
    _mm512_mask_storeu_ps(out, some, _mm512_mul_ps(_mm512_mul_ps(scales, _mm512_set1_ps(s.scales[j])), value));
  }
}

constexpr Kernels kAvx2{step_avx2, decode_row_avx2, decode_panel_avx2},
    kAvx512{step_avx512, decode_row_avx512, decode_panel_avx512};

#elif defined(__aarch64__)

void step_neon(const Step& s, const float* costs, float* next, float* merged, uint8_t* from) {
  const int groups = 1 << (s.window - s.rate), choices = 1 << s.rate, states = 1 << s.window;
  for (int g = 0; g < groups; g += 8) {
    float32x4_t best[2] = {vld1q_f32(costs + g), vld1q_f32(costs + g + 4)};
    uint32x4_t at[2] = {vdupq_n_u32(0), vdupq_n_u32(0)};
    for (int j = 1; j < choices; ++j) {
      const float* p = costs + j * groups + g;
      for (int h = 0; h < 2; ++h) {
        const float32x4_t x = vld1q_f32(p + 4 * h);
        const uint32x4_t less = vcltq_f32(x, best[h]);
        best[h] = vbslq_f32(less, x, best[h]);
        at[h] = vbslq_u32(less, vdupq_n_u32(static_cast<uint32_t>(j)), at[h]);
      }
    }
    vst1q_f32(merged + g, best[0]);
    vst1q_f32(merged + g + 4, best[1]);
    vst1_u8(from + g, vmovn_u16(vcombine_u16(vmovn_u32(at[0]), vmovn_u32(at[1]))));
  }
  const float32x4_t x = vdupq_n_f32(s.x), weight = vdupq_n_f32(s.weight);
  for (int i = 0; i < states; i += 4) {
    // The groups of four states: one, or the first few from here.
    float32x4_t before = vdupq_n_f32(merged[i >> s.rate]);
    if (s.rate == 0) before = vld1q_f32(merged + i);
    if (s.rate == 1) before = vcombine_f32(vget_low_f32(before), vdup_n_f32(merged[(i >> 1) + 1]));
    const float32x4_t d = vsubq_f32(x, vld1q_f32(s.values + i));
    vst1q_f32(next + i, vaddq_f32(before, vmulq_f32(vmulq_f32(d, d), weight)));
  }
}

constexpr Kernels kNeon{step_neon, decode_row_scalar, decode_panel_scalar};

#endif

}  // namespace

const Kernels& scalar_kernels() {
  return kScalar;
}

const Kernels& kernels() {
#if defined(__x86_64__)
  const auto target = active_target();
  if (target && *target == Target::avx512) return kAvx512;
  if (target && *target == Target::avx2) return kAvx2;
#elif defined(__aarch64__)
  if (const auto target = active_target(); target && *target != Target::scalar) return kNeon;
#endif
  return kScalar;
}

Search::Search(int window)
    : window_(window),
      costs_(size_t{1} << window),
      next_(costs_.size()),
      merged_(costs_.size() + 16) {}  // a vector is loaded from the last group

void Search::begin(uint32_t state) {
  std::fill(costs_.begin(), costs_.end(), 1e30F);
  costs_[state] = 0;
  rates_.clear();
  offsets_.assign(1, 0);
}

void Search::add(int rate, float x, float weight) {
  const size_t offset = offsets_.back(), groups = size_t{1} << (window_ - rate);
  if (from_.size() < offset + groups) from_.resize(std::max(2 * from_.size(), offset + groups));
  kernels().step({window_, rate, search_values(window_), x, weight}, costs_.data(), next_.data(),
                 merged_.data(), from_.data() + offset);
  costs_.swap(next_);
  rates_.push_back(static_cast<uint8_t>(rate));
  offsets_.push_back(offset + groups);
}

uint32_t Search::end(size_t kept, uint8_t* codes, float* values) {
  auto state = static_cast<uint32_t>(std::min_element(costs_.begin(), costs_.end()) - costs_.begin());
  uint32_t last = state;
  for (size_t i = rates_.size(); i-- > 0;) {
    const int rate = rates_[i];
    const uint32_t group = state >> rate;
    if (i + 1 == kept) last = state;
    if (i < kept) {
      codes[i] = static_cast<uint8_t>(state & ((1U << rate) - 1));
      values[i] = search_values(window_)[state];
    }
    state = (static_cast<uint32_t>(from_[offsets_[i] + group]) << (window_ - rate)) | group;
  }
  return last;
}

}  // namespace lissom::trellis
