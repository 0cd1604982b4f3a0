#include "eval/diagnose/diagnose.h"

#include <algorithm>

#include "eval/diagnose/parts.h"
#include "eval/vocabularies.h"

namespace lissom {
namespace {

/// Weights that the verdict names: tensors, or all of a block.
std::vector<WeightId> weights_of(const Diagnosis& found, const StagedModel& model) {
  std::vector<WeightId> ids;
  for (const TensorDifference& t : found.tensors) {
    const bool named = std::ranges::any_of(found.culprits, [&](const Culprit& c) {
      return c.name == t.name || c.name.starts_with(t.name + " (") || c.name == part_name(t.block);
    });
    if (const WeightId id = model.graph().find_weight(t.name); named && id >= 0) ids.push_back(id);
  }
  return ids;
}

bool finite(const Diagnosis& found) {
  return std::ranges::all_of(found.tensors, [](const TensorDifference& t) { return t.not_finite == 0; }) &&
         std::ranges::all_of(found.layers, [](const LayerDifference& l) { return l.state.finite; });
}

}  // namespace

Result<void> check_same_model(const Checkpoint& base, const Checkpoint& model) {
  const std::string both = base.path.string() + " and " + model.path.string();
  const auto differ = [&](const std::string& field, const std::string& a, const std::string& b) {
    return bad_input(both + " are not the same model: " + field + " is " + a + " and " + b);
  };
  const Config &a = base.config, &b = model.config;
  if (a.arch != b.arch) return differ("the architecture", "'" + a.arch + "'", "'" + b.arch + "'");
  const auto same = [&](const char* field, int64_t x, int64_t y) -> Result<void> {
    if (x == y) return {};
    return differ(field, std::to_string(x), std::to_string(y));
  };
  LISSOM_CHECK(same("the number of layers", a.layers, b.layers));
  LISSOM_CHECK(same("the width", a.width, b.width));
  LISSOM_CHECK(same("the number of heads", a.heads, b.heads));
  LISSOM_CHECK(same("the number of key-value heads", a.kv_heads, b.kv_heads));
  LISSOM_CHECK(same("the width of the MLP", a.ff, b.ff));
  LISSOM_CHECK(same("the number of experts", a.experts.count, b.experts.count));
  LISSOM_CHECK(check_vocabularies(model, base));
  LISSOM_CHECK(same("the number of graph tensors", static_cast<int64_t>(base.graph.weights.size()),
                    static_cast<int64_t>(model.graph.weights.size())));
  for (size_t i = 0; i < base.graph.weights.size(); ++i) {
    const Weight &x = base.graph.weights[i], &y = model.graph.weights[i];
    if (x.name != y.name) return differ("tensor " + std::to_string(i), "'" + x.name + "'", "'" + y.name + "'");
    if (!(x.shape == y.shape)) return differ("the shape of '" + x.name + "'", x.shape.str(), y.shape.str());
    const bool here = base.tensors->find(x.name) >= 0, there = model.tensors->find(x.name) >= 0;
    if (here != there)
      return differ("tensor '" + x.name + "'", here ? "there" : "absent", there ? "there" : "absent");
  }
  return {};
}

Result<void> diagnose(const Checkpoint& base, const Checkpoint& model, const Windows& windows,
                      const DiagnoseOptions& options, const Progress& progress, Diagnosis& found) {
  LISSOM_CHECK(check_same_model(base, model));
  ThreadPool pool(options.runtime.threads);
  LISSOM_CHECK(compare_tensors(base, model, pool, progress, found));
  ScanTarget target;
  LISSOM_TRY(const auto staged, StagedModel::make(model, options.runtime, windows.context, pool));
  if (!found.interrupted) {
    LISSOM_TRY(const auto reference, StagedModel::make(base, options.runtime, windows.context, pool));
    LISSOM_CHECK(compare_states({*reference, *staged}, windows, pool, progress, found, target));
  }
  find_outliers(found);
  if (found.interrupted || options.scan_seconds <= 0 || target.rows.empty() || !finite(found)) {
    judge(found);
    summarize(found);
    return {};
  }
  Scanner scanner(*staged, base, windows, target, pool, found);
  LISSOM_CHECK(scanner.run(options, progress));
  judge(found);
  if (!found.culprits.empty() && !found.interrupted) {
    LISSOM_TRY(found.repaired_loss, scanner.restored(weights_of(found, *staged)));
  }
  summarize(found);
  return {};
}

}  // namespace lissom
