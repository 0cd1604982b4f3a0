#include "hub/download.h"

#include <algorithm>
#include <chrono>
#include <system_error>

#include "base/text.h"
#include "hub/blob.h"

namespace lissom::hub {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int kMostAtOnce = 8;
constexpr auto kLockPause = std::chrono::milliseconds(200);

/// One file on its way: waiting (for a lock, a turn, the end of a pause), running, done.
struct Job {
  enum class State { waiting, running, done } state = State::waiting;
  const RepoFile* file = nullptr;
  Clock::time_point not_before;
  std::unique_ptr<FileLock> lock;
  std::unique_ptr<IncompleteBlob> blob;
  int request = -1;
  Backoff backoff;
  uint64_t best = 0;  ///< the furthest position: only what is past it counts as progress
  bool second_checksum = false, told = false;

  [[nodiscard]] uint64_t present() const {
    return state == State::done ? file->size : blob ? blob->position() : 0;
  }
};

bool holds_bytes(const fs::path& path, uint64_t size) {
  std::error_code code;
  const auto have = fs::file_size(path, code);
  return !code && have == size;
}

std::string header_of(const Headers& headers, std::string_view name) {
  const auto at = headers.find(name);
  return at == headers.end() ? "" : at->second;
}

/// "bytes 100-199/200" begins at `position` and ends with a file of `size`.
bool continues_at(const std::string& content_range, uint64_t position, uint64_t size) {
  const std::string from = "bytes " + std::to_string(position) + "-";
  const std::string of = "/" + std::to_string(size);
  return content_range.starts_with(from) && (content_range.ends_with(of) || content_range.ends_with("/*"));
}

class Downloads {
 public:
  Downloads(Http& http, const DownloadTask& task, const Progress& progress)
      : http_(http), task_(task), progress_(progress) {}

  Result<void> run(const std::vector<RepoFile>& files) {
    for (const RepoFile& file : files) {
      jobs_.emplace_back();
      jobs_.back().file = &file;
      total_ += file.size;
    }
    LISSOM_CHECK(check_space());
    while (true) {
      if (progress_.stop_requested()) return tl::unexpected(Error{ErrorKind::cancelled, "stopped"});
      LISSOM_CHECK(start_what_may());
      report();
      if (std::ranges::all_of(jobs_, [](const Job& j) { return j.state == Job::State::done; })) return {};
      const auto finished = http_.wait(50);
      if (!finished) continue;
      const auto job = std::ranges::find_if(
          jobs_, [&](const Job& j) { return j.state == Job::State::running && j.request == finished->id; });
      if (job == jobs_.end()) continue;
      job->state = Job::State::waiting;
      LISSOM_CHECK(settle(*job, finished->outcome));
    }
  }

 private:
  Result<void> check_space() {
    uint64_t needed = 0;
    for (const Job& job : jobs_) {
      const fs::path blob = task_.cache.blob(job.file->etag);
      std::error_code code;
      const auto partial = fs::file_size(blob.string() + ".incomplete", code);
      if (is_there(job)) continue;
      needed += job.file->size - std::min<uint64_t>(code ? 0 : partial, job.file->size);
    }
    fetching_ = needed > 0;
    std::error_code code;
    const fs::space_info space = fs::space(task_.cache.folder(), code);
    if (code || space.available >= needed) return {};
    return io_error(task_.repo + ": " + std::to_string(needed / 1000000) + " MB are still to be downloaded, " +
                    task_.cache.folder().string() + " has room for " +
                    std::to_string(space.available / 1000000) + " MB (HF_HUB_CACHE chooses another place)");
  }

  [[nodiscard]] bool is_there(const Job& job) const {
    return holds_bytes(task_.cache.pointer(task_.commit, job.file->path), job.file->size) ||
           holds_bytes(task_.cache.blob(job.file->etag), job.file->size);
  }

  Result<void> complete(Job& job) {
    if (task_.link && !holds_bytes(task_.cache.pointer(task_.commit, job.file->path), job.file->size))
      LISSOM_CHECK(task_.cache.link(task_.commit, job.file->path, job.file->etag));
    job.lock.reset();
    job.blob.reset();
    job.state = Job::State::done;
    return {};
  }

  Result<void> start_what_may() {
    auto running = std::ranges::count(jobs_, Job::State::running, &Job::state);
    const auto now = Clock::now();
    for (Job& job : jobs_) {
      if (running >= kMostAtOnce) break;
      if (job.state != Job::State::waiting || now < job.not_before) continue;
      LISSOM_CHECK(start(job));
      if (job.state == Job::State::running) ++running;
    }
    return {};
  }

  Result<void> start(Job& job) {
    if (is_there(job)) return complete(job);
    if (!job.lock) {
      LISSOM_TRY(job.lock, FileLock::try_lock(task_.cache.lock(job.file->etag)));
      if (!job.lock) {
        job.not_before = Clock::now() + kLockPause;
        const auto same =
            std::ranges::count_if(jobs_, [&](const Job& other) { return other.file->etag == job.file->etag; });
        if (!job.told && same == 1)
          progress_.say(LogLevel::info, job.file->path + ": another process is downloading it");
        job.told = true;
        return {};
      }
      if (is_there(job)) return complete(job);  // by who had the lock before
    }
    if (!job.blob) {
      LISSOM_TRY(job.blob, IncompleteBlob::open(task_.cache.blob(job.file->etag), job.file->etag,
                                                job.file->size, progress_));
      job.best = job.blob->position();
    }
    if (job.blob->position() == job.file->size) return finish(job);
    return request(job);
  }

