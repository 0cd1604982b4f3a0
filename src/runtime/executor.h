#pragma once
// Runs the steps of a model's program on a batch of rows.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/threads.h"
#include "runtime/attended.h"
#include "runtime/batch.h"
#include "runtime/buffer.h"
#include "runtime/cache.h"
#include "runtime/experts.h"
#include "runtime/model.h"
#include "runtime/relative.h"
#include "runtime/rows.h"
#include "runtime/tap.h"

namespace lissom::runtime {

class Executor {
 public:
  /// Both outlive it.
  Executor(const LoadedModel& model, ThreadPool& pool) : model_(model), pool_(pool) {}

  Result<void> prepare(int64_t context, int64_t sequences);
  Result<void> check(const Batch& batch) { return resolve(batch, limits_, lengths_, rows_); }
  /// Checks a batch and makes room for its rows.
  Result<void> begin(const Batch& batch);
  /// Runs steps of the program on the batch; their weights must be there.
  void run(std::span<const Step> steps);
  /// The batch is part of what its sequences have seen.
  void keep() {
    if (model_.program_.has_cache) lengths_.swap(rows_.lengths);
  }
  /// Positions that each sequence has seen.
  [[nodiscard]] std::span<int64_t> lengths() { return lengths_; }
  [[nodiscard]] std::span<const int64_t> lengths() const { return lengths_; }
  /// Rows now: wanted ones, or sequences once pooling has made them; and before it has.
  [[nodiscard]] int64_t rows() const { return n_rows_; }
  [[nodiscard]] int64_t token_rows() const { return token_rows_; }
  /// A value without gaps; empty where the program has none.
  [[nodiscard]] std::span<float> value(const View& v, int64_t rows) {
    if (v.slot < 0 || rows == 0) return {};
    return {at(v), static_cast<size_t>(rows * v.width)};
  }
  /// `attended`: the tap sees what attention makes of the inputs of keys and values too (attended.h).
  void set_tap(ActivationTap tap, bool attended = false) {
    tap_ = std::move(tap);
    show_attended_ = attended;
  }
  /// What was made of weights is made again when it is next needed.
  void forget_weights() { relative_ = {}; }

 private:
  [[nodiscard]] float* at(const View& v) { return buffers_[static_cast<size_t>(v.slot)].data() + v.offset; }

  void execute(const Rows& step);
  void execute(const Product& step);
  void execute(const Attend& step);
  void execute(const RelativeAttend& step);
  void execute(const Mixture& step);
  void execute(const Compact& step);
  void execute(const Pool& step);

  const LoadedModel& model_;
  ThreadPool& pool_;
  RopeTable rope_{{}}, rope_local_{{}};
  BatchLimits limits_;
  std::optional<Cache> cache_;
  std::vector<int64_t> lengths_;
  std::vector<Buffer> buffers_;
  std::vector<std::byte> scratch_;
  std::vector<kernels::MatmulTerm> terms_;
  bool rounded_ = false;  ///< whether the latest product rounded what it read
  ExpertRunner experts_;
  RelativeAttention relative_;
  RowSet rows_;
  int64_t n_rows_ = 0, token_rows_ = 0;
  ActivationTap tap_;
  bool show_attended_ = false;
  Attended attended_;
};

}  // namespace lissom::runtime
