#pragma once
// Which files of a repository a model needs.

#include <string>
#include <string_view>
#include <vector>

#include "hub/listing.h"
#include "hub/model_id.h"
#include "lissom/result.h"

namespace lissom::hub {

enum class Need {
  model,      ///< configuration, tokenizer and weights
  headers,    ///< of safetensors nothing but their headers (hub/headers.h)
  tokenizer,  ///< no safetensors; of a GGUF all, since its vocabulary is part of it
};

struct Choice {
  std::vector<RepoFile> files;      ///< without the shards, where `index` is set
  std::string gguf;                 ///< the (first) file to open; empty: a Hugging Face folder
  std::string index;                ///< the safetensors index, whose shards are to be added
  std::vector<std::string> absent;  ///< files that readers look for and this revision lacks
};

/// Safetensors beside config.json come first; else the only GGUF, or the one that `id` names. Weights that are
/// pickled are never chosen: a repository that has no others is refused with the way out.
[[nodiscard]] Result<Choice> choose_files(const Listing& listing, const ModelId& id, Need need);
/// The files that a safetensors index names, all of them in the listing.
[[nodiscard]] Result<std::vector<RepoFile>> shards_of_index(std::string_view json, const std::string& origin,
                                                            const Listing& listing);
/// Names of the shards: plain file names.
[[nodiscard]] Result<std::vector<std::string>> shard_names(std::string_view json, const std::string& origin);

/// Of these paths, the GGUF that `id` means, with all parts where it is split; the first is the one to open.
[[nodiscard]] Result<std::vector<std::string>> choose_gguf(const std::vector<std::string>& paths,
                                                           const ModelId& id);

}  // namespace lissom::hub
