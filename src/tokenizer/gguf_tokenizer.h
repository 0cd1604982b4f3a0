#pragma once
// Tokenizers in GGUF metadata (tokenizer.ggml.*). Included by .cpp files only.

#include <string>

#include "lissom/gguf.h"
#include "lissom/result.h"
#include "tokenizer/parts.h"

namespace lissom::tok {

/// The tokenizer that the metadata describes, as tokenizer.json would have it.
[[nodiscard]] Result<Parts> parts_from_gguf(const GgufMetadata& metadata, const std::string& origin);

/// A value of tokenizer.ggml.pre and what it stands for.
struct PreName {
  std::string name;
  Json pre_tokenizer;
  bool ignore_merges = false;
  bool add_bos = false;  ///< llama.cpp's choice where the file does not say
  bool nfc = false;
};
/// Every name that llama.cpp knows and we read; the first of equal ones is the one to write.
[[nodiscard]] const std::vector<PreName>& pre_names();

}  // namespace lissom::tok
