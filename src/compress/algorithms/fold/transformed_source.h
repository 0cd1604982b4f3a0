#pragma once
// A checkpoint's tensors, seen after a transform that is folded into them.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compress/algorithms/fold/rotation.h"
#include "lissom/result.h"
#include "lissom/tensor.h"

namespace lissom {

/// What becomes of one tensor, in this order. A vector is rows of one
/// column each, as the outputs of a matrix are; of [experts, rows, cols] each matrix alike.
struct TensorTransform {
  std::optional<float> fill;   ///< every value becomes this, and nothing else happens
  std::vector<float> columns;  ///< a factor of each column; empty: 1
  std::vector<float> rows;     ///< of each row
  std::shared_ptr<const Rotation> turned_columns;
  std::shared_ptr<const Rotation> turned_rows;  ///< of rows first_row … first_row + row_count alone
  int64_t first_row = 0, row_count = 0;
};
using Transforms = std::map<std::string, TensorTransform>;

/// Another source some of whose tensors are made anew when they are read.
class AlteredSource : public TensorSource {
 public:
  explicit AlteredSource(std::shared_ptr<const TensorSource> source)
      : source_(std::move(source)), infos_(source_->tensors().begin(), source_->tensors().end()) {}
  [[nodiscard]] std::span<const TensorInfo> tensors() const override { return infos_; }
  [[nodiscard]] Result<TensorView> read(size_t index) const override {
    return altered(index) ? make(index) : source_->read(index);
  }
  void release(size_t index) const override {
    if (!altered(index)) source_->release(index);
  }
  [[nodiscard]] Result<void> expect(std::span<const size_t> indices) const override {
    return source_->expect(indices);
  }
  [[nodiscard]] bool ready(size_t index) const override { return source_->ready(index); }
  [[nodiscard]] std::string origin() const override { return source_->origin(); }
  [[nodiscard]] int64_t find(std::string_view name) const override { return source_->find(name); }

 protected:
  [[nodiscard]] virtual bool altered(size_t index) const = 0;
  /// Of an altered tensor; the source's own is released.
  [[nodiscard]] virtual Result<TensorView> make(size_t index) const = 0;

  std::shared_ptr<const TensorSource> source_;
  std::vector<TensorInfo> infos_;  ///< as they become
};

/// `source` with the named tensors in F32, made when they are read; all others pass through. Asserts that
/// shapes fit: both come from the graph.
[[nodiscard]] std::shared_ptr<const TensorSource> transformed(std::shared_ptr<const TensorSource> source,
                                                              const Transforms& transforms);

}  // namespace lissom
