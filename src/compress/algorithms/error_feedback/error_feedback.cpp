#include "compress/algorithms/error_feedback/error_feedback.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <new>
#include <set>

#include "base/file.h"
#include "base/threads.h"
#include "compress/algorithms/error_feedback/matrix.h"
#include "compress/algorithms/fisher_weights.h"
#include "compress/algorithms/token_weights.h"
#include "compress/checksum.h"
#include "compress/distill.h"
#include "compress/encode.h"
#include "compress/header.h"
#include "compress/journal.h"
#include "lissom/gguf.h"
#include "runtime/attended.h"
#include "runtime/observe.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;

constexpr size_t kJudgeEvery = 10;                  // one chunk of so many is held out
constexpr double kMostBits = 8;                     // a codec with as many loses too little
constexpr int64_t kMostMoments = int64_t{1} << 30;  // bytes of outputs' second moments
constexpr const char* kRatio = "ratio";             // in a journal's note

/// Tensors of one input, as it counts for them.
struct Group {
  std::string label;
  std::vector<const PlanEntry*> entries;
};

/// In the order in which the model comes to them. `left`: how many are not among them.
std::vector<Group> groups_of(const Checkpoint& checkpoint, const Plan& plan, int64_t& left) {
  const Graph& graph = checkpoint.graph;
  std::map<std::string, int> uses;
  std::set<std::string> experts;
  for (const Op& op : graph.ops) {
    if (const auto* linear = std::get_if<LinearOp>(&op))
      ++uses[graph.weights[static_cast<size_t>(linear->weight)].name];
    if (const auto* moe = std::get_if<MoeOp>(&op))
      for (const WeightId id : {moe->gate, moe->up, moe->down})
        experts.insert(graph.weights[static_cast<size_t>(id)].name);
    if (const auto* relative = std::get_if<RelativeAttentionOp>(&op))  // they multiply the positions too
      for (const WeightId id : {relative->q_weight, relative->k_weight})
        uses[graph.weights[static_cast<size_t>(id)].name] += 2;
  }
  std::map<std::string, const PlanEntry*> wanted;
  for (const PlanEntry& entry : plan.entries) {
    if (!is_fed_back(entry)) continue;
    if (experts.contains(entry.tensor)) ++left;
    const auto found = uses.find(entry.tensor);
    if (found == uses.end() || entry.shape.rank() != 2) continue;
    if (found->second > 1) ++left;
    if (found->second == 1) wanted.emplace(entry.tensor, &entry);
  }
  std::vector<Group> groups;
  for (const Op& op : graph.ops) {
    const auto* linear = std::get_if<LinearOp>(&op);
    if (linear == nullptr) continue;
    const auto found = wanted.find(graph.weights[static_cast<size_t>(linear->weight)].name);
    if (found == wanted.end()) continue;
    const std::string label = runtime::counted_label(graph, *linear);
    auto group = std::ranges::find(groups, label, &Group::label);
    if (group == groups.end()) group = groups.insert(groups.end(), {label, {}});
    group->entries.push_back(found->second);
  }
  return groups;
}

/// Whose rows are coupled: of matrices with no more outputs than inputs, in the order of the model, as many as
/// have moments that fit kMostMoments together.
std::set<std::string> coupled_tensors(const std::vector<Group>& groups) {
  std::set<std::string> coupled;
  int64_t bytes = 0;
  for (const Group& group : groups)
    for (const PlanEntry* entry : group.entries) {
      const int64_t rows = entry->shape.rows(), more = rows * rows * static_cast<int64_t>(sizeof(float));
      if (rows > entry->shape.cols() || bytes + more > kMostMoments) continue;
      bytes += more;
      coupled.insert(entry->tensor);
    }
  return coupled;
}

