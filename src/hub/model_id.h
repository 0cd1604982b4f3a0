#pragma once
// What a user writes to name a model on the hub, and which names from outside may become paths.

#include <optional>
#include <string>
#include <string_view>

#include "lissom/result.h"

namespace lissom::hub {

/// [hf://]ORG/NAME[@REVISION][:TAG | /FILE.gguf]
struct ModelId {
  std::string repo;      ///< "org/name"
  std::string revision;  ///< empty: not given
  std::string tag;       ///< of a GGUF: "Q4_K_M" means the file whose name holds that word
  std::string file;      ///< of a GGUF: its path in the repository
};
/// Nothing where the text cannot be one. A two-part name with a model file's extension ("out/model.gguf") is a
/// path, never a repository, so that a mistyped path is not looked for on the network.
[[nodiscard]] std::optional<ModelId> parse_model_id(std::string_view text);

/// A branch, tag or commit that is safe as part of a path: git's own rules for ref names, and no leading slash.
[[nodiscard]] Result<void> check_revision(std::string_view revision);
/// 40 hexadecimal digits.
[[nodiscard]] bool is_commit(std::string_view text);

/// A file's path in a repository that may become a path under the cache: relative, valid UTF-8, no empty, "."
/// or ".." part, no control characters or backslashes, of at most 1024 bytes with parts of at most 255.
[[nodiscard]] bool safe_repo_path(std::string_view path);

}  // namespace lissom::hub
