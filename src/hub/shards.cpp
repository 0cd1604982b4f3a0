#include "hub/shards.h"

#include <algorithm>
#include <array>
#include <condition_variable>
#include <cstdio>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <system_error>
#include <thread>

#include "base/text.h"
#include "format/safetensors.h"
#include "hub/download.h"
#include "hub/shard_ledger.h"

namespace lissom::hub {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostAtOnce = 4;
constexpr const char* kKept = "what is done is kept, the same command goes on from there";
constexpr auto kPause = std::chrono::milliseconds(50);

bool holds_bytes(const fs::path& path, uint64_t size) {
  std::error_code code;
  const auto have = fs::file_size(path, code);
  return !code && have == size;
}

/// Names of the blobs that any snapshot of the repository has.
std::set<std::string> linked_blobs(const fs::path& repo) {
  std::set<std::string> names;
  std::error_code error, ignored;
  for (fs::recursive_directory_iterator it(repo / "snapshots", error), end; !error && it != end;
       it.increment(error))
    if (it->is_symlink(ignored)) names.insert(fs::read_symlink(it->path(), ignored).filename().string());
  return names;
}

std::string size_text(uint64_t bytes) {
  char text[48];
  if (bytes >= 100'000'000)
    std::snprintf(text, sizeof text, "%.2f GB", static_cast<double>(bytes) / 1e9);
  else
    std::snprintf(text, sizeof text, "%.2f MB", static_cast<double>(bytes) / 1e6);
  return text;
}

}  // namespace

struct Shards::State {
  explicit State(RemoteWeights the_weights) : weights(std::move(the_weights)), ledger(sizes()) {}

  RemoteWeights weights;
  std::shared_ptr<const TensorSource> headers;
  std::vector<size_t> shard_of;  // of each tensor
  Progress progress;

  // What follows is guarded by the mutex.
  std::mutex mutex;
  std::condition_variable changed;
  ShardLedger ledger;
  uint64_t bound = 0;
  std::vector<std::shared_ptr<SafetensorsFile>> open;  // of each shard that is here and was read
  std::vector<std::thread> threads;
  std::unique_ptr<FileLock> alone;             // under a bound: what else is there was left, and may go
  std::array<uint64_t, kMostAtOnce> coming{};  // bytes that each thread has of its shard
  uint64_t fetched = 0;
  std::vector<std::string> warnings;  // from the threads, to be said by who reads
  std::optional<Error> failure;
  bool stop = false, advised = false;

  [[nodiscard]] std::vector<uint64_t> sizes() const {
    std::vector<uint64_t> list;
    for (const RepoFile& file : weights.files) list.push_back(file.size);
    return list;
  }
  [[nodiscard]] fs::path blob(size_t shard) const { return weights.cache.blob(weights.files[shard].etag); }
  [[nodiscard]] bool in_snapshot(size_t shard) const {
    const RepoFile& file = weights.files[shard];
    return holds_bytes(weights.cache.pointer(weights.commit, file.path), file.size);
  }

  void look_into_cache();
  [[nodiscard]] Result<void> check_bound() const;
  void advise();
  [[nodiscard]] Result<void> be_alone();
  [[nodiscard]] Result<void> start();
  void remove_leftovers();
  void remove(size_t shard);
  void work(size_t slot);
  void fetch(Http& http, size_t slot, size_t shard, std::unique_lock<std::mutex>& lock);
  void note_whole();
  void report();
  [[nodiscard]] Result<std::shared_ptr<SafetensorsFile>> wait_for(size_t shard);
};

/// What snapshots have stays; a whole blob that none has was left by a run that was stopped.
void Shards::State::look_into_cache() {
  const std::set<std::string> linked = linked_blobs(weights.cache.folder());
  for (size_t i = 0; i < weights.files.size(); ++i) {
    const bool is_blob = holds_bytes(blob(i), weights.files[i].size);
    if (in_snapshot(i) || (is_blob && bound > 0 && linked.contains(weights.files[i].etag)))
      ledger.keep(i);
    else if (is_blob && bound > 0)
      ledger.arrived(i);
    else
      ledger.gone(i);
  }
}