class Work {
 public:
  Work(const Checkpoint& checkpoint, const Plan& plan, const Means& means, const fs::path& state,
       const FeedbackOptions& options, const Progress& progress)
      : checkpoint_(checkpoint),
        means_(means),
        state_(state),
        options_(options),
        progress_(progress),
        pool_(options.threads),
        groups_(groups_of(checkpoint, plan, result_.shared)) {
    for (const Group& group : groups_)
      for (const PlanEntry* entry : group.entries) {
        directory_.push_back({entry->tensor, entry->codec, entry->shape, entry->bytes});
        if (options.latents)
          directory_.push_back({latent_name(entry->tensor), "F32", entry->shape,
                                static_cast<uint64_t>(entry->shape.elements()) * sizeof(float)});
      }
  }

  Result<FeedbackResult> run(const Tokenizer& tokenizer, std::string_view text) {
    const auto begin = std::chrono::steady_clock::now();
    LISSOM_TRY(chunks_, cut_calibration(checkpoint_, tokenizer, text, options_.calibration));
    finite_.assign(chunks_.batches.size(), 1);
    LISSOM_TRY(const bool finished, resume());
    if (!finished && options_.engine != nullptr) {
      LISSOM_TRY(fisher_, FisherWeights::collect(
                              checkpoint_, *options_.engine, chunks_.batches, coupled_tensors(groups_),
                              {.threads = options_.threads, .by_block = options_.by_block}, progress_));
    }
    if (!finished) LISSOM_CHECK(work());
    for (size_t i = 0; i < journal_->entries().size(); i += parts()) report(journal_->entries()[i]);
    result_.skipped_chunks = std::ranges::count(finite_, 0);
    result_.chunks = static_cast<int64_t>(finite_.size()) - result_.skipped_chunks;
    result_.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    return std::move(result_);
  }

 private:
  /// How many tensors of the file each matrix has: its bytes, and its latents where they are wanted.
  [[nodiscard]] size_t parts() const { return options_.latents ? 2 : 1; }

  [[nodiscard]] std::string run_line() const {
    std::string dampings;
    for (const double d : options_.dampings) dampings += fmt::format("{} ", d);
    return fmt::format(
        R"({{"lissom_error_feedback":5,"key":"{}","chunks":{},"context":{},"dampings":"{}","refinements":{},"token_limit":{},"fisher":{},"latents":{}}})",
        options_.key, chunks_.batches.size(), chunks_.context, dampings, options_.refinements,
        options_.token_limit, options_.engine != nullptr, options_.latents);
  }

  /// True where an earlier run has finished.
  Result<bool> resume() {
    LISSOM_TRY(journal_, Journal::open(state_.string() + ".journal", run_line()));
    size_t good = 0;
    while (good < journal_->entries().size() && good < directory_.size() &&
           journal_->entries()[good].tensor == directory_[good].name)
      ++good;
    std::error_code code;
    if (good == directory_.size() && fs::exists(state_, code)) {
      result_.resumed_tensors = static_cast<int64_t>(good / parts());
      return true;
    }
    good = verified(good);
    good -= good % parts();
    GgufWriter::Options writing{.keep_partial = true};
    writing.resume_tensors = good;
    LISSOM_TRY(writer_, GgufWriter::create(state_, metadata(), directory_, writing));
    done_ = writer_->resumed_tensors();
    result_.resumed_tensors = static_cast<int64_t>(done_ / parts());
    LISSOM_CHECK(journal_->keep(done_));
    if (done_ > 0)
      progress_.say(LogLevel::info, fmt::format("error feedback: {} of {} tensors were done before",
                                                done_ / parts(), directory_.size() / parts()));
    return false;
  }

  /// A file of weights that no program should take for a model.
  [[nodiscard]] static GgufMetadata metadata() {
    GgufMetadata metadata;
    metadata.set("general.architecture", std::string("lissom_error_feedback"));
    return metadata;
  }

  /// How many of the first tensors lie whole in the partial file.
  [[nodiscard]] size_t verified(size_t most) const {
    const auto partial = MappedFile::open(AtomicFile::partial_path(state_));
    if (!partial) return 0;
    const auto bytes = (*partial)->bytes();
    uint64_t offset = gguf_header_bytes(metadata(), directory_);
    for (size_t i = 0; i < most; ++i) {
      const JournalEntry& entry = journal_->entries()[i];
      if (entry.bytes != directory_[i].bytes || offset > bytes.size() || entry.bytes > bytes.size() - offset)
        return i;
      Checksum checksum;
      checksum.update(bytes.subspan(offset, entry.bytes));
      if (checksum.value() != entry.checksum) return i;
      offset += gguf_padded(entry.bytes);
    }
    return most;
  }

