#pragma once
// What a compressed GGUF says of itself.

#include <cstdint>
#include <string>
#include <vector>

#include "lissom/compress.h"
#include "lissom/gguf.h"

namespace lissom {

/// The checkpoint's own metadata with its architecture's keys: everything of it that is not tensors.
[[nodiscard]] Result<GgufMetadata> canonical_metadata(const Checkpoint& checkpoint);

/// The checkpoint's own metadata (tokenizer, chat template, general.*, the architecture's keys) with
/// general.quantization_version, general.file_type, lissom.version, lissom.scheme and lissom.source_digest. The
/// same for the same inputs: no dates, no paths.
[[nodiscard]] Result<GgufMetadata> output_metadata(const Checkpoint& checkpoint, const Scheme& scheme,
                                                   const Plan& plan, const std::string& source_digest);
[[nodiscard]] std::vector<TensorInfo> output_directory(const Plan& plan);

/// Bytes of the file that the plan would make, header and padding included.
[[nodiscard]] Result<uint64_t> planned_file_bytes(const Checkpoint& checkpoint, const Scheme& scheme,
                                                  const Plan& plan);

/// Bytes from the start of a GGUF to its first tensor's data.
[[nodiscard]] uint64_t gguf_header_bytes(const GgufMetadata& metadata,
                                         const std::vector<TensorInfo>& directory);
/// `bytes` rounded up to GGUF's alignment, 32.
[[nodiscard]] constexpr uint64_t gguf_padded(uint64_t bytes) {
  return (bytes + 31) / 32 * 32;
}

}  // namespace lissom
