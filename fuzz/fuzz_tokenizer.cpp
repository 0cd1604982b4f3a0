// Any bytes as a tokenizer.json, and as the text that it and a good tokenizer are given: an error, or ids that
// are in the vocabulary and decode to a text.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "lissom/tokenizer.h"

namespace {

constexpr std::string_view kGood = R"({"added_tokens":[{"id":6,"content":"<s>","special":true,"lstrip":true}],
  "normalizer":{"type":"NFKC"},
  "pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Digits","individual_digits":true},
    {"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,"use_regex":true}]},
  "post_processor":null,"decoder":{"type":"ByteLevel"},
  "model":{"type":"BPE","vocab":{"a":0,"b":1,"Ġ":2,"ab":3,"Ġab":4,"e":5,"<s>":6},"merges":["a b","Ġ ab"]}})";

void use(const lissom::Tokenizer& tokenizer, std::string_view text) {
  for (const bool special : {false, true}) {
    const lissom::Encoding encoding = tokenizer.encode(text, special, text.substr(text.size() / 2));
    if (encoding.ids.size() != encoding.type_ids.size()) std::abort();
    (void)tokenizer.decode(encoding.ids, special);
    for (const int32_t id : encoding.ids) (void)tokenizer.token_bytes(id);
  }
  const std::vector<lissom::TextPair> batch{{text, {}}, {text, text.substr(text.size() / 2)}};
  if (const auto padded = tokenizer.encode_batch(batch, true))
    for (const lissom::PaddedEncoding& e : *padded)
      if (e.ids.size() != e.attention.size()) std::abort();
  for (const int32_t id : {-1, 0, 1, 1 << 30}) (void)tokenizer.id_to_token(id);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto good = lissom::Tokenizer::from_json(kGood, "good.json");
  if (!good) std::abort();
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  use(**good, bytes);
  const auto tokenizer = lissom::Tokenizer::from_json(bytes, "fuzz.json");
  if (!tokenizer) {
    if (!tokenizer.error().message.starts_with("fuzz.json")) std::abort();
    return 0;
  }
  use(**tokenizer, "ab <s>a\xFF 12 É字");
  use(**tokenizer, bytes.substr(0, 64));
  return 0;
}