  Result<void> request(Job& job) {
    const uint64_t position = job.blob->position();
    Request r;
    r.url = file_url(task_.settings.endpoint, task_.repo, task_.commit, job.file->path);
    if (position > 0) {
      r.range = std::to_string(position) + "-";
      r.if_range = job.file->etag;
    }
    r.begin = [this, &job](const Response& response) { return check_answer(job, response); };
    r.body = [&job](std::span<const std::byte> data) -> Result<void> {
      LISSOM_CHECK(job.blob->append(data));
      if (job.blob->position() > job.best) {
        job.best = job.blob->position();
        job.backoff.progress();
      }
      return {};
    };
    LISSOM_TRY(job.request, http_.start(std::move(r)));
    job.state = Job::State::running;
    return {};
  }

  /// The headers of a success: the commit and checksum that were asked for, and a body that fits on.
  Result<void> check_answer(Job& job, const Response& response) const {
    const RepoFile& file = *job.file;
    const auto differs = [&](const char* name, const std::string& got, const std::string& expected) {
      return bad_input("header " + std::string(name) + " is " + in_quotes(got) + ", the listing says " +
                       in_quotes(expected));
    };
    if (const std::string commit = header_of(response.first, "x-repo-commit");
        !commit.empty() && commit != task_.commit)
      return differs("X-Repo-Commit", commit, task_.commit);
    if (const std::string etag = header_of(response.first, "x-linked-etag");
        !etag.empty() && plain_etag(etag) != file.etag)
      return differs("X-Linked-Etag", plain_etag(etag), file.etag);
    const std::string size = std::to_string(file.size);
    if (const std::string linked = header_of(response.first, "x-linked-size");
        !linked.empty() && linked != size)
      return differs("X-Linked-Size", linked, size);
    if (response.status == 206 &&
        continues_at(response.header("content-range"), job.blob->position(), file.size))
      return {};
    // The server takes no ranges, or sends one that was not asked for: from the beginning, if it is one.
    if (response.status != 200)
      return bad_input("status " + std::to_string(response.status) + " with Content-Range " +
                       in_quotes(response.header("content-range")) + " is no answer to a request from byte " +
                       std::to_string(job.blob->position()));
    if (const std::string length = response.header("content-length"); !length.empty() && length != size)
      return differs("Content-Length", length, size);
    if (job.blob->position() > 0) LISSOM_CHECK(job.blob->restart());
    return {};
  }

  Result<void> settle(Job& job, const Outcome& outcome) {
    if (outcome.ok() && job.blob->position() == job.file->size) return finish(job);
    if (outcome.kind == Outcome::Kind::answered && outcome.response.status == 416 && job.blob->position() > 0)
      return job.blob->restart();
    if (outcome.kind == Outcome::Kind::refused)
      return tl::unexpected(outcome.error.within(task_.repo + ": " + job.file->path));
    // A success that ended early is a connection that broke.
    const bool broken = outcome.ok();
    Outcome as_seen = outcome;
    if (broken) as_seen.kind = Outcome::Kind::dropped;
    if (broken) as_seen.error = {ErrorKind::io, "the connection ended early"};
    if (const auto pause = job.backoff.next(as_seen)) {
      job.not_before =
          Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(*pause));
      return {};
    }
    if (as_seen.kind == Outcome::Kind::dropped)
      return io_error(task_.repo + ": " + job.file->path + ": " + as_seen.error.message + "; " +
                      std::to_string(job.blob->position()) + " of " + std::to_string(job.file->size) +
                      " bytes are kept, the same command goes on from there");
    return tl::unexpected(explain(as_seen, task_.settings, task_.repo, task_.commit, job.file->path));
  }

  Result<void> finish(Job& job) {
    LISSOM_TRY(const bool good, job.blob->finish());
    if (good) return complete(job);
    if (job.second_checksum)
      return bad_input(task_.repo + ": " + job.file->path +
                       ": what was downloaded, twice, has not the checksum that the hub announced (" +
                       job.file->etag + ")");
    progress_.say(LogLevel::warning, job.file->path + ": wrong checksum; it is downloaded again");
    job.second_checksum = true;
    job.best = 0;
    job.not_before = Clock::now();
    return {};
  }

  void report() {
    if (task_.quiet || !fetching_) return;
    uint64_t done = 0;
    for (const Job& job : jobs_) done += job.present();
    const auto now = Clock::now();
    if (done < total_ && now - reported_ < std::chrono::milliseconds(50)) return;
    reported_ = now;
    const auto at = std::ranges::find(jobs_, Job::State::running, &Job::state);
    progress_.report("download", static_cast<int64_t>(done), static_cast<int64_t>(total_),
                     at == jobs_.end() ? task_.repo : at->file->path);
  }

  Http& http_;
  const DownloadTask& task_;
  const Progress& progress_;
  std::vector<Job> jobs_;
  uint64_t total_ = 0;
  bool fetching_ = false;
  Clock::time_point reported_;
};

}  // namespace

Result<void> download(Http& http, const DownloadTask& task, const std::vector<RepoFile>& files,
                      const Progress& progress) {
  Downloads downloads(http, task, progress);
  auto done = downloads.run(files);
  if (!done) http.stop_all();  // their callbacks hold on to `downloads`
  return done;
}

}  // namespace lissom::hub