  Result<void> work() {
    LISSOM_TRY(const auto observer,
               runtime::Observer::create(checkpoint_, options_.calibration.runtime, chunks_.context));
    observer->look_through_attention();
    stages_ = static_cast<int64_t>(observer->stages().size());
    begin_stage();
    const auto tap = [this](const std::string& label, const float* x, int64_t rows, int64_t cols) {
      add(label, x, rows, cols);
    };
    LISSOM_CHECK(observer->run(chunks_.batches, tap, [this](size_t chunk) { return passed(chunk); }));
    if (std::ranges::count(finite_, 1) == 0)
      return bad_input("error feedback: every chunk had activations that are not finite");
    LISSOM_CHECK(round_unseen());
    return writer_->finish();
  }

  void begin_stage() {
    current_ = 0;
    while (current_ < finite_.size() && finite_[current_] == 0) ++current_;
    last_ = finite_.size();
    while (last_ > 0 && finite_[last_ - 1] == 0) --last_;
  }

  /// The group's first tensor in the directory.
  [[nodiscard]] size_t first_of(const Group& group) const {
    size_t first = 0;
    for (const Group& other : groups_) {
      if (&other == &group) break;
      first += other.entries.size() * parts();
    }
    return first;
  }

  [[nodiscard]] bool is_done(const Group& group) const {
    return first_of(group) + group.entries.size() * parts() <= done_;
  }

  /// Adds a chunk's rows to the moments of an input.
  void add(const std::string& label, const float* x, int64_t rows, int64_t cols) {
    const auto group = std::ranges::find(groups_, label, &Group::label);
    if (group == groups_.end()) return;
    x = fisher_.weigh(label, current_, x, rows, cols);
    const TokenWeights weights = token_weights(x, rows, cols, options_.token_limit);
    if (weights.rows.empty()) {
      bad_chunk_ = true;  // seen even where nothing is to be done, so that a resumed run leaves out the same
      return;
    }
    if (is_done(*group)) return;
    InputMoments& moments = held_[label];
    if (moments.fit.n == 0) moments = {SquareMatrix(cols), SquareMatrix(cols)};
    const bool few = finite_.size() < kJudgeEvery;
    const bool judge = few ? current_ + 1 == finite_.size() : current_ % kJudgeEvery == kJudgeEvery - 1;
    int64_t fit = judge ? 0 : rows;
    if (finite_.size() == 1) fit = std::max<int64_t>(1, rows * 3 / 4);  // the end of the only chunk is held out
    if (fit > 0) {
      add_gram(pool_, x, nullptr, fit, moments.fit, packed_);
      moments.unit +=
          weights.sum / static_cast<double>(cols) * static_cast<double>(fit) / static_cast<double>(rows);
    }
    if (fit == rows) return;
    const float* clipped =
        runtime::is_weighed(label) || fisher_.knows(label) ? nullptr : weights.rows.data() + fit;
    add_gram(pool_, x + fit * cols, clipped, rows - fit, moments.judge, packed_);
  }

  Result<bool> passed(size_t chunk) {
    if (progress_.stop_requested()) return tl::unexpected(Error{ErrorKind::cancelled, "stopped"});
    const bool finite = !bad_chunk_;
    bad_chunk_ = false;
    if (!finite) finite_[chunk] = 0;
    progress_.report("calibrate", std::min(++passes_, total()), total());
    current_ = chunk + 1;
    while (current_ < finite_.size() && finite_[current_] == 0) ++current_;
    if (chunk + 1 < last_) return finite;
    for (const Group& group : groups_) {
      const auto moments = held_.find(group.label);
      if (moments == held_.end()) continue;
      mirror(moments->second.fit);
      mirror(moments->second.judge);
      LISSOM_CHECK(round_group(group, &moments->second));
      held_.erase(moments);
    }
    begin_stage();
    return finite;
  }

