#include "engine/distiller.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>

#include "base/threads.h"
#include "engine/forward.h"
#include "engine/weights.h"

namespace lissom::engine {
namespace {

using at::Tensor;

/// Rows whose logits are held at a time, and rows of them that are worked on at a time: a few megabytes, which
/// stay in a cache over the passes that a softmax takes.
constexpr int64_t kLogitRows = 256, kSoftmaxRows = 8;

/// What follows the last hidden state: a product, and a cap in some models.
struct Head {
  int op = 0;  ///< the product's index
  ValueId in = -1;
  WeightId weight = -1, bias = -1;
  double cap = 0;
};

Result<Head> find_head(const Graph& graph) {
  const auto refuse = [] { return unsupported("distillation needs a model that predicts the next token"); };
  if (graph.logits < 0) return refuse();
  Head head;
  ValueId made = graph.logits;
  for (auto i = static_cast<int>(graph.ops.size()) - 1; i >= 0; --i) {
    const Op& op = graph.ops[static_cast<size_t>(i)];
    if (const auto* cap = std::get_if<SoftcapOp>(&op); cap != nullptr && cap->out == made) {
      head.cap = double{cap->cap};
      made = cap->in;
    }
    const auto* linear = std::get_if<LinearOp>(&op);
    if (linear == nullptr || linear->out != made) continue;
    head.op = i;
    head.in = linear->in;
    head.weight = linear->weight;
    head.bias = linear->bias;
    return head;
  }
  return refuse();
}

class LibTorchDistiller final : public Distiller {
 public:
  LibTorchDistiller(std::unique_ptr<const Checkpoint> teacher, Forward forward, Head head, Weights weights,
                    bool bf16)
      : checkpoint_(std::move(teacher)),
        forward_(std::move(forward)),
        head_(head),
        student_(std::move(weights)),
        bf16_(bf16) {
    teacher_ = student_;
    if (!bf16) return;
    for (size_t w = 0; w < teacher_.size(); ++w)
      if (teacher_[w].defined() && teacher_[w].dim() > 1) teacher_[w] = teacher_[w].to(at::kBFloat16);
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
    taken_ = student.grad().defined() ? student.grad().to(at::kFloat).contiguous() : Tensor();
    student.mutable_grad().reset();
    if (!taken_.defined()) return {};
    return {taken_.const_data_ptr<float>(), static_cast<size_t>(taken_.numel())};
  }

  Result<double> pass(std::span<const int32_t> ids, int64_t sequences) override {
    try {
      return run(ids, sequences);
    } catch (const std::exception& e) {
      return io_error(std::string("LibTorch: ") + e.what());
    }
  }

 private:
  /// Ops that are differentiated together: what they take over, and what they leave.
  struct Segment {
    std::vector<std::pair<ValueId, Tensor>> in, out;
  };

  Result<double> run(std::span<const int32_t> ids, int64_t sequences) {
    if (sequences < 1 || ids.empty() || ids.size() % static_cast<size_t>(sequences) != 0)
      return bad_input("distillation: tokens of sequences of unequal length");
    for (const int32_t id : ids)
      if (id < 0 || id >= checkpoint_->config.vocab)
        return bad_input("distillation: a token out of the vocabulary");
    Tokens tokens{at::empty({sequences, static_cast<int64_t>(ids.size()) / sequences}, at::kLong), {}};
    std::copy(ids.begin(), ids.end(), tokens.ids.mutable_data_ptr<int64_t>());

    Values values;
    {
      const c10::NoGradGuard no_gradients;
      forward_.run(0, head_.op, teacher_, tokens, bf16_, values);
    }
    const Tensor target = values.at(head_.in);
    values.clear();
    std::vector<Segment> segments = forward(tokens, values);
    const Tensor hidden = values.at(head_.in).detach();
    Tensor gradient = at::empty_like(hidden);
    const double loss = head(hidden, target, gradient);
    if (!std::isfinite(loss)) return loss;
    backward(segments, gradient);
    return loss;
  }

  /// A segment for each block, so that no more than one is ever differentiated at a time.
  [[nodiscard]] std::vector<int> borders() const {
    std::vector<int> borders{0};
    for (const int b : checkpoint_->graph.block_begin)
      if (b > borders.back() && b < head_.op) borders.push_back(b);
    borders.push_back(head_.op);
    return borders;
  }