Result<void> Shards::State::check_bound() const {
  const size_t largest = ledger.largest();
  if (bound > 0 && largest < ledger.size() && weights.files[largest].size > bound)
    return bad_input("--disk " + std::to_string(bound) + ": " + weights.repo + ": " +
                     weights.files[largest].path + " alone has " + std::to_string(weights.files[largest].size) +
                     " bytes; --disk " + std::to_string(weights.files[largest].size) + " would do");
  return {};
}

void Shards::State::advise() {
  if (advised || bound == 0) return;
  advised = true;
  if (const uint64_t twice = ledger.repeated(); twice > 0)
    progress.say(LogLevel::warning, "--disk: " + size_text(twice) +
                                        " will be downloaded more than once; with --disk " +
                                        std::to_string(ledger.comfortable()) + " nothing would");
}

void Shards::State::remove(size_t shard) {
  open[shard].reset();
  std::error_code ignored;
  // Who links it meanwhile does so under its lock.
  const auto lock = FileLock::try_lock(weights.cache.lock(weights.files[shard].etag));
  if (!lock || !*lock || linked_blobs(weights.cache.folder()).contains(weights.files[shard].etag)) return;
  fs::remove(blob(shard), ignored);
}

/// Of an earlier run, beyond the bound: blobs, and parts of those that do not come first now.
void Shards::State::remove_leftovers() {
  for (const size_t shard : ledger.trim()) remove(shard);
  ShardLedger trial = ledger;
  std::set<size_t> first;
  while (const auto step = trial.begin()) first.insert(step->fetch);
  for (size_t i = 0; i < weights.files.size(); ++i) {
    const fs::path part = blob(i).string() + ".incomplete";
    std::error_code ignored;
    if (first.contains(i) || ledger.here(i) || !fs::exists(part, ignored)) continue;
    const auto lock = FileLock::try_lock(weights.cache.lock(weights.files[i].etag));
    if (lock && *lock) fs::remove(part, ignored);
  }
}

/// What lies there beside snapshots is this process's own from now on.
Result<void> Shards::State::be_alone() {
  if (bound == 0 || alone) return {};
  LISSOM_CHECK(weights.cache.prepare());
  LISSOM_TRY(alone, FileLock::try_lock(weights.cache.lock("lissom-disk")));
  if (!alone)
    return tl::unexpected(
        Error{ErrorKind::unavailable, "--disk: another process has shards of " + weights.repo + " on its way"});
  look_into_cache();
  return {};
}

Result<void> Shards::State::start() {
  LISSOM_CHECK(weights.cache.prepare());
  if (bound > 0) remove_leftovers();
  for (size_t slot = 0; slot < kMostAtOnce; ++slot) threads.emplace_back([this, slot] { work(slot); });
  return {};
}

void Shards::State::work(size_t slot) {
  const auto http = Http::create(weights.settings);
  std::unique_lock lock(mutex);
  if (!http && !failure) failure = http.error();
  while (!stop && !failure) {
    const auto step = ledger.begin();
    if (!step) {
      changed.wait(lock);
      continue;
    }
    for (const size_t shard : step->remove) remove(shard);
    fetch(**http, slot, step->fetch, lock);
  }
  changed.notify_all();
}

void Shards::State::fetch(Http& http, size_t slot, size_t shard, std::unique_lock<std::mutex>& lock) {
  lock.unlock();
  Progress own;
  own.step = [this, slot](std::string_view, int64_t done, int64_t, std::string_view) {
    const std::scoped_lock guard(mutex);
    coming[slot] = static_cast<uint64_t>(done);
  };
  own.log = [this](LogLevel, std::string_view text) {
    const std::scoped_lock guard(mutex);
    warnings.emplace_back(text);
  };
  own.cancelled = [this] {
    const std::scoped_lock guard(mutex);
    return stop || failure;
  };
  const DownloadTask task{weights.settings, weights.cache, weights.repo, weights.commit, false, bound == 0};
  const Result<void> done = download(http, task, {weights.files[shard]}, own);
  lock.lock();
  coming[slot] = 0;
  if (!done) {
    if (!stop && !failure) failure = done.error();
    return;
  }
  fetched += weights.files[shard].size;
  ledger.arrived(shard);
  note_whole();
  changed.notify_all();
}

