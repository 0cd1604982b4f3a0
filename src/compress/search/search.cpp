#include "compress/search/search.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <set>

#include "compress/header.h"
#include "compress/search/measure.h"

namespace lissom::search {
namespace {

/// One-sided, 95%.
constexpr double kQuantile = 1.645;
/// Of a group's sensitivity, in one correction.
constexpr double kLeastCorrection = 0.4, kMostCorrection = 2.5;
/// Room for what the header may gain: general.file_type, and its padding.
constexpr uint64_t kHeaderSlack = 96;
constexpr int64_t kCells = int64_t{1} << 16;
/// Budgets of the frontier.
constexpr int kBudgets = 16;

tl::unexpected<Error> limit_error(std::string message) {
  return tl::unexpected(Error{ErrorKind::limit, std::move(message)});
}

double megabytes(uint64_t bytes) {
  return static_cast<double>(bytes) / 1e6;
}

/// A plan that was run.
struct Tried {
  Picks picks;
  uint64_t bytes = 0;  ///< of the choices
  double predicted = 0;
  Estimate kld;
  std::string name;
  [[nodiscard]] double bound() const { return kld.value + kQuantile * kld.error; }
};

/// Bytes of the file and of its tensors besides the choices'.
struct Fixed {
  uint64_t file = 0, tensors = 0;
  double weights = 0;
};

Result<Fixed> fixed_of(const Checkpoint& checkpoint, const std::vector<SearchTensor>& tensors) {
  Picks picks;
  for (const SearchTensor& t : tensors) picks.push_back(t.candidates.size() - 1);
  const Scheme scheme = scheme_of(tensors, picks, "search", "");
  LISSOM_TRY(const Plan plan, make_plan(checkpoint, scheme, true));
  Fixed fixed;
  LISSOM_TRY(fixed.file, planned_file_bytes(checkpoint, scheme, plan));
  fixed.file += kHeaderSlack;
  fixed.tensors = plan.bytes;
  for (const PlanEntry& e : plan.entries) fixed.weights += static_cast<double>(e.shape.elements());
  for (size_t t = 0; t < tensors.size(); ++t) {
    const uint64_t bytes = tensors[t].candidates[picks[t]].bytes;
    fixed.file -= bytes;
    fixed.tensors -= std::min(plan.entries[tensors[t].index].bytes, bytes);
  }
  return fixed;
}

/// What the choices may have; nothing: any number.
std::optional<uint64_t> budget_of(const Limits& limits, const Fixed& fixed) {
  std::optional<uint64_t> budget;
  if (limits.file_bytes > 0) budget = limits.file_bytes > fixed.file ? limits.file_bytes - fixed.file : 0;
  if (limits.bits_per_weight > 0) {
    const double bytes = limits.bits_per_weight * fixed.weights / 8;
    const auto room = bytes > static_cast<double>(fixed.tensors)
                          ? static_cast<uint64_t>(bytes - static_cast<double>(fixed.tensors))
                          : 0;
    budget = std::min(budget.value_or(room), room);
  }
  return budget;
}

tl::unexpected<Error> too_small(const Fixed& fixed, uint64_t least) {
  return bad_input(fmt::format(
      "no choice of codecs is that small: the smallest possible here is a file of {:.4g} MB, {:.2f} bits "
      "per weight",
      megabytes(fixed.file + least), 8.0 * static_cast<double>(fixed.tensors + least) / fixed.weights));
}

class Search {
 public:
  Search(const Checkpoint& checkpoint, const Means& means, const Limits& limits, const Options& options,
         ThreadPool& pool, const Progress& progress)
      : checkpoint_(checkpoint),
        means_(means),
        limits_(limits),
        effort_(options.effort),
        pool_(pool),
        progress_(progress),
        measured_(checkpoint, means, tensors_, groups_, options, pool, progress) {}

  Result<Found> run(ProbeTexts texts) {
    const auto start = std::chrono::steady_clock::now();
    progress_.report("search", 0, 1, "codecs");
    LISSOM_TRY(tensors_, find_candidates(checkpoint_, means_, pool_));
    LISSOM_TRY(fixed_, fixed_of(checkpoint_, tensors_));
    groups_ = groups_of(tensors_, checkpoint_.config.layers, effort_.stretches);
    model_ = DamageModel(&tensors_, &groups_);
    budget_ = budget_of(limits_, fixed_);
    const uint64_t least = least_bytes(model_.items());
    if (budget_ && *budget_ < least) return too_small(fixed_, least);
    choose_windows(effort_.measured, effort_.verified, texts);
    windows_ = static_cast<int64_t>(texts.verify.size());
    expected_ = static_cast<int64_t>(groups_.size()) * (1 + effort_.corrections) + 24 + effort_.verifications +
                effort_.exchanges;
    LISSOM_CHECK(measured_.begin(std::move(texts), expected_));
    LISSOM_CHECK(measured_.fill(model_));
    plain_ = measured_.plain_plan();
    LISSOM_TRY(const Tried best, budget_ ? within_budget() : smallest());
    LISSOM_TRY(Found found, result_of(best));
    found.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return found;
  }

