// Any bytes as a tokenizer.model: an error, or ids that are in the vocabulary and decode to a text.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "lissom/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto tokenizer = lissom::Tokenizer::from_sentencepiece(bytes, "fuzz.model");
  if (!tokenizer) {
    if (!tokenizer.error().message.starts_with("fuzz.model")) std::abort();
    return 0;
  }
  for (const std::string_view text : {std::string_view("ab <s>a\xFF 12 É字  b"), bytes.substr(0, 64)}) {
    const lissom::Encoding encoding = (*tokenizer)->encode(text, false);
    for (const int32_t id : encoding.ids)
      if (id < 0 || id >= (*tokenizer)->vocab_size()) std::abort();
    (void)(*tokenizer)->decode(encoding.ids, true);
  }
  return 0;
}
