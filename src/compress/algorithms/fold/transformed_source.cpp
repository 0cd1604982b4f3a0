#include "compress/algorithms/fold/transformed_source.h"

#include <algorithm>
#include <cassert>

#include "lissom/codec.h"

namespace lissom {
namespace {

/// One matrix of a tensor.
void apply(const TensorTransform& t, float* w, int64_t rows, int64_t cols) {
  assert(t.columns.empty() || static_cast<int64_t>(t.columns.size()) == cols);
  assert(t.rows.empty() || static_cast<int64_t>(t.rows.size()) == rows);
  if (t.fill) {
    std::fill_n(w, rows * cols, *t.fill);
    return;
  }
  if (!t.columns.empty())
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < cols; ++c) w[r * cols + c] *= t.columns[static_cast<size_t>(c)];
  if (!t.rows.empty())
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < cols; ++c) w[r * cols + c] *= t.rows[static_cast<size_t>(r)];
  if (t.turned_columns) t.turned_columns->turn_columns(w, rows, cols);
  if (t.turned_rows) t.turned_rows->turn_rows(w + t.first_row * cols, t.row_count, cols);
}

class TransformedSource final : public AlteredSource {
 public:
  TransformedSource(std::shared_ptr<const TensorSource> source, const Transforms& transforms)
      : AlteredSource(std::move(source)) {
    for (TensorInfo& info : infos_) {
      const auto found = transforms.find(info.name);
      transforms_.push_back(found == transforms.end() ? nullptr
                                                      : std::make_unique<TensorTransform>(found->second));
      if (transforms_.back() == nullptr) continue;
      info.type = "F32";
      info.bytes = static_cast<uint64_t>(info.shape.elements()) * sizeof(float);
    }
  }

 private:
  [[nodiscard]] bool altered(size_t index) const override { return transforms_[index] != nullptr; }
  [[nodiscard]] Result<TensorView> make(size_t index) const override {
    LISSOM_TRY(const TensorView view, source_->read(index));
    const TensorInfo& from = source_->tensors()[index];
    const Codec* codec = find_codec(from.type);
    if (codec == nullptr || codec->components(from.shape).size() != 1)
      return unsupported(origin() + ": tensor '" + from.name + "' has type " + from.type +
                         ", into which nothing can be folded");
    const auto values = std::make_shared<std::vector<float>>(static_cast<size_t>(from.shape.elements()));
    const std::span<const std::byte> bytes[] = {view.data};
    codec->decode_rows(from.shape, bytes, 0, from.shape.rows(), values->data());
    source_->release(index);
    const int64_t cols = from.shape.rank() == 1 ? 1 : from.shape.cols();
    const int64_t matrices = from.shape.rank() == 3 ? from.shape[0] : 1;
    const int64_t rows = from.shape.elements() / std::max<int64_t>(matrices * cols, 1);
    for (int64_t m = 0; m < matrices; ++m)
      apply(*transforms_[index], values->data() + m * rows * cols, rows, cols);
    return TensorView{infos_[index], std::as_bytes(std::span<const float>(*values)), values};
  }

  std::vector<std::unique_ptr<const TensorTransform>> transforms_;  ///< null: passes through
};

}  // namespace

std::shared_ptr<const TensorSource> transformed(std::shared_ptr<const TensorSource> source,
                                                const Transforms& transforms) {
  if (transforms.empty()) return source;
  return std::make_shared<TransformedSource>(std::move(source), transforms);
}

}  // namespace lissom
