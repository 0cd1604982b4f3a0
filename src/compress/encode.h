#pragma once
// The pass over the weights: rows of consecutive tensors, decoded from their source type, checked, encoded, and
// measured against what was asked, a slab at a time. Every row is encoded on its own, so that neither the
// number of threads nor the size of a slab changes a byte.

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "base/threads.h"
#include "lissom/codec.h"
#include "lissom/compress.h"

namespace lissom {

/// Sums over some weights; importance 1 where there is none.
struct ErrorSums {
  double error = 0, power = 0, weighted_error = 0, weighted_power = 0;
  void add(const ErrorSums& other);
  [[nodiscard]] double relative() const;
  [[nodiscard]] double weighted_relative() const;
};

/// Errors of all rows of a matrix. importance_of: a row's, or null.
[[nodiscard]] ErrorSums measure_rows(const BlockCodec& codec, int64_t rows, std::span<const float> weights,
                                     std::span<const std::byte> bytes,
                                     const std::function<const float*(int64_t row)>& importance_of);

/// Some rows of one tensor, in the slab's buffer.
struct SlabPart {
  size_t entry = 0;  ///< of the plan, and of the source's directory
  int64_t first_row = 0, rows = 0;
  bool last = false;  ///< the tensor ends here
  uint64_t offset = 0, bytes = 0;
  ErrorSums sums;
  std::string source;  ///< of the last part, where wanted: piece_digests() of the tensor that was read
};

struct Slab {
  std::vector<SlabPart> parts;
  std::vector<std::byte> bytes;
};

class Encoder {
 public:
  /// All references live as long as the encoder. `means`: mean square per column, by tensor name. digest:
  /// SlabPart::source is wanted.
  Encoder(const TensorSource& source, const Plan& plan, const std::map<std::string, std::vector<float>>& means,
          ThreadPool& pool, int64_t slab_weights, bool digest);
  /// Starts at this tensor.
  void seek(size_t entry);
  [[nodiscard]] bool done() const { return entry_ >= plan_.entries.size(); }
  /// Encodes the next slab into `slab`, whose memory is used again.
  [[nodiscard]] Result<void> next(Slab& slab);

 private:
  struct Unit;
  struct Outcome;
  [[nodiscard]] Result<void> take(Slab& slab);
  void digest_new();
  [[nodiscard]] std::vector<Unit> units_of(const Slab& slab) const;
  void run(const Unit& unit, Slab& slab, Outcome& outcome, int worker);

  const TensorSource& source_;
  const Plan& plan_;
  const std::map<std::string, std::vector<float>>& means_;
  ThreadPool& pool_;
  int64_t slab_weights_;
  bool digest_;
  size_t entry_ = 0;
  int64_t row_ = 0;
  std::map<size_t, TensorView> views_;         ///< of the tensors in the slab
  std::map<size_t, std::string> pieces_;       ///< of the same tensors
  std::vector<std::vector<float>> decoded_;    ///< per worker: the unit's weights
  std::vector<std::vector<float>> read_back_;  ///< per worker: what the encoded bytes decode to
};

}  // namespace lissom
