#include "pipeline/compress_run.h"

#include <fmt/format.h>

#include <numeric>

#include "compress/algorithms/fold/pad_ffn.h"
#include "compress/digest.h"
#include "hub/hub.h"
#include "hub/shards.h"
#include "pipeline/feedback.h"
#include "pipeline/folder_job.h"
#include "pipeline/pack_job.h"
#include "pipeline/search_job.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;

std::string stem_of(const Checkpoint& checkpoint) {
  fs::path path = checkpoint.path;
  if (!path.has_filename()) path = path.parent_path();
  const std::string name = path.extension() == ".gguf" ? path.stem().string() : hub::display_name_of(path);
  return name.empty() || name == "." || name == ".." ? "model" : name;
}

/// What stands in for the scheme that a search will choose: of the size that its file may have.
Result<Scheme> searched_scheme(const CompressRun& run) {
  LISSOM_CHECK(search::check_size(run.checkpoint, search_limits(run.job), true));
  Scheme scheme;
  if (run.job.bits_per_weight > 0 || run.job.file_bytes > 0) {
    auto fits = pick_scheme(run.checkpoint, run.job.bits_per_weight, run.job.file_bytes, true);
    if (!fits) fits = builtin_scheme("size");
    LISSOM_TRY(scheme, std::move(fits));
  } else {
    LISSOM_TRY(scheme, builtin_scheme("Q8_0"));
  }
  scheme.name = "search";
  return scheme;
}

/// The scheme of a job that names none.
Result<Scheme> unnamed_scheme(CompressRun& run, bool& searched) {
  const CompressJob& job = run.job;
  if (writes_pack(job)) return find_pack_scheme("lissom_4");
  if (wants_search(job)) {
    const std::string obstacle = search_obstacle(run.checkpoint, job, run.data_free);
    searched = obstacle.empty();
    if (searched) return searched_scheme(run);
    run.progress.say(LogLevel::info, "no search, a built-in scheme is taken: " + obstacle);
  }
  if (job.bits_per_weight > 0 || job.file_bytes > 0)
    return pick_scheme(run.checkpoint, job.bits_per_weight, job.file_bytes, !run.data_free);
  return builtin_scheme("balanced");
}

Result<void> resolve_targets(CompressRun& run) {
  const CompressJob& job = run.job;
  if (writes_folder(job)) {
    LISSOM_TRY(FolderPlan folder, plan_folder(run.checkpoint, job, stem_of(run.checkpoint)));
    run.targets.push_back({std::move(folder.scheme), std::move(folder.plan), std::move(folder.out), ""});
    return {};
  }
  const bool pack = writes_pack(job);
  if (pack && (job.bits_per_weight > 0 || job.file_bytes > 0))
    return bad_input("--format pack: name a scheme; a size needs GGUF");
  std::vector<Scheme> schemes;
  for (const std::string& name : job.schemes) {
    LISSOM_TRY(schemes.emplace_back(), pack ? find_pack_scheme(name) : find_scheme(name));
  }
  if ((job.bits_per_weight > 0 || job.file_bytes > 0) && !schemes.empty())
    return bad_input("a size and a scheme: give one of the two");
  bool searched = false;
  if (schemes.empty()) {
    LISSOM_TRY(schemes.emplace_back(), unnamed_scheme(run, searched));
  }
  std::error_code code;
  run.folder =
      schemes.size() > 1 || fs::is_directory(job.out, code) || (!job.out.empty() && !job.out.has_filename());
  if (schemes.size() > 1 && job.out.extension() == file_extension(job))
    return bad_input(job.out.string() + ": several targets need a folder as output");
  for (Scheme& scheme : schemes) {
    CompressTarget target;
    const std::string name = fmt::format("{}-{}{}", stem_of(run.checkpoint), scheme.name, file_extension(job));
    target.out = run.folder || job.out.empty() ? job.out / name : job.out;
    for (const CompressTarget& other : run.targets)
      if (other.out == target.out) return bad_input("the scheme " + scheme.name + " is given twice");
    LISSOM_TRY(target.plan,
               make_plan_for(run.checkpoint, scheme, !run.data_free, pack ? PlanFor::pack : PlanFor::gguf));
    target.scheme = std::move(scheme);
    target.searched = searched;
    run.targets.push_back(std::move(target));
  }
  return {};
}

/// Makes room for blocks of 256 in the FFN.
Result<void> pad(CompressRun& run) {
  const CompressJob& job = run.job;
  const bool tries =
      job.pad_ffn == PadFfn::automatic && wants_search(job) && pads_cheaply(run.checkpoint.config);
  if (job.pad_ffn != PadFfn::always && !tries) return {};
  if (writes_folder(job)) return bad_input("--pad-ffn is for GGUF files and packs");
  auto padded = pad_ffn(run.checkpoint, kWideBlock);
  if (!padded) {
    if (!tries) return tl::unexpected(padded.error().within("--pad-ffn"));
    run.progress.say(LogLevel::info, "the FFN is not padded: " + padded.error().message);
    return {};
  }
  if (padded->config.ff == run.checkpoint.config.ff) return {};
  run.progress.say(LogLevel::info, fmt::format("FFN padded with zeros from {} to {} neurons",
                                               run.checkpoint.config.ff, padded->config.ff));
  run.unpadded = std::move(run.checkpoint);
  run.checkpoint = *std::move(padded);
  return {};
}

