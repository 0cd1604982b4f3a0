#pragma once
// Checkpoint in, smaller checkpoint out: a scheme says which tensor gets which codec, an algorithm chooses the values,
// the writer streams.

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lissom/model.h"
#include "lissom/progress.h"
#include "lissom/result.h"

namespace lissom {

/// A scheme is data: rules over canonical tensor names, first match wins. Built-in ones are YAML too (schemes/).
struct Scheme {
  struct Rule {
    std::string match;  ///< regular expression (Oniguruma, searched, not anchored)
    std::string codec;
    std::string layers;  ///< "" = all; "more_bits" = llama.cpp's use_more_bits(); or "0-3,28-"
  };
  std::string name, description;
  std::string default_codec;
  std::vector<Rule> tensors;
  std::map<std::string, std::string> fallback;  ///< codec → codec where columns do not divide
  int64_t file_type = -1;                       ///< general.file_type, where llama.cpp knows one
};
[[nodiscard]] Result<Scheme> parse_scheme(const std::string& yaml, const std::string& origin);
[[nodiscard]] std::vector<std::string> scheme_names();
[[nodiscard]] Result<Scheme> builtin_scheme(const std::string& name);  ///< "Q4_K_M", "quality", …

struct PlanEntry {
  std::string tensor;
  Shape shape;
  std::string from, codec;  ///< codec before and after
  std::string reason;       ///< the rule or fallback that chose it
  uint64_t bytes = 0;
};
struct Plan {
  std::vector<PlanEntry> entries;
  uint64_t bytes = 0;          ///< of all tensors
  double bits_per_weight = 0;  ///< of all weights, everything counted
};
[[nodiscard]] Result<Plan> make_plan(const Checkpoint& checkpoint, const Scheme& scheme);

/// Mean squares of the inputs of each linear (llama.cpp's imatrix): tensor name → one value per column.
struct Importance {
  std::map<std::string, std::vector<float>> mean_square;
  std::map<std::string, int64_t> tokens;  ///< coverage
  std::vector<std::string> datasets;
  int64_t chunks = 0, chunk_size = 0, skipped_chunks = 0;  ///< skipped: non-finite activations
};
[[nodiscard]] Result<Importance> read_imatrix(const std::filesystem::path& path);
[[nodiscard]] Result<void> write_imatrix(const Importance& importance, const std::filesystem::path& path);

struct CompressOptions {
  Scheme scheme;
  std::optional<Importance> importance;
  int threads = 0;
  uint64_t seed = 0;
};
struct TensorReport {
  std::string tensor, from, codec, reason;
  Shape shape;
  uint64_t bytes_before = 0, bytes_after = 0;
  double relative_error = 0;           ///< sqrt(Σ(w-ŵ)² / Σw²)
  double weighted_relative_error = 0;  ///< the same with importance, where there is one
  bool has_importance = false;
};
struct CompressResult {
  std::filesystem::path path;
  Plan plan;
  std::vector<TensorReport> tensors;
  uint64_t bytes_before = 0, bytes_after = 0;
  double seconds = 0;
  int64_t resumed_tensors = 0;
};
/// Streams every tensor of the plan into a GGUF at `out`. Writes `out`.journal while it works; a later call with the
/// same inputs continues from it and gives the same bytes.
[[nodiscard]] Result<CompressResult> compress_to_gguf(const Checkpoint& checkpoint, const std::filesystem::path& out,
                                                      const CompressOptions& options, const Progress& progress);

}  // namespace lissom
