#include "compress/search/candidates.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "compress/encode.h"
#include "compress/header.h"
#include "eval/diagnose/diagnose.h"

namespace lissom::search {
namespace {

/// A sample of this many weights tells a codec's error to a percent.
constexpr int64_t kSampleWeights = 24 << 10;
constexpr double kReferenceBits = 4.5;
/// A scheme has at most so many rules.
constexpr size_t kMostRules = 4096;

/// Codecs that some scheme of llama-quantize's refuses without statistics.
Result<std::set<std::string>> codecs_with_statistics() {
  std::set<std::string> codecs;
  for (const std::string& name : scheme_names()) {
    LISSOM_TRY(const Scheme scheme, builtin_scheme(name));
    codecs.insert(scheme.needs_imatrix.begin(), scheme.needs_imatrix.end());
  }
  return codecs;
}

/// One tensor in F32.
class Rows final : public TensorSource {
 public:
  Rows(std::string name, const Shape& shape, std::vector<float> values, std::string origin)
      : values_(std::move(values)), origin_(std::move(origin)) {
    info_ = {.name = std::move(name), .type = "F32", .shape = shape, .bytes = values_.size() * sizeof(float)};
  }
  [[nodiscard]] std::span<const TensorInfo> tensors() const override { return {&info_, 1}; }
  [[nodiscard]] Result<TensorView> read(size_t) const override {
    return TensorView{info_, std::as_bytes(std::span(values_)), {}};
  }
  void release(size_t) const override {}
  [[nodiscard]] std::string origin() const override { return origin_; }

 private:
  TensorInfo info_;
  std::vector<float> values_;
  std::string origin_;
};

/// Rows of the tensor, evenly spread, as many of each expert.
Result<Rows> sample_of(const TensorSource& source, size_t index) {
  const TensorInfo& info = source.tensors()[index];
  const int64_t cols = info.shape.cols();
  const int64_t matrices = info.shape.rank() == 3 ? info.shape[0] : 1;
  const int64_t rows = info.shape.rows() / matrices;
  const int64_t wanted =
      std::clamp<int64_t>(kSampleWeights / cols / matrices, std::min<int64_t>(rows, 4), rows);
  LISSOM_TRY(const TensorView view, source.read(index));
  const BlockCodec& codec = *find_block_codec(info.type);
  const auto row_bytes = static_cast<size_t>(cols / codec.block_weights() * codec.block_bytes());
  std::vector<float> values(static_cast<size_t>(matrices * wanted * cols));
  for (int64_t m = 0; m < matrices; ++m) {
    for (int64_t r = 0; r < wanted; ++r) {
      const int64_t row = m * rows + r * rows / wanted;
      codec.decode_blocks(view.data.data() + static_cast<size_t>(row) * row_bytes, cols / codec.block_weights(),
                          values.data() + (m * wanted + r) * cols);
    }
  }
  source.release(index);
  const Shape shape = matrices > 1 ? Shape{matrices, wanted, cols} : Shape{wanted, cols};
  return Rows(info.name, shape, std::move(values), source.origin());
}

Result<double> error_of(const Rows& rows, const std::string& codec, const Means& means, ThreadPool& pool) {
  const TensorInfo& info = rows.tensors()[0];
  PlanEntry entry;
  entry.tensor = info.name;
  entry.shape = info.shape;
  entry.from = "F32";
  entry.codec = codec;
  entry.bytes = find_block_codec(codec)->components(info.shape).front().bytes;
  Plan plan;
  plan.entries.push_back(std::move(entry));
  Encoder encoder(rows, plan, means, pool, info.shape.elements(), false);
  Slab slab;
  LISSOM_CHECK(encoder.next(slab));
  const double relative = slab.parts.front().sums.weighted_relative();
  return relative * relative;
}

void mark_dominated(std::vector<Candidate>& candidates) {
  std::ranges::stable_sort(candidates, [](const Candidate& a, const Candidate& b) {
    return a.bytes != b.bytes ? a.bytes < b.bytes : a.error < b.error;
  });
  double best = INFINITY;
  for (Candidate& c : candidates) {
    c.dominated = c.error >= best;
    best = std::min(best, c.error);
  }
}

size_t reference_of(const SearchTensor& tensor) {
  const double weights = static_cast<double>(tensor.shape.elements());
  size_t reference = 0;
  double distance = INFINITY;
  for (size_t i = 0; i < tensor.candidates.size(); ++i) {
    const Candidate& c = tensor.candidates[i];
    const double bits = 8.0 * static_cast<double>(c.bytes) / weights;
    if (c.dominated || std::fabs(bits - kReferenceBits) >= distance) continue;
    distance = std::fabs(bits - kReferenceBits);
    reference = i;
  }
  return reference;
}

Result<void> fill(const Checkpoint& checkpoint, const Means& means, const std::set<std::string>& statistics,
                  ThreadPool& pool, SearchTensor& tensor) {
  const TensorInfo& info = checkpoint.tensors->tensors()[tensor.index];
  LISSOM_TRY(const Rows sample, sample_of(*checkpoint.tensors, tensor.index));
  const auto bytes_of = [&](const std::string& codec) {
    return gguf_padded(find_block_codec(codec)->components(info.shape).front().bytes);
  };
  tensor.candidates.push_back({info.type, bytes_of(info.type), 0, false});
  for (const std::string& codec : candidate_codecs()) {
    const bool divides = info.shape.cols() % find_block_codec(codec)->column_multiple() == 0;
    if (!divides || bytes_of(codec) >= bytes_of(info.type)) continue;
    if (statistics.contains(codec) && !means.contains(info.name)) continue;
    LISSOM_TRY(const double error, error_of(sample, codec, means, pool));
    tensor.candidates.push_back({codec, bytes_of(codec), error, false});
  }
  mark_dominated(tensor.candidates);
  tensor.reference = reference_of(tensor);
  return {};
}

/// Text between YAML's single quotes.
std::string quoted(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("''") : std::string(1, c);
  return out + "'";
}

/// A tensor's name as a regular expression for it alone.
std::string exactly(const std::string& name) {
  std::string pattern = "^";
  for (const char c : name) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    if (!plain) pattern += '\\';
    pattern += c;
  }
  return pattern + "$";
}

}  // namespace

