#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <future>
#include <set>

#include "base/file.h"
#include "base/threads.h"
#include "compress/checksum.h"
#include "compress/digest.h"
#include "compress/encode.h"
#include "compress/header.h"
#include "compress/journal.h"
#include "compress/source.h"
#include "lissom/codec.h"
#include "lissom/compress.h"
#include "lissom/gguf.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;

/// Writing over what is being read would destroy it.
Result<void> check_output(const Checkpoint& checkpoint, const fs::path& out) {
  std::error_code code;
  const auto same = [&](const fs::path& file) { return fs::equivalent(file, out, code); };
  const auto refused = [&] { return bad_input(out.string() + ": the output is the source; give another -o"); };
  if (fs::is_directory(out, code)) return bad_input(out.string() + ": is a folder, not a file to write");
  if (same(checkpoint.path)) return refused();
  if (!fs::is_directory(checkpoint.path, code)) return {};
  for (const auto& file : fs::directory_iterator(checkpoint.path, code))
    if (same(file.path())) return refused();
  return {};
}

std::string means_digest(const Means& means) {
  if (means.empty()) return "none";
  Sha256 hash;
  for (const auto& [name, mean] : means) {
    hash.update(name);
    hash.update(std::as_bytes(std::span(mean)));
  }
  return hash.finish_hex();
}

/// All that the output's bytes depend on, in one line.
std::string run_line(const Plan& plan, const Means& means, const CompressOptions& options,
                     const std::string& source_digest) {
  std::string codecs;
  for (const PlanEntry& entry : plan.entries) codecs += entry.tensor + " " + entry.codec + "\n";
  std::string scheme;
  for (const char c : options.scheme.name)
    scheme += static_cast<unsigned char>(c) < 0x20 || c == '"' || c == '\\' ? '_' : c;
  return fmt::format(
      R"({{"lissom_journal":1,"version":"{}","source":"{}","scheme":"{}","plan":"{}","importance":"{}","seed":{},"algorithm":"{}"}})",
      LISSOM_VERSION, source_digest, scheme, sha256_hex(codecs), means_digest(means), options.seed,
      options.algorithm);
}

/// How many of the journal's tensors lie whole in `out`.partial, by their checksums.
size_t verified(const Journal& journal, const Checkpoint& checkpoint, const Plan& plan, uint64_t header_bytes,
                bool digests, const fs::path& out) {
  const auto partial = MappedFile::open(AtomicFile::partial_path(out));
  if (!partial) return 0;
  const auto bytes = (*partial)->bytes();
  uint64_t offset = header_bytes;
  size_t good = 0;
  for (const JournalEntry& entry : journal.entries()) {
    if (good >= plan.entries.size() || entry.tensor != plan.entries[good].tensor) break;
    if (entry.bytes != plan.entries[good].bytes || offset > bytes.size() || entry.bytes > bytes.size() - offset)
      break;
    if (digests && entry.source.size() != 32 * piece_count(checkpoint.tensors->tensors()[good].bytes)) break;
    Checksum checksum;
    checksum.update(bytes.subspan(offset, entry.bytes));
    if (checksum.value() != entry.checksum) break;
    (*partial)->drop(offset, entry.bytes);
    offset += gguf_padded(entry.bytes);
    ++good;
  }
  return good;
}

/// The writing half: takes slabs in order, keeps checksums and sums, and tells the journal after each flush.
class Sink {
 public:
  Sink(GgufWriter& writer, Journal& journal, const Plan& plan, const Means& means)
      : writer_(writer), journal_(journal), plan_(plan), means_(means) {}

  Result<void> write(const Slab& slab) {
    std::vector<JournalEntry> finished;
    for (const SlabPart& part : slab.parts) {
      if (part.first_row == 0) {
        checksum_ = {};
        sums_ = {};
      }
      const auto bytes = std::span(slab.bytes).subspan(part.offset, part.bytes);
      LISSOM_CHECK(writer_.append(bytes));
      checksum_.update(bytes);
      sums_.add(part.sums);
      if (!part.last) continue;
      const PlanEntry& entry = plan_.entries[part.entry];
      finished.push_back({entry.tensor, entry.bytes, checksum_.value(), sums_.relative(),
                          sums_.weighted_relative(), means_.contains(entry.tensor), part.source});
    }
    if (finished.empty()) return {};
    LISSOM_CHECK(writer_.flush());
    return journal_.append(finished);
  }

 private:
  GgufWriter& writer_;
  Journal& journal_;
  const Plan& plan_;
  const Means& means_;
  Checksum checksum_;
  ErrorSums sums_;
};

