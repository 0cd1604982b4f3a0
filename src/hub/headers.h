#pragma once
// A model's configuration and the headers of its weights, without the weights: what `check` and `info` need.

#include <filesystem>
#include <string>
#include <vector>

#include "hub/download.h"

namespace lissom::hub {

/// $XDG_CACHE_HOME/lissom/headers, else ~/.cache/lissom/headers: beside the hub's cache and not in it, since no
/// other program may take these for weights.
[[nodiscard]] std::filesystem::path headers_cache();

/// A folder in headers_cache() that reads as the model's: links to the small files, which are in the hub's
/// cache already, and for each file of safetensors one of its full size that holds its header and a hole. A
/// file of weights that the hub's cache holds is linked as it is.
[[nodiscard]] Result<std::filesystem::path> fetch_headers(Http& http, const DownloadTask& task,
                                                          const std::vector<RepoFile>& files,
                                                          const Progress& progress);

}  // namespace lissom::hub
