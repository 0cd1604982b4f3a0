#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <optional>

#include "base/threads.h"
#include "runtime/batch.h"
#include "runtime/buffer.h"
#include "runtime/cache.h"
#include "runtime/experts.h"
#include "runtime/model.h"
#include "runtime/relative.h"
#include "runtime/rows.h"

namespace lissom {
namespace runtime {
namespace {

class CpuSession final : public Session {
 public:
  explicit CpuSession(std::shared_ptr<const LoadedModel> model)
      : model_(std::move(model)), pool_(model_->options_.threads) {}

  Result<void> prepare(int64_t context, int64_t sequences);

  Result<std::span<const float>> run(const Batch& batch) override {
    try {
      return run_batch(batch);
    } catch (const std::bad_alloc&) {
      return io_error("out of memory: a batch of " + std::to_string(batch.tokens.size()) + " tokens");
    }
  }
  [[nodiscard]] std::span<const float> hidden() const override { return hidden_; }
  [[nodiscard]] std::span<const float> pooled() const override { return pooled_; }
  void clear() override { std::fill(lengths_.begin(), lengths_.end(), 0); }
  void clear(int32_t sequence) override {
    if (sequence >= 0 && sequence < static_cast<int64_t>(lengths_.size()))
      lengths_[static_cast<size_t>(sequence)] = 0;
  }
  [[nodiscard]] int64_t length(int32_t sequence) const override {
    return sequence >= 0 && sequence < static_cast<int64_t>(lengths_.size())
               ? lengths_[static_cast<size_t>(sequence)]
               : 0;
  }
  void set_tap(ActivationTap tap) override {
    tap_ = std::move(tap);
    if (tap_ && !tapped_program_) {
      // The same graph was lowered when the model was loaded: this cannot fail.
      if (auto program = lower(model_->graph_, CompactAt::head)) tapped_program_ = std::move(*program);
    }
  }

 private:
  Result<std::span<const float>> run_batch(const Batch& batch);
  [[nodiscard]] const Program& program() const { return tap_ ? *tapped_program_ : model_->program_; }
  [[nodiscard]] float* at(const View& v) { return buffers_[static_cast<size_t>(v.slot)].data() + v.offset; }
  [[nodiscard]] std::span<const float> span(const View& v, int64_t rows) {
    if (v.slot < 0 || rows == 0) return {};
    return {at(v), static_cast<size_t>(rows * v.width)};
  }

  void execute(const Rows& step);
  void execute(const Product& step);
  void execute(const Attend& step);
  void execute(const RelativeAttend& step);
  void execute(const Mixture& step);
  void execute(const Compact& step);
  void execute(const Pool& step);

