#pragma once
// MODEL, as every verb takes it: a path, or a model on the hub that is downloaded into the cache.

#include <cstdint>
#include <memory>
#include <string>

#include "format/hf.h"
#include "hub/choose.h"
#include "lissom/progress.h"
#include "lissom/result.h"

namespace lissom::hub {

struct RemoteWeights;  // hub/shards.h

struct FindOptions {
  std::string revision;  ///< branch, tag or commit; empty: what the id says, else main
  Need need = Need::model;
  /// Set, it gets the safetensors of a Hugging Face folder on the hub, and those that the cache lacks are not
  /// downloaded: of them the result has the headers alone. Stays null for anything else.
  std::shared_ptr<RemoteWeights>* weights = nullptr;
  /// With `weights`: refuses what can only be downloaded whole and has more bytes. 0: no limit.
  uint64_t disk = 0;
};

/// A local path always wins. Else org/name (hub/model_id.h): the cache alone where HF_HUB_OFFLINE is set or a
/// commit's snapshot is whole; otherwise the hub is asked what the revision is, and what the cache lacks is
/// downloaded. Where the hub cannot be reached, a whole snapshot in the cache serves, with a warning. The
/// result is the snapshot's folder, or the (first) GGUF in it.
[[nodiscard]] Result<ModelPath> find_model(const std::string& model, const FindOptions& options,
                                           const Progress& progress);

/// The name of a model for people: of a snapshot in the cache the repository's, else the last part of the path.
[[nodiscard]] std::string display_name_of(const std::filesystem::path& path);

}  // namespace lissom::hub
