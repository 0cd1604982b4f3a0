#include "pipeline/fold_job.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "pipeline/folder_job.h"
#include "pipeline/search_job.h"

namespace lissom {
namespace {

/// "blk.7." as "blk.*.", so that what is the same in all layers is said once.
std::string without_numbers(const std::string& text) {
  std::string out;
  for (size_t i = 0; i < text.size();) {
    if (text.compare(i, 4, "blk.") != 0) {
      out += text[i++];
      continue;
    }
    out += "blk.";
    i += 4;
    const size_t begin = i;
    while (i < text.size() && text[i] >= '0' && text[i] <= '9') ++i;
    if (i > begin) out += '*';
  }
  return out;
}

Json summary_of(const std::vector<std::string>& left) {
  std::map<std::string, int64_t> counts;
  for (const std::string& line : left) ++counts[without_numbers(line)];
  Json list = Json::array();
  for (const auto& [line, count] : counts) list.push_back({{"what", line}, {"count", count}});
  return list;
}

ScaleOptions scale_options(const CompressJob& job) {
  ScaleOptions options;
  options.calibration.chunks = job.calib_chunks;
  options.calibration.runtime = Source::options(job.threads);
  options.threads = job.threads;
  return options;
}

/// Statistics of a rotated model's inputs, where there were any.
Result<void> measure_again(Folded& rotated, const CompressJob& job, const std::string& text,
                           const Tokenizer& tokenizer, const Progress& progress) {
  CalibrationOptions options;
  options.chunks = job.calib_chunks;
  options.runtime = Source::options(job.threads);
  const std::string dataset = rotated.importance->datasets.empty() ? "" : rotated.importance->datasets.front();
  LISSOM_TRY(rotated.importance,
             collect_importance(rotated.checkpoint, tokenizer, text, dataset, options, progress));
  return {};
}

Json scales_json(const ScaledModel& scaled) {
  Json json = {{"tried", scaled.tried},
               {"chunks", scaled.chunks},
               {"seconds", scaled.seconds},
               {"inputs", Json::array()},
               {"left", summary_of(scaled.left)}};
  for (const ScaledPair& pair : scaled.pairs)
    json["inputs"].push_back({{"label", pair.label},
                              {"through", pair.through},
                              {"input_exponent", pair.input_exponent},
                              {"weight_exponent", pair.weight_exponent},
                              {"validation_ratio", pair.judge_ratio}});
  return json;
}

}  // namespace

Result<void> add_fold(const std::string& word, Folds& folds) {
  if (word == "awq")
    folds.awq = true;
  else if (word == "heads")
    folds.heads = true;
  else if (word == "residual")
    folds.residual = true;
  else
    return bad_input("--fold " + word + ": awq, heads or residual; several with commas");
  return {};
}

std::string fold_description(const Folds& folds) {
  std::string text;
  for (const auto& [on, word] :
       {std::pair(folds.awq, "awq"), {folds.heads, "heads"}, {folds.residual, "residual"}})
    if (on) text += (text.empty() ? "" : " ") + std::string(word);
  return text;
}

Result<void> check_folds(const Checkpoint& checkpoint, const CompressJob& job, bool data_free) {
  const Folds& folds = job.folds;
  if (!folds.any()) return {};
  if (writes_folder(job)) return bad_input("--fold is for GGUF files and packs");
  if (folds.awq && data_free) return bad_input("--fold awq reads a text: give one with --calib, or nothing");
  if (folds.residual) {
    LISSOM_TRY(const ResidualStream stream, find_residual_stream(checkpoint));
    (void)stream;
  }
  if (!folds.awq && !folds.heads) return {};
  const FoldPairs found = find_fold_pairs(checkpoint);
  const auto serves = [&](FoldPair::Through through) {
    return folds.awq || through == FoldPair::Through::attention;
  };
  if (std::ranges::any_of(found.pairs, serves, &FoldPair::through)) return {};
  const auto why = std::ranges::find_if(found.left, serves, &FoldPairs::Left::through);
  return unsupported(fmt::format("--fold {}: this model has no room for it{}{}", folds.awq ? "awq" : "heads",
                                 why == found.left.end() ? "" : "; ",
                                 why == found.left.end() ? "" : why->what));
}

Json planned_folds(const Checkpoint& checkpoint, const Folds& folds) {
  const FoldPairs found = find_fold_pairs(checkpoint);
  std::vector<std::string> left;
  for (const FoldPairs::Left& l : found.left) left.push_back(l.what);
  const auto count = [&](FoldPair::Through kind) {
    return std::ranges::count(found.pairs, kind, &FoldPair::through);
  };
  return {{"kinds", fold_description(folds)},
          {"norm", count(FoldPair::Through::norm)},
          {"attention", count(FoldPair::Through::attention)},
          {"product", count(FoldPair::Through::product)},
          {"left", summary_of(left)}};
}

Result<FoldedTarget> fold_target(const Checkpoint& checkpoint, const CompressJob& job, const Plan& plan,
                                 const std::optional<Importance>& importance, const TextPlan& calibration,
                                 std::string text, const Progress& progress) {
  FoldedTarget target{checkpoint, importance, {{"kinds", fold_description(job.folds)}}};
  const bool rotates = job.folds.heads || job.folds.residual;
  const bool measures = rotates && importance && calibration.kind != TextPlan::Kind::imatrix_file;
  Source source(checkpoint, job.threads);
  const Tokenizer* tokenizer = nullptr;
  if (job.folds.awq || measures) {
    if (text.empty()) {
      LISSOM_TRY(text, search_text(job, calibration, source, progress));
    }
    LISSOM_TRY(tokenizer, source.tokenizer());
    source.unload();
  }
  if (rotates) {
    const RotationOptions options{job.folds.heads, job.folds.residual, job.seed};
    LISSOM_TRY(RotatedModel rotated, rotate_model(checkpoint, importance, options));
    if (measures) LISSOM_CHECK(measure_again(rotated.folded, job, text, *tokenizer, progress));
    target.checkpoint = std::move(rotated.folded.checkpoint);
    target.importance = std::move(rotated.folded.importance);
    target.report["rotation"] = {
        {"heads", rotated.heads}, {"residual", rotated.residual}, {"left", summary_of(rotated.left)}};
  }
  if (!job.folds.awq) return target;
  LISSOM_TRY(ScaledModel scaled, scale_model(target.checkpoint, plan, target.importance, *tokenizer, text,
                                             scale_options(job), progress));
  progress.say(LogLevel::info,
               fmt::format("fold: {} of {} inputs are scaled", scaled.pairs.size(), scaled.tried));
  target.report["awq"] = scales_json(scaled);
  target.checkpoint = std::move(scaled.folded.checkpoint);
  target.importance = std::move(scaled.folded.importance);
  return target;
}

void name_source_types(const Checkpoint& checkpoint, Json& result) {
  for (Json& tensor : result["tensors"]) {
    const int64_t index = checkpoint.tensors->find(tensor.value("name", ""));
    if (index < 0) continue;
    const TensorInfo& info = checkpoint.tensors->tensors()[static_cast<size_t>(index)];
    tensor["from"] = info.type;
    tensor["bytes_before"] = info.bytes;
  }
}

uint64_t fold_memory(const Checkpoint& checkpoint, const CompressJob& job) {
  return job.folds.awq ? scale_memory(checkpoint, scale_options(job)) : 0;
}

}  // namespace lissom