  std::shared_ptr<const LoadedModel> model_;
  ThreadPool pool_;
  RopeTable rope_{{}}, rope_local_{{}};
  std::optional<Program> tapped_program_;
  BatchLimits limits_;
  std::optional<Cache> cache_;
  std::vector<int64_t> lengths_;
  std::vector<Buffer> buffers_;
  std::vector<std::byte> scratch_;
  std::vector<kernels::MatmulTerm> terms_;
  ExpertRunner experts_;
  RelativeAttention relative_;
  RowSet rows_;
  int64_t n_rows_ = 0, token_rows_ = 0;  ///< rows now; and before pooling made them sequences
  ActivationTap tap_;
  std::span<const float> hidden_, pooled_;
};

Result<void> CpuSession::prepare(int64_t context, int64_t sequences) {
  const Program& p = model_->program_;
  if (sequences < 1 || sequences > 65536)
    return bad_input("a session of " + std::to_string(sequences) + " sequences (1 … 65536)");
  if (context < sequences || context > INT32_MAX)
    return bad_input("a context of " + std::to_string(context) + " positions for " + std::to_string(sequences) +
                     " sequences");
  lengths_.assign(static_cast<size_t>(sequences), 0);
  limits_.causal = p.has_cache;
  limits_.positions = context / sequences;
  limits_.vocab = INT32_MAX;
  for (const Op& op : model_->graph_.ops) {
    const auto* embed = std::get_if<EmbedOp>(&op);
    if (embed == nullptr) continue;
    const int64_t rows = model_->graph_.weights[static_cast<size_t>(embed->table)].shape[0];
    if (embed->index == EmbedOp::Index::token) limits_.vocab = std::min(limits_.vocab, rows);
    if (embed->index == EmbedOp::Index::position) limits_.position_rows = rows;
    if (embed->index == EmbedOp::Index::token_type) limits_.token_types = rows;
  }
  if (p.uses_rope) {
    LISSOM_TRY(auto frequencies, rope_frequencies(model_->config_.rope, limits_.positions));
    rope_ = RopeTable(std::move(frequencies));
  }
  if (p.uses_local_rope) {
    LISSOM_TRY(auto frequencies, rope_frequencies(*model_->config_.rope_local, limits_.positions));
    rope_local_ = RopeTable(std::move(frequencies));
  }
  if (p.kv_layers == 0) return {};
  const kernels::CacheType type = cache_type(p.has_cache, model_->options_);
  // An encoder's keys and values live for one layer only.
  const Cache::Dims dims{p.has_cache ? p.kv_layers : 1, sequences, limits_.positions, p.kv_heads, p.head_dim};
  LISSOM_TRY(cache_, Cache::make(dims, type));
  return {};
}

Result<std::span<const float>> CpuSession::run_batch(const Batch& batch) {
  hidden_ = pooled_ = {};
  LISSOM_CHECK(resolve(batch, limits_, lengths_, rows_));
  const Program& p = program();
  n_rows_ = token_rows_ = rows_.count();
  const int64_t end = 1 + int64_t{*std::max_element(rows_.positions.begin(), rows_.positions.end())};
  if (p.uses_rope) rope_.extend(end);
  if (p.uses_local_rope) rope_local_.extend(end);
  buffers_.resize(std::max(buffers_.size(), p.slots.size()));
  const auto wanted = static_cast<int64_t>(rows_.wanted.size());
  for (size_t i = 0; i < p.slots.size(); ++i) {
    const int64_t rows = p.slots[i].late ? wanted : n_rows_;
    LISSOM_CHECK(buffers_[i].grow(rows, p.slots[i].width));
  }
  for (const Step& step : p.steps) {
    std::visit([this](const auto& s) { execute(s); }, step);
    if (n_rows_ == 0) break;  // no row is wanted
  }
  if (p.has_cache) lengths_.swap(rows_.lengths);
  hidden_ = span(p.hidden, p.pooled.slot >= 0 ? token_rows_ : n_rows_);
  pooled_ = span(p.pooled, n_rows_);
  return p.logits.slot >= 0 ? span(p.logits, n_rows_) : hidden_;
}

void CpuSession::execute(const Rows& step) {
  RowContext context{*model_, rows_, rope_, rope_local_, cache_ ? &*cache_ : nullptr, buffers_};
  const int64_t grain = std::clamp<int64_t>(n_rows_ / (8 * pool_.size()), 4, 32);
  const auto& ops = step.ops;
  pool_.parallel_for(n_rows_, grain, [&context, &ops](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) run_row(context, ops, r);
  });
}

void CpuSession::execute(const Product& step) {
  const float* x = at(step.in);
  if (tap_ && step.first_of_label) tap_(step.label, x, n_rows_, step.in.width);
  terms_.clear();
  for (const Product::Term& term : step.terms)
    terms_.push_back({model_->matrix(term.weight), model_->vector(term.bias), at(term.out)});
  kernels::matmul(model_->target_, pool_, terms_, x, n_rows_, scratch_);
}

void CpuSession::execute(const Attend& step) {
  for (const Segment& s : rows_.segments) {
    kernels::AttentionArgs a{};
    a.q = at(step.q) + s.first * step.q.stride;
    a.out = at(step.out) + s.first * step.out.stride;
    a.q_stride = step.q.stride;
    a.out_stride = step.out.stride;
    a.queries = s.count;
    a.positions = rows_.positions.data() + s.first;
    const int64_t layer = step.causal ? step.layer : 0;
    a.keys = cache_->keys(layer, s.sequence);
    a.values = cache_->values(layer, s.sequence);
    // Rows of a sequence ascend, so the last one sees the most.
    a.cached = step.causal ? int64_t{a.positions[s.count - 1]} + 1 : s.count;
    a.heads = step.heads;
    a.kv_heads = step.kv_heads;
    a.head_dim = step.head_dim;
    a.scale = step.scale;
    a.causal = step.causal;
    a.window = step.window;
    a.cache = cache_->type();
    a.softcap = step.softcap;
    kernels::attention(model_->target_, pool_, a, scratch_);
  }
}

void CpuSession::execute(const RelativeAttend& step) {
  relative_.run(*model_, *step.op, rows_.segments, {at(step.q), at(step.k), at(step.v), at(step.out)}, pool_);
}

void CpuSession::execute(const Mixture& step) {
  experts_.run(*model_, *step.op, {at(step.in), at(step.router), n_rows_, at(step.out)}, pool_, tap_);
}

void CpuSession::execute(const Compact& step) {
  const auto wanted = static_cast<int64_t>(rows_.wanted.size());
  if (wanted == n_rows_) return;
  for (const View& v : step.live) {
    float* base = at(v);
    for (int64_t i = 0; i < wanted; ++i) {
      const int64_t from = rows_.wanted[static_cast<size_t>(i)];
      if (from != i)
        std::memcpy(base + i * v.stride, base + from * v.stride, static_cast<size_t>(v.stride) * 4);
    }
  }
  rows_.keep_wanted();
  n_rows_ = token_rows_ = wanted;
}

void CpuSession::execute(const Pool& step) {
  float* out = at(step.out);
  for (size_t i = 0; i < rows_.segments.size(); ++i, out += step.out.stride) {
    const Segment& s = rows_.segments[i];
    const float* in = at(step.in) + s.first * step.in.stride;
    if (step.kind != Pooling::mean) {
      const int64_t row = step.kind == Pooling::last ? s.count - 1 : 0;
      std::memcpy(out, in + row * step.in.stride, static_cast<size_t>(step.in.width) * 4);
      continue;
    }
    for (int64_t k = 0; k < step.in.width; ++k) {
      double sum = 0;
      for (int64_t r = 0; r < s.count; ++r) sum += double{in[r * step.in.stride + k]};
      out[k] = static_cast<float>(sum / static_cast<double>(s.count));
    }
  }
  n_rows_ = static_cast<int64_t>(rows_.segments.size());
}

}  // namespace
}  // namespace runtime

Result<std::unique_ptr<Session>> Session::create(std::shared_ptr<Model> model, int64_t context,
                                                 int64_t sequences) {
  auto loaded = std::dynamic_pointer_cast<const runtime::LoadedModel>(std::move(model));
  if (loaded == nullptr) return bad_input("a session needs a model made by Model::load");
  try {
    auto session = std::make_unique<runtime::CpuSession>(std::move(loaded));
    LISSOM_CHECK(session->prepare(context, sequences));
    return session;
  } catch (const std::bad_alloc&) {
    return io_error("out of memory: a session of " + std::to_string(context) + " positions");
  }
}

}  // namespace lissom
