#pragma once
// Matrices whose rows are cut into groups of columns with a scale each, and for whole numbers a zero point that
// is a whole number itself: what the checkpoints of vLLM and transformers hold (compressed-tensors, GPTQ, AWQ).
// GGUF's codecs put scales between the codes; here each kind lies in a tensor of its own. This file chooses the
// values, src/format packs them.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace lissom {

enum class GroupElement { integer, e4m3, e2m1 };
/// How a scale is stored. e4m3: divided by one F32 of the whole matrix; e8m0: a power of two.
enum class GroupScale { f32, f16, bf16, e4m3, e8m0 };

struct GroupSpec {
  GroupElement element = GroupElement::integer;
  int bits = 4;           ///< 2, 3, 4 or 8; of e4m3 8, of e2m1 4
  int64_t group = 128;    ///< columns; 0: the whole row
  bool symmetric = true;  ///< integer: every zero point is 2^(bits-1)
  GroupScale scale = GroupScale::f16;
  /// A scale may be negative, so that the one level more below zero serves the largest weight of either sign.
  bool signed_scale = false;
  int lowest_zero = 0;  ///< smallest zero point that is chosen

  [[nodiscard]] int64_t columns_of_group(int64_t cols) const { return group > 0 ? group : cols; }
  bool operator==(const GroupSpec&) const = default;
};

/// "INT4 g128", "INT8", "E4M3", "E2M1 g16": for reports.
[[nodiscard]] std::string group_spec_name(const GroupSpec& spec);
/// Stored bits of a scale.
[[nodiscard]] int group_scale_bits(GroupScale scale);
/// The nearest scale that can be stored.
[[nodiscard]] float stored_scale(GroupScale scale, float value);

/// ŵ = (code - zero) · scale for whole numbers, value(code) · scale / global_scale for floats; in F32.
struct GroupMatrix {
  GroupSpec spec;
  int64_t rows = 0, cols = 0;
  std::vector<uint8_t> codes;     ///< rows × cols; integer: 0 … 2^bits - 1; else the float's bits
  std::vector<float> scales;      ///< rows × groups()
  std::vector<uint8_t> zeros;     ///< rows × groups(); floats have none
  float global_scale = 1;         ///< of GroupScale::e4m3
  std::vector<int32_t> group_of;  ///< of each column, below groups(); empty: in order

  [[nodiscard]] int64_t groups() const {
    const int64_t of = spec.columns_of_group(cols);
    return (cols + of - 1) / of;
  }
  void decode_row(int64_t row, float* out) const;
};
/// Sized, with all codes and scales 0 and symmetric zero points.
[[nodiscard]] GroupMatrix make_group_matrix(const GroupSpec& spec, int64_t rows, int64_t cols);

/// The global scale with which the largest weight gets the largest scale and the largest level.
[[nodiscard]] float e4m3_global_scale(float largest);

/// Chooses scales, zero points and codes for rows first … first + count, whose weights begin at w: minimises
/// Σ importance·(w-ŵ)² with the scales as they are stored. Columns divide by the group; weights are finite and
/// at most 65504. importance: cols values ≥ 0, or empty. Rows are independent, so that threads may share a
/// matrix, and every instruction set gives the same bytes. Needs global_scale.
void encode_group_rows(const float* w, std::span<const float> importance, int64_t first, int64_t count,
                       GroupMatrix& to);

}  // namespace lissom
