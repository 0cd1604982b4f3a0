#include "engine/fisher.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <c10/core/GradMode.h>

#include "engine/segments.h"

namespace lissom::engine {
namespace {

using at::Tensor;

std::vector<float> row_means_of_squares(const Tensor& gradient) {
  const Tensor means = gradient.to(at::kFloat).square().mean(1).to(at::kCPU).contiguous();
  const float* data = means.const_data_ptr<float>();
  return {data, data + means.numel()};
}

void add_moments(const Tensor& gradient, std::vector<float>& sum) {
  const c10::NoGradGuard no_gradients;
  const int64_t outputs = gradient.size(1);
  const Tensor g = gradient.to(at::kFloat), of_pass = at::matmul(g.t(), g).to(at::kCPU);
  if (!at::isfinite(of_pass).all().item<bool>()) return;
  at::from_blob(sum.data(), {outputs, outputs}, at::kFloat).add_(of_pass);
}

class LibTorchTokenFisher final : public TokenFisher {
 public:
  LibTorchTokenFisher(Predictor model, const EngineOptions& options)
      : checkpoint_(std::move(model.checkpoint)),
        forward_(std::move(model.forward)),
        head_(model.head),
        placement_{model.device, options.bf16},
        by_block_(options.by_block) {}

  [[nodiscard]] Result<void> load() {
    if (by_block_) return {};
    LISSOM_TRY(weights_, load_weights(*checkpoint_, placement_));
    return {};
  }

  Result<ByWeight> pass(std::span<const int32_t> ids, uint64_t seed, Moments* moments) override {
    return guarded([&] { return run(ids, seed, moments); });
  }

 private:
  Result<ByWeight> run(std::span<const int32_t> ids, uint64_t seed, Moments* moments) {
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
    const Tokens tokens = tokens_of(ids, 1, placement_.device);
    std::vector<Segment> segments = cut(checkpoint_->graph, head_.op);
    std::vector<Values> taken(segments.size());  // what each takes over, where it runs again on the way back
    Values values;
    for (size_t s = 0; s < segments.size(); ++s) {
      LISSOM_CHECK(hold(segments[s].first, segments[s].last));
      if (by_block_) {
        taken[s] = values;
        const c10::NoGradGuard no_gradients;
        forward_.run(segments[s].first, segments[s].last, weights_, tokens, placement_.bf16, values);
      } else {
        segments[s].run(forward_, weights_, tokens, placement_.bf16, values, tap);
      }
    }
    LISSOM_CHECK(hold(head_.op, head_.op + 1));
    Values gradients{{head_.in, draw(values.at(head_.in).detach(), seed, found[head_.weight])}};
    for (; !segments.empty(); segments.pop_back(), taken.pop_back()) {
      Segment& segment = segments.back();
      if (by_block_) {
        LISSOM_CHECK(hold(segment.first, segment.last));
        segment.run(forward_, weights_, tokens, placement_.bf16, taken.back(), tap);
      }
      segment.backward(gradients);
    }
    return found;
  }

  [[nodiscard]] Result<void> hold(int first, int last) {
    return by_block_ ? hold_weights(*checkpoint_, placement_, first, last, weights_) : Result<void>();
  }

  /// The gradient of -Σ log p(y) by the hidden states, each row's y drawn from its own prediction. `of_head`:
  /// rows' means of squares of that by the logits.
  Tensor draw(const Tensor& hidden, uint64_t seed, std::vector<float>& of_head) const {
    const c10::NoGradGuard no_gradients;
    const Tensor matrix = weights_[static_cast<size_t>(head_.weight)];
    const at::Generator random = at::make_generator<at::CPUGeneratorImpl>(seed);
    Tensor gradient = at::empty_like(hidden);
    of_head.clear();
    for (int64_t begin = 0; begin < hidden.size(0); begin += kLogitRows) {
      const int64_t n = std::min(kLogitRows, hidden.size(0) - begin);
      const Tensor y = logits(head_, hidden.narrow(0, begin, n), weights_, placement_.bf16);
      Tensor d = at::softmax(y, -1);
      const Tensor drawn = at::multinomial(d.to(at::kCPU), 1, false, random).to(d.device());
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
  Placement placement_;
  bool by_block_;
  Weights weights_;  ///< by block: those of the ops at work
};

}  // namespace

Result<std::unique_ptr<TokenFisher>> make_token_fisher(const Checkpoint& checkpoint, const at::Device& device,
                                                       const EngineOptions& options) {
  LISSOM_TRY(Predictor model, make_predictor(checkpoint, device, options));
  auto fisher = std::make_unique<LibTorchTokenFisher>(std::move(model), options);
  LISSOM_CHECK(fisher->load());
  return fisher;
}

}  // namespace lissom::engine
