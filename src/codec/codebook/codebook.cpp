#include "codec/codebook/codebook.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>

#include "base/bits.h"
#include "base/half.h"
#include "codec/codebook/target.h"
#include "codec/search/search.h"

namespace lissom {
namespace {

int power(int base, int exponent) {
  int result = 1;
  for (int i = 0; i < exponent; ++i) result *= base;
  return result;
}

PointWord word_of(int number, int base, int dims) {
  PointWord word = 0;
  for (int i = 0; i < dims; ++i, number /= base) word |= static_cast<PointWord>(number % base) << (4 * i);
  return word;
}

int number_of(PointWord word, int base, int dims) {
  int number = 0;
  for (int i = dims - 1; i >= 0; --i) number = number * base + static_cast<int>(word >> (4 * i) & 15U);
  return number;
}

/// Squared distances, in levels, between any two halves of a point.
std::vector<uint8_t> half_distances(int base, int dims) {
  const auto count = static_cast<size_t>(power(base, dims / 2));
  std::vector<uint8_t> table(count * count);
  for (size_t a = 0; a < count; ++a)
    for (size_t b = 0; b < count; ++b) {
      int sum = 0;
      for (int x = static_cast<int>(a), y = static_cast<int>(b), i = 0; i < dims / 2; ++i, x /= base, y /= base)
        sum += (x % base - y % base) * (x % base - y % base);
      table[a * count + b] = static_cast<uint8_t>(sum);
    }
  return table;
}

/// The parameters' effective scales, and themselves, into a grid.
void expand(const CodebookSpec& spec, const CodebookParams& params, BlockGrid& grid) {
  static_assert(sizeof params <= sizeof grid.stored);
  std::memcpy(grid.stored.data(), &params, sizeof params);
  const float d = half_to_float(params.d) * spec.factor;
  for (size_t j = 0; j < static_cast<size_t>(spec.subs()); ++j)
    grid.scale[j] = d * static_cast<float>(2 * params.s[j] + 1);
}

CodebookParams stored_params(const BlockGrid& grid) {
  CodebookParams params;
  std::memcpy(&params, grid.stored.data(), sizeof params);
  return params;
}

/// Importances of eight weights brought to at most 1; where all are 0, to 1.
void normalise_eight(const float* importance, float* v) {
  const float most = *std::max_element(importance, importance + 8);
  for (int i = 0; i < 8; ++i) v[i] = most > 0 ? importance[i] / most : 1.0F;
}

CodebookTarget codebook_target([[maybe_unused]] Target target) {
#if defined(__x86_64__)
  if (target == Target::avx512) return avx512_codebook_target();
  if (target == Target::avx2) return avx2_codebook_target();
#elif defined(__aarch64__)
  if (target != Target::scalar) {
    CodebookTarget neon = neon_codebook_target();
    neon.target = target;  // integer dot products are of no use here
    return neon;
  }
#endif
  return portable_codebook_target();
}

}  // namespace

Codebook::Codebook(const CodebookSpec& spec) : dims_(spec.dims), base_(spec.base) {
  const int numbers = power(base_, dims_);
  place_.assign(static_cast<size_t>(numbers), UINT16_MAX);
  for (int n = 0; n < numbers; ++n)
    if (spec.set[n / 64] >> (n % 64) & 1U) {
      place_[static_cast<size_t>(n)] = static_cast<uint16_t>(words_.size());
      words_.push_back(word_of(n, base_, dims_));
    }
  assert(static_cast<int>(words_.size()) == spec.points);
}

const PointWord* Codebook::nearest() const {
  std::call_once(once_, [this] { find_nearest(); });
  return nearest_.data();
}

void Codebook::find_nearest() const {
  const int numbers = power(base_, dims_), half = power(base_, dims_ / 2);
  const std::vector<uint8_t> distance = half_distances(base_, dims_);
  std::vector<int> points;
  for (const PointWord word : words_) points.push_back(number_of(word, base_, dims_));
  nearest_.resize(static_cast<size_t>(numbers) * kNearest);
  std::vector<uint32_t> order(points.size());  // distance and place
  for (int n = 0; n < numbers; ++n) {
    const uint8_t* low = distance.data() + n % half * half;
    const uint8_t* high = distance.data() + n / half * half;
    for (size_t p = 0; p < points.size(); ++p)
      order[p] = static_cast<uint32_t>(low[points[p] % half] + high[points[p] / half]) << 16 |
                 static_cast<uint32_t>(p);
    std::nth_element(order.begin(), order.begin() + kNearest, order.end());
    std::sort(order.begin(), order.begin() + kNearest);
    for (size_t k = 0; k < kNearest; ++k)
      nearest_[static_cast<size_t>(n) * kNearest + k] = words_[order[k] & 0xffffU];
  }
}

uint16_t Codebook::find(PointWord word) const {
  const uint16_t place = place_[static_cast<size_t>(number_of(word, base_, dims_))];
  assert(place != UINT16_MAX);
  return place;
}

const Codebook& CodebookCodec::codebook() const {
  std::call_once(once_, [this] {
    // Types with the same grid share it.
    static std::mutex mutex;
    static std::map<const uint64_t*, std::unique_ptr<Codebook>> made;
    const std::lock_guard lock(mutex);
    std::unique_ptr<Codebook>& book = made[spec_.set];
    if (book == nullptr) book = std::make_unique<Codebook>(spec_);
    book_ = book.get();
  });
  return *book_;
}

void CodebookCodec::choose(const float* w, const float* importance, BlockGrid& grid) const {
  choose_blocks(w, importance, 1, 1, &grid);
}

void CodebookCodec::choose_blocks(const float* w, const float* importance, int64_t importance_blocks,
                                  int64_t n_blocks, BlockGrid* grids) const {
  std::vector<float> normal;
  if (importance != nullptr) {
    const GridSpec blocks{GridKind::sub_scale, 256, spec_.sub, 0, 0, 0, 0, 0, nullptr, 0};
    normal.resize(static_cast<size_t>(importance_blocks * 256));
    normalise_importance(blocks, importance, importance_blocks, normal.data());
  }
  std::vector<CodebookParams> params(static_cast<size_t>(n_blocks));
  active_codebook_target().search(spec_, codebook(), w, importance != nullptr ? normal.data() : nullptr,
                                  importance_blocks, n_blocks, params.data());
  for (int64_t b = 0; b < n_blocks; ++b) expand(spec_, params[static_cast<size_t>(b)], grids[b]);
}

void CodebookCodec::round(const BlockGrid& grid, int first, int count, const float* w, const float* importance,
                          int8_t* codes) const {
  const CodebookParams params = stored_params(grid);
  float scale[32], v[256];
  uint8_t shift[32];
  const int octets = count / 8;
  for (int o = 0; o < octets; ++o) {
    const int sub = (first + 8 * o) / spec_.sub;
    scale[o] = grid.scale[static_cast<size_t>(sub)];
    shift[o] = params.negative >> (sub & 7) & 1U;
    if (importance != nullptr) normalise_eight(importance + 8 * o, v + 8 * o);
  }
  if (importance == nullptr) std::fill_n(v, count, 1.0F);
  active_codebook_target().round(spec_, codebook(), octets, scale, shift, w, v, codes);
}

void CodebookCodec::values(const BlockGrid& grid, int first, int count, const int8_t* codes, float* w) const {
  for (int i = 0; i < count; ++i)
    w[i] = grid.scale[static_cast<size_t>((first + i) / spec_.sub)] * static_cast<float>(codes[i]);
}

void CodebookCodec::pack(const BlockGrid& grid, const int8_t* codes, std::byte* block) const {
  const Codebook& book = codebook();
  // A signed level's place among the levels; the other shift's are the negated ones in reverse.
  const auto place = [this](int level) {
    int i = 0;
    while (i < spec_.base - 1 && spec_.levels[i] != static_cast<float>(level)) ++i;
    return static_cast<PointWord>(i);
  };
  CodebookCodes out;
  for (int o = 0; o < 32; ++o) {
    const int8_t* c = codes + 8 * o;
    const bool is_signed = spec_.signs == SignBits::none;
    // With a shift, codes are -7, 1 and 9, or these with the other sign.
    const bool negative = is_signed && (c[0] == 7 || c[0] == -1 || c[0] == -9);
    unsigned signs = 0;
    for (int p = 0; p < 8 / spec_.dims; ++p) {
      PointWord word = 0;
      for (int i = 0; i < spec_.dims; ++i) {
        const int code = c[p * spec_.dims + i];
        if (!is_signed) signs |= static_cast<unsigned>(code < 0) << (p * spec_.dims + i);
        const PointWord at = !is_signed ? place(code < 0 ? -code : code)
                             : negative ? 2 - place(-code)
                                        : place(code);
        word |= at << (4 * i);
      }
      out.point[o * (8 / spec_.dims) + p] = book.find(word);
    }
    out.signs[o] = is_signed ? static_cast<uint8_t>(negative) : static_cast<uint8_t>(signs);
  }
  set_block(stored_params(grid), out, block);
}

const CodebookCodec::Levels& CodebookCodec::levels() const {
  std::call_once(levels_once_, [this] {
    // The other shift's levels are the negated ones in reverse.
    for (int point = 0; point < spec_.points; ++point) {
      uint64_t plain = 0, shifted = 0;
      for (int i = 0; i < spec_.dims; ++i) {
        const int at = static_cast<int>(codebook().word(point) >> (4 * i) & 15U);
        const auto byte = [i](float level) {
          return static_cast<uint64_t>(static_cast<uint8_t>(static_cast<int8_t>(level))) << (8 * i);
        };
        plain |= byte(spec_.levels[at]);
        if (spec_.shifts != ShiftBits::none) shifted |= byte(-spec_.levels[2 - at]);
      }
      levels_.plain.push_back(plain);
      levels_.shifted.push_back(shifted);
    }
  });
  return levels_;
}

void CodebookCodec::unpack(const std::byte* block, BlockGrid& grid, int8_t* codes) const {
  const Levels& of = levels();
  CodebookParams params;
  CodebookCodes in;
  get_block(block, params, in);
  expand(spec_, params, grid);
  for (int o = 0; o < 32; ++o) {
    bool shifted = false;
    if (spec_.shifts == ShiftBits::sub) shifted = params.negative >> (8 * o / spec_.sub) & 1U;
    if (spec_.shifts == ShiftBits::eight) shifted = in.signs[o] != 0;
    const std::vector<uint64_t>& points = shifted ? of.shifted : of.plain;
    uint64_t eight =
        spec_.dims == 8 ? points[in.point[o]] : points[in.point[2 * o]] | points[in.point[2 * o + 1]] << 32;
    if (spec_.signs != SignBits::none) {
      const uint64_t minus = bytes_of_bits(in.signs[o]);
      eight = (eight ^ minus * 255) + minus;  // magnitudes are not 0, so no byte carries
    }
    std::memcpy(codes + 8 * o, &eight, 8);
  }
}

void CodebookCodec::decode_blocks(const std::byte* blocks, int64_t n_blocks, float* out) const {
  BlockGrid grid;
  int8_t codes[256];
  for (int64_t b = 0; b < n_blocks; ++b) {
    unpack(blocks + b * spec_.block_bytes, grid, codes);
    values(grid, 0, 256, codes, out + b * 256);
  }
}

std::span<const CodebookTarget> codebook_targets() {
  static const std::vector<CodebookTarget> targets = [] {
    std::vector<CodebookTarget> list;
    for (const Target target : supported_targets()) list.push_back(codebook_target(target));
    return list;
  }();
  return targets;
}

const CodebookTarget& active_codebook_target() {
  static const CodebookTarget active = codebook_target(active_target().value_or(supported_targets().front()));
  return active;
}

}  // namespace lissom