 private:
  // -------------------------------------------------------------- plans

  [[nodiscard]] uint64_t bytes_of(const Picks& picks) const {
    uint64_t bytes = 0;
    for (size_t t = 0; t < picks.size(); ++t) bytes += tensors_[t].candidates[picks[t]].bytes;
    return bytes;
  }

  /// Runs the plan, which is then one of the frontier.
  Result<Tried> try_plan(const Picks& picks, const std::string& name) {
    Tried tried{picks, bytes_of(picks), model_.predict(model_.damage(picks)), {}, name};
    LISSOM_TRY(tried.kld, measured_.plan(Probe::Text::verify, picks));
    progress_.say(LogLevel::info,
                  fmt::format("search: {:.4g} MB, predicted KL {:.3g}, verified {:.3g} ± {:.2g}{}",
                              megabytes(fixed_.file + tried.bytes), tried.predicted, tried.kld.value,
                              tried.kld.error, name == "search" ? "" : " (" + name + ")"));
    model_.learn(picks, tried.kld.value);
    tried_.push_back(tried);
    return tried;
  }

  [[nodiscard]] Knapsack knapsack(uint64_t most) const { return {model_.items(), most, kCells}; }

  /// The best within the budget by what is known now.
  [[nodiscard]] Picks solve(uint64_t budget) const {
    return model_.candidates_of(*knapsack(budget).within(budget));
  }

  /// What comes back when a group of the plan has the source's weights, against what the model says: the
  /// sensitivities where the plan is, and not where everything else is exact.
  Result<void> correct_around(const Picks& picks) {
    LISSOM_TRY(const double whole, measured_.near(picks, picks, nullptr));
    std::vector<double> gains, damages;
    double gained = 0, expected = 0;
    for (const Group& group : groups_) {
      LISSOM_TRY(const double without, measured_.near(picks, picks, &group));
      damages.push_back(model_.damage_of_group(gains.size(), picks));
      gains.push_back(std::max(whole - without, 0.0));
      gained += gains.back();
      expected += damages.back();
    }
    if (gained <= 0 || expected <= 0) return {};
    for (size_t g = 0; g < groups_.size(); ++g) {
      if (damages[g] <= 0) continue;
      const double ratio = gains[g] / gained / (damages[g] / expected);
      model_.correct(g, std::clamp(std::pow(ratio, 0.7), kLeastCorrection, kMostCorrection));
    }
    return {};
  }

  /// A built-in scheme, where its codecs are candidates.
  [[nodiscard]] std::optional<Picks> picks_of(const Scheme& scheme) const {
    const auto plan = make_plan(checkpoint_, scheme, !means_.empty());
    if (!plan) return std::nullopt;
    Picks picks;
    for (const SearchTensor& t : tensors_) {
      const Candidate* candidate = t.find(plan->entries[t.index].codec);
      if (candidate == nullptr) return std::nullopt;
      picks.push_back(static_cast<size_t>(candidate - t.candidates.data()));
    }
    return picks;
  }

  /// Of the built-in schemes within the budget the one from which the model expects most: the plan must not be
  /// worse than that.
  [[nodiscard]] std::optional<std::pair<std::string, Picks>> best_scheme() const {
    std::optional<std::pair<std::string, Picks>> best;
    for (const std::string& name : scheme_names()) {
      const auto scheme = builtin_scheme(name);
      if (!scheme || !scheme->selectable) continue;
      auto picks = picks_of(*scheme);
      if (!picks || bytes_of(*picks) > *budget_) continue;
      if (!best || model_.damage(*picks) < model_.damage(best->second)) best.emplace(name, std::move(*picks));
    }
    return best;
  }

  // -------------------------------------------------------------- within a size