  std::vector<Segment> forward(const Tokens& tokens, Values& values) const {
    const c10::AutoGradMode gradients(true);
    const std::vector<int> ends = borders();
    std::vector<Segment> segments(ends.size() - 1);
    for (size_t s = 0; s < segments.size(); ++s) {
      for (auto& [id, value] : values) {
        value = value.detach().requires_grad_(true);
        segments[s].in.emplace_back(id, value);
      }
      forward_.run(ends[s], ends[s + 1], student_, tokens, bf16_, values);
      for (const auto& [id, value] : values) segments[s].out.emplace_back(id, value);
    }
    return segments;
  }

  void backward(std::vector<Segment>& segments, const Tensor& hidden_gradient) const {
    Values gradients{{head_.in, hidden_gradient}};
    for (; !segments.empty(); segments.pop_back()) {
      Segment& segment = segments.back();
      std::vector<Tensor> outputs, of_outputs;
      for (const auto& [id, value] : segment.out) {
        if (!value.requires_grad() || !gradients.contains(id)) continue;
        outputs.push_back(value);
        of_outputs.push_back(gradients.at(id));
      }
      for (size_t i = 0; i < outputs.size(); ++i) outputs[i].backward(of_outputs[i], i + 1 < outputs.size());
      gradients.clear();
      for (const auto& [id, value] : segment.in)
        if (value.grad().defined()) gradients[id] = value.grad();
    }
  }

  [[nodiscard]] Tensor logits(const Tensor& hidden, const Weights& weights) const {
    const auto compute = bf16_ ? at::kBFloat16 : at::kFloat;
    Tensor y =
        at::linear(hidden.to(compute), weights[static_cast<size_t>(head_.weight)].to(compute)).to(at::kFloat);
    if (head_.bias >= 0 && weights[static_cast<size_t>(head_.bias)].defined())
      y += weights[static_cast<size_t>(head_.bias)];
    if (head_.cap > 0) y = at::tanh(y / head_.cap) * head_.cap;
    return y;
  }

  /// The mean KL divergence; d(mean)/d(hidden) goes to `gradient`, those of the head's weights to their own. By
  /// hand: the difference of two softmaxes needs none of the tensors that a derivative of the whole would keep.
  double head(const Tensor& hidden, const Tensor& target, Tensor& gradient) {
    const c10::NoGradGuard no_gradients;
    const int64_t rows = hidden.size(0);
    Tensor& weight = student_[static_cast<size_t>(head_.weight)];
    const Tensor matrix = weight.detach().to(bf16_ ? at::kBFloat16 : at::kFloat);
    Tensor of_weight = weight.requires_grad() ? at::zeros(weight.sizes(), at::kFloat) : Tensor();
    Tensor of_bias;
    if (head_.bias >= 0 && student_[static_cast<size_t>(head_.bias)].requires_grad())
      of_bias = at::zeros_like(student_[static_cast<size_t>(head_.bias)]);
    double total = 0;
    for (int64_t begin = 0; begin < rows; begin += kLogitRows) {
      const int64_t n = std::min(kLogitRows, rows - begin);
      const Tensor h = hidden.narrow(0, begin, n);
      Tensor y = logits(h, student_);
      const Tensor t = logits(target.narrow(0, begin, n), teacher_);
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
  Weights student_, teacher_;
  bool bf16_;
  Tensor taken_;
};

}  // namespace

Result<std::unique_ptr<Distiller>> make_distiller(const Checkpoint& teacher, const DistillerOptions& options) {
  auto kept = std::make_unique<const Checkpoint>(teacher);
  LISSOM_TRY(const Head head, find_head(kept->graph));
  at::set_num_threads(options.threads > 0 ? options.threads : physical_cores());
  LISSOM_TRY(Weights weights, load_weights(*kept));
  LISSOM_TRY(Forward forward, Forward::create(kept->graph, kept->config, 0));
  return std::make_unique<LibTorchDistiller>(std::move(kept), std::move(forward), head, std::move(weights),
                                             options.bf16);
}

}  // namespace lissom::engine
