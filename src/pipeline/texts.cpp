#include "pipeline/texts.h"

#include <fmt/format.h>

#include <algorithm>

#include "compress/digest.h"
#include "data/calibration.h"
#include "data/text.h"
#include "lissom/gguf.h"

namespace lissom {
namespace {

/// The model's samples for judging come from another seed than those for the statistics.
constexpr uint64_t kEvaluationSeed = 0x6576616cU;

std::string file_name(const std::filesystem::path& path) {
  return path.filename().string();
}

Result<TextPlan> file_plan(const std::filesystem::path& path, TextPlan::Kind kind, const std::string& part) {
  LISSOM_TRY(const std::string text, read_text(path));
  return TextPlan{kind, path,
                  fmt::format("{}{} (sha256:{})", part, file_name(path), sha256_hex(text).substr(0, 16))};
}

Result<std::string> sampled(Source& source, int64_t tokens, uint64_t seed, const Progress& progress) {
  LISSOM_TRY(const auto model, source.model());
  LISSOM_TRY(const Tokenizer* tokenizer, source.tokenizer());
  return sample_calibration_text(model, *tokenizer,
                                 {.tokens = tokens, .seed = seed, .threads = source.threads()}, progress);
}

}  // namespace

RuntimeOptions Source::options(int threads) {
  RuntimeOptions options;
  options.threads = threads;
  options.bf16 = true;
  return options;
}

Result<std::shared_ptr<Model>> Source::model() {
  if (model_) return model_;
  LISSOM_TRY(model_, Model::load(checkpoint_, options(threads_)));
  return model_;
}

Result<const Tokenizer*> Source::tokenizer() {
  if (!tokenizer_) {
    LISSOM_TRY(tokenizer_, Tokenizer::from_gguf(*checkpoint_.metadata, checkpoint_.path.string()));
  }
  return tokenizer_.get();
}

int64_t evaluated_windows(const CompressJob& job) {
  return job.eval_chunks > 0 ? job.eval_chunks : 12;
}

int64_t sampled_evaluation_tokens(const CompressJob& job) {
  return (evaluated_windows(job) + 1) * job.context * 9 / 8;
}

size_t split_point(const std::string& text) {
  const size_t wanted = text.size() / 10 * 9;
  if (const size_t line = text.rfind('\n', wanted); line != std::string::npos && line > text.size() / 2)
    return line + 1;
  size_t at = wanted;  // no line end: the start of a character
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xc0U) == 0x80U) --at;
  return at;
}

Result<TextPlans> plan_texts(const CompressJob& job, const std::string& source_digest) {
  TextPlans plans;
  const std::string source = source_digest.substr(0, 23);
  const bool split = job.calib && !job.imatrix && !job.eval_text && job.verify;
  if (job.data_free) {
    plans.calibration.description = "none: the codecs saw the weights alone";
  } else if (job.imatrix) {
    plans.calibration.kind = TextPlan::Kind::imatrix_file;
    plans.calibration.path = *job.imatrix;
    plans.calibration.description = "statistics of " + file_name(*job.imatrix);
  } else if (job.calib) {
    LISSOM_TRY(plans.calibration,
               file_plan(*job.calib, split ? TextPlan::Kind::head_of_file : TextPlan::Kind::file,
                         split ? "the first nine tenths of " : ""));
  } else {
    plans.calibration.kind = TextPlan::Kind::sampled;
    plans.calibration.description = fmt::format("{} tokens sampled from the source itself, seed {} ({})",
                                                job.sample_tokens, job.seed, source);
  }
  if (!job.verify) {
    plans.evaluation.description = "none: --no-verify";
  } else if (job.eval_text) {
    LISSOM_TRY(plans.evaluation, file_plan(*job.eval_text, TextPlan::Kind::file, ""));
  } else if (split) {
    LISSOM_TRY(plans.evaluation, file_plan(*job.calib, TextPlan::Kind::tail_of_file, "the last tenth of "));
  } else {
    plans.evaluation.kind = TextPlan::Kind::sampled;
    plans.evaluation.description =
        fmt::format("text sampled from the source itself with another seed than any calibration, {} ({})",
                    job.seed ^ kEvaluationSeed, source);
  }
  return plans;
}

Result<std::string> calibration_text(const CompressJob& job, const TextPlan& plan, Source& source,
                                     const Progress& progress) {
  if (plan.kind == TextPlan::Kind::sampled) return sampled(source, job.sample_tokens, job.seed, progress);
  LISSOM_TRY(std::string text, read_text(plan.path));
  if (plan.kind == TextPlan::Kind::head_of_file) text.resize(split_point(text));
  return text;
}

Result<std::string> evaluation_text(const CompressJob& job, const TextPlan& plan, Source& source,
                                    const Progress& progress) {
  if (plan.kind == TextPlan::Kind::sampled) {
    return sampled(source, sampled_evaluation_tokens(job), job.seed ^ kEvaluationSeed, progress);
  }
  LISSOM_TRY(std::string text, read_text(plan.path));
  if (plan.kind == TextPlan::Kind::tail_of_file) text.erase(0, split_point(text));
  return text;
}

}  // namespace lissom
