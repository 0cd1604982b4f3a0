#pragma once
// Checkpoint in, smaller checkpoint out: a scheme says which tensor gets which codec, an algorithm chooses the
// values, the writer streams.

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lissom/model.h"
#include "lissom/progress.h"
#include "lissom/result.h"

namespace lissom {

/// A scheme is data: rules over canonical tensor names, first match wins. Built-in ones are YAML too
/// (schemes/). Norms, biases, position and token-type embeddings stay F32 whatever a scheme says: llama.cpp's
/// loader wants them so.
struct Scheme {
  /// Facts of the model and the run that a rule may ask for; all that are set must hold.
  struct When {
    std::optional<bool> imatrix;    ///< importance statistics are there
    std::optional<bool> tied;       ///< no output matrix of its own: the token embedding serves as one
    int64_t min_gqa = 0;            ///< query heads per key/value head; 0: any
    int64_t layer_count = 0;        ///< of the model; 0: any
    std::vector<std::string> arch;  ///< Config::arch, any of these; empty: any
  };
  struct Rule {
    std::string match;  ///< regular expression (Oniguruma, Ruby syntax, searched, not anchored)
    std::string codec;
    std::string
        otherwise;  ///< codec where the columns do not divide, instead of the scheme's fallback; may be empty
    /// "" = all; else a comma-separated list, of which one must hold: "more_bits" (llama.cpp's choice of the
    /// layers that deserve more: the first and last eighth and every third between), "7", "0-3", "28-", "<4",
    /// "<n/8".
    std::string layers;
    When when;
  };
  std::string name, description;
  std::string default_codec;
  std::vector<Rule> tensors;
  std::map<std::string, std::string>
      fallback;            ///< codec → codec where columns do not divide; at the end of it F16
  int64_t file_type = -1;  ///< general.file_type, where llama.cpp knows one
  /// Codecs so small that they are refused for a tensor of the blocks without importance statistics.
  std::vector<std::string> needs_imatrix;
  /// A tensor that the source already holds in no more bits than it would get is copied: nothing more is lost.
  bool keep_smaller = false;
  bool selectable = false;  ///< may be picked to meet a size
};
/// `origin` names the text in errors: "origin:line: field: what is wrong".
[[nodiscard]] Result<Scheme> parse_scheme(const std::string& yaml, const std::string& origin);
[[nodiscard]] std::vector<std::string> scheme_names();
[[nodiscard]] Result<Scheme> builtin_scheme(const std::string& name);  ///< "Q4_K_M", "quality", …; any case
/// A built-in scheme's name, or a path of a YAML file.
[[nodiscard]] Result<Scheme> find_scheme(const std::string& name_or_path);

struct PlanEntry {
  std::string tensor;
  Shape shape;
  std::string from, codec;  ///< codec before and after
  std::string reason;       ///< the rule or fallback that chose it
  bool fallback = false;    ///< the codec that the rule named does not divide the columns
  bool kept = false;        ///< never quantized: a norm, a bias, a position embedding
  uint64_t bytes = 0;
};
struct Plan {
  std::vector<PlanEntry> entries;  ///< in the order of the checkpoint
  uint64_t bytes = 0;              ///< of all tensors
  double bits_per_weight = 0;      ///< of all weights, everything counted
};
[[nodiscard]] Result<Plan> make_plan(const Checkpoint& checkpoint, const Scheme& scheme, bool has_importance);

/// Whether this tensor is refused without importance statistics: what llama-quantize refuses.
[[nodiscard]] bool needs_importance(const Scheme& scheme, const PlanEntry& entry);

/// Among the selectable built-in schemes the largest that stays within both limits (0: none): bits per weight
/// of the tensors, and bytes of the whole file. An error names the smallest that is possible.
[[nodiscard]] Result<Scheme> pick_scheme(const Checkpoint& checkpoint, double max_bits_per_weight,
                                         uint64_t max_file_bytes, bool has_importance);

/// Squares of the inputs of each linear, summed over calibration tokens (llama.cpp's imatrix). Sums and not
/// means, as its file holds them, so that writing and reading changes no bit.
struct Importance {
  struct Entry {
    std::vector<float> sum_square;            ///< one per column; of a mixture's 3-D tensor: experts × columns
    int64_t tokens = 0;                       ///< rows that were summed, > 0; of all experts
    std::vector<int64_t> expert_tokens = {};  ///< of a 3-D tensor: the rows that each expert saw
    /// Laid out as sum_square. An expert that saw fewer than kEnoughTokens has the mean over all experts.
    [[nodiscard]] std::vector<float> mean_square() const;
  };
  /// Below this an expert's own mean squares are mostly chance: their deviation is √(2/64), a sixth.
  static constexpr int64_t kEnoughTokens = 64;
  std::map<std::string, Entry> entries;  ///< by tensor name
  std::vector<std::string> datasets;
  int64_t chunks = 0, chunk_size = 0, skipped_chunks = 0;  ///< skipped: non-finite activations
};
/// Experts that saw too few tokens to have statistics of their own, by layer and number.
struct StarvedExpert {
  int64_t layer = 0, expert = 0, tokens = 0;
};
[[nodiscard]] std::vector<StarvedExpert> starved_experts(const Importance& importance);
/// llama.cpp's GGUF form, or its older .dat.
[[nodiscard]] Result<Importance> read_imatrix(const std::filesystem::path& path);
[[nodiscard]] Result<void> write_imatrix(const Importance& importance, const std::filesystem::path& path);

struct CompressOptions {
  Scheme scheme;
  std::optional<Importance> importance;
  int threads = 0;            ///< 0: the number of physical cores; the bytes do not depend on it
  uint64_t seed = 0;          ///< recorded in the journal
  std::string source_digest;  ///< of the checkpoint where the caller has it already; else computed
  /// Names the source's bytes where their digest is not known: then it is computed from what the encoding reads
  /// anyway, and each tensor is read once. One line without quotes. Instead of source_digest.
  std::string source_identity = {};
  /// Values to encode instead of the checkpoint's own: F32 under canonical names, in the plan's shapes, of any
  /// of the tensors that are not copied; or, in the plan's codec, the very bytes to write. Errors in the report
  /// are then those of encoding these. `algorithm` names what they depend on, in one line without quotes.
  std::shared_ptr<const TensorSource> learned = {};
  std::string algorithm = {};
  /// Weights that are encoded, written and made durable at a time: what a kill costs, and what memory is needed
  /// for.
  int64_t step_weights = 8 << 20;
};
struct TensorReport {
  std::string tensor, from, codec, reason;
  Shape shape;
  uint64_t bytes_before = 0, bytes_after = 0;
  double relative_error = 0;           ///< sqrt(Σ(w-ŵ)² / Σw²)
  double weighted_relative_error = 0;  ///< the same with importance, where there is one
  bool has_importance = false;
  bool fed_back = false;  ///< by compress_to_pack(), which was given the Hessian
};
struct CompressResult {
  std::filesystem::path path;
  Plan plan;
  std::vector<TensorReport> tensors;
  uint64_t bytes_before = 0, bytes_after = 0;  ///< of the tensors
  uint64_t file_bytes = 0;                     ///< of the file written
  std::string source_digest;                   ///< "sha256:…", see docs/compress.md
  double seconds = 0;
  int64_t resumed_tensors = 0;
  std::vector<std::string> warnings;
};
/// Streams every tensor of the plan into a GGUF at `out`. Writes `out`.journal while it works; a later call
/// with the same inputs continues from it and gives the same bytes. Until all is there nothing lies at `out`.
/// An interrupted source (ErrorKind::unavailable) leaves it too.
/// Errors: a tensor with NaN or Inf, or with values that its codec cannot hold; `out` is the source; disk full.
[[nodiscard]] Result<CompressResult> compress_to_gguf(const Checkpoint& checkpoint,
                                                      const std::filesystem::path& out,
                                                      const CompressOptions& options, const Progress& progress);

/// A folder for vLLM and transformers (docs/exports.md), whose linear layers are quantized, and all else is of
/// 16 bits.
struct FolderOptions {
  std::string format = {};  ///< "compressed-tensors", "gptq", "gptq_v2" or "awq"
  std::string scheme = {};  ///< one of the format's: "w4a16-g128"; empty: its default
  std::optional<Importance> importance = {};
  int threads = 0;                    ///< 0: the number of physical cores; the bytes do not depend on it
  std::string source_digest = {};     ///< where the caller has it; recorded
  uint64_t shard_bytes = 5000000000;  ///< of each safetensors file
};
/// What would be written. Errors: an unknown format or scheme; a model that has no such form (a mixture of
/// experts, GPT-2's transposed layers, one that predicts no next token); no layer that the format can hold.
[[nodiscard]] Result<Plan> make_folder_plan(const Checkpoint& checkpoint, const FolderOptions& options);
/// Writes the folder `out`, a tensor at a time, under another name until it is whole. `out` must not have files
/// in it. Layers that the format cannot hold stay as they are, which a warning says.
[[nodiscard]] Result<CompressResult> compress_to_folder(const Checkpoint& checkpoint,
                                                        const std::filesystem::path& out,
                                                        const FolderOptions& options, const Progress& progress);

}  // namespace lissom
