#pragma once
// Which text the statistics come from and which text the result is judged on: never the same.

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "lissom/compress.h"
#include "lissom/runtime.h"
#include "lissom/tokenizer.h"
#include "pipeline/compress_job.h"

namespace lissom {

/// The source model, loaded when something first needs to run it.
class Source {
 public:
  Source(const Checkpoint& checkpoint, int threads) : checkpoint_(checkpoint), threads_(threads) {}
  /// How the source runs for statistics and for text of its own: F32 as BF16, so that it fits in half the
  /// memory. It is judged (evaluated) as it is.
  [[nodiscard]] static RuntimeOptions options(int threads);
  [[nodiscard]] const Checkpoint& checkpoint() const { return checkpoint_; }
  [[nodiscard]] int threads() const { return threads_; }
  [[nodiscard]] Result<std::shared_ptr<Model>> model();
  [[nodiscard]] Result<const Tokenizer*> tokenizer();
  void unload() { model_.reset(); }

 private:
  const Checkpoint& checkpoint_;
  int threads_;
  std::shared_ptr<Model> model_;
  std::unique_ptr<Tokenizer> tokenizer_;
};

/// What a text is, for the report and for telling whether an earlier run used the same.
struct TextPlan {
  enum class Kind { none, file, head_of_file, tail_of_file, sampled, imatrix_file } kind = Kind::none;
  std::filesystem::path path;
  std::string description;  ///< one line, with the digest of a file's bytes
};
struct TextPlans {
  TextPlan calibration, evaluation;
};
/// Decides, and reads files once to see that they are there.
[[nodiscard]] Result<TextPlans> plan_texts(const CompressJob& job, const std::string& source_digest);

/// Reads or samples the text that a plan names. Sampled texts of different kinds have different seeds.
[[nodiscard]] Result<std::string> calibration_text(const CompressJob& job, const TextPlan& plan, Source& source,
                                                   const Progress& progress);
[[nodiscard]] Result<std::string> evaluation_text(const CompressJob& job, const TextPlan& plan, Source& source,
                                                  const Progress& progress);

/// Windows that a job evaluates at most, and the tokens that are sampled for them where it has no text: one
/// window more than is scored, since sampled tokens need not survive the way through text one to one.
[[nodiscard]] int64_t evaluated_windows(const CompressJob& job);
[[nodiscard]] int64_t sampled_evaluation_tokens(const CompressJob& job);

/// The offset of the line end nearest before nine tenths of a text: calibration ends there, evaluation begins.
[[nodiscard]] size_t split_point(const std::string& text);

}  // namespace lissom
