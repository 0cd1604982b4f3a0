#include "hub/hub.h"

#include <algorithm>
#include <iterator>
#include <system_error>

#include "base/file.h"
#include "base/text.h"
#include "hub/cache.h"
#include "hub/download.h"
#include "hub/headers.h"
#include "hub/http.h"
#include "hub/listing.h"
#include "hub/model_id.h"
#include "hub/settings.h"
#include "hub/shards.h"

namespace lissom::hub {
namespace {

namespace fs = std::filesystem;

constexpr size_t kListingLimit = 32U << 20;
constexpr uint64_t kIndexLimit = 64U << 20;

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

std::vector<std::string> files_below(const fs::path& folder) {
  std::vector<std::string> found;
  std::error_code error;
  for (fs::recursive_directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    if (is_file(it->path())) found.push_back(it->path().lexically_relative(folder).string());
  return found;
}

/// What is to be found and where, as one request of the user's.
struct Search {
  ModelId id;
  std::string revision;
  Need need = Need::model;
  Settings settings;
  RepoCache cache;
  std::shared_ptr<RemoteWeights>* weights = nullptr;
  uint64_t disk = 0;
};

bool is_weights(const RepoFile& file) {
  return file.path.ends_with(".safetensors");
}

/// The snapshot as a model, where the cache holds all of it; the error says what it lacks.
Result<ModelPath> in_snapshot(const Search& s, const std::string& commit) {
  const fs::path folder = s.cache.snapshot(commit);
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored)) return bad_input(folder.string() + " is absent");
  const bool names_gguf = !s.id.tag.empty() || !s.id.file.empty();
  if (names_gguf || !is_file(folder / "config.json")) {
    LISSOM_TRY(const std::vector<std::string> parts, choose_gguf(files_below(folder), s.id));
    return ModelPath{ModelKind::gguf, folder / parts.front()};
  }
  if (s.need == Need::tokenizer) return ModelPath{ModelKind::hf_folder, folder};
  const fs::path index = folder / "model.safetensors.index.json";
  if (is_file(index)) {
    LISSOM_TRY(const std::string text, read_file(index, kIndexLimit));
    LISSOM_TRY(const std::vector<std::string> shards, shard_names(text, index.string()));
    for (const std::string& shard : shards)
      if (!is_file(folder / shard)) return bad_input(folder.string() + " lacks " + shard);
    return ModelPath{ModelKind::hf_folder, folder};
  }
  const bool has_weights =
      is_file(folder / "model.safetensors") ||
      std::ranges::count_if(fs::directory_iterator(folder, ignored), [](const fs::directory_entry& entry) {
        return entry.path().extension() == ".safetensors" && is_file(entry.path());
      }) == 1;
  if (has_weights) return ModelPath{ModelKind::hf_folder, folder};
  // A repository of GGUF files may have a config.json too.
  const auto ggufs = choose_gguf(files_below(folder), s.id);
  if (ggufs) return ModelPath{ModelKind::gguf, folder / ggufs->front()};
  return bad_input(folder.string() + " lacks model.safetensors");
}

/// The weights of a whole snapshot, by what its links say; nothing where it has no links.
void describe_snapshot(const Search& s, const std::string& commit, const ModelPath& found) {
  if (s.weights == nullptr || found.kind != ModelKind::hf_folder) return;
  std::vector<std::string> names{"model.safetensors"};
  if (const auto text = read_file(found.path / "model.safetensors.index.json", kIndexLimit))
    if (const auto shards = shard_names(*text, "")) names = *shards;
  RemoteWeights weights{s.settings, s.cache, s.id.repo, s.revision, commit, {}, {}};
  for (const std::string& name : names) {
    std::error_code code;
    const fs::path blob = fs::read_symlink(found.path / name, code);
    const auto size = code ? 0 : fs::file_size(found.path / name, code);
    if (code) return;
    weights.files.push_back({name, size, blob.filename().string()});
  }
  *s.weights = std::make_shared<RemoteWeights>(std::move(weights));
}

/// Whether nothing can be missing of a commit that never changes: then the hub need not be asked.
bool is_whole(const ModelPath& found) {
  if (found.kind == ModelKind::gguf) return true;
  return std::ranges::any_of(std::initializer_list<const char*>{"tokenizer.json", "tokenizer.model",
                                                                "vocab.json", "vocab.txt", "spiece.model"},
                             [&](const char* name) { return is_file(found.path / name); });
}

struct Cached {
  std::string commit;  ///< "": the cache knows nothing of the revision
  Result<ModelPath> model = bad_input("");
};

Cached look_into_cache(const Search& s) {
  Cached cached;
  auto commit = s.cache.commit_of(s.revision);
  if (!commit) {
    cached.model = tl::unexpected(std::move(commit).error());
    return cached;
  }
  cached.commit = *std::move(commit);
  cached.model = cached.commit.empty()
                     ? bad_input(s.cache.folder().string() + " has no revision " + in_quotes(s.revision))
                     : in_snapshot(s, cached.commit);
  return cached;
}

/// Nothing: the hub did not answer as it should and `failure` says how.
Result<std::optional<Listing>> ask(Http& http, const Search& s, bool retry, const Progress& progress,
                                   Outcome& failure) {
  const std::string url = listing_url(s.settings.endpoint, s.id.repo, s.revision);
  LISSOM_TRY(Text text, fetch_text(http, {.url = url, .limit = kListingLimit, .retry = retry}, progress));
  if (!text.outcome.ok()) {
    failure = std::move(text.outcome);
    return std::optional<Listing>();
  }
  LISSOM_TRY(Listing listing, parse_listing(text.body, url));
  return std::optional(std::move(listing));
}

/// The files that are still without size or checksum get them from their own headers.
Result<void> complete_metadata(Http& http, const Search& s, const std::string& commit,
                               std::vector<RepoFile>& files, const Progress& progress) {
  for (RepoFile& file : files) {
    if (!file.etag.empty()) continue;
    const std::string url = file_url(s.settings.endpoint, s.id.repo, commit, file.path);
    LISSOM_TRY(const Text text, fetch_text(http, {.url = url, .head = true}, progress));
    const int status = text.outcome.response.status;
    const bool answered =
        text.outcome.kind == Outcome::Kind::answered && (status / 100 == 2 || status / 100 == 3);
    if (!answered) return tl::unexpected(explain(text.outcome, s.settings, s.id.repo, s.revision, file.path));
    LISSOM_CHECK(complete_from_headers(file, text.outcome.response));
  }
  return {};
}

/// Downloads what the snapshot lacks. Where it lacks nothing the cache is not touched: it may be read-only.
Result<void> get(Http& http, const Search& s, const std::string& commit, std::vector<RepoFile>& files,
                 bool quiet, const Progress& progress) {
  LISSOM_CHECK(complete_metadata(http, s, commit, files, progress));
  const bool all_there = std::ranges::all_of(files, [&](const RepoFile& file) {
    std::error_code code;
    return fs::file_size(s.cache.pointer(commit, file.path), code) == file.size && !code;
  });
  if (all_there) return {};
  LISSOM_CHECK(s.cache.prepare());
  return download(http, {s.settings, s.cache, s.id.repo, commit, quiet}, files, progress);
}

/// The small files, and of the weights their headers.
Result<ModelPath> get_headers(Http& http, const Search& s, const std::string& commit,
                              std::vector<RepoFile>& files, const Progress& progress) {
  std::vector<RepoFile> small;
  std::ranges::remove_copy_if(files, std::back_inserter(small), is_weights);
  LISSOM_CHECK(get(http, s, commit, small, true, progress));
  LISSOM_CHECK(complete_metadata(http, s, commit, files, progress));
  const DownloadTask task{s.settings, s.cache, s.id.repo, commit};
  LISSOM_TRY(const fs::path folder, fetch_headers(http, task, files, progress));
  return ModelPath{ModelKind::hf_folder, folder};
}

uint64_t missing_bytes(const Search& s, const std::string& commit, const std::vector<RepoFile>& files) {
  uint64_t bytes = 0;
  for (const RepoFile& file : files) {
    std::error_code code;
    if (!fs::exists(s.cache.pointer(commit, file.path), code)) bytes += file.size;
  }
  return bytes;
}

/// Whether the weights are to be described and not fetched, since some are not here.
Result<bool> describe(Http& http, const Search& s, const Listing& listing, Choice& choice,
                      const Progress& progress) {
  if (s.weights == nullptr) return false;
  LISSOM_CHECK(complete_metadata(http, s, listing.commit, choice.files, progress));
  RemoteWeights weights{s.settings, s.cache, s.id.repo, s.revision, listing.commit, {}, choice.absent};
  std::ranges::copy_if(choice.files, std::back_inserter(weights.files), is_weights);
  const uint64_t missing = missing_bytes(s, listing.commit, choice.gguf.empty() ? weights.files : choice.files);
  if (choice.gguf.empty()) {
    *s.weights = std::make_shared<RemoteWeights>(std::move(weights));
    return missing > 0;
  }
  if (s.disk > 0 && missing > s.disk)
    return bad_input("--disk " + std::to_string(s.disk) + ": " + s.id.repo + ": a GGUF comes whole, " +
                     std::to_string(missing) + " bytes; only safetensors come shard by shard");
  return false;
}

Result<ModelPath> fetch(Http& http, const Search& s, const Listing& listing, const Progress& progress) {
  LISSOM_TRY(Choice choice, choose_files(listing, s.id, s.need));
  if (!choice.index.empty()) {
    std::vector<RepoFile> index{*listing.find(choice.index)};
    LISSOM_CHECK(get(http, s, listing.commit, index, true, progress));
    LISSOM_TRY(const std::string text, read_file(s.cache.pointer(listing.commit, choice.index), kIndexLimit));
    LISSOM_TRY(const std::vector<RepoFile> shards,
               shards_of_index(text, s.id.repo + ": " + choice.index, listing));
    choice.files.insert(choice.files.end(), shards.begin(), shards.end());
  }
  LISSOM_TRY(const bool described, describe(http, s, listing, choice, progress));
  if (described || (s.need == Need::headers && choice.gguf.empty()))
    return get_headers(http, s, listing.commit, choice.files, progress);
  LISSOM_CHECK(get(http, s, listing.commit, choice.files, false, progress));
  // What is left makes later runs and other programs quicker; a model that is there serves without it. The
  // branch comes last, so that what it means here is always a snapshot that is whole.
  Result<void> noted;
  for (const std::string& name : choice.absent)
    if (noted) noted = s.cache.mark_absent(listing.commit, name);
  if (noted) noted = s.cache.write_ref(s.revision, listing.commit);
  if (!noted) progress.say(LogLevel::warning, noted.error().message);
  const fs::path folder = s.cache.snapshot(listing.commit);
  if (!choice.gguf.empty()) return ModelPath{ModelKind::gguf, folder / choice.gguf};
  return ModelPath{ModelKind::hf_folder, folder};
}

/// Offline, or the hub cannot be reached.
Error without_hub(const Search& s, const Cached& cached, const std::string& why) {
  return {ErrorKind::bad_input, s.id.repo + ": no such file or folder here; the hub cache does not hold it (" +
                                    cached.model.error().message + "); " + why};
}

Result<ModelPath> find_on_hub(const Search& s, const Progress& progress) {
  const Cached cached = look_into_cache(s);
  const auto from_cache = [&] {
    describe_snapshot(s, cached.commit, *cached.model);
    return *cached.model;
  };
  if (s.settings.offline) {
    if (cached.model) return from_cache();
    return tl::unexpected(without_hub(s, cached, "HF_HUB_OFFLINE forbids to download it"));
  }
  if (cached.model && is_commit(s.revision) && is_whole(*cached.model)) return from_cache();
  LISSOM_TRY(const std::unique_ptr<Http> http, Http::create(s.settings));
  Outcome failure;
  // With a snapshot at hand there is no reason to wait for a hub that does not answer.
  LISSOM_TRY(const std::optional<Listing> listing, ask(*http, s, !cached.model, progress, failure));
  if (listing) return fetch(*http, s, *listing, progress);
  const Error error = explain(failure, s.settings, s.id.repo, s.revision, "");
  if (cached.model && failure.transient()) {
    progress.say(LogLevel::warning,
                 error.message + "; the snapshot in the cache is used (" + cached.commit + ")");
    return from_cache();
  }
  if (failure.kind == Outcome::Kind::dropped) return tl::unexpected(without_hub(s, cached, error.message));
  return tl::unexpected(error);
}

}  // namespace

