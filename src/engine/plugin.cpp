// What the program finds in the plugin.

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <string>

#include "engine/distiller.h"
#include "engine/fisher.h"
#include "engine/segments.h"
#include "engine/weights.h"
#include "lissom/engine.h"

namespace lissom::engine {
namespace {

Result<at::Device> device_named(const std::string& name) {
  at::Device device(at::kMeta);
  try {
    device = at::Device(name);
  } catch (const c10::Error&) {
    // Stays one that is refused.
  }
  if (device.is_cpu()) return device;
  if (!device.is_cuda()) return bad_input("--device " + name + ": cpu, cuda, or one of several as cuda:1");
  if (const auto there = at::getNumGPUs(); std::max<int64_t>(device.index(), 0) >= static_cast<int64_t>(there))
    return unsupported("--device " + name + ": LibTorch " LISSOM_TORCH_VERSION " finds " +
                       std::to_string(there) + " GPUs here");
  return device;
}

class LibTorchEngine final : public Engine {
 public:
  [[nodiscard]] std::string description() const override {
    return "LibTorch " LISSOM_TORCH_VERSION " (" + (device_.is_cpu() ? "CPU" : device_.str()) + ")";
  }

  [[nodiscard]] Result<void> use(const std::string& device) override {
    LISSOM_TRY(device_, device_named(device));
    return {};
  }

  [[nodiscard]] Result<std::vector<float>> forward(const Checkpoint& checkpoint,
                                                   std::span<const int32_t> tokens,
                                                   std::span<const int32_t> types,
                                                   int64_t positions) const override {
    return guarded([&] { return run(checkpoint, tokens, types, positions, device_); });
  }

  [[nodiscard]] Result<std::unique_ptr<Distiller>> distiller(const Checkpoint& teacher,
                                                             const EngineOptions& options) const override {
    return guarded([&] { return make_distiller(teacher, device_, options); });
  }

  [[nodiscard]] Result<std::unique_ptr<TokenFisher>> token_fisher(const Checkpoint& checkpoint,
                                                                  const EngineOptions& options) const override {
    return guarded([&] { return make_token_fisher(checkpoint, device_, options); });
  }

 private:
  [[nodiscard]] static Result<std::vector<float>> run(const Checkpoint& checkpoint,
                                                      std::span<const int32_t> tokens,
                                                      std::span<const int32_t> types, int64_t positions,
                                                      const at::Device& device) {
    const Graph& graph = checkpoint.graph;
    const c10::NoGradGuard no_gradients;
    LISSOM_TRY(const Weights weights, load_weights(checkpoint, {.device = device}));
    LISSOM_TRY(const Forward forward, Forward::create(graph, checkpoint.config, positions));
    Tokens read = tokens_of(tokens, 1, device);
    if (!types.empty()) read.types = tokens_of(types, 1, device).ids;
    Values values;
    forward.run(0, static_cast<int>(graph.ops.size()), weights, read, false, values);
    const at::Tensor result =
        values.at(graph.logits >= 0 ? graph.logits : graph.hidden).to(at::kCPU).contiguous();
    const float* data = result.const_data_ptr<float>();
    return std::vector<float>(data, data + result.numel());
  }

  at::Device device_{at::kCPU};
};

}  // namespace
}  // namespace lissom::engine

/// The only symbol of the plugin. What it returns is the caller's.
extern "C" __attribute__((visibility("default"))) lissom::Engine* lissom_engine_create() {
  return new lissom::engine::LibTorchEngine();
}