  [[nodiscard]] int64_t total() const { return static_cast<int64_t>(finite_.size()) * stages_; }

  /// Tensors whose input never came get the search's bytes, so that the file is whole.
  Result<void> round_unseen() {
    for (const Group& group : groups_) LISSOM_CHECK(round_group(group, nullptr));
    return {};
  }

  Result<void> round_group(const Group& group, const InputMoments* moments) {
    size_t index = first_of(group);
    // The file has the groups in the order of the model; one that was passed over is caught up with here.
    for (const Group& other : groups_) {
      if (done_ >= index || &other == &group) break;
      LISSOM_CHECK(round_group(other, nullptr));
    }
    for (const PlanEntry* entry : group.entries) {
      if (index >= done_) LISSOM_CHECK(round_tensor(*entry, moments));
      index += parts();
    }
    return {};
  }

  Result<void> round_tensor(const PlanEntry& entry, const InputMoments* moments) {
    progress_.report("error feedback", static_cast<int64_t>(done_ / parts()),
                     static_cast<int64_t>(directory_.size() / parts()), entry.tensor);
    LISSOM_TRY(const std::vector<float> weights, decode(entry));
    const auto mean = means_.find(entry.tensor);
    const std::span<const float> importance =
        mean == means_.end() ? std::span<const float>() : std::span<const float>(mean->second);
    const int64_t cols = entry.shape.cols();
    InputMoments zero;
    if (moments == nullptr || moments->fit.n != cols) {
      zero = {SquareMatrix(cols), SquareMatrix(cols)};
      moments = &zero;
    }
    const BlockCodec& codec = *find_block_codec(entry.codec);
    const FeedbackMatrix rounded =
        feed_back(pool_, codec, entry.shape.rows(), weights, importance, *moments,
                  fisher_.moments(entry.tensor), options_.dampings, options_.refinements);
    JournalEntry done = entry_of(entry.tensor, rounded.bytes);
    done.has_importance = !importance.empty();
    const ErrorSums sums = measure_rows(codec, entry.shape.rows(), weights, rounded.bytes, [&](int64_t) {
      return importance.empty() ? nullptr : importance.data();
    });
    done.relative_error = sums.relative();
    done.weighted_relative_error = sums.weighted_relative();
    done.note = fmt::format("{} {:.6f}; damping {:.4g}, {}{} of {} rows are the search's", kRatio,
                            rounded.plain > 0 ? rounded.judged / rounded.plain : 1.0, rounded.damping,
                            rounded.coupled ? "rows coupled, " : "", rounded.searched_rows, entry.shape.rows());
    std::vector<JournalEntry> written{std::move(done)};
    LISSOM_CHECK(writer_->append(rounded.bytes));
    if (options_.latents) {
      const auto latents = std::as_bytes(std::span(rounded.latents));
      written.push_back(entry_of(latent_name(entry.tensor), latents));
      LISSOM_CHECK(writer_->append(latents));
    }
    LISSOM_CHECK(writer_->flush());
    LISSOM_CHECK(journal_->append(written));
    done_ += parts();
    if (progress_.stop_requested()) return tl::unexpected(Error{ErrorKind::cancelled, "stopped"});
    return {};
  }

  Result<std::vector<float>> decode(const PlanEntry& entry) const {
    const auto index = static_cast<size_t>(checkpoint_.tensors->find(entry.tensor));
    LISSOM_TRY(const TensorView view, checkpoint_.tensors->read(index));
    std::vector<float> out(static_cast<size_t>(entry.shape.elements()));
    const std::span<const std::byte> bytes[] = {view.data};
    find_codec(entry.from)->decode_rows(entry.shape, bytes, 0, entry.shape.rows(), out.data());
    checkpoint_.tensors->release(index);
    const float most = find_codec(entry.codec)->max_magnitude();
    if (!std::ranges::all_of(out, [&](float w) { return std::fabs(w) <= most; }))
      return bad_input(checkpoint_.tensors->origin() + ": tensor '" + entry.tensor +
                       "' holds NaN, Inf or more than " + entry.codec + " can store");
    return out;
  }