/// As a plain download does in the end: the branch comes last, and only where the snapshot is whole.
void Shards::State::note_whole() {
  if (bound > 0) return;
  for (size_t i = 0; i < weights.files.size(); ++i)
    if (!in_snapshot(i)) return;
  Result<void> noted;
  for (const std::string& name : weights.absent)
    if (noted) noted = weights.cache.mark_absent(weights.commit, name);
  if (noted) noted = weights.cache.write_ref(weights.revision, weights.commit);
  if (!noted) warnings.push_back(noted.error().message);
}

/// By the thread that reads, which holds the mutex.
void Shards::State::report() {
  for (const std::string& text : warnings) progress.say(LogLevel::warning, text);
  warnings.clear();
  const uint64_t missing = ledger.missing();
  if (threads.empty()) return;
  uint64_t done = fetched;
  for (const uint64_t bytes : coming) done += bytes;
  progress.report("download", static_cast<int64_t>(done), static_cast<int64_t>(fetched + missing),
                  weights.repo);
}

/// The shard's file, when it is here and agrees with the headers that were read before it.
Result<std::shared_ptr<SafetensorsFile>> Shards::State::wait_for(size_t shard) {
  std::unique_lock lock(mutex);
  LISSOM_CHECK(be_alone());
  if (!ledger.here(shard)) {
    ledger.demand(shard);
    if (threads.empty()) LISSOM_CHECK(start());
    changed.notify_all();
  }
  while (!ledger.here(shard)) {
    report();
    if (progress.stop_requested()) return tl::unexpected(Error{ErrorKind::cancelled, "stopped"});
    if (failure) return tl::unexpected(Error{ErrorKind::unavailable, failure->message + "; " + kKept});
    changed.wait_for(lock, kPause);
  }
  report();
  if (!open[shard]) {
    const RepoFile& file = weights.files[shard];
    const fs::path at = in_snapshot(shard) ? weights.cache.pointer(weights.commit, file.path) : blob(shard);
    if (!holds_bytes(at, file.size))
      return tl::unexpected(Error{ErrorKind::unavailable, at.string() + ": was removed; " + kKept});
    LISSOM_TRY(open[shard], SafetensorsFile::open(at));
  }
  return open[shard];
}

Result<std::shared_ptr<Shards>> Shards::create(RemoteWeights weights,
                                               std::shared_ptr<const TensorSource> headers,
                                               const fs::path& folder, const Progress& progress) {
  std::shared_ptr<Shards> shards(new Shards());
  shards->state_ = std::make_unique<State>(std::move(weights));
  State& s = *shards->state_;
  std::map<std::string, size_t, std::less<>> shard_of;
  for (size_t i = 0; i < s.weights.files.size(); ++i) {
    LISSOM_TRY(const auto file, SafetensorsFile::open(folder / s.weights.files[i].path));
    for (const TensorInfo& info : file->tensors()) shard_of[info.name] = i;
  }
  for (const TensorInfo& info : headers->tensors()) {
    const auto at = shard_of.find(info.name);
    if (at == shard_of.end())
      return bad_input(s.weights.repo + ": tensor " + in_quotes(info.name) + " is in none of its files");
    s.shard_of.push_back(at->second);
  }
  s.headers = std::move(headers);
  s.progress = progress;
  s.open.resize(s.weights.files.size());
  s.look_into_cache();
  return shards;
}

Shards::~Shards() {
  if (!state_) return;
  {
    const std::scoped_lock lock(state_->mutex);
    state_->stop = true;
  }
  state_->changed.notify_all();
  for (std::thread& thread : state_->threads) thread.join();
  if (state_->bound == 0 || !state_->ledger.finished() || !state_->be_alone()) return;
  for (size_t i = 0; i < state_->open.size(); ++i)
    if (state_->ledger.here(i) && !state_->ledger.kept(i)) state_->remove(i);
}

