#pragma once
// What the scalar-grid codecs share: a block is one or more sub-blocks, and each weight of a sub-block reads
// back as ŵ = scale · level(code) + offset. The types of GGUF differ in how scale and offset are stored, how
// wide a code is and where the bits lie; the first two are data (GridSpec), the last is each codec's own
// folder.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/half.h"
#include "lissom/codec.h"

namespace lissom {

/// A block's parameters as the file holds them, each in a member of its own: what BlockGrid::stored carries.
struct GridParams {
  uint16_t d = 0, m = 0;  ///< f16: scale, and offset or scale of the minima
  int8_t scale[BlockGrid::kMaxSub] = {};
  int8_t min[BlockGrid::kMaxSub] = {};
};
static_assert(sizeof(GridParams) <= sizeof(BlockGrid::stored));

/// How GridParams become each sub-block's scale and offset.
enum class GridKind {
  scale,          ///< d, 0
  scale_offset,   ///< d, m
  sub_scale,      ///< d · scale[j], 0
  sub_scale_min,  ///< d · scale[j], -(m · min[j])
  listed_scale,   ///< scale_of(scale[j]), 0: a small float or a power of two in one byte
};

struct GridSpec {
  GridKind kind;
  int block, sub;             ///< weights of a block and of a sub-block
  int low, high;              ///< codes; for a linear grid the code is the level
  int scale_low, scale_high;  ///< range of scale[j]
  int min_high;               ///< min[j] lies in 0 … min_high
  const int8_t* levels;       ///< level of each code 0 … 15, ascending; null where level(code) = code
  int max_level;              ///< largest |level|
  float (*scale_of)(uint8_t) = nullptr;  ///< listed_scale: ascending over scale_low … scale_high
  bool e2m1 = false;                     ///< levels are those of a four-bit float, twice its value

  [[nodiscard]] constexpr int subs() const { return block / sub; }
  [[nodiscard]] constexpr bool has_offset() const {
    return kind == GridKind::scale_offset || kind == GridKind::sub_scale_min;
  }
};

/// Part of a sub-block's range that a candidate leaves out below and above.
struct Shrink {
  float low, high;
};

/// How far the search for a block's parameters goes.
struct SearchPlan {
  std::vector<float> positions;        ///< without offset: where on the level axis the largest weight is tried
  std::vector<float> nearby;           ///< then: multiples of the best scale's inverse
  std::vector<Shrink> shrinks;         ///< with offset: ranges that are tried
  std::vector<Shrink> nearby_shrinks;  ///< then: changes of the best range
  std::vector<float> divisors;  ///< super-block scale: the largest ideal scale over these; a multiple of 16
  std::vector<float> minimum_divisors;  ///< the same for the minima
  float plain_position = 1;             ///< where the plain choice puts the largest weight
  int refits = 0;                       ///< rounds of refitting to the codes and rounding again
  int reach = 0;                        ///< how far a sub-block's stored scale is moved in each round
};
[[nodiscard]] SearchPlan make_search_plan(const GridSpec& spec, bool weighted);

/// Each sub-block's scale and offset from the stored form.
inline void expand_scales(const GridSpec& spec, const GridParams& params, float* scale, float* offset) {
  const float d = half_to_float(params.d), m = half_to_float(params.m);
  const bool subs = spec.kind == GridKind::sub_scale || spec.kind == GridKind::sub_scale_min;
  for (int j = 0; j < spec.subs(); ++j) {
    scale[j] = subs ? d * static_cast<float>(params.scale[j]) : d;
    if (spec.kind == GridKind::listed_scale) scale[j] = spec.scale_of(static_cast<uint8_t>(params.scale[j]));
    offset[j] = 0;
    if (spec.kind == GridKind::scale_offset) offset[j] = m;
    if (spec.kind == GridKind::sub_scale_min) offset[j] = -(m * static_cast<float>(params.min[j]));
  }
}

/// Sets scale[], offset[] and stored from the stored form.
void expand_grid(const GridSpec& spec, const GridParams& params, BlockGrid& grid);

[[nodiscard]] inline GridParams grid_params(const BlockGrid& grid) {
  GridParams params;
  std::memcpy(&params, grid.stored.data(), sizeof params);
  return params;
}

/// Everything of a scalar-grid codec but the place of its bits.
class GridCodec : public BlockCodec {
 public:
  explicit GridCodec(const GridSpec& spec)
      : spec_(spec), plain_(make_search_plan(spec, false)), weighted_(make_search_plan(spec, true)) {}
  [[nodiscard]] const GridSpec& spec() const { return spec_; }
  [[nodiscard]] const SearchPlan& plan(bool weighted) const { return weighted ? weighted_ : plain_; }