  Result<Tried> within_budget() {
    LISSOM_TRY(Tried best, try_plan(solve(*budget_), "search"));
    const auto better = [&](const Tried& tried) {
      if (tried.kld.value < best.kld.value) best = tried;
    };
    for (int round = 0; round < effort_.corrections; ++round) {
      LISSOM_CHECK(correct_around(best.picks));
      const Picks picks = solve(*budget_);
      if (picks == best.picks) break;
      LISSOM_TRY(const Tried tried, try_plan(picks, "search"));
      better(tried);
    }
    LISSOM_TRY(const Tried exchanged, exchange(best));
    better(exchanged);
    if (const auto rival = best_scheme()) {
      LISSOM_TRY(const Tried tried, try_plan(rival->second, rival->first));
      better(tried);
    }
    if (limits_.max_kld && best.kld.value > *limits_.max_kld)
      return limit_error(fmt::format(
          "nothing within the size meets --max-kld {:g}: the best reached is {:.3g} ± {:.2g} with {:.4g} MB",
          *limits_.max_kld, best.kld.value, best.kld.error, megabytes(fixed_.file + best.bytes)));
    return best;
  }

  /// A group's tensors one choice up or down; nothing where none can.
  [[nodiscard]] std::optional<Picks> shifted(const Picks& picks, const Group& group, int by) const {
    Picks out = picks;
    bool any = false;
    for (const size_t t : group.tensors) {
      const auto& candidates = tensors_[t].candidates;
      for (auto c = static_cast<int64_t>(picks[t]) + by; c >= 0 && c < static_cast<int64_t>(candidates.size());
           c += by) {
        if (candidates[static_cast<size_t>(c)].dominated) continue;
        out[t] = static_cast<size_t>(c);
        any = true;
        break;
      }
    }
    return any ? std::optional(out) : std::nullopt;
  }

  /// One group richer and another poorer within the budget, the most promising first.
  [[nodiscard]] std::vector<Picks> exchanges_of(const Picks& picks) const {
    std::vector<std::pair<double, Picks>> found;
    const double now = model_.damage(picks);
    for (const Group& up : groups_) {
      const auto richer = shifted(picks, up, 1);
      if (!richer) continue;
      for (const Group& down : groups_) {
        if (&up == &down) continue;
        const auto both = shifted(*richer, down, -1);
        if (both && bytes_of(*both) <= *budget_) found.emplace_back(model_.damage(*both) - now, *both);
      }
    }
    std::ranges::stable_sort(found, {}, [](const auto& f) { return f.first; });
    std::vector<Picks> out;
    out.reserve(found.size());
    for (auto& [change, other] : found) out.push_back(std::move(other));
    return out;
  }

  Result<Tried> exchange(const Tried& best) {
    if (effort_.exchanges == 0) return best;
    Picks now = best.picks;
    LISSOM_TRY(double kld, measured_.near(now, now, nullptr));
    std::set<Picks> seen = {now};
    for (int left = effort_.exchanges; left > 0;) {
      bool accepted = false;
      for (const Picks& picks : exchanges_of(now)) {
        if (left <= 0 || accepted) break;
        if (!seen.insert(picks).second) continue;
        --left;
        LISSOM_TRY(const double other, measured_.near(picks, now, nullptr));
        if (other >= kld) continue;
        kld = other;
        now = picks;
        accepted = true;
      }
      if (!accepted) break;
    }
    return now == best.picks ? Result<Tried>(best) : try_plan(now, "search");
  }

  // -------------------------------------------------------------- the smallest

  /// A plan of about this damage.
  [[nodiscard]] Picks with_damage(double damage) const {
    if (const auto picks = knapsack(bytes_of(plain_)).smallest(damage)) return model_.candidates_of(*picks);
    uint64_t most = 0;
    for (const SearchTensor& t : tensors_) most += t.candidates.back().bytes;
    const Knapsack all = knapsack(most);
    if (const auto picks = all.smallest(damage)) return model_.candidates_of(*picks);
    return model_.candidates_of(*all.within(most));
  }

