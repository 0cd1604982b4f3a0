#pragma once
// Which codec each tensor gets, under a limit of bytes or of divergence. docs/search.md has the method: what is
// measured, what is predicted from it, how a plan is verified and repaired.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "lissom/compress.h"
#include "lissom/eval.h"
#include "lissom/tokenizer.h"

namespace lissom::search {

/// At least one. With max_kld alone the smallest file is wanted, else the best within the size, which must meet
/// max_kld too.
struct Limits {
  double bits_per_weight = 0;          ///< of all tensors; 0: none
  uint64_t file_bytes = 0;             ///< of the file, header included; 0: none
  std::optional<double> max_kld = {};  ///< mean KL(source‖result), nats
};

/// How much is measured: in runs of the model and never in seconds, so that a search decides the same on every
/// machine, and when it goes on after a kill.
struct Effort {
  int64_t stretches = 5;  ///< groups of blocks in which a kind of tensor is measured
  int64_t measured = 2;   ///< windows that sensitivities are measured on
  int64_t verified = 8;   ///< windows that plans are held to
  int corrections = 1;    ///< times that sensitivities are measured again around the plan
  int exchanges = 0;      ///< of two groups, tried on the plan in the end
  int verifications = 5;  ///< of plans, to find the smallest that meets max_kld
};
/// 0: fast, 1: default, 2: high. A model of more than 135 M weights gets fewer windows and groups.
[[nodiscard]] Effort effort_of(int level, double weights);

struct Options {
  Effort effort;
  int64_t context = 512;          ///< tokens of a window, at most the model's
  int threads = 0;                ///< 0: the number of physical cores
  std::filesystem::path journal;  ///< measurements, for a killed search; the caller deletes it
  std::string key;                ///< names the source, the text and the statistics; one line without quotes
};

/// A plan, or a budget.
struct Point {
  std::string name;  ///< "search", or a built-in scheme's
  uint64_t file_bytes = 0;
  double bits_per_weight = 0;
  double predicted = 0;                   ///< mean KL, nats
  std::optional<Estimate> verified = {};  ///< on the windows that plans are held to
};

struct Found {
  Scheme scheme;     ///< "search": a rule for each matrix
  std::string yaml;  ///< the same as a file
  uint64_t file_bytes = 0;
  Estimate kld;                              ///< verified
  double kld_bound = 0;                      ///< kld + 1.645 standard errors: the mean is below with 95%
  std::vector<Point> frontier;               ///< by bytes
  int64_t measurements = 0, remembered = 0;  ///< in all; taken from the journal
  int64_t windows = 0;                       ///< that the plan was verified on
  double seconds = 0;
};

/// `text`: none that the result is judged by. Errors: ErrorKind::limit where nothing meets the limits, naming
/// the smallest that is possible or the best that was reached; a model that predicts no next token; a text
/// shorter than a window. Stopped on request (ErrorKind::cancelled) or killed, a later call goes on.
[[nodiscard]] Result<Found> find_scheme(const Checkpoint& checkpoint, const Tokenizer& tokenizer,
                                        std::string_view text, const std::optional<Importance>& importance,
                                        const Limits& limits, const Options& options, const Progress& progress);

/// Bytes of memory that find_scheme() needs, about, from shapes alone.
[[nodiscard]] uint64_t memory_needed(const Checkpoint& checkpoint);

/// The smallest file that any choice of codecs gives: an error that names it where the size limits exclude it.
[[nodiscard]] Result<void> check_size(const Checkpoint& checkpoint, const Limits& limits, bool has_importance);

}  // namespace lissom::search