  [[nodiscard]] int block_weights() const override { return spec_.block; }
  void choose(const float* w, const float* importance, BlockGrid& grid) const override;
  void choose_blocks(const float* w, const float* importance, int64_t importance_blocks, int64_t n_blocks,
                     BlockGrid* grids) const override;
  void round(const BlockGrid& grid, int first, int count, const float* w, const float* importance,
             int8_t* codes) const override;
  void values(const BlockGrid& grid, int first, int count, const int8_t* codes, float* w) const override;

 protected:
  /// The search alone: the stored parameters of consecutive blocks.
  void search_params(const float* w, const float* importance, int64_t importance_blocks, int64_t n_blocks,
                     GridParams* params) const;
  /// round() for whole consecutive blocks.
  void round_params(const GridParams* params, int64_t n_blocks, const float* w, int8_t* codes) const;

 private:
  GridSpec spec_;
  SearchPlan plain_, weighted_;
};

/// Layout gives: Block, kSpec, kName, kInterval; get_params/set_params and get_codes/set_codes between a Block
/// and its GridParams and codes.
template <class Layout>
class GridCodecOf : public GridCodec {
 public:
  using Block = typename Layout::Block;
  GridCodecOf() : GridCodec(Layout::kSpec) {}
  [[nodiscard]] std::string_view name() const override { return Layout::kName; }
  [[nodiscard]] ErrorInterval error_interval() const override { return Layout::kInterval; }
  [[nodiscard]] int block_bytes() const override { return sizeof(Block); }

  void pack(const BlockGrid& grid, const int8_t* codes, std::byte* out) const override {
    Block block;
    Layout::set_params(grid_params(grid), block);
    Layout::set_codes(codes, block);
    std::memcpy(out, &block, sizeof block);
  }
  void unpack(const std::byte* in, BlockGrid& grid, int8_t* codes) const override {
    Block block;
    std::memcpy(&block, in, sizeof block);
    GridParams params;
    Layout::get_params(block, params);
    expand_grid(Layout::kSpec, params, grid);
    Layout::get_codes(block, codes);
  }
  void encode_blocks(const float* w, const float* importance, int64_t importance_blocks, int64_t n_blocks,
                     std::byte* out) const override {
    constexpr int64_t kBatch = 256;  // small enough for the codes to stay in cache
    constexpr int kBlock = Layout::kSpec.block;
    std::vector<GridParams> params(static_cast<size_t>(n_blocks));
    search_params(w, importance, importance_blocks, n_blocks, params.data());
    std::vector<int8_t> codes(static_cast<size_t>(std::min(kBatch, n_blocks) * kBlock));
    for (int64_t first = 0; first < n_blocks; first += kBatch) {
      const int64_t count = std::min(kBatch, n_blocks - first);
      round_params(params.data() + first, count, w + first * kBlock, codes.data());
      for (int64_t b = 0; b < count; ++b) {
        Block block;
        Layout::set_params(params[static_cast<size_t>(first + b)], block);
        Layout::set_codes(codes.data() + b * kBlock, block);
        std::memcpy(out + static_cast<size_t>(first + b) * sizeof block, &block, sizeof block);
      }
    }
  }
  /// values() of each block, with the layout known to the compiler.
  void decode_blocks(const std::byte* blocks, int64_t n_blocks, float* out) const override {
    constexpr GridSpec kSpec = Layout::kSpec;
    float scale[kSpec.subs()], offset[kSpec.subs()];
    int8_t codes[kSpec.block];
    for (int64_t b = 0; b < n_blocks; ++b, out += kSpec.block) {
      Block block;
      std::memcpy(&block, blocks + static_cast<size_t>(b) * sizeof block, sizeof block);
      GridParams params;
      Layout::get_params(block, params);
      expand_scales(kSpec, params, scale, offset);
      Layout::get_codes(block, codes);
      for (int j = 0; j < kSpec.subs(); ++j) {
        for (int i = j * kSpec.sub; i < (j + 1) * kSpec.sub; ++i) {
          const auto level = static_cast<float>(kSpec.levels != nullptr ? kSpec.levels[codes[i]] : codes[i]);
          out[i] = scale[j] * level;
          if (kSpec.has_offset()) out[i] += offset[j];
        }
      }
    }
  }
};

}  // namespace lissom
