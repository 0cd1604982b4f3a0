#include "pipeline/record.h"

#include "base/file.h"
#include "compress/digest.h"

namespace lissom {

std::filesystem::path record_path(const std::filesystem::path& out) {
  return out.string() + ".json";
}

Result<std::string> file_sha256(const std::filesystem::path& path) {
  constexpr size_t kStep = 64U << 20;
  LISSOM_TRY(const auto file, MappedFile::open(path));
  Sha256 hash;
  for (size_t at = 0; at < file->bytes().size(); at += kStep) {
    const size_t n = std::min(kStep, file->bytes().size() - at);
    hash.update(file->bytes().subspan(at, n));
    file->drop(at, n);
  }
  return hash.finish_hex();
}

Result<void> write_record(const std::filesystem::path& out, const Record& record) {
  const Json json = {{"key", record.key}, {"result", record.result}, {"evaluation", record.evaluation}};
  return write_file(record_path(out), json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
}

std::optional<Record> read_record(const std::filesystem::path& out, const std::string& key) {
  const auto json = read_json(record_path(out));
  if (!json || !json->is_object()) return {};
  const auto text = [](const Json& object, const char* name) -> std::string {
    const auto it = object.find(name);
    return it != object.end() && it->is_string() ? it->get<std::string>() : "";
  };
  if (text(*json, "key") != key || !json->contains("result") || !(*json)["result"].is_object()) return {};
  Record record{key, (*json)["result"], json->value("evaluation", Json::object())};
  const Json bytes = record.result.value("file_bytes", Json());
  if (!record.evaluation.is_object() || text(record.result, "scheme").empty() || !bytes.is_number_unsigned())
    return {};
  const auto digest = file_sha256(out);
  if (!digest || *digest != text(record.result, "sha256")) return {};
  return record;
}

}  // namespace lissom
