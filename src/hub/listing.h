#pragma once
// What a repository holds at a revision: GET {endpoint}/api/models/{repo}/revision/{revision}?blobs=true

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hub/http.h"
#include "hub/settings.h"
#include "lissom/progress.h"
#include "lissom/result.h"

namespace lissom::hub {

struct RepoFile {
  std::string path;
  uint64_t size = 0;
  /// The name of its blob in the cache, and its checksum: 64 hexadecimal digits are the SHA-256 of an LFS file,
  /// 40 the SHA-1 that git gives a blob ("blob SIZE\0" before the bytes). Empty where the listing has none.
  std::string etag;
};
struct Listing {
  std::string commit;  ///< 40 hexadecimal digits
  std::vector<RepoFile> files;
  [[nodiscard]] const RepoFile* find(std::string_view path) const;
};

/// Refuses unsafe or repeated file names, more than 100,000 files, sizes past 2^50, checksums that are none.
[[nodiscard]] Result<Listing> parse_listing(std::string_view json, const std::string& origin);
/// The header of a file that the listing said too little of: X-Linked-Etag or ETag, X-Linked-Size or
/// Content-Length.
[[nodiscard]] Result<void> complete_from_headers(RepoFile& file, const Response& response);

[[nodiscard]] std::string listing_url(const std::string& endpoint, const std::string& repo,
                                      const std::string& revision);
[[nodiscard]] std::string file_url(const std::string& endpoint, const std::string& repo,
                                   const std::string& commit, const std::string& path);

/// An answer that is no success, as one sentence that names the repository and says what to do. `path`: the
/// file that was asked for, or "".
[[nodiscard]] Error explain(const Outcome& outcome, const Settings& settings, const std::string& repo,
                            const std::string& revision, const std::string& path);

}  // namespace lissom::hub
