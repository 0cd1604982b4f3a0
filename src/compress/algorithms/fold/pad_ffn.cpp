#include "compress/algorithms/fold/pad_ffn.h"

#include <cstring>
#include <memory>
#include <vector>

#include "base/text.h"
#include "compress/algorithms/fold/transformed_source.h"
#include "lissom/codec.h"
#include "model/arch.h"

namespace lissom {
namespace {

/// How a tensor grows: zeros behind each of `parts` runs of `rows` rows, and behind each row that `shape` has
/// longer.
struct Growth {
  int64_t parts = 0;  ///< 0: the tensor stays
  int64_t rows = 0, more_rows = 0;
  Shape shape;
};

/// From ff to padded. A vector is rows of one column each.
Result<Growth> growth_of(const std::string& name, const Shape& from, const Shape& to, int64_t ff,
                         int64_t padded) {
  const auto refuse = [&] {
    return unsupported("tensor " + in_quotes(name) + ": nothing can be padded from " + from.str() + " to " +
                       to.str());
  };
  if (from == to) return Growth{};
  if (from.rank() != to.rank() || from.rank() > 2) return refuse();
  const int64_t rows = from.rank() == 1 ? from.cols() : from.rows(), cols = from.rank() == 1 ? 1 : from.cols();
  const int64_t rows_then = from.rank() == 1 ? to.cols() : to.rows(),
                cols_then = from.rank() == 1 ? 1 : to.cols();
  if (cols_then != cols) {
    if (rows_then != rows || cols != ff || cols_then != padded) return refuse();
    return Growth{1, rows, 0, to};
  }
  const int64_t parts = rows / ff;
  if (rows % ff != 0 || rows_then != parts * padded) return refuse();
  return Growth{parts, ff, padded - ff, to};
}

class PaddedSource final : public AlteredSource {
 public:
  PaddedSource(std::shared_ptr<const TensorSource> source, std::vector<Growth> growth)
      : AlteredSource(std::move(source)), growth_(std::move(growth)) {
    for (size_t i = 0; i < infos_.size(); ++i) {
      if (!altered(i)) continue;
      const uint64_t bytes_a_value = infos_[i].bytes / static_cast<uint64_t>(infos_[i].shape.elements());
      infos_[i].shape = growth_[i].shape;
      infos_[i].bytes = bytes_a_value * static_cast<uint64_t>(infos_[i].shape.elements());
    }
  }

 private:
  [[nodiscard]] bool altered(size_t index) const override { return growth_[index].parts > 0; }
  [[nodiscard]] Result<TensorView> make(size_t index) const override {
    LISSOM_TRY(const TensorView view, source_->read(index));
    const Growth& g = growth_[index];
    const auto grown = std::make_shared<std::vector<std::byte>>(infos_[index].bytes);
    const size_t row = view.data.size() / static_cast<size_t>(g.parts * g.rows);
    const size_t row_then = grown->size() / static_cast<size_t>(g.parts * (g.rows + g.more_rows));
    for (int64_t p = 0; p < g.parts; ++p)
      for (int64_t r = 0; r < g.rows; ++r)
        std::memcpy(grown->data() + static_cast<size_t>(p * (g.rows + g.more_rows) + r) * row_then,
                    view.data.data() + static_cast<size_t>(p * g.rows + r) * row, row);
    source_->release(index);
    return TensorView{infos_[index], *grown, grown};
  }

  std::vector<Growth> growth_;
};

}  // namespace

bool pads_cheaply(const Config& config) {
  const int64_t rest = config.ff % kWideBlock;
  return config.experts.count == 0 && rest != 0 && (kWideBlock - rest) * 16 <= config.ff;
}

Result<Checkpoint> pad_ffn(const Checkpoint& checkpoint, int64_t multiple) {
  const int64_t ff = checkpoint.config.ff, padded = (ff + multiple - 1) / multiple * multiple;
  if (checkpoint.config.experts.count > 0) return unsupported("the FFN of a mixture of experts is not padded");
  const Architecture* arch = architecture_of(checkpoint.config);
  if (arch == nullptr || ff == 0) return unsupported("this model has no FFN that could be padded");
  if (padded == ff) return checkpoint;
  Checkpoint wide = checkpoint;
  wide.config.ff = padded;
  LISSOM_TRY(wide.graph, arch->build(wide.config));
  std::vector<Growth> growth;
  for (const TensorInfo& info : checkpoint.tensors->tensors()) {
    const WeightId id = wide.graph.find_weight(info.name);
    if (id < 0) return unsupported("tensor " + in_quotes(info.name) + " is unknown to the padded model");
    LISSOM_TRY(growth.emplace_back(),
               growth_of(info.name, info.shape, wide.graph.weights[static_cast<size_t>(id)].shape, ff, padded));
    const BlockCodec* codec = find_block_codec(info.type);
    if (growth.back().parts > 0 && (codec == nullptr || codec->block_weights() > 1))
      return unsupported("tensor " + in_quotes(info.name) + " has type " + info.type +
                         ": only weights of 16 bits or more are padded");
  }
  wide.tensors = std::make_shared<PaddedSource>(checkpoint.tensors, std::move(growth));
  return wide;
}

void pad_importance(const Checkpoint& padded, int64_t ff, Importance& importance) {
  for (auto& [name, entry] : importance.entries) {
    const WeightId id = padded.graph.find_weight(name);
    if (id < 0 || static_cast<int64_t>(entry.sum_square.size()) != ff) continue;
    if (padded.graph.weights[static_cast<size_t>(id)].shape.cols() == padded.config.ff)
      entry.sum_square.resize(static_cast<size_t>(padded.config.ff));
  }
}

}  // namespace lissom