  Result<Tried> smallest() {
    const double limit = *limits_.max_kld;
    std::optional<Tried> met, missed;
    double relative = 0.05;  // of the standard error
    const auto attempt = [&](double damage) -> Result<bool> {
      if (missed) damage = std::min(damage, 0.985 * model_.damage(missed->picks));
      if (met) damage = std::max(damage, 1.015 * model_.damage(met->picks));
      const Picks picks = with_damage(damage);
      if ((met && picks == met->picks) || (missed && picks == missed->picks)) return false;
      LISSOM_TRY(const Tried tried, try_plan(picks, "search"));
      if (tried.kld.value > 0) relative = std::min(tried.kld.error / tried.kld.value, 1.0);
      const bool meets = tried.bound() <= limit;
      if (meets && (!met || tried.bytes < met->bytes)) met = tried;
      if (!meets && (!missed || tried.bytes > missed->bytes)) missed = tried;
      if (met && missed && missed->bytes >= met->bytes) missed.reset();
      return true;
    };
    const auto aim = [&] { return model_.damage_for(limit / (1 + kQuantile * relative)); };
    LISSOM_TRY(bool more, attempt(aim()));
    for (int round = 0; round < effort_.corrections; ++round) {
      LISSOM_CHECK(correct_around(tried_.back().picks));
      LISSOM_TRY(more, attempt(aim()));
    }
    for (int i = 1; i < effort_.verifications && more; ++i) {
      const double wanted = aim();
      LISSOM_TRY(more, attempt(met && missed && i % 3 == 2
                                   ? std::sqrt(model_.damage(met->picks) * model_.damage(missed->picks))
                                   : wanted));
    }
    // Far from what the model expects: by steps to the source itself, and half of the last step back.
    const bool met_as_expected = met.has_value();
    for (const double part : {0.5, 0.2, 0.05, 0.0})
      if (!met) LISSOM_CHECK(attempt(part * aim()));
    if (met && missed && !met_as_expected)
      LISSOM_CHECK(attempt(std::sqrt(model_.damage(met->picks) * model_.damage(missed->picks))));
    if (met) return *met;
    const Tried& best = *std::ranges::min_element(tried_, {}, [](const Tried& t) { return t.kld.value; });
    return limit_error(fmt::format(
        "no choice of codecs meets --max-kld {:g}: the best reached is {:.3g} ± {:.2g} with {:.4g} MB", limit,
        best.kld.value, best.kld.error, megabytes(fixed_.file + best.bytes)));
  }

  // -------------------------------------------------------------- the result

  [[nodiscard]] Point point_of(const std::string& name, uint64_t bytes, double predicted) const {
    return {name,
            fixed_.file - kHeaderSlack + bytes,
            8.0 * static_cast<double>(fixed_.tensors + bytes) / fixed_.weights,
            predicted,
            {}};
  }

  /// Plans that were run, what the model says of other budgets, and of the built-in schemes.
  [[nodiscard]] std::vector<Point> frontier() const {
    std::vector<Point> points;
    for (const Tried& t : tried_) {
      points.push_back(point_of(t.name, t.bytes, t.predicted));
      points.back().verified = t.kld;
    }
    const uint64_t most = bytes_of(plain_);
    const Knapsack all = knapsack(most);
    const uint64_t least = least_bytes(all.items());
    for (int i = 0; i <= kBudgets; ++i) {
      const uint64_t budget = least + (most - least) / kBudgets * static_cast<uint64_t>(i);
      const auto choices = all.within(budget);
      if (!choices) continue;
      const Choice total = total_of(all.items(), *choices);
      points.push_back(point_of("search", total.bytes, model_.predict(total.damage)));
    }
    for (const std::string& name : scheme_names()) {
      const auto scheme = builtin_scheme(name);
      if (!scheme || !scheme->selectable) continue;
      if (std::ranges::any_of(tried_, [&](const Tried& t) { return t.name == name; })) continue;
      const auto picks = picks_of(*scheme);
      if (picks) points.push_back(point_of(name, bytes_of(*picks), model_.predict(model_.damage(*picks))));
    }
    std::ranges::stable_sort(points, {}, &Point::file_bytes);
    return points;
  }

  Result<Found> result_of(const Tried& best) {
    Found found;
    found.scheme = scheme_of(
        tensors_, best.picks, "search",
        fmt::format(
            "Chosen by measurement for {}{}{}.",
            limits_.file_bytes > 0        ? fmt::format("a file of at most {} bytes", limits_.file_bytes)
            : limits_.bits_per_weight > 0 ? fmt::format("at most {:g} bits per weight", limits_.bits_per_weight)
                                          : "",
            budget_ && limits_.max_kld ? ", " : "",
            limits_.max_kld ? fmt::format("a mean KL divergence of at most {:g}", *limits_.max_kld) : ""));
    found.yaml = scheme_yaml(found.scheme);
    LISSOM_TRY(const Plan plan, make_plan(checkpoint_, found.scheme, !means_.empty()));
    LISSOM_TRY(found.file_bytes, planned_file_bytes(checkpoint_, found.scheme, plan));
    found.kld = best.kld;
    found.kld_bound = best.bound();
    found.frontier = frontier();
    found.measurements = measured_.asked();
    found.remembered = measured_.remembered();
    found.windows = windows_;
    progress_.report("search", expected_, expected_, "");
    return found;
  }

