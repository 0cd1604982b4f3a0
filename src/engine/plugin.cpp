// What the program finds in the plugin.

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include "engine/distiller.h"
#include "engine/fisher.h"
#include "engine/segments.h"
#include "engine/weights.h"
#include "lissom/engine.h"

namespace lissom::engine {
namespace {

class LibTorchEngine final : public Engine {
 public:
  [[nodiscard]] std::string description() const override { return "LibTorch " LISSOM_TORCH_VERSION " (CPU)"; }

  [[nodiscard]] Result<std::vector<float>> forward(const Checkpoint& checkpoint,
                                                   std::span<const int32_t> tokens,
                                                   std::span<const int32_t> types,
                                                   int64_t positions) const override {
    return guarded([&] { return run(checkpoint, tokens, types, positions); });
  }

  [[nodiscard]] Result<std::unique_ptr<Distiller>> distiller(const Checkpoint& teacher,
                                                             const EngineOptions& options) const override {
    return guarded([&] { return make_distiller(teacher, options); });
  }

  [[nodiscard]] Result<std::unique_ptr<TokenFisher>> token_fisher(const Checkpoint& checkpoint,
                                                                  const EngineOptions& options) const override {
    return guarded([&] { return make_token_fisher(checkpoint, options); });
  }

 private:
  [[nodiscard]] static Result<std::vector<float>> run(const Checkpoint& checkpoint,
                                                      std::span<const int32_t> tokens,
                                                      std::span<const int32_t> types, int64_t positions) {
    const auto row = [](std::span<const int32_t> ids) {
      const at::Tensor ids32 = at::empty({1, static_cast<int64_t>(ids.size())}, at::kInt);
      std::copy(ids.begin(), ids.end(), ids32.mutable_data_ptr<int32_t>());
      return ids32.to(at::kLong);
    };
    const Graph& graph = checkpoint.graph;
    const c10::NoGradGuard no_gradients;
    LISSOM_TRY(const Weights weights, load_weights(checkpoint));
    LISSOM_TRY(const Forward forward, Forward::create(graph, checkpoint.config, positions));
    Values values;
    forward.run(0, static_cast<int>(graph.ops.size()), weights,
                {row(tokens), types.empty() ? at::Tensor() : row(types)}, false, values);
    const at::Tensor result = values.at(graph.logits >= 0 ? graph.logits : graph.hidden).contiguous();
    const float* data = result.const_data_ptr<float>();
    return std::vector<float>(data, data + result.numel());
  }
};

}  // namespace
}  // namespace lissom::engine

/// The only symbol of the plugin. What it returns is the caller's.
extern "C" __attribute__((visibility("default"))) lissom::Engine* lissom_engine_create() {
  return new lissom::engine::LibTorchEngine();
}