  static JournalEntry entry_of(const std::string& tensor, std::span<const std::byte> bytes) {
    JournalEntry entry;
    entry.tensor = tensor;
    entry.bytes = bytes.size();
    Checksum checksum;
    checksum.update(bytes);
    entry.checksum = checksum.value();
    return entry;
  }

  void report(const JournalEntry& entry) {
    FeedbackTensor tensor{entry.tensor, entry.relative_error, entry.weighted_relative_error};
    const size_t end = entry.note.find(';');
    const size_t begin = std::string_view(kRatio).size() + 1;
    if (end != std::string::npos && begin < end) {
      tensor.validation_ratio = std::strtod(entry.note.c_str() + begin, nullptr);
      tensor.note = entry.note.substr(std::min(end + 2, entry.note.size()));
    }
    result_.tensors.push_back(std::move(tensor));
  }

  const Checkpoint& checkpoint_;
  const Means& means_;
  fs::path state_;
  const FeedbackOptions& options_;
  const Progress& progress_;
  ThreadPool pool_;
  FeedbackResult result_;
  std::vector<Group> groups_;
  std::vector<TensorInfo> directory_;
  CalibrationChunks chunks_;
  FisherWeights fisher_;
  std::vector<uint8_t> finite_;
  std::unique_ptr<Journal> journal_;
  std::unique_ptr<GgufWriter> writer_;
  size_t done_ = 0;                ///< tensors of the directory
  size_t current_ = 0, last_ = 0;  ///< the chunk at work; one past the last of this stage
  int64_t passes_ = 0, stages_ = 0;
  bool bad_chunk_ = false;
  std::map<std::string, InputMoments> held_;
  std::vector<float> packed_;
};

}  // namespace

Result<FeedbackResult> error_feedback(const Checkpoint& checkpoint, const Plan& plan, const Means& means,
                                      const Tokenizer& tokenizer, std::string_view text, const fs::path& state,
                                      const FeedbackOptions& options, const Progress& progress) {
  try {
    return Work(checkpoint, plan, means, state, options, progress).run(tokenizer, text);
  } catch (const std::bad_alloc&) {
    return io_error("error feedback: out of memory");
  }
}

bool is_fed_back(const PlanEntry& entry) {
  const BlockCodec* codec = find_block_codec(entry.codec);
  return !entry.kept && entry.from != entry.codec && codec != nullptr &&
         static_cast<double>(8 * codec->block_bytes()) <
             kMostBits * static_cast<double>(codec->block_weights());
}

void remove_feedback_state(const fs::path& state) {
  std::error_code code;
  fs::remove(state, code);
  fs::remove(state.string() + ".journal", code);
}

uint64_t error_feedback_memory(const Checkpoint& checkpoint, const Plan& plan, int64_t tokens) {
  int64_t left = 0;
  uint64_t widest = 0, matrix = 0, outputs = 0;
  const std::vector<Group> groups = groups_of(checkpoint, plan, left);
  const std::set<std::string> coupled = coupled_tensors(groups);
  for (const Group& group : groups)
    for (const PlanEntry* entry : group.entries) {
      const auto cols = static_cast<uint64_t>(entry->shape.cols()),
                 rows = static_cast<uint64_t>(entry->shape.rows());
      widest = std::max(widest, cols);
      matrix = std::max(matrix, static_cast<uint64_t>(entry->shape.elements()));
      if (coupled.contains(entry->tensor)) outputs += rows * rows;
    }
  const uint64_t carried = static_cast<uint64_t>(tokens * checkpoint.config.width);
  // Two moments of three inputs of a stage, the factor and what it is made from; weights, errors, two attempts
  // and their latents, or those of one whose rows are coupled, with their targets.
  return (carried + outputs + 8 * widest * widest + 6 * matrix) * sizeof(float);
}

}  // namespace lissom