  const Checkpoint& checkpoint_;
  const Means& means_;
  const Limits& limits_;
  const Effort& effort_;
  ThreadPool& pool_;
  const Progress& progress_;
  std::vector<SearchTensor> tensors_;
  std::vector<Group> groups_;
  Fixed fixed_;
  std::optional<uint64_t> budget_;
  DamageModel model_;
  Measurements measured_;
  Picks plain_;  ///< the richest plan of quantized codecs
  std::vector<Tried> tried_;
  int64_t expected_ = 1, windows_ = 0;
};

}  // namespace

Effort effort_of(int level, double weights) {
  Effort effort;
  if (level == 1) effort = {8, 2, 16, 2, 12, 7};
  if (level == 2) effort = {30, 4, 32, 3, 100, 10};
  const double share = std::min(1.0, 135e6 / std::max(weights, 1.0));
  const auto scaled = [&](int64_t count, int64_t least) {
    return std::max(least, static_cast<int64_t>(std::llround(static_cast<double>(count) * std::sqrt(share))));
  };
  effort.stretches = scaled(effort.stretches, 3);
  effort.measured = scaled(effort.measured, 1);
  effort.verified = scaled(effort.verified, 2);
  return effort;
}

uint64_t memory_needed(const Checkpoint& checkpoint) {
  // The source in 16 bits, of which replaced matrices leave gaps; a plan and its kernels' copy; references.
  uint64_t weights = 0, largest = 0;
  for (const TensorInfo& info : checkpoint.tensors->tensors()) {
    const auto elements = static_cast<uint64_t>(info.shape.elements());
    weights += elements;
    largest = std::max(largest, elements);
  }
  return 5 * weights + 6 * largest + (uint64_t{900} << 20U);
}

Result<void> check_size(const Checkpoint& checkpoint, const Limits& limits, bool has_importance) {
  Scheme any;
  any.name = "search";
  any.default_codec = "F16";
  LISSOM_TRY(const Plan plan, make_plan(checkpoint, any, has_importance));
  std::set<std::string> statistics;
  for (const std::string& name : scheme_names()) {
    LISSOM_TRY(const Scheme scheme, builtin_scheme(name));
    statistics.insert(scheme.needs_imatrix.begin(), scheme.needs_imatrix.end());
  }
  std::vector<SearchTensor> tensors;
  for (size_t i = 0; i < plan.entries.size(); ++i) {
    const PlanEntry& entry = plan.entries[i];
    if (entry.kept) continue;
    std::vector<Candidate> forms;
    const auto add = [&](const std::string& codec) {
      forms.push_back(
          {codec, gguf_padded(find_block_codec(codec)->components(entry.shape).front().bytes), 0, false});
    };
    add(entry.from);
    for (const std::string& codec : candidate_codecs())
      if (entry.shape.cols() % find_block_codec(codec)->column_multiple() == 0 &&
          (has_importance || !statistics.contains(codec)))
        add(codec);
    std::ranges::stable_sort(forms, std::ranges::greater{}, &Candidate::bytes);
    tensors.push_back({.index = i, .name = entry.tensor, .shape = entry.shape, .candidates = std::move(forms)});
  }
  LISSOM_TRY(const Fixed fixed, fixed_of(checkpoint, tensors));
  uint64_t least = 0;
  for (const SearchTensor& t : tensors) least += t.candidates.back().bytes;
  const std::optional<uint64_t> budget = budget_of(limits, fixed);
  if (budget && *budget < least) return too_small(fixed, least);
  return {};
}

Result<Found> find_scheme(const Checkpoint& checkpoint, const Tokenizer& tokenizer, std::string_view text,
                          const std::optional<Importance>& importance, const Limits& limits,
                          const Options& options, const Progress& progress) {
  if (limits.bits_per_weight <= 0 && limits.file_bytes == 0 && !limits.max_kld)
    return bad_input("a search needs a limit: bits per weight, a size or a divergence");
  if (limits.max_kld && !(*limits.max_kld > 0))
    return bad_input(fmt::format("--max-kld {:g}: expected more than 0", *limits.max_kld));
  ProbeTexts texts;
  int64_t context = options.context;
  if (checkpoint.config.context > 0) context = std::min(context, checkpoint.config.context);
  LISSOM_TRY(texts.windows, cut_windows(tokenizer, text, context, 0));
  LISSOM_TRY(const Means means, means_of(checkpoint, importance));
  ThreadPool pool(options.threads);
  return Search(checkpoint, means, limits, options, pool, progress).run(std::move(texts));
}

}  // namespace lissom::search
