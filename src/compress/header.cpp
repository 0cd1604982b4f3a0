#include "compress/header.h"

#include <map>
#include <type_traits>

#include "model/arch.h"

namespace lissom {
namespace {

uint64_t value_bytes(const GgufValue& value);

uint64_t array_bytes(const GgufArray& array) {
  uint64_t bytes = 4 + 8;  // item type, count
  std::visit(
      [&](const auto& items) {
        using T = typename std::decay_t<decltype(items)>::value_type;
        if constexpr (std::is_same_v<T, std::string>) {
          for (const std::string& item : items) bytes += 8 + item.size();
        } else if constexpr (std::is_same_v<T, std::shared_ptr<GgufArray>>) {
          for (const auto& item : items) bytes += array_bytes(*item);
        } else {
          bytes += items.size() * sizeof(T);  // bool: one byte each
        }
      },
      array.items);
  return bytes;
}

uint64_t value_bytes(const GgufValue& value) {
  return std::visit(
      [](const auto& v) -> uint64_t {
        using T = std::decay_t<decltype(v)>;
        if constexpr (std::is_same_v<T, std::string>) {
          return 8 + v.size();
        } else if constexpr (std::is_same_v<T, std::shared_ptr<GgufArray>>) {
          return array_bytes(*v);
        } else {
          return sizeof(T);
        }
      },
      value);
}

/// general.file_type: the scheme's, or that of the built-in scheme of the codec with the most weights.
int64_t file_type(const Scheme& scheme, const Plan& plan) {
  if (scheme.file_type >= 0) return scheme.file_type;
  std::map<std::string, int64_t> weights;
  for (const PlanEntry& entry : plan.entries) weights[entry.codec] += entry.shape.elements();
  const auto most = std::max_element(weights.begin(), weights.end(),
                                     [](const auto& a, const auto& b) { return a.second < b.second; });
  for (const std::string& name : {most->first, most->first + "_S"})
    if (const auto builtin = builtin_scheme(name); builtin && builtin->file_type >= 0)
      return builtin->file_type;
  return -1;
}

}  // namespace

Result<GgufMetadata> canonical_metadata(const Checkpoint& checkpoint) {
  GgufMetadata metadata;
  LISSOM_TRY(const GgufMetadata header, gguf_header(checkpoint));
  for (const auto& [key, value] : header.entries())
    if (!key.starts_with("split.") && key != "general.alignment") metadata.append(key, value);
  return metadata;
}

Result<GgufMetadata> output_metadata(const Checkpoint& checkpoint, const Scheme& scheme, const Plan& plan,
                                     const std::string& source_digest) {
  LISSOM_TRY(GgufMetadata metadata, canonical_metadata(checkpoint));
  metadata.set("general.quantization_version", uint32_t{2});
  if (const int64_t type = file_type(scheme, plan); type >= 0)
    metadata.set("general.file_type", static_cast<uint32_t>(type));
  metadata.set("lissom.version", std::string(LISSOM_VERSION));
  metadata.set("lissom.scheme", scheme.name);
  metadata.set("lissom.source_digest", source_digest);
  return metadata;
}

std::vector<TensorInfo> output_directory(const Plan& plan) {
  std::vector<TensorInfo> directory;
  for (const PlanEntry& entry : plan.entries)
    directory.push_back(
        {.name = entry.tensor, .type = entry.codec, .shape = entry.shape, .bytes = entry.bytes});
  return directory;
}

uint64_t gguf_header_bytes(const GgufMetadata& metadata, const std::vector<TensorInfo>& directory) {
  uint64_t bytes = 4 + 4 + 8 + 8;  // magic, version, counts
  for (const auto& [key, value] : metadata.entries()) bytes += 8 + key.size() + 4 + value_bytes(value);
  for (const TensorInfo& info : directory)
    bytes += 8 + info.name.size() + 4 + 8 * static_cast<uint64_t>(info.shape.rank()) + 4 + 8;
  return gguf_padded(bytes);
}

Result<uint64_t> planned_file_bytes(const Checkpoint& checkpoint, const Scheme& scheme, const Plan& plan) {
  const std::string digest = "sha256:" + std::string(64, '0');
  LISSOM_TRY(const GgufMetadata metadata, output_metadata(checkpoint, scheme, plan, digest));
  uint64_t bytes = gguf_header_bytes(metadata, output_directory(plan));
  for (const PlanEntry& entry : plan.entries) bytes += gguf_padded(entry.bytes);
  return bytes;
}

}  // namespace lissom
