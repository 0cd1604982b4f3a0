#pragma once
// What the vector codebooks share (IQ1, IQ2, IQ3): a block of 256 weights has sub-blocks of 16 or 32 with a
// scale d · factor · (2s + 1); within one, each four or eight weights are a point of a grid, given by its
// number. IQ2 and IQ3 keep the magnitudes there and the signs apart: a bit for each weight, or seven bits for
// eight weights whose number of minus signs is even. IQ1's points are signed, and a shift of ±1/8 is added to
// all of a sub-block's or of eight weights' levels. A codec's own folder says only where the bits lie.
//
// Codes are signed levels: the magnitudes below, or for IQ1 eight times the level with its shift (±1, ±7, ±9).

#include <cstdint>
#include <cstring>
#include <mutex>
#include <string_view>
#include <vector>

#include "lissom/codec.h"

namespace lissom {

extern const uint64_t kIq2XxsPoints[103], kIq2XsPoints[103], kIq2SPoints[103], kIq1Points[103];
extern const uint64_t kIq3XxsPoints[64], kIq3SPoints[64];

enum class SignBits { none, even, free };
enum class ShiftBits { none, sub, eight };

struct CodebookSpec {
  std::string_view name;
  int block_bytes;
  ErrorInterval interval;
  int sub;          ///< weights that share a scale: 16 or 32
  int dims;         ///< weights of a point: 4 or 8
  int base;         ///< levels: 3 or 8
  int points;       ///< of the grid
  int max_s;        ///< s lies in 0 … max_s
  float factor;     ///< a power of two
  float levels[8];  ///< ascending; of IQ1 with the shift +1/8, the negated ones belong to the other
  const uint64_t* set;
  SignBits signs;
  ShiftBits shifts;
  /// The search: levels that a sub-block's largest weight is put on, as multiples of the highest.
  float first_position, last_position;
  int positions;

  [[nodiscard]] constexpr int subs() const { return 256 / sub; }
};

/// A block's parameters as the file holds them: what BlockGrid::stored carries.
struct CodebookParams {
  uint16_t d = 0;        ///< f16
  uint8_t negative = 0;  ///< ShiftBits::sub: bit j says that sub-block j's shift is -1/8
  uint8_t s[16] = {};
};

/// A block's points, in order, with a byte for each eight weights: bit i says that weight i is negative;
/// with ShiftBits::eight, 1 where the shift is -1/8.
struct CodebookCodes {
  uint16_t point[64] = {};
  uint8_t signs[32] = {};
};

/// A point's levels, four bits each from the first on: a place among the levels.
using PointWord = uint32_t;

/// A grid made ready for use: built once, at the first use of the codec; what only rounding needs, when it is
/// needed.
class Codebook {
 public:
  explicit Codebook(const CodebookSpec& spec);
  static constexpr int kNearest = 24;  ///< candidates of each number
  /// Of each number (any combination of levels) the nearest points of the grid, the nearest first.
  [[nodiscard]] const PointWord* nearest() const;
  [[nodiscard]] PointWord word(int point) const { return words_[static_cast<size_t>(point)]; }
  /// The place in the grid of the point with these levels.
  [[nodiscard]] uint16_t find(PointWord word) const;

 private:
  void find_nearest() const;
  int dims_, base_;
  std::vector<PointWord> words_;
  std::vector<uint16_t> place_;  ///< by number
  mutable std::once_flag once_;
  mutable std::vector<PointWord> nearest_;
};

class CodebookCodec : public BlockCodec {
 public:
  explicit CodebookCodec(const CodebookSpec& spec) : spec_(spec) {}
  [[nodiscard]] const CodebookSpec& spec() const { return spec_; }
  [[nodiscard]] const Codebook& codebook() const;

  [[nodiscard]] std::string_view name() const override { return spec_.name; }
  [[nodiscard]] ErrorInterval error_interval() const override { return spec_.interval; }
  [[nodiscard]] int block_weights() const override { return 256; }
  [[nodiscard]] int block_bytes() const override { return spec_.block_bytes; }
  [[nodiscard]] int round_width() const override { return 8; }
  void choose(const float* w, const float* importance, BlockGrid& grid) const override;
  void choose_blocks(const float* w, const float* importance, int64_t importance_blocks, int64_t n_blocks,
                     BlockGrid* grids) const override;
  void round(const BlockGrid& grid, int first, int count, const float* w, const float* importance,
             int8_t* codes) const override;
  void values(const BlockGrid& grid, int first, int count, const int8_t* codes, float* w) const override;
  void pack(const BlockGrid& grid, const int8_t* codes, std::byte* block) const override;
  void unpack(const std::byte* block, BlockGrid& grid, int8_t* codes) const override;
  void decode_blocks(const std::byte* blocks, int64_t n_blocks, float* out) const override;

 protected:
  virtual void set_block(const CodebookParams& params, const CodebookCodes& codes, std::byte* block) const = 0;
  virtual void get_block(const std::byte* block, CodebookParams& params, CodebookCodes& codes) const = 0;

 private:
  /// Each point's levels, a byte each, as they are and with the other shift.
  struct Levels {
    std::vector<uint64_t> plain, shifted;
  };
  [[nodiscard]] const Levels& levels() const;

  CodebookSpec spec_;
  mutable std::once_flag once_, levels_once_;
  mutable const Codebook* book_ = nullptr;
  mutable Levels levels_;
};

/// Layout gives: Block, kSpec, get and set between a Block and its parameters and codes.
template <class Layout>
class CodebookCodecOf final : public CodebookCodec {
 public:
  using Block = typename Layout::Block;
  static_assert(sizeof(Block) == Layout::kSpec.block_bytes);
  CodebookCodecOf() : CodebookCodec(Layout::kSpec) {}

 protected:
  void set_block(const CodebookParams& params, const CodebookCodes& codes, std::byte* out) const override {
    Block block{};
    Layout::set(params, codes, block);
    std::memcpy(out, &block, sizeof block);
  }
  void get_block(const std::byte* in, CodebookParams& params, CodebookCodes& codes) const override {
    Block block;
    std::memcpy(&block, in, sizeof block);
    Layout::get(block, params, codes);
  }
};

/// The eighth sign of SignBits::even makes the number of minus signs even.
inline uint8_t with_eighth_sign(unsigned seven) {
  return static_cast<uint8_t>(seven | static_cast<unsigned>(__builtin_parity(seven)) << 7);
}

}  // namespace lissom