/// An encoder predicts no next token: it neither samples text nor has a perplexity.
Result<void> adapt_to_model(CompressRun& run) {
  const bool predicts = run.checkpoint.graph.logits >= 0 && run.checkpoint.config.causal;
  run.verify = run.job.verify;
  run.data_free = run.job.data_free;
  if (predicts) return {};
  if (run.job.max_kld || run.job.max_ppl_delta)
    return bad_input("this model predicts no next token, so that it has no perplexity or divergence to limit");
  if (run.verify) warn(run, "not evaluated: this model predicts no next token");
  run.verify = false;
  if (!run.data_free && !run.job.calib && !run.job.imatrix) {
    warn(run, "no statistics: this model cannot sample text; give it some with --calib");
    run.data_free = true;
  }
  return {};
}

/// Weights that are fetched while they are read: how, and whether the job can be done so.
Result<void> plan_shards(CompressRun& run) {
  hub::Shards* shards = run.checkpoint.shards.get();
  if (shards == nullptr) return {};
  const CompressJob& job = run.job;
  const bool statistics = !run.data_free && !job.imatrix, several = run.targets.size() > 1;
  const bool folder = writes_folder(job) || writes_pack(job), searched = run.targets.front().searched;
  if (!statistics && !several && !folder && !searched && !job.folds.any() && !run.unpadded) {
    LISSOM_TRY(const auto metadata, CheckpointDigest::begin(run.checkpoint));
    run.source_identity = "hub:" + sha256_hex(metadata->finish() + "\n" + shards->identity());
  }
  std::string whole;
  const auto needs = [&](bool it_does, const char* what) {
    if (it_does) whole += (whole.empty() ? "" : "; ") + std::string(what);
  };
  needs(statistics, "for statistics (--calib none or --imatrix FILE does without)");
  needs(run.verify, "for the evaluation (--no-verify does without)");
  needs(several, "for several targets (make one at a time)");
  needs(job.folds.any(), "for --fold");
  needs(run.unpadded.has_value(), "for --pad-ffn");
  needs(searched, "for the search (--scheme does without)");
  needs(folder, "for this format, whose digest comes first");
  if (job.disk > 0 && !whole.empty() && shards->missing() > job.disk)
    return bad_input(
        fmt::format("--disk {}: {} bytes of this model's weights are not here, and it is needed whole {}",
                    job.disk, shards->missing(), whole));
  if (job.disk > 0 && whole.empty()) shards->set_bound(job.disk);
  std::vector<size_t> all(run.checkpoint.tensors->tensors().size());
  std::iota(all.begin(), all.end(), size_t{0});
  return run.checkpoint.tensors->expect(all);
}

}  // namespace

CompressJob effective_of(const CompressRun& run) {
  CompressJob job = run.job;
  job.verify = run.verify;
  job.data_free = run.data_free;
  return job;
}

Result<void> open_source(CompressRun& run) {
  const CompressJob& job = run.job;
  const OpenOptions options{.revision = job.revision, .stream = true, .disk = job.disk};
  LISSOM_TRY(run.checkpoint, open_checkpoint(job.model, options, run.progress));
  LISSOM_CHECK(pad(run));
  LISSOM_CHECK(adapt_to_model(run));
  LISSOM_CHECK(check_folds(run.checkpoint, job, run.data_free));
  LISSOM_CHECK(resolve_targets(run));
  return plan_shards(run);
}

std::string fold_key(const CompressRun& run) {
  return (run.job.folds.any() ? "\nfold " + fold_description(run.job.folds) : "") +
         (run.unpadded ? fmt::format("\nffn {}", run.checkpoint.config.ff) : "");
}

void make_keys(CompressRun& run) {
  for (CompressTarget& target : run.targets) {
    std::string codecs;
    const CompressJob& job = run.job;
    if (target.searched) codecs = search_description(job);
    for (const PlanEntry& entry : target.plan.entries)
      if (!target.searched) codecs += entry.tensor + " " + entry.codec + "\n";
    target.key = sha256_hex(fmt::format(
        "{}\n{}\n{}\n{}\n{} {}\n{} {} {}\n{}\n{}{}{}", LISSOM_VERSION, run.source_identity + run.digest,
        target.scheme.name, codecs, run.texts.calibration.description, job.calib_chunks,
        run.texts.evaluation.description, job.eval_chunks, job.context, job.seed,
        (writes_pack(job) ? pack_feeds_back(run.checkpoint, job, target.plan) : run.effort.feeds_back)
            ? std::string(kErrorFeedback) + " "
            : "",
        run.effort.learning ? run.effort.learning->description() : "", fold_key(run)));
  }
}

}  // namespace lissom