const std::vector<std::string>& candidate_codecs() {
  static const std::vector<std::string> kCodecs = {
      "F16",    "Q8_0", "Q6_K",  "Q5_1",    "Q5_K", "Q5_0",  "Q4_1",   "Q4_K",    "IQ4_NL", "Q4_0",
      "IQ4_XS", "Q3_K", "IQ3_S", "IQ3_XXS", "Q2_K", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M",  "IQ1_S"};
  return kCodecs;
}

const Candidate* SearchTensor::find(std::string_view codec) const {
  const auto it = std::ranges::find(candidates, codec, &Candidate::codec);
  return it == candidates.end() ? nullptr : &*it;
}

Result<std::vector<SearchTensor>> find_candidates(const Checkpoint& checkpoint, const Means& means,
                                                  ThreadPool& pool) {
  Scheme all;
  all.name = "search";
  all.default_codec = "F16";
  LISSOM_TRY(const Plan plan, make_plan(checkpoint, all, !means.empty()));
  LISSOM_TRY(const std::set<std::string> statistics, codecs_with_statistics());
  std::vector<SearchTensor> tensors;
  for (size_t i = 0; i < plan.entries.size(); ++i) {
    const PlanEntry& entry = plan.entries[i];
    if (entry.kept) continue;
    SearchTensor tensor{.index = i, .name = entry.tensor, .shape = entry.shape, .candidates = {}};
    LISSOM_CHECK(fill(checkpoint, means, statistics, pool, tensor));
    tensors.push_back(std::move(tensor));
  }
  if (tensors.empty()) return bad_input(checkpoint.tensors->origin() + ": no matrix to choose a codec for");
  if (tensors.size() > kMostRules)
    return unsupported(fmt::format("{}: {} matrices, more than the {} rules of a scheme",
                                   checkpoint.tensors->origin(), tensors.size(), kMostRules));
  return tensors;
}

Scheme scheme_of(const std::vector<SearchTensor>& tensors, const std::vector<size_t>& picks,
                 const std::string& name, const std::string& description) {
  Scheme scheme;
  scheme.name = name;
  scheme.description = description;
  scheme.default_codec = "F16";
  for (size_t i = 0; i < tensors.size(); ++i) {
    Scheme::Rule rule;
    rule.match = exactly(tensors[i].name);
    rule.codec = tensors[i].candidates[picks[i]].codec;
    scheme.tensors.push_back(std::move(rule));
  }
  return scheme;
}

std::string scheme_yaml(const Scheme& scheme) {
  std::string yaml = fmt::format("name: {}\ndescription: {}\ndefault: {}\nfallback: {{}}\ntensors:\n",
                                 scheme.name, quoted(scheme.description), scheme.default_codec);
  for (const Scheme::Rule& rule : scheme.tensors)
    yaml += fmt::format("  - {{match: {}, codec: {}}}\n", quoted(rule.match), rule.codec);
  return yaml;
}

std::vector<Group> groups_of(const std::vector<SearchTensor>& tensors, int64_t layers, int64_t stretches) {
  std::vector<Group> groups;
  std::map<std::pair<std::string, int64_t>, size_t> known;
  const int64_t parts = std::clamp<int64_t>(stretches, 1, std::max<int64_t>(layers, 1));
  for (size_t i = 0; i < tensors.size(); ++i) {
    const int64_t block = block_of(tensors[i].name);
    if (block < 0) {
      groups.push_back({tensors[i].name, {i}});
      continue;
    }
    const std::string role(role_of(tensors[i].name));
    const int64_t part = std::min(block * parts / std::max<int64_t>(layers, 1), parts - 1);
    const auto [it, added] = known.try_emplace({role, part}, groups.size());
    if (added) {
      const int64_t first = (part * layers + parts - 1) / parts, last = ((part + 1) * layers - 1) / parts;
      groups.push_back({first == last ? fmt::format("{}, block {}", role, first)
                                      : fmt::format("{}, blocks {}-{}", role, first, last),
                        {}});
    }
    groups[it->second].tensors.push_back(i);
  }
  return groups;
}

}  // namespace lissom::search
