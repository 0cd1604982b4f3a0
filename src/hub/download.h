#pragma once
// Files of one commit into the cache, several at once.

#include <string>
#include <vector>

#include "hub/cache.h"
#include "hub/http.h"
#include "hub/listing.h"
#include "lissom/progress.h"
#include "lissom/result.h"

namespace lissom::hub {

struct DownloadTask {
  const Settings& settings;
  const RepoCache& cache;
  std::string repo, commit;
  bool quiet = false;  ///< no progress: a file that is needed to know the rest
  bool link = true;    ///< into the snapshot; else the blob alone, so that no snapshot looks as if it had it
};

/// Each file's blob, checked and (unless `link` says no) linked into the snapshot. What the cache holds is not
/// fetched; what another process is fetching is waited for. A connection that breaks goes on where it broke,
/// now or in a later run. The first failure ends all. Progress counts bytes under the stage "download".
[[nodiscard]] Result<void> download(Http& http, const DownloadTask& task, const std::vector<RepoFile>& files,
                                    const Progress& progress);

}  // namespace lissom::hub