Result<ModelPath> find_model(const std::string& model, const FindOptions& options, const Progress& progress) {
  std::error_code ignored;
  const std::optional<ModelId> id = parse_model_id(model);
  if (fs::exists(model, ignored) || !id) {
    if (!options.revision.empty())
      return bad_input("--revision " + options.revision + ": " + model + " is no model of the hub (org/name)");
    if (options.disk > 0)
      return bad_input("--disk: " + model + " is no model of the hub (org/name): nothing is downloaded");
    return resolve_model(model);
  }
  if (!options.revision.empty()) {
    if (!id->revision.empty() && id->revision != options.revision)
      return bad_input(model + ": names a revision, and --revision another");
    LISSOM_CHECK(check_revision(options.revision));
  }
  LISSOM_TRY(Settings settings, settings_of_environment());
  const std::string revision = !options.revision.empty() ? options.revision
                               : id->revision.empty()    ? "main"
                                                         : id->revision;
  RepoCache cache(settings.cache, id->repo);
  return find_on_hub(
      {*id, revision, options.need, std::move(settings), std::move(cache), options.weights, options.disk},
      progress);
}

std::string display_name_of(const fs::path& path) {
  const fs::path full = fs::absolute(path).lexically_normal();
  // models--ORG--NAME/snapshots/COMMIT, and of headers alone (hub/headers.h) models--ORG--NAME/COMMIT.
  fs::path above = full.parent_path();
  if (above.filename() == "snapshots") above = above.parent_path();
  const std::string repo = above.filename().string();
  const size_t name = repo.rfind("--");
  if (repo.starts_with("models--") && name > 6 && is_commit(full.filename().string()))
    return repo.substr(name + 2);
  return full.filename().string();
}

}  // namespace lissom::hub
