#include "engine/fisher.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/GradMode.h>

#include "engine/segments.h"

namespace lissom::engine {
namespace {

using at::Tensor;

std::vector<float> row_means_of_squares(const Tensor& gradient) {
  const Tensor means = gradient.to(at::kFloat).square().mean(1).contiguous();
  const float* data = means.const_data_ptr<float>();
  return {data, data + means.numel()};
}

void add_moments(const Tensor& gradient, std::vector<float>& sum) {
  const c10::NoGradGuard no_gradients;
  const int64_t outputs = gradient.size(1);
  const Tensor g = gradient.to(at::kFloat), of_pass = at::matmul(g.t(), g);
  if (!at::isfinite(of_pass).all().item<bool>()) return;
  at::from_blob(sum.data(), {outputs, outputs}, at::kFloat).add_(of_pass);
}

class LibTorchTokenFisher final : public TokenFisher {
 public:
  LibTorchTokenFisher(Predictor model, bool bf16)
      : checkpoint_(std::move(model.checkpoint)),
        forward_(std::move(model.forward)),
        head_(model.head),
        weights_(bf16 ? in_bf16(model.weights) : std::move(model.weights)),
        bf16_(bf16) {}

  Result<ByWeight> pass(std::span<const int32_t> ids, uint64_t seed, Moments* moments) override {
    return guarded([&] { return run(ids, seed, moments); });
  }

 private:
  Result<ByWeight> run(std::span<const int32_t> ids, uint64_t seed, Moments* moments) const {
    LISSOM_CHECK(check_tokens(*checkpoint_, ids, 1));
    ByWeight found;
    const auto tap = [&found, moments](const LinearOp& op, const Tensor& made) {
      if (!made.requires_grad()) return;
      made.register_hook([&found, moments, weight = op.weight](const Tensor& g) {
        found[weight] = row_means_of_squares(g);
        if (moments == nullptr) return;
        if (const auto sum = moments->find(weight); sum != moments->end()) add_moments(g, sum->second);
      });
    };
    Values values;
    std::vector<Segment> segments =
        run_segments(checkpoint_->graph, forward_, head_.op, weights_, tokens_of(ids, 1), bf16_, values, tap);
    const Tensor gradient = draw(values.at(head_.in).detach(), seed, found[head_.weight]);
    backward(segments, head_.in, gradient);
    return found;
  }

  /// The gradient of -Σ log p(y) by the hidden states, each row's y drawn from its own prediction. `of_head`:
  /// rows' means of squares of that by the logits.
  Tensor draw(const Tensor& hidden, uint64_t seed, std::vector<float>& of_head) const {
    const c10::NoGradGuard no_gradients;
    const Tensor matrix = weights_[static_cast<size_t>(head_.weight)].to(bf16_ ? at::kBFloat16 : at::kFloat);
    const at::Generator random = at::make_generator<at::CPUGeneratorImpl>(seed);
    Tensor gradient = at::empty_like(hidden);
    of_head.clear();
    for (int64_t begin = 0; begin < hidden.size(0); begin += kLogitRows) {
      const int64_t n = std::min(kLogitRows, hidden.size(0) - begin);
      const Tensor y = logits(head_, hidden.narrow(0, begin, n), weights_, bf16_);
      Tensor d = at::softmax(y, -1);
      const Tensor drawn = at::multinomial(d, 1, false, random);
      d.scatter_add_(1, drawn, at::full(drawn.sizes(), -1.0, d.options()));
      if (head_.cap > 0) d *= 1 - (y / head_.cap).square();
      const std::vector<float> squares = row_means_of_squares(d);
      of_head.insert(of_head.end(), squares.begin(), squares.end());
      gradient.narrow(0, begin, n).copy_(at::matmul(d.to(matrix.scalar_type()), matrix));
    }
    return gradient;
  }

  std::unique_ptr<const Checkpoint> checkpoint_;  ///< what forward_ refers to
  Forward forward_;
  Head head_;
  Weights weights_;
  bool bf16_;
};

}  // namespace

Result<std::unique_ptr<TokenFisher>> make_token_fisher(const Checkpoint& checkpoint,
                                                       const EngineOptions& options) {
  LISSOM_TRY(Predictor model, load_predictor(checkpoint, options));
  return std::make_unique<LibTorchTokenFisher>(std::move(model), options.bf16);
}

}  // namespace lissom::engine