/// Encodes and writes at once: while one slab is written the next is encoded.
Result<void> stream(Encoder& encoder, Sink& sink, const Plan& plan, const Progress& progress) {
  Slab slabs[2];
  std::future<Result<void>> writing;
  const auto settle = [&]() -> Result<void> { return writing.valid() ? writing.get() : Result<void>(); };
  int64_t total = 0, done = 0;
  for (const PlanEntry& entry : plan.entries) total += entry.shape.elements();
  for (int turn = 0; !encoder.done(); turn ^= 1) {
    Slab& slab = slabs[turn];
    Result<void> encoded = encoder.next(slab);
    Result<void> written = settle();
    if (!encoded) return encoded;
    if (!written) return written;
    if (progress.stop_requested()) return tl::unexpected(Error{ErrorKind::cancelled, "stopped"});
    const size_t entry = slab.parts.back().entry;
    done = 0;
    for (size_t e = 0; e < entry; ++e) done += plan.entries[e].shape.elements();
    done += (slab.parts.back().first_row + slab.parts.back().rows) * plan.entries[entry].shape.cols();
    writing = std::async(std::launch::async, [&sink, &slab] { return sink.write(slab); });
    progress.report("quantize", done, total, plan.entries[entry].tensor);
  }
  return settle();
}

void fill_reports(const Checkpoint& checkpoint, const Journal& journal, CompressResult& result) {
  const auto sources = checkpoint.tensors->tensors();
  for (size_t i = 0; i < result.plan.entries.size(); ++i) {
    const PlanEntry& entry = result.plan.entries[i];
    const JournalEntry& measured = journal.entries()[i];
    result.tensors.push_back({entry.tensor, entry.from, entry.codec, entry.reason, entry.shape,
                              sources[i].bytes, entry.bytes, measured.relative_error,
                              measured.weighted_relative_error, measured.has_importance});
    result.bytes_before += sources[i].bytes;
    result.bytes_after += entry.bytes;
  }
}

/// Leaves nothing behind, unless another process is writing there.
void abandon(const fs::path& out, Journal& journal) {
  const fs::path partial = AtomicFile::partial_path(out);
  const int fd = ::open(partial.c_str(), O_RDWR | O_CLOEXEC);
  if (fd >= 0 && ::flock(fd, LOCK_EX | LOCK_NB) == 0) ::unlink(partial.c_str());
  if (fd >= 0) ::close(fd);
  journal.remove();
}

/// Says which tensors are still to be read.
Result<void> expect_from(const TensorSource& source, size_t first) {
  std::vector<size_t> rest;
  for (size_t i = first; i < source.tensors().size(); ++i) rest.push_back(i);
  return source.expect(rest);
}

/// One source's tensors, but for those that another has.
class Overlaid final : public TensorSource {
 public:
  Overlaid(std::shared_ptr<const TensorSource> below, std::shared_ptr<const TensorSource> above)
      : below_(std::move(below)), above_(std::move(above)) {
    for (const TensorInfo& info : below_->tensors()) {
      const int64_t index = above_->find(info.name);
      infos_.push_back(index < 0 ? info : above_->tensors()[static_cast<size_t>(index)]);
      above_index_.push_back(index);
    }
  }
  [[nodiscard]] std::span<const TensorInfo> tensors() const override { return infos_; }
  [[nodiscard]] Result<TensorView> read(size_t index) const override {
    const int64_t above = above_index_[index];
    return above < 0 ? below_->read(index) : above_->read(static_cast<size_t>(above));
  }
  void release(size_t index) const override {
    const int64_t above = above_index_[index];
    above < 0 ? below_->release(index) : above_->release(static_cast<size_t>(above));
  }
  [[nodiscard]] std::string origin() const override { return below_->origin(); }

 private:
  std::shared_ptr<const TensorSource> below_, above_;
  std::vector<TensorInfo> infos_;
  std::vector<int64_t> above_index_;
};

Plan with_types(Plan plan, const TensorSource& source) {
  for (size_t i = 0; i < plan.entries.size(); ++i) plan.entries[i].from = source.tensors()[i].type;
  return plan;
}

/// Learned values must be of this model: they come from a file.
Result<void> check_learned(const Plan& plan, const TensorSource& learned) {
  for (const PlanEntry& entry : plan.entries) {
    const int64_t index = learned.find(entry.tensor);
    if (index < 0) continue;
    const TensorInfo& info = learned.tensors()[static_cast<size_t>(index)];
    if ((info.type != "F32" && info.type != entry.codec) || !(info.shape == entry.shape))
      return bad_input(fmt::format("{}: tensor '{}' is {} {}, expected F32 or {} {}", learned.origin(),
                                   info.name, info.type, info.shape.str(), entry.codec, entry.shape.str()));
  }
  return {};
}

/// The header with the digest that was not known at the beginning, from the journal.
Result<GgufMetadata> complete_metadata(const Checkpoint& checkpoint, const Scheme& scheme,
                                       const Journal& journal, CompressResult& result) {
  LISSOM_TRY(const auto digest, CheckpointDigest::begin(checkpoint));
  const auto sources = checkpoint.tensors->tensors();
  for (size_t i = 0; i < sources.size(); ++i) digest->add(sources[i], journal.entries()[i].source);
  result.source_digest = digest->finish();
  return output_metadata(checkpoint, scheme, result.plan, result.source_digest);
}

