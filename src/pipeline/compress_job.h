#pragma once
// The main job: statistics, one or several compressions, the evaluation of each, the report.

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "format/json.h"
#include "lissom/progress.h"
#include "lissom/result.h"

namespace lissom {

/// fast: statistics and each codec's own search. standard and high: then learn (compress/distill.h).
enum class Effort { fast, standard, high };

/// Equivalent transforms that are folded into the weights first (pipeline/fold_job.h).
struct Folds {
  bool awq = false;       ///< channels are scaled by what the codecs lose
  bool heads = false;     ///< v and o are rotated within each head
  bool residual = false;  ///< the values between the blocks are rotated
  [[nodiscard]] bool any() const { return awq || heads || residual; }
};

/// Whether the FFN is widened by neurons of zeros to a multiple of 256 (compress/algorithms/fold/pad_ffn.h).
enum class PadFfn { automatic, always, never };

struct CompressJob {
  std::string model;          ///< folder, .gguf, or org/name on the hub
  std::string revision;       ///< of a model on the hub; empty: main
  std::filesystem::path out;  ///< a .gguf, or a folder; empty: MODEL-SCHEME.gguf here
  /// "gguf", "pack" (docs/pack.md), or a folder for vLLM and transformers: compressed-tensors, gptq, gptq_v2,
  /// awq (docs/exports.md)
  std::string format = "gguf";
  std::vector<std::string> schemes;  ///< names or YAML files; several need a folder. Of a folder's format: one
  double bits_per_weight = 0;        ///< instead of schemes: the largest built-in one within …
  uint64_t file_bytes = 0;           ///< … these; 0: no limit

  std::optional<std::filesystem::path> calib, imatrix, save_imatrix, eval_text;
  bool data_free = false;     ///< no statistics at all
  int64_t calib_chunks = 64;  ///< of 512 tokens, at most; 0: the whole text
  int64_t eval_chunks = 12;   ///< of `context` tokens, at most; 0: the whole text
  int64_t context = 512;
  /// Drawn from the model where no calibration text is given.
  int64_t sample_tokens = 8192;
  /// Nothing: standard where there is an engine and the model is not too large for it, else fast.
  std::optional<Effort> effort;
  std::string algorithm = {};  ///< "search" (also where empty) or "error-feedback" (pipeline/feedback.h)
  Folds folds = {};
  PadFfn pad_ffn = PadFfn::automatic;  ///< automatic: by a search, where it costs little
  uint64_t ram = 0;                    ///< bytes that the job may take; 0: what is available
  int threads = 0;
  std::string device = "cpu";  ///< of the engine (Engine::use)
  uint64_t seed = 0;

  bool verify = true;
  std::optional<double> max_kld, max_ppl_delta;  ///< mean KL in nats; ppl - ppl_base
  std::optional<std::filesystem::path> report;   ///< folder for report.json and report.html
  bool dry_run = false;                          ///< plan only
  uint64_t disk = 0;                             ///< of a model on the hub: bytes of it to hold at a time
  bool check_room = true;                        ///< fail before the start where memory or disk would not do
};

struct CompressOutcome {
  Json report;             ///< docs/report.md
  bool limits_met = true;  ///< what the exit code says
  int64_t reused = 0;      ///< results that an earlier run had finished
};

/// With a folder as `out`, each finished result leaves a record NAME.gguf.json beside its file, and the
/// statistics stay in statistics.imatrix: a later run with the same inputs takes them over instead of working
/// again.
[[nodiscard]] Result<CompressOutcome> run_compress(const CompressJob& job, const Progress& progress);

}  // namespace lissom
