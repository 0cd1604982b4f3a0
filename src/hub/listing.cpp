#include "hub/listing.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "base/text.h"
#include "format/json.h"
#include "hub/model_id.h"

namespace lissom::hub {
namespace {

constexpr size_t kMostFiles = 100'000;
constexpr uint64_t kLargestFile = uint64_t{1} << 50;

bool is_checksum(std::string_view text) {
  if (text.size() != 40 && text.size() != 64) return false;
  return std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

/// A member of the object that is a text; "" where it is absent or null.
Result<std::string> text_of(const Json& object, const char* key, const std::string& where) {
  const auto at = object.find(key);
  if (at == object.end() || at->is_null()) return std::string();
  if (!at->is_string()) return bad_input(where + ": field '" + key + "' is not a text");
  return at->get<std::string>();
}

Result<RepoFile> parse_file(const Json& entry, const std::string& where) {
  if (!entry.is_object()) return bad_input(where + " is not an object");
  RepoFile file;
  LISSOM_TRY(file.path, text_of(entry, "rfilename", where));
  if (!safe_repo_path(file.path))
    return bad_input(where + ": field 'rfilename': " + in_quotes(file.path) + " is no safe name of a file");
  const auto lfs = entry.find("lfs");
  const bool has_lfs = lfs != entry.end() && lfs->is_object();
  if (has_lfs) {
    LISSOM_TRY(file.etag, text_of(*lfs, "sha256", where));
  } else {
    LISSOM_TRY(file.etag, text_of(entry, "blobId", where));
  }
  if (!file.etag.empty() && file.etag.size() != (has_lfs ? 64U : 40U)) file.etag += '?';
  if (!file.etag.empty() && !is_checksum(file.etag))
    return bad_input(where + ": file " + in_quotes(file.path) + ": its checksum is none");
  const Json size = (has_lfs && lfs->contains("size") ? *lfs : entry).value("size", Json());
  if (size.is_null()) {
    file.etag.clear();  // then the file's own headers say both
    return file;
  }
  if (!size.is_number_unsigned() || size.get<uint64_t>() > kLargestFile)
    return bad_input(where + ": file " + in_quotes(file.path) + ": field 'size' is no size of a file");
  file.size = size.get<uint64_t>();
  return file;
}

}  // namespace

const RepoFile* Listing::find(std::string_view path) const {
  const auto at = std::ranges::find(files, path, &RepoFile::path);
  return at == files.end() ? nullptr : &*at;
}

Result<Listing> parse_listing(std::string_view text, const std::string& origin) {
  LISSOM_TRY(const Json json, parse_json(text, origin));
  if (!json.is_object()) return bad_input(origin + ": is not the listing of a repository");
  Listing listing;
  LISSOM_TRY(listing.commit, text_of(json, "sha", origin));
  if (!is_commit(listing.commit))
    return bad_input(origin + ": field 'sha': " + in_quotes(listing.commit) + " is no commit");
  const auto siblings = json.find("siblings");
  if (siblings == json.end() || !siblings->is_array())
    return bad_input(origin + ": field 'siblings' is no list of files");
  if (siblings->size() > kMostFiles)
    return bad_input(origin + ": field 'siblings' lists more than " + std::to_string(kMostFiles) + " files");
  std::set<std::string_view> seen;
  listing.files.reserve(siblings->size());
  for (const Json& entry : *siblings) {
    LISSOM_TRY(RepoFile file, parse_file(entry, origin + ": siblings"));
    listing.files.push_back(std::move(file));
    if (!seen.insert(listing.files.back().path).second)
      return bad_input(origin + ": lists " + in_quotes(listing.files.back().path) + " twice");
  }
  return listing;
}

Result<void> complete_from_headers(RepoFile& file, const Response& response) {
  const auto first = [&](const char* name) {
    const auto at = response.first.find(name);
    return at == response.first.end() ? std::string() : at->second;
  };
  const std::string linked = first("x-linked-etag");
  file.etag = plain_etag(linked.empty() ? first("etag") : linked);
  if (!is_checksum(file.etag))
    return bad_input(file.path + ": header X-Linked-Etag or ETag: " + in_quotes(file.etag) +
                     " is no checksum of a file");
  const std::string size = first("x-linked-size").empty() ? first("content-length") : first("x-linked-size");
  const auto [end, error] = std::from_chars(size.data(), size.data() + size.size(), file.size);
  if (size.empty() || error != std::errc() || end != size.data() + size.size() || file.size > kLargestFile)
    return bad_input(file.path + ": header X-Linked-Size or Content-Length: " + in_quotes(size) +
                     " is no size of a file");
  return {};
}

std::string listing_url(const std::string& endpoint, const std::string& repo, const std::string& revision) {
  return endpoint + "/api/models/" + repo + "/revision/" + encode_url(revision, false) + "?blobs=true";
}

std::string file_url(const std::string& endpoint, const std::string& repo, const std::string& commit,
                     const std::string& path) {
  return endpoint + "/" + repo + "/resolve/" + encode_url(commit, false) + "/" + encode_url(path, true);
}

Error explain(const Outcome& outcome, const Settings& settings, const std::string& repo,
              const std::string& revision, const std::string& path) {
  if (outcome.kind != Outcome::Kind::answered) return outcome.error.within(repo);
  const Response& r = outcome.response;
  const std::string code = r.header("x-error-code");
  const std::string page = settings.endpoint + "/" + repo;
  const std::string what = path.empty() ? repo : repo + ": " + path;
  const std::string login = settings.token.empty() ? "give an access token (HF_TOKEN, or `hf auth login`)"
                                                   : "the access token that was sent does not open it";
  std::string detail = printable(r.header("x-error-message"), 300);
  if (!detail.empty()) detail = " (it says: " + detail + ")";
  const auto error = [&](ErrorKind kind, const std::string& text) { return Error{kind, text + detail}; };

  if (!r.by_endpoint)
    return error(ErrorKind::io, what + ": the host that keeps the file answers " + std::to_string(r.status));
  if (code == "GatedRepo")
    return error(ErrorKind::bad_input,
                 repo + ": is gated: accept its terms on " + page + ", then " +
                     (settings.token.empty() ? login : "use a token of the account that accepted them"));
  if (code == "RevisionNotFound")
    return error(ErrorKind::bad_input, repo + ": has no revision " + in_quotes(revision));
  if (code == "EntryNotFound")
    return error(ErrorKind::bad_input, what + ": no such file at revision " + in_quotes(revision));
  if (r.status == 401 || code == "RepoNotFound")
    return error(ErrorKind::bad_input, repo + ": no such file or folder here, and " + settings.endpoint +
                                           " has no such repository, or it is private: " +
                                           (settings.token.empty() ? "check the name, or " : "") + login);
  if (r.status == 403)
    return error(ErrorKind::bad_input, what + ": " + settings.endpoint + " forbids it: " + login);
  if (r.status == 404)
    return error(ErrorKind::bad_input,
                 what + ": no such file or folder here, and " + settings.endpoint + " does not know it");
  if (r.status == 429)
    return error(ErrorKind::io,
                 what + ": " + settings.endpoint + " limits how often it is asked: " +
                     (r.retry_after > 0
                          ? "try again in " + std::to_string(static_cast<int64_t>(r.retry_after)) + " seconds"
                          : "try again later") +
                     (settings.token.empty() ? ", or " + login : ""));
  return error(ErrorKind::io, what + ": " + settings.endpoint + " answers " + std::to_string(r.status));
}

}  // namespace lissom::hub
