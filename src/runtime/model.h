#pragma once
// Weights ready to run.

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/threads.h"
#include "codec/parts.h"
#include "kernels/kernels.h"
#include "lissom/runtime.h"
#include "lissom/tensor.h"
#include "runtime/needs.h"
#include "runtime/program.h"

namespace lissom::runtime {

/// Rows that are only looked up, decoded one at a time from what the source gives: the file's own bytes, or of
/// a codec of several components a copy.
struct Table {
  const Codec* codec = nullptr;
  TensorView view;
  Parts parts;
  void row(int64_t index, float* out) const;
};

/// How a weight is held; which one depends on the ops that read it. A table that is also a linear (tied
/// embeddings) is the matrix alone.
struct HeldWeight {
  std::unique_ptr<kernels::PackedMatrix> matrix;
  std::vector<std::unique_ptr<kernels::PackedMatrix>> experts;  ///< of a 3-D weight
  std::unique_ptr<Table> table;
  std::vector<float> vector;
};

class LoadedModel final : public Model {
 public:
  /// Without weights. Fails on what Model::load refuses before it reads any.
  [[nodiscard]] static Result<std::shared_ptr<LoadedModel>> make(const Checkpoint& checkpoint,
                                                                 const RuntimeOptions& options,
                                                                 CompactAt compact);
  /// Makes the weights those that `needs` (one for each of the graph) asks for: first drops others and their
  /// pages, then loads what is missing.
  [[nodiscard]] Result<void> hold(std::span<const Needs> needs, ThreadPool& pool);
  /// Drops the pages of tables, which come back as rows are looked up.
  void release_tables() const;

  [[nodiscard]] const Config& config() const override { return config_; }
  [[nodiscard]] const Graph& graph() const override { return graph_; }
  [[nodiscard]] uint64_t weight_bytes() const override;

  [[nodiscard]] const HeldWeight& weight(WeightId id) const { return weights_[static_cast<size_t>(id)]; }
  /// Null for -1 and for an optional tensor that the checkpoint leaves out.
  [[nodiscard]] const float* vector(WeightId id) const {
    return id < 0 || weight(id).vector.empty() ? nullptr : weight(id).vector.data();
  }
  [[nodiscard]] const kernels::PackedMatrix* matrix(WeightId id) const { return weight(id).matrix.get(); }
  [[nodiscard]] const kernels::PackedMatrix* expert(WeightId id, int64_t e) const {
    return weight(id).experts[static_cast<size_t>(e)].get();
  }
  void embed(WeightId table, int64_t row, float* out) const;

  Config config_;
  Graph graph_;
  RuntimeOptions options_;
  std::shared_ptr<const TensorSource> source_;  ///< what borrowed bytes belong to
  Target target_ = Target::scalar;
  Program program_;
  std::vector<HeldWeight> weights_;
  std::vector<Needs> held_;  ///< what each of them was loaded for
};

}  // namespace lissom::runtime
