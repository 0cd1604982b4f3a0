#pragma once
// A mixture of experts: which rows pass which experts, and what becomes of them.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/threads.h"
#include "lissom/model.h"
#include "lissom/runtime.h"
#include "runtime/model.h"
#include "runtime/tap.h"

namespace lissom::runtime {

/// An expert that a row passes, and the weight of its result.
struct Choice {
  int64_t expert;
  float weight;
};
/// Chooses `experts.used` experts for one row from its logits (and the bias, or null), as transformers' routers
/// do; of equal scores the lower number. In the order of the experts.
void choose_experts(const Experts& experts, std::span<const float> logits, const float* bias,
                    std::vector<Choice>& choices);

/// Runs mixtures: rows are gathered by expert, so that each expert's matrices are read once. Keeps its memory.
class ExpertRunner {
 public:
  struct Rows {
    const float *in, *router;  ///< rows × width, rows × experts
    int64_t count;
    float* out;  ///< rows × width
  };
  void run(const LoadedModel& model, const MoeOp& op, const Rows& rows, ThreadPool& pool,
           const ActivationTap& tap);

 private:
  struct Visit {
    int64_t row;
    float weight;
  };
  void gather(const MoeOp& op, const Rows& rows, const float* bias);
  void run_expert(const LoadedModel& model, const MoeOp& op, const Rows& rows, int64_t expert, ThreadPool& pool,
                  const ActivationTap& tap);

  std::vector<std::vector<Visit>> visits_;  ///< of each expert, rows ascending
  std::vector<Choice> choices_;
  std::vector<float> in_, gate_, up_, out_;
  std::vector<std::byte> scratch_;
};

}  // namespace lissom::runtime
