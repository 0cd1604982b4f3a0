#pragma once
// The inputs of keys and values as attention weighs them. A linear's second moments usually count every token
// alike; but what a value loses is spread by attention, and an attention sink's by nearly every query: with a
// probability of a half from 512 tokens it counts a thousand times another's. (Feedback that took tokens alike
// more than doubled what rounding SmolLM2's values to Q4_0 costs; docs/benchmarks.md.)

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/threads.h"
#include "kernels/kernels.h"
#include "lissom/model.h"
#include "runtime/batch.h"
#include "runtime/program.h"
#include "runtime/tap.h"

namespace lissom::runtime {

/// The linear whose rows are an attention's values, or its keys before norms and positions; null: there is
/// none, as where one matrix makes queries, keys and values.
[[nodiscard]] const LinearOp* linear_of_values(const Graph& graph, const AttentionOp& op);
[[nodiscard]] const LinearOp* linear_of_keys(const Graph& graph, const AttentionOp& op);
/// Whether rows of this label carry in themselves what their tokens count for.
[[nodiscard]] bool is_weighed(const std::string& label);
/// Under which label a tap sees what counts for this linear's errors: LABEL@values, LABEL@keys, or its own.
[[nodiscard]] std::string counted_label(const Graph& graph, const LinearOp& linear);

/// With x_t the input of token t and a_qt the probability with which a query q of some head attends to it, a
/// tap sees, for some of the queries of every head,
/// - as LABEL@values: Σ_t a_qt·x_t, one row for each query and head: what the values' linear might as well
/// read;
/// - as LABEL@keys: x_t·sqrt(Σ_q (a_qt·(1 - a_qt))²), one row for each token: how much the softmax of all
///   queries changes with that key's score.
class Attended {
 public:
  /// The input of linears (n × width) that make keys or values, of the rows of a batch.
  void keep(const std::string& label, const float* x, int64_t n, int64_t width, const RowSet& rows);
  /// After an attention of one segment, with its arguments. Nothing where keep() did not see all that is
  /// cached.
  void show(Target target, ThreadPool& pool, const Attend& step, const Segment& segment,
            const kernels::AttentionArgs& args, const ActivationTap& tap);

 private:
  struct Kept {
    std::string label;
    int64_t width = 0;
    std::vector<float> x;
    std::vector<Segment> segments;  ///< that begin at position 0
  };
  [[nodiscard]] const float* kept(const std::string& label, const Segment& segment, int64_t count) const;
  void attend(Target target, ThreadPool& pool, kernels::AttentionArgs args, const float* x, int64_t width);

  Kept kept_;
  int64_t turn_ = 0;  ///< which queries are looked at
  std::vector<std::byte> cached_, scratch_;
  std::vector<int32_t> positions_;
  std::vector<float> out_, attended_, identity_;
};

}  // namespace lissom::runtime