Result<void> finish(const Checkpoint& checkpoint, const CompressOptions& options, const Journal& journal,
                    GgufWriter& writer, CompressResult& result) {
  if (!options.source_identity.empty()) {
    LISSOM_TRY(const GgufMetadata metadata, complete_metadata(checkpoint, options.scheme, journal, result));
    LISSOM_CHECK(writer.rewrite_header(metadata));
  }
  return writer.finish();
}

/// A job that goes on where an earlier one stopped, or begins.
Result<void> write_output(const Checkpoint& checkpoint, const fs::path& out, const CompressOptions& options,
                          const Means& means, ThreadPool& pool, const Progress& progress,
                          CompressResult& result) {
  LISSOM_TRY(const GgufMetadata metadata,
             output_metadata(checkpoint, options.scheme, result.plan, result.source_digest));
  const std::vector<TensorInfo> directory = output_directory(result.plan);
  const fs::path journal_path = out.string() + ".journal";
  const bool digests = !options.source_identity.empty();
  std::shared_ptr<const TensorSource> source = checkpoint.tensors;
  if (options.learned) {
    LISSOM_CHECK(check_learned(result.plan, *options.learned));
    source = std::make_shared<Overlaid>(source, options.learned);
  }
  LISSOM_TRY(const auto journal,
             Journal::open(journal_path, run_line(result.plan, means, options,
                                                  digests ? options.source_identity : result.source_digest)));
  GgufWriter::Options writing{.keep_partial = true};
  writing.resume_tensors =
      verified(*journal, checkpoint, result.plan, gguf_header_bytes(metadata, directory), digests, out);
  GgufMetadata rewritten;
  if (digests && writing.resume_tensors == directory.size()) {
    LISSOM_TRY(rewritten, complete_metadata(checkpoint, options.scheme, *journal, result));
    writing.rewritten = &rewritten;
  }
  auto opened = GgufWriter::create(out, metadata, directory, writing);
  if (!opened) {
    abandon(out, *journal);
    return tl::unexpected(opened.error());
  }
  std::unique_ptr<GgufWriter> writer = std::move(*opened);
  const size_t resumed = writer->resumed_tensors();
  LISSOM_CHECK(journal->keep(resumed));
  result.resumed_tensors = static_cast<int64_t>(resumed);
  if (resumed > 0)
    progress.say(LogLevel::info, fmt::format("{} of {} tensors were done before", resumed, directory.size()));

  const Plan encoded = with_types(result.plan, *source);
  Encoder encoder(*source, encoded, means, pool, options.step_weights, digests);
  encoder.seek(resumed);
  Sink sink(*writer, *journal, result.plan, means);
  Result<void> done = expect_from(*source, resumed);
  if (done) done = stream(encoder, sink, result.plan, progress);
  if (done) done = finish(checkpoint, options, *journal, *writer, result);
  if (!done) {
    // Stopped on request or by a server, the job can go on later. Another error would only come back: leave
    // nothing behind.
    const ErrorKind kind = done.error().kind;
    if (kind == ErrorKind::cancelled || kind == ErrorKind::unavailable) return done;
    writer.reset();
    abandon(out, *journal);
    return done;
  }
  fill_reports(checkpoint, *journal, result);
  journal->remove();
  return {};
}

}  // namespace

Result<CompressResult> compress_to_gguf(const Checkpoint& checkpoint, const fs::path& out,
                                        const CompressOptions& options, const Progress& progress) {
  const auto begin = std::chrono::steady_clock::now();
  LISSOM_CHECK(check_output(checkpoint, out));
  LISSOM_TRY(const Means means, means_of(checkpoint, options.importance));
  CompressResult result;
  result.path = out;
  LISSOM_TRY(result.plan, make_plan(checkpoint, options.scheme, !means.empty()));
  for (const PlanEntry& entry : result.plan.entries)
    if (needs_importance(options.scheme, entry) && !means.contains(entry.tensor))
      return bad_input(
          fmt::format("tensor {}: {} in scheme {} needs importance statistics, and there are none for it",
                      entry.tensor, entry.codec, options.scheme.name));
  warn_of_quantized_source(result.plan, progress, result.warnings);
  ThreadPool pool(options.threads);
  result.source_digest = options.source_digest;
  if (!options.source_identity.empty()) {
    result.source_digest = CheckpointDigest::placeholder();
  } else if (result.source_digest.empty()) {
    LISSOM_TRY(result.source_digest, checkpoint_digest(checkpoint, pool, progress));
  }
  LISSOM_CHECK(write_output(checkpoint, out, options, means, pool, progress, result));
  std::error_code code;
  result.file_bytes = fs::file_size(out, code);
  result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return result;
}

}  // namespace lissom
