// The rotations of fold.h.

#include <cmath>

#include "compress/algorithms/fold/fold.h"
#include "lissom/codec.h"

namespace lissom {
namespace {

class Rotator {
 public:
  Rotator(const Checkpoint& checkpoint, const std::optional<Importance>& importance,
          const RotationOptions& options)
      : checkpoint_(checkpoint), options_(options) {
    rotated_.folded.importance = importance;
  }

  Result<RotatedModel> run() {
    if (options_.heads) rotate_heads();
    if (options_.residual) LISSOM_CHECK(rotate_stream());
    rotated_.folded.checkpoint = checkpoint_;
    rotated_.folded.checkpoint.tensors = transformed(checkpoint_.tensors, transforms_);
    return std::move(rotated_);
  }

 private:
  [[nodiscard]] const Weight& weight(WeightId id) const {
    return checkpoint_.graph.weights[static_cast<size_t>(id)];
  }
  TensorTransform& of(WeightId id) { return transforms_[weight(id).name]; }

  void turn_rows(WeightId id, const std::shared_ptr<const Rotation>& rotation, int64_t first, int64_t count) {
    TensorTransform& t = of(id);
    t.turned_rows = rotation;
    t.first_row = first;
    t.row_count = count;
  }

  void rotate_heads() {
    const FoldPairs found = find_fold_pairs(checkpoint_);
    for (const FoldPair& pair : found.pairs) {
      if (pair.through != FoldPair::Through::attention) continue;
      const auto rotation = std::make_shared<const Rotation>(
          pair.head_dim, options_.seed + static_cast<uint64_t>(rotated_.heads) + 1);
      for (const FoldPair::Part& part : pair.producers)
        turn_rows(part.weight, rotation, part.first, pair.channels);
      for (const WeightId id : pair.consumers) {
        of(id).turned_columns = rotation;
        average(id, pair.head_dim, {});
      }
      ++rotated_.heads;
    }
    for (const FoldPairs::Left& left : found.left)
      if (left.through == FoldPair::Through::attention) rotated_.left.push_back(left.what);
  }

  Result<void> rotate_stream() {
    LISSOM_TRY(const ResidualStream stream, find_residual_stream(checkpoint_));
    const auto rotation = std::make_shared<const Rotation>(stream.width, options_.seed);
    for (const WeightId id : stream.tables) of(id).turned_columns = rotation;
    for (const WeightId id : stream.writers) turn_rows(id, rotation, 0, stream.width);
    for (const WeightId id : stream.biases) turn_rows(id, rotation, 0, stream.width);
    for (const ResidualStream::Reader& reader : stream.readers) {
      LISSOM_TRY(const std::vector<float> norm, values_of(reader.norm));
      TensorTransform& t = of(reader.weight);
      t.columns = norm;
      t.turned_columns = rotation;
      of(reader.norm).fill = 1.0F;
      average(reader.weight, stream.width, norm);
    }
    rotated_.residual = true;
    return {};
  }

  Result<std::vector<float>> values_of(WeightId id) const {
    const auto index = static_cast<size_t>(checkpoint_.tensors->find(weight(id).name));
    LISSOM_TRY(const TensorView view, checkpoint_.tensors->read(index));
    std::vector<float> out(static_cast<size_t>(view.info.shape.elements()));
    const std::span<const std::byte> bytes[] = {view.data};
    find_codec(view.info.type)->decode_rows(view.info.shape, bytes, 0, view.info.shape.rows(), out.data());
    return out;
  }

  /// A rotation of n features that do not go together leaves each with their mean. by: what the features were
  /// multiplied by, which is now in the weights; empty: 1.
  void average(WeightId id, int64_t n, const std::vector<float>& by) {
    if (!rotated_.folded.importance) return;
    const auto found = rotated_.folded.importance->entries.find(weight(id).name);
    if (found == rotated_.folded.importance->entries.end()) return;
    std::vector<float>& sums = found->second.sum_square;
    const auto size = static_cast<size_t>(n);
    for (size_t first = 0; first + size <= sums.size(); first += size) {
      double sum = 0, count = 0;
      for (size_t i = 0; i < size; ++i) {
        const double norm = by.empty() ? 1.0 : static_cast<double>(by[i]);
        if (std::fabs(norm) < 1e-6) continue;
        sum += static_cast<double>(sums[first + i]) / (norm * norm);
        count += 1;
      }
      std::fill_n(sums.begin() + static_cast<ptrdiff_t>(first), size,
                  static_cast<float>(count > 0 ? sum / count : 0));
    }
  }

  const Checkpoint& checkpoint_;
  RotationOptions options_;
  RotatedModel rotated_;
  Transforms transforms_;
};

}  // namespace

Result<RotatedModel> rotate_model(const Checkpoint& checkpoint, const std::optional<Importance>& importance,
                                  const RotationOptions& options) {
  return Rotator(checkpoint, importance, options).run();
}

}  // namespace lissom