void Shards::set_bound(uint64_t bytes) {
  state_->bound = bytes;
  state_->ledger = ShardLedger(state_->sizes(), bytes);
  state_->look_into_cache();
}
uint64_t Shards::bound() const {
  return state_->bound;
}

uint64_t Shards::missing() const {
  uint64_t bytes = 0;
  for (size_t i = 0; i < state_->open.size(); ++i)
    if (!state_->ledger.kept(i)) bytes += state_->weights.files[i].size;
  return bytes;
}

uint64_t Shards::disk_room() const {
  const std::scoped_lock lock(state_->mutex);
  const uint64_t missing = state_->ledger.missing(), bound = state_->bound;
  return bound == 0 ? missing : std::min(missing, bound - std::min(bound, state_->ledger.used()));
}

Result<void> Shards::check_disk() const {
  const fs::path& folder = state_->weights.cache.folder();
  std::error_code code;
  const fs::space_info space = fs::space(folder, code);
  const uint64_t room = disk_room();
  if (code || space.available >= room) return {};
  return io_error(origin() + ": " + size_text(room) + " are to be downloaded, and " + folder.string() +
                  " has room for " + size_text(space.available) +
                  "; --disk SIZE holds no more than so much at a time, HF_HUB_CACHE chooses another place");
}

const fs::path& Shards::cache_folder() const {
  return state_->weights.cache.folder();
}

std::string Shards::identity() const {
  std::string text;
  for (const RepoFile& file : state_->weights.files) text += file.etag + " " + file.path + "\n";
  return text;
}

std::span<const TensorInfo> Shards::tensors() const {
  return state_->headers->tensors();
}
std::string Shards::origin() const {
  return state_->weights.repo;
}
int64_t Shards::find(std::string_view name) const {
  return state_->headers->find(name);
}

Result<TensorView> Shards::read(size_t index) const {
  const auto list = tensors();
  if (index >= list.size()) return bad_input(origin() + ": there is no tensor " + std::to_string(index));
  const TensorInfo& info = list[index];
  const size_t shard = state_->shard_of[index];
  LISSOM_TRY(const auto file, state_->wait_for(shard));
  const int64_t at = file->find(info.name);
  const auto there = static_cast<size_t>(std::max<int64_t>(at, 0));
  if (at < 0 || file->tensors()[there].type != info.type || file->tensors()[there].shape != info.shape)
    return bad_input(origin() + ": " + state_->weights.files[shard].path + ": tensor " + in_quotes(info.name) +
                     " is not as the header said that was read before it");
  LISSOM_TRY(TensorView view, file->read(there));
  if (state_->bound > 0) {
    auto copy = std::make_shared<std::vector<std::byte>>(view.data.begin(), view.data.end());
    view = {info, *copy, copy};
    file->release(there);
  }
  {
    const std::scoped_lock lock(state_->mutex);
    state_->ledger.read(shard);
  }
  state_->changed.notify_all();
  return view;
}

bool Shards::ready(size_t index) const {
  const std::scoped_lock lock(state_->mutex);
  return state_->ledger.here(state_->shard_of[index]);
}

void Shards::release(size_t index) const {
  const size_t shard = state_->shard_of[index];
  std::shared_ptr<SafetensorsFile> file;
  {
    const std::scoped_lock lock(state_->mutex);
    file = state_->open[shard];
  }
  if (!file || state_->bound > 0) return;
  if (const int64_t at = file->find(tensors()[index].name); at >= 0) file->release(static_cast<size_t>(at));
}

Result<void> Shards::expect(std::span<const size_t> indices) const {
  std::vector<size_t> reads;
  for (const size_t index : indices) reads.push_back(state_->shard_of[index]);
  const std::scoped_lock lock(state_->mutex);
  state_->ledger.expect(reads);
  LISSOM_CHECK(state_->check_bound());
  state_->advise();
  state_->changed.notify_all();
  return {};
}

}  // namespace lissom::hub
