#pragma once
// The finished result of one target, beside its file, so that a second run need not work again.

#include <filesystem>
#include <optional>
#include <string>

#include "format/json.h"
#include "lissom/result.h"

namespace lissom {

struct Record {
  std::string key;  ///< digest of all that the result depends on
  Json result, evaluation;
};

/// OUT.json.
[[nodiscard]] std::filesystem::path record_path(const std::filesystem::path& out);
[[nodiscard]] Result<void> write_record(const std::filesystem::path& out, const Record& record);
/// The record of `out`, where it has this key and the file still has the digest that the record tells.
[[nodiscard]] std::optional<Record> read_record(const std::filesystem::path& out, const std::string& key);

/// What `sha256sum` prints.
[[nodiscard]] Result<std::string> file_sha256(const std::filesystem::path& path);

}  // namespace lissom
