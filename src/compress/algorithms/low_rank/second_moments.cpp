#include "compress/algorithms/low_rank/second_moments.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "compress/algorithms/fisher_weights.h"
#include "compress/algorithms/products.h"
#include "runtime/attended.h"
#include "runtime/observe.h"

namespace lissom {
namespace {

/// The label of each wanted linear's input.
std::map<std::string, std::string> labels_of(const Graph& graph, const std::vector<std::string>& tensors) {
  const std::set<std::string> wanted(tensors.begin(), tensors.end());
  std::map<std::string, std::string> labels;
  for (const Op& op : graph.ops)
    if (const auto* linear = std::get_if<LinearOp>(&op))
      if (const std::string& name = graph.weights[static_cast<size_t>(linear->weight)].name;
          wanted.contains(name))
        labels[name] = runtime::counted_label(graph, *linear);
  return labels;
}

struct Sums {
  std::map<std::string, SquareMatrix> by_label;  ///< of size 0 until a chunk was seen
  ThreadPool& pool;
  std::vector<float> packed = {};

  /// A chunk whose values are not finite adds nothing here; later layers leave it out by themselves.
  void add(const std::string& label, const float* x, int64_t rows, int64_t cols) {
    const auto found = by_label.find(label);
    if (found == by_label.end()) return;
    for (int64_t i = 0; i < rows * cols; ++i)
      if (!(std::fabs(x[i]) < 1e15F)) return;
    if (found->second.n == 0) found->second = SquareMatrix(cols);
    add_gram(pool, x, nullptr, rows, found->second, packed);
  }
};

/// Without the padding, n × n.
std::shared_ptr<const std::vector<float>> whole(SquareMatrix& m) {
  mirror(m);
  auto values = std::make_shared<std::vector<float>>();
  values->reserve(static_cast<size_t>(m.n * m.n));
  for (int64_t i = 0; i < m.n; ++i) values->insert(values->end(), m.row(i), m.row(i) + m.n);
  m = SquareMatrix();
  return values;
}

}  // namespace

uint64_t second_moment_bytes(const Graph& graph, const std::vector<std::string>& tensors) {
  const auto labels = labels_of(graph, tensors);
  std::set<std::string> seen;
  uint64_t bytes = 0;
  for (const auto& [name, label] : labels) {
    if (!seen.insert(label).second) continue;
    const auto cols =
        static_cast<uint64_t>(graph.weights[static_cast<size_t>(graph.find_weight(name))].shape.cols());
    bytes += cols * cols * sizeof(float);
  }
  return bytes;
}

Result<Hessians> collect_second_moments(const Checkpoint& checkpoint, const Tokenizer& tokenizer,
                                        std::string_view text, const std::vector<std::string>& tensors,
                                        const SecondMomentOptions& options, const Progress& progress) {
  const std::map<std::string, std::string> labels = labels_of(checkpoint.graph, tensors);
  if (labels.empty()) return Hessians{};
  std::vector<int32_t> ids = tokenizer.encode(text, false).ids;
  const std::vector<int32_t> lead = tokenizer.encode("", true).ids;
  int64_t context = std::min(options.calibration.context, static_cast<int64_t>(ids.size()));
  if (checkpoint.config.context > 0) context = std::min(context, checkpoint.config.context);
  if (context < 16) return bad_input("calibration text: too short for second moments of a model's inputs");
  const int64_t all = static_cast<int64_t>(ids.size()) / context;
  int64_t chunks = std::clamp<int64_t>(options.tokens / context, 1, all);
  if (options.calibration.chunks > 0) chunks = std::min(chunks, options.calibration.chunks);
  std::vector<Batch> batches;
  for (int64_t i = 0; i < chunks; ++i) {
    const auto first = static_cast<size_t>(i * all / chunks * context);
    if (!lead.empty()) ids[first] = lead.front();
    Batch batch;
    batch.tokens = std::span(ids).subspan(first, static_cast<size_t>(context));
    batches.push_back(batch);
  }
  FisherWeights fisher;
  if (options.engine != nullptr) {
    LISSOM_TRY(fisher,
               FisherWeights::collect(
                   checkpoint, *options.engine, batches, {},
                   {.threads = options.calibration.runtime.threads, .by_block = options.by_block}, progress));
  }
  ThreadPool pool(options.calibration.runtime.threads);
  Sums sums{{}, pool};
  for (const auto& [name, label] : labels) sums.by_label.try_emplace(label);
  LISSOM_TRY(const auto observer, runtime::Observer::create(checkpoint, options.calibration.runtime, context));
  observer->look_through_attention();
  const int64_t total = chunks * static_cast<int64_t>(observer->stages().size());
  int64_t done = 0;
  size_t group = 0, in_group = 1, current = 0;  // the first chunk of those at once, how many; the one at work
  const auto tap = [&](const std::string& label, const float* x, int64_t rows, int64_t cols) {
    sums.add(label, fisher.weigh(label, current, x, rows, cols), rows, cols);
  };
  const auto passed = [&](size_t chunk) -> Result<bool> {
    current = group + (chunk + 1) % in_group;
    if (progress.stop_requested()) return tl::unexpected(Error{ErrorKind::cancelled, "stopped"});
    progress.report("moments", std::min(++done, total), total);
    return true;
  };
  const auto at_once = static_cast<size_t>(
      runtime::chunks_at_once(observer->stages(), context, options.calibration.carried_bytes));
  for (; group < batches.size(); group += in_group) {
    in_group = std::min(at_once, batches.size() - group);
    current = group;
    LISSOM_CHECK(observer->run(std::span(batches).subspan(group, in_group), tap, passed));
  }
  std::map<std::string, Hessians::mapped_type> found;
  for (auto& [label, sum] : sums.by_label)
    if (sum.n > 0) found[label] = whole(sum);
  Hessians hessians;
  for (const auto& [name, label] : labels)
    if (const auto of_label = found.find(label); of_label != found.end())
      hessians.emplace(name, of_label->second);
  return hessians;
}

}  // namespace lissom
