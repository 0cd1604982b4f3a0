#pragma once
// What the codecs of small whole numbers share: the fit of one group, and a codec of groups that its options
// turn into int4_awq_v1, int4_g8_fp16_v1, int4_ultimate_v1 and int4_hybrid_v2.
//
// Layout, the parts that the options leave out missing:
//   codes          U8  [rows, bytes]   group after group; 8, 4 or 2 bits a weight, the first in the lowest bits
//   scales         F16 [rows, groups]
//   offsets        F16 [rows, groups]
//   columns        F16 [cols]          what a column was divided by before its groups were fitted
//   group_bits     U8  [groups]        8, 4 or 2, the same for all rows; a short last group has 4
//   outlier_index  U16 [rows, n]       columns, ascending (U32 where there are more than 65,536); n = 0.5% of
//   cols outliers       F16 [rows, n]       the weights there
// ŵ = (scale · code + offset) · column; without offsets scale · (code - 2^(bits-1)), where scales have a sign.

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/half.h"
#include "codec/feedback.h"
#include "codec/parts.h"
#include "lissom/codec.h"

namespace lissom::int4 {

[[nodiscard]] inline float load_half(std::span<const std::byte> part, size_t i) {
  return half_to_float(load<uint16_t>(part, i));
}
/// `size` bytes an element.
[[nodiscard]] Component component(const char* suffix, const char* type, const Shape& shape, int64_t size);
/// cols values: importance over its mean, with a floor of a hundredth, since no text shows every input; 1
/// where there is none.
[[nodiscard]] std::vector<float> relative_importance(std::span<const float> importance, int64_t cols);

/// Bits and parameters of one group, as stored.
struct Fit {
  uint16_t scale = 0, offset = 0;
  double error = 0;  ///< Σ v·(w-ŵ)²
};
/// Minimises Σ v·(w-ŵ)² over `n` weights: candidate ranges, each refined by `rounds` of rounding and least
/// squares. Weights of importance 0 are rounded but do not count. codes: 0 … 2^bits - 1.
Fit fit_group(const float* w, const float* v, size_t n, int bits, bool with_offset, int rounds, uint8_t* codes);

/// A group's levels.
struct Line {
  float scale, offset;
  [[nodiscard]] float at(uint8_t code) const { return scale * static_cast<float>(code) + offset; }
};
[[nodiscard]] Line line_of(const Fit& fit, int bits, bool with_offset);
/// The nearest level: 0 … 2^bits - 1.
uint8_t code_of(const Line& line, float w, int bits);

struct Options {
  const char* family;  ///< name without parameters
  int64_t group;
  bool offsets = false;
  bool awq = false;       ///< columns divided by importance^alpha, alpha by search
  bool outliers = false;  ///< 0.5% of every row apart
  int rounds = 5;
  /// Of eight groups so many have 8 bits (the most sensitive) and 2 bits (the least).
  int eights = 0, twos = 0;
  ErrorInterval interval;
};

class GroupsCodec final : public Codec, public FeedbackCodec, public PartsCheck {
 public:
  /// name: in full, parameters included.
  GroupsCodec(std::string name, const Options& options) : name_(std::move(name)), options_(options) {}
  [[nodiscard]] std::string_view name() const override { return name_; }
  [[nodiscard]] int64_t column_multiple() const override { return 8; }
  [[nodiscard]] ErrorInterval error_interval() const override { return options_.interval; }
  [[nodiscard]] float max_magnitude() const override { return 65504.0F; }
  [[nodiscard]] std::vector<Component> components(const Shape& shape) const override;
  void encode(const Shape& shape, std::span<const float> weights, std::span<const float> importance,
              std::span<const std::span<std::byte>> parts) const override;
  void encode_fed(const Shape& shape, std::span<const float> weights, const ColumnFeedback& feedback,
                  std::span<const std::span<std::byte>> parts) const override;
  void decode_rows(const Shape& shape, std::span<const std::span<const std::byte>> parts, int64_t first,
                   int64_t count, float* out) const override;
  [[nodiscard]] Result<void> check_parts(const Shape& shape,
                                         std::span<const std::span<const std::byte>> parts) const override;

 private:
  struct Layout;
  struct Work;
  struct Row;
  [[nodiscard]] Layout layout(const Shape& shape) const;
  [[nodiscard]] std::vector<uint8_t> choose_bits(const Layout& at, const Work& work) const;
  void choose_columns(const Layout& at, Work& work) const;
  void encode_as(const Shape& shape, std::span<const float> weights, std::span<const float> importance,
                 const ColumnFeedback* feedback, std::span<const std::span<std::byte>> parts) const;
  [[nodiscard]] Row fit_row(const Layout& at, const Work& work, int64_t row) const;
  static void store_row(const Layout& at, const Row& row, int64_t index, std::span<const uint8_t> group_bits,
                        std::span<const std::span<std::byte>> parts);

  std::string name_;
  Options options_;
};

}  // namespace lissom::int4
