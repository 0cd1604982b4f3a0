#pragma once
// A codec turns rows of weights into bytes and back. It knows nothing of models, files or algorithms: an
// algorithm (round to nearest, importance-weighted search, error feedback) decides which values to ask for,
// through the steps that a codec publishes here.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lissom/result.h"
#include "lissom/tensor.h"

namespace lissom {

/// A stored part of an encoded tensor. GGUF block codecs have one, with an empty suffix; codecs of lissom's own
/// may have several ("scales", "codes", "codebook", "outliers"), each a plain tensor in the file.
struct Component {
  std::string suffix;
  std::string type;  ///< plain type of the stored tensor: "U8", "F16", "I8", …
  Shape shape;
  uint64_t bytes = 0;
};

/// Bounds on sqrt(mean((w-ŵ)²) / mean(w²)) for Gaussian weights of deviation 0.02, encoded without importance.
/// Too good fails a test as surely as too bad: it means that the test or the accounting is wrong.
struct ErrorInterval {
  double low = 0, high = 0;
};

class Codec {
 public:
  virtual ~Codec() = default;
  /// The versioned name on disk and in schemes, e.g. "Q4_K".
  [[nodiscard]] virtual std::string_view name() const = 0;
  /// Columns must be a multiple of this.
  [[nodiscard]] virtual int64_t column_multiple() const = 0;
  /// The parts that a tensor of this shape is stored in.
  [[nodiscard]] virtual std::vector<Component> components(const Shape& shape) const = 0;
  [[nodiscard]] virtual ErrorInterval error_interval() const = 0;
  /// Largest |w| that the codec stores finitely; encode refuses more (F16: 65504).
  [[nodiscard]] virtual float max_magnitude() const = 0;

  /// Encodes a whole tensor into its components, in order; `parts[i]` has components(shape)[i].bytes bytes.
  /// weights: rows × cols; importance: cols values ≥ 0 (the mean square of each input), or empty.
  /// Weights are finite and within max_magnitude(): encode_checked() below sees to it.
  virtual void encode(const Shape& shape, std::span<const float> weights, std::span<const float> importance,
                      std::span<const std::span<std::byte>> parts) const = 0;
  /// Decodes `count` rows from `first` into out (count × cols).
  virtual void decode_rows(const Shape& shape, std::span<const std::span<const std::byte>> parts, int64_t first,
                           int64_t count, float* out) const = 0;

  /// Stored bits per weight, everything counted.
  [[nodiscard]] double bits_per_weight(const Shape& shape) const;
};

/// One block's parameters *as the file will hold them* (already rounded to its f16 scales and 6-bit
/// sub-scales).
struct BlockGrid {
  static constexpr int kMaxSub = 16;
  std::array<float, kMaxSub> scale{};   ///< effective scale of each sub-block
  std::array<float, kMaxSub> offset{};  ///< effective offset: ŵ = scale · level(code) + offset
  std::array<uint8_t, 64> stored{};     ///< the codec's own packed form of the above
};

/// A codec of independent blocks of one row: every type of GGUF. The three steps choose → round → pack are
/// public so that error feedback and learned rounding can change the weights between them.
class BlockCodec : public Codec {
 public:
  [[nodiscard]] virtual int block_weights() const = 0;  ///< 1, 32 or 256
  [[nodiscard]] virtual int block_bytes() const = 0;
  /// How many weights are rounded together: 1 for scalar grids, 4 or 8 for vector codebooks.
  [[nodiscard]] virtual int round_width() const { return 1; }

  /// Chooses the block's parameters for these weights: minimises Σ importance·(w-ŵ)². importance:
  /// block_weights() values, or null for 1.
  virtual void choose(const float* w, const float* importance, BlockGrid& grid) const = 0;
  /// Codes for weights first … first+count of the block (multiples of round_width()), nearest on the grid.
  virtual void round(const BlockGrid& grid, int first, int count, const float* w, const float* importance,
                     int8_t* codes) const = 0;
  /// The values that those codes will read back as; bit-equal to decode_blocks() after pack().
  virtual void values(const BlockGrid& grid, int first, int count, const int8_t* codes, float* w) const = 0;
  virtual void pack(const BlockGrid& grid, const int8_t* codes, std::byte* block) const = 0;
  /// The inverse of pack().
  virtual void unpack(const std::byte* block, BlockGrid& grid, int8_t* codes) const = 0;

  virtual void decode_blocks(const std::byte* blocks, int64_t n_blocks, float* out) const = 0;

  /// choose() for consecutive blocks: many at once are far cheaper than one at a time, and come out the same.
  /// importance: the values of `importance_blocks` blocks, used again from the start when they run out (the
  /// blocks of one row serve every row), or null for 1.
  virtual void choose_blocks(const float* w, const float* importance, int64_t importance_blocks,
                             int64_t n_blocks, BlockGrid* grids) const;
  /// choose → round → pack for consecutive blocks; a codec may do it faster, with the same bytes, on every
  /// target.
  virtual void encode_blocks(const float* w, const float* importance, int64_t importance_blocks,
                             int64_t n_blocks, std::byte* out) const;

  [[nodiscard]] int64_t column_multiple() const override { return block_weights(); }
  [[nodiscard]] std::vector<Component> components(const Shape& shape) const override;
  [[nodiscard]] float max_magnitude() const override { return 65504.0F; }
  void encode(const Shape& shape, std::span<const float> weights, std::span<const float> importance,
              std::span<const std::span<std::byte>> parts) const override;
  void decode_rows(const Shape& shape, std::span<const std::span<const std::byte>> parts, int64_t first,
                   int64_t count, float* out) const override;
};

/// All codecs, in the order of src/codec/registry.cpp.
[[nodiscard]] std::span<const Codec* const> codecs();
/// The codec of that name, or null.
[[nodiscard]] const Codec* find_codec(std::string_view name);
/// find_codec(), as a BlockCodec, or null.
[[nodiscard]] const BlockCodec* find_block_codec(std::string_view name);

/// Encodes after checking: columns divide, values are finite and in range, importance fits. Errors name
/// `tensor`.
[[nodiscard]] Result<std::vector<std::vector<std::byte>>> encode_checked(const Codec& codec,
                                                                         std::string_view tensor,
                                                                         const Shape& shape,
                                                                         std::span<const float> weights,
                                                                         std::span<const float> importance);

}  // namespace lissom
