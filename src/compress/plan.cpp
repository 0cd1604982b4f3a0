#include <algorithm>
#include <optional>

#include "codec/parts.h"
#include "compress/header.h"
#include "compress/layers.h"
#include "compress/pack.h"
#include "compress/pattern.h"
#include "lissom/codec.h"
#include "lissom/compress.h"

namespace lissom {
namespace {

struct CompiledRule {
  Pattern pattern;
  LayerSelector layers;
  const Scheme::Rule* rule;
  size_t number;
};

/// The rules whose conditions hold for this model and run.
Result<std::vector<CompiledRule>> rules_for(const Checkpoint& checkpoint, const Scheme& scheme,
                                            bool has_importance) {
  const Config& config = checkpoint.config;
  const bool tied = checkpoint.tensors->find("output.weight") < 0;
  const int64_t gqa = config.kv_heads > 0 ? config.heads / config.kv_heads : 0;
  std::vector<CompiledRule> out;
  for (size_t i = 0; i < scheme.tensors.size(); ++i) {
    const Scheme::Rule& rule = scheme.tensors[i];
    const Scheme::When& when = rule.when;
    if (when.imatrix && *when.imatrix != has_importance) continue;
    if (when.tied && *when.tied != tied) continue;
    if (when.min_gqa > 0 && gqa < when.min_gqa) continue;
    if (when.layer_count > 0 && config.layers != when.layer_count) continue;
    if (!when.arch.empty() && std::ranges::find(when.arch, config.arch) == when.arch.end()) continue;
    LISSOM_TRY(Pattern pattern, Pattern::compile(rule.match));
    LISSOM_TRY(LayerSelector layers, LayerSelector::parse(rule.layers));
    out.push_back({std::move(pattern), std::move(layers), &rule, i + 1});
  }
  return out;
}

/// Why llama.cpp wants this tensor as F32, or null.
const char* kept_reason(const TensorInfo& info) {
  const std::string_view name = info.name;
  if (info.shape.rank() < 2) return "kept: one-dimensional";
  if (!name.ends_with("weight")) return "kept: not a weight matrix";
  if (name.find("_norm.weight") != std::string_view::npos) return "kept: norm";
  if (name.find("ffn_gate_inp.weight") != std::string_view::npos) return "kept: expert router";
  if (name == "position_embd.weight") return "kept: position embedding";
  if (name == "rel_embd.weight") return "kept: relative positions";
  if (name == "token_types.weight") return "kept: token types";
  return nullptr;
}

Result<void> fall_back(const Scheme& scheme, const std::string& otherwise, int64_t cols, PlanEntry& entry) {
  const std::string wanted = entry.codec;
  const Codec* codec = find_codec(wanted);
  int64_t multiple = 0;
  for (int step = 0; codec != nullptr && cols % codec->column_multiple() != 0; ++step) {
    if (step == 0) multiple = codec->column_multiple();
    const auto next = scheme.fallback.find(entry.codec);
    entry.codec = next == scheme.fallback.end() || step > 2 ? "F16" : next->second;
    if (step == 0 && !otherwise.empty()) entry.codec = otherwise;
    entry.fallback = true;
    codec = find_codec(entry.codec);
  }
  if (codec == nullptr) return bad_input(scheme.name + ": unknown codec '" + entry.codec + "'");
  if (entry.fallback)
    entry.reason += "; " + wanted + " wants a multiple of " + std::to_string(multiple) + " columns, here " +
                    std::to_string(cols);
  return {};
}

Result<void> choose(const Scheme& scheme, const std::vector<CompiledRule>& rules, int64_t layers,
                    const TensorInfo& info, PlanEntry& entry) {
  if (const char* reason = kept_reason(info); reason != nullptr) {
    entry.codec = "F32";
    entry.reason = reason;
    entry.kept = true;
    return {};
  }
  entry.codec = scheme.default_codec;
  entry.reason = "default of " + scheme.name;
  const int64_t layer = layer_of(info.name);
  std::string otherwise;
  for (const CompiledRule& rule : rules) {
    if (!rule.layers.selects(layer, layers)) continue;
    LISSOM_TRY(const bool found, rule.pattern.found_in(info.name));
    if (!found) continue;
    entry.codec = rule.rule->codec;
    otherwise = rule.rule->otherwise;
    entry.reason = "rule " + std::to_string(rule.number) + " of " + scheme.name + ": " + rule.rule->match +
                   (rule.rule->layers.empty() ? "" : ", layers " + rule.rule->layers);
    break;
  }
  LISSOM_CHECK(fall_back(scheme, otherwise, info.shape.cols(), entry));
  const double bits = find_codec(entry.codec)->bits_per_weight(info.shape);
  if (!scheme.keep_smaller || entry.codec == info.type ||
      find_codec(info.type)->bits_per_weight(info.shape) > bits)
    return {};
  entry.reason = "copied: the source holds it in no more bits than " + entry.codec + " has";
  entry.codec = info.type;
  entry.fallback = false;
  return {};
}

}  // namespace

bool needs_importance(const Scheme& scheme, const PlanEntry& entry) {
  return !entry.kept && entry.from != entry.codec && entry.tensor != "token_embd.weight" &&
         entry.tensor != "output.weight" && std::ranges::count(scheme.needs_imatrix, entry.codec) > 0;
}

Result<Plan> make_plan_for(const Checkpoint& checkpoint, const Scheme& scheme, bool has_importance,
                           PlanFor target) {
  LISSOM_TRY(const std::vector<CompiledRule> rules, rules_for(checkpoint, scheme, has_importance));
  Plan plan;
  int64_t weights = 0;
  for (const TensorInfo& info : checkpoint.tensors->tensors()) {
    if (find_codec(info.type) == nullptr)
      return unsupported(checkpoint.tensors->origin() + ": tensor '" + info.name + "' has type " + info.type +
                         ", which is no type of weights");
    if (target == PlanFor::gguf && find_block_codec(info.type) == nullptr)
      return unsupported(checkpoint.tensors->origin() + ": tensor '" + info.name + "' has type " + info.type +
                         ", which no GGUF is made from; convert it first");
    if (info.shape.elements() <= 0)
      return bad_input(checkpoint.tensors->origin() + ": tensor '" + info.name + "' is empty");
    PlanEntry entry;
    entry.tensor = info.name;
    entry.shape = info.shape;
    entry.from = info.type;
    LISSOM_CHECK(choose(scheme, rules, checkpoint.config.layers, info, entry));
    if (target == PlanFor::gguf && find_block_codec(entry.codec) == nullptr)
      return unsupported(scheme.name + ": codec " + entry.codec + " has no form in GGUF (tensor '" + info.name +
                         "'); --format pack takes it");
    entry.bytes = stored_bytes(*find_codec(entry.codec), info.shape);
    plan.bytes += entry.bytes;
    weights += info.shape.elements();
    plan.entries.push_back(std::move(entry));
  }
  if (plan.entries.empty()) return bad_input(checkpoint.tensors->origin() + ": no tensors");
  plan.bits_per_weight = 8.0 * static_cast<double>(plan.bytes) / static_cast<double>(weights);
  return plan;
}

Result<Plan> make_plan(const Checkpoint& checkpoint, const Scheme& scheme, bool has_importance) {
  return make_plan_for(checkpoint, scheme, has_importance, PlanFor::gguf);
}

Result<Scheme> pick_scheme(const Checkpoint& checkpoint, double max_bits_per_weight, uint64_t max_file_bytes,
                           bool has_importance) {
  struct Candidate {
    Scheme scheme;
    double bits = 0;
    uint64_t file_bytes = 0;
  };
  std::optional<Candidate> best, smallest;
  for (const std::string& name : scheme_names()) {
    LISSOM_TRY(Candidate candidate, builtin_scheme(name).map([](Scheme s) { return Candidate{std::move(s)}; }));
    if (!candidate.scheme.selectable) continue;
    LISSOM_TRY(const Plan plan, make_plan(checkpoint, candidate.scheme, has_importance));
    if (!has_importance && std::ranges::any_of(plan.entries, [&](const PlanEntry& entry) {
          return needs_importance(candidate.scheme, entry);
        }))
      continue;
    candidate.bits = plan.bits_per_weight;
    LISSOM_TRY(candidate.file_bytes, planned_file_bytes(checkpoint, candidate.scheme, plan));
    if (!smallest || candidate.bits < smallest->bits) smallest = candidate;
    if (max_bits_per_weight > 0 && candidate.bits > max_bits_per_weight) continue;
    if (max_file_bytes > 0 && candidate.file_bytes > max_file_bytes) continue;
    if (!best || candidate.bits > best->bits) best = std::move(candidate);
  }
  if (best) return std::move(best->scheme);
  char figures[96];
  std::snprintf(figures, sizeof figures, "%.2f bits per weight, a file of %.1f MB", smallest->bits,
                static_cast<double>(smallest->file_bytes) / 1e6);
  return bad_input("no scheme is that small: the smallest possible here is " + smallest->scheme.name +
                   " with " + figures);
}

}  // namespace lissom
