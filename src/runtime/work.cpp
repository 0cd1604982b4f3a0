#include "runtime/work.h"

#include <algorithm>

#include "runtime/cache.h"
#include "runtime/model.h"

namespace lissom::runtime {
namespace {

Result<const LoadedModel*> loaded_model(const Model& model) {
  const auto* loaded = dynamic_cast<const LoadedModel*>(&model);
  if (loaded == nullptr) return bad_input("work: a model made by Model::load is needed");
  return loaded;
}

/// Adds up the steps of a program.
struct Counter {
  const LoadedModel& model;
  int64_t rows, wanted;  ///< rows: of the step that comes next
  Work work = {};

  void product(const kernels::PackedMatrix& matrix, int64_t tokens) {
    if (const auto* factors = matrix.factors(); factors != nullptr) {
      product(*factors->right, tokens);
      product(*factors->left, tokens);
      return;
    }
    for (const kernels::PackedMatrix::Share& share : matrix.shares()) product(*share.matrix, tokens);
    if (!matrix.shares().empty()) return;
    const int64_t ops = 2 * matrix.rows() * matrix.cols() * tokens;
    const kernels::Input input = matrix.input(tokens);
    (input == kernels::Input::int8   ? work.int8_ops
     : input == kernels::Input::bf16 ? work.bf16_ops
                                     : work.f32_ops) += ops;
    work.weight_bytes += static_cast<int64_t>(matrix.bytes());
  }
  void vector(WeightId id) {
    if (model.vector(id) != nullptr)
      work.weight_bytes += static_cast<int64_t>(model.weight(id).vector.size() * 4);
  }
  void lookup(WeightId id) {
    const HeldWeight& held = model.weight(id);
    const bool matrix = held.matrix != nullptr;
    if (!matrix && held.table == nullptr) return;
    const auto bytes = static_cast<int64_t>(matrix ? held.matrix->bytes() : held.table->view.data.size());
    const int64_t of = matrix ? held.matrix->rows() : held.table->view.info.shape.rows();
    work.weight_bytes += rows * bytes / std::max<int64_t>(of, 1);
  }

  void operator()(const Rows& step) {
    for (const RowOp& op : step.ops) {
      if (const auto* embed = std::get_if<EmbedRow>(&op)) lookup(embed->table);
      if (const auto* norm = std::get_if<NormRow>(&op)) {
        vector(norm->weight);
        vector(norm->bias);
      }
    }
  }
  void operator()(const Product& step) {
    for (const Product::Term& term : step.terms) {
      product(*model.matrix(term.weight), rows);
      vector(term.bias);
    }
  }
  void operator()(const RelativeAttend&) {}  // its tables are multiplied once, when they are first needed
  void operator()(const Mixture& step) {
    const Experts& experts = step.op->experts;
    const int64_t visits = rows * experts.used, visited = std::min(experts.count, visits);
    // Which experts does not matter: they have one shape. How many tokens each has decides the arithmetic of
    // floats.
    const int64_t each = visits / std::max<int64_t>(visited, 1), rest = visits - each * visited;
    for (const WeightId id : {step.op->gate, step.op->up, step.op->down})
      for (int64_t e = 0; e < visited; ++e) product(*model.expert(id, e), each + (e < rest ? 1 : 0));
    vector(step.op->score_bias);
  }
  void operator()(const Attend&) {}
  void operator()(const Compact&) { rows = wanted; }
  void operator()(const Pool&) { rows = 1; }
};

}  // namespace

Work& Work::operator+=(const Work& other) {
  int8_ops += other.int8_ops;
  bf16_ops += other.bf16_ops;
  f32_ops += other.f32_ops;
  weight_bytes += other.weight_bytes;
  return *this;
}

Result<Work> work_of(const Model& model, int64_t tokens, int64_t wanted) {
  LISSOM_TRY(const LoadedModel* loaded, loaded_model(model));
  Counter counter{*loaded, tokens, std::min(wanted, tokens)};
  for (const Step& step : loaded->program_.steps)
    if (counter.rows > 0) std::visit(counter, step);
  return counter.work;
}

Result<Work> work_of_prompt(const Model& model, int64_t tokens, int64_t at_once) {
  const int64_t step = std::max<int64_t>(at_once, 1);
  const int64_t last = tokens <= 0 ? 0 : (tokens - 1) % step + 1, before = (tokens - last) / step;
  LISSOM_TRY(Work work, work_of(model, last, 1));
  if (before == 0) return work;
  LISSOM_TRY(const Work full, work_of(model, step, 0));
  work += {full.int8_ops * before, full.bf16_ops * before, full.f32_ops * before, full.weight_bytes * before};
  return work;
}

Result<int64_t> cache_bytes_of_generation(const Model& model, int64_t tokens) {
  LISSOM_TRY(const LoadedModel* loaded, loaded_model(model));
  if (!loaded->program_.has_cache) return 0;
  const kernels::CacheType type = cache_type(true, loaded->options_);
  int64_t bytes = 0;
  for (const Step& step : loaded->program_.steps) {
    const auto* attend = std::get_if<Attend>(&step);
    if (attend == nullptr) continue;
    const int64_t grows = attend->window > 0 ? std::min(tokens, attend->window) : tokens;
    const int64_t positions = grows * (grows + 1) / 2 + (tokens - grows) * grows;
    bytes += 2 * positions * attend->kv_heads * kernels::cache_row_bytes(type, attend->head_dim);
  }
  return bytes;
}

}  // namespace lissom::runtime
