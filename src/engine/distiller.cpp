#include "engine/distiller.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

#include "engine/segments.h"

namespace lissom::engine {
namespace {

using at::Tensor;

/// Rows of logits that are worked on at a time: a few megabytes, which stay in a cache over the passes that a
/// softmax takes.
constexpr int64_t kSoftmaxRows = 8;

class LibTorchDistiller final : public Distiller {
 public:
  /// `weights`: in F32.
  LibTorchDistiller(Predictor teacher, Weights weights, bool bf16)
      : checkpoint_(std::move(teacher.checkpoint)),
        forward_(std::move(teacher.forward)),
        head_(teacher.head),
        device_(teacher.device),
        student_(std::move(weights)),
        bf16_(bf16) {
    teacher_ = bf16 ? in_bf16(student_) : student_;
  }

  void set(WeightId weight, std::span<const float> values) override {
    // A matrix that is multiplied in BF16 lies in BF16, its gradient too.
    Tensor& student = student_[static_cast<size_t>(weight)];
    if (!student.requires_grad()) {
      const auto type = bf16_ && student.dim() > 1 ? at::kBFloat16 : at::kFloat;
      student = at::empty_like(student, student.options().dtype(type)).requires_grad_(true);
    }
    const c10::NoGradGuard no_gradients;
    student.copy_(at::from_blob(const_cast<float*>(values.data()), student.sizes(), at::kFloat));
  }

  std::span<const float> take_gradient(WeightId weight) override {
    Tensor& student = student_[static_cast<size_t>(weight)];
    taken_ = student.grad().defined() ? student.grad().to(at::kCPU, at::kFloat).contiguous() : Tensor();
    student.mutable_grad().reset();
    if (!taken_.defined()) return {};
    return {taken_.const_data_ptr<float>(), static_cast<size_t>(taken_.numel())};
  }

  Result<double> pass(std::span<const int32_t> ids, int64_t sequences) override {
    return guarded([&] { return run(ids, sequences); });
  }

 private:
  Result<double> run(std::span<const int32_t> ids, int64_t sequences) {
    LISSOM_CHECK(check_tokens(*checkpoint_, ids, sequences));
    const Tokens tokens = tokens_of(ids, sequences, device_);

    Values values;
    {
      const c10::NoGradGuard no_gradients;
      forward_.run(0, head_.op, teacher_, tokens, bf16_, values);
    }
    const Tensor target = values.at(head_.in);
    values.clear();
    std::vector<Segment> segments = cut(checkpoint_->graph, head_.op);
    for (Segment& segment : segments) segment.run(forward_, student_, tokens, bf16_, values);
    const Tensor hidden = values.at(head_.in).detach();
    Tensor gradient = at::empty_like(hidden);
    const double loss = head(hidden, target, gradient);
    if (!std::isfinite(loss)) return loss;
    Values gradients{{head_.in, gradient}};
    for (; !segments.empty(); segments.pop_back()) segments.back().backward(gradients);
    return loss;
  }

  /// The mean KL divergence; d(mean)/d(hidden) goes to `gradient`, those of the head's weights to their own. By
  /// hand: the difference of two softmaxes needs none of the tensors that a derivative of the whole would keep.
  double head(const Tensor& hidden, const Tensor& target, Tensor& gradient) {
    const c10::NoGradGuard no_gradients;
    const int64_t rows = hidden.size(0);
    Tensor& weight = student_[static_cast<size_t>(head_.weight)];
    const Tensor matrix = weight.detach().to(bf16_ ? at::kBFloat16 : at::kFloat);
    Tensor of_weight =
        weight.requires_grad() ? at::zeros(weight.sizes(), weight.options().dtype(at::kFloat)) : Tensor();
    Tensor of_bias;
    if (head_.bias >= 0 && student_[static_cast<size_t>(head_.bias)].requires_grad())
      of_bias = at::zeros_like(student_[static_cast<size_t>(head_.bias)]);
    double total = 0;
    for (int64_t begin = 0; begin < rows; begin += kLogitRows) {
      const int64_t n = std::min(kLogitRows, rows - begin);
      const Tensor h = hidden.narrow(0, begin, n);
      Tensor y = logits(head_, h, student_, bf16_);
      const Tensor t = logits(head_, target.narrow(0, begin, n), teacher_, bf16_);
      total += divergence(y, t, rows);  // y is the gradient now
      if (of_bias.defined()) of_bias += y.sum(0);
      const Tensor d = bf16_ ? y.to(at::kBFloat16) : y;
      gradient.narrow(0, begin, n).copy_(at::matmul(d, matrix));
      if (of_weight.defined()) of_weight += at::matmul(d.t(), h.to(d.scalar_type()));
    }
    if (!std::isfinite(total)) return total;
    const auto add = [](Tensor& leaf, const Tensor& g) {
      if (!g.defined()) return;
      if (leaf.grad().defined())
        leaf.mutable_grad() += g;
      else
        leaf.mutable_grad() = g.to(leaf.scalar_type());
    };
    add(weight, of_weight);
    if (of_bias.defined()) add(student_[static_cast<size_t>(head_.bias)], of_bias);
    return total / static_cast<double>(rows);
  }

  /// Σ KL over the rows of two tensors of logits; `student` becomes the gradient of that sum divided by `rows`.
  [[nodiscard]] double divergence(Tensor& student, const Tensor& teacher, int64_t rows) const {
    double total = 0;
    for (int64_t begin = 0; begin < student.size(0); begin += kSoftmaxRows) {
      const int64_t n = std::min(kSoftmaxRows, student.size(0) - begin);
      Tensor y = student.narrow(0, begin, n);
      const Tensor log_q = at::log_softmax(y, -1), log_p = at::log_softmax(teacher.narrow(0, begin, n), -1);
      const Tensor p = log_p.exp();
      total += (p * (log_p - log_q)).sum().item<double>();
      Tensor d = log_q.exp().sub_(p).div_(static_cast<double>(rows));
      if (head_.cap > 0) d *= 1 - (y / head_.cap).square();
      y.copy_(d);
    }
    return total;
  }

  std::unique_ptr<const Checkpoint> checkpoint_;  ///< what forward_ refers to
  Forward forward_;
  Head head_;
  at::Device device_;
  Weights student_, teacher_;
  bool bf16_;
  Tensor taken_;
};

}  // namespace

Result<std::unique_ptr<Distiller>> make_distiller(const Checkpoint& teacher, const at::Device& device,
                                                  const EngineOptions& options) {
  LISSOM_TRY(Predictor model, make_predictor(teacher, device, options));
  LISSOM_TRY(Weights weights, load_weights(*model.checkpoint, {.device = device}));
  return std::make_unique<LibTorchDistiller>(std::move(model), std::move(weights), options.bf16);
}

}  // namespace lissom::engine
