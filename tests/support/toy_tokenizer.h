#pragma once
// For tests: a token per byte, and BOS (id 256) in front where asked for.

#include <memory>
#include <string>

#include "lissom/tokenizer.h"

namespace lissom::testing {

class ToyTokenizer final : public Tokenizer {
 public:
  explicit ToyTokenizer(bool adds_bos) : adds_bos_(adds_bos) {}
  [[nodiscard]] Encoding encode(std::string_view text, bool add_special,
                                std::optional<std::string_view> /*pair*/) const override {
    Encoding encoding;
    if (add_special && adds_bos_) encoding.ids.push_back(256);
    for (const char c : text) encoding.ids.push_back(static_cast<unsigned char>(c));
    return encoding;
  }
  [[nodiscard]] std::string decode(std::span<const int32_t> ids, bool skip_special) const override {
    std::string text;
    for (const int32_t id : ids) {
      if (id < 256) text += static_cast<char>(id);
      if (id == 256 && !skip_special) text += "<s>";
    }
    return text;
  }
  [[nodiscard]] std::string token_bytes(int32_t id) const override { return decode({&id, 1}, false); }
  [[nodiscard]] int64_t vocab_size() const override { return 257; }
  [[nodiscard]] std::optional<int32_t> token_to_id(std::string_view token) const override {
    if (token == "<s>") return 256;
    return token.size() == 1 ? std::optional<int32_t>(static_cast<unsigned char>(token[0])) : std::nullopt;
  }
  [[nodiscard]] std::optional<std::string> id_to_token(int32_t id) const override {
    return id >= 0 && id < 257 ? std::optional(token_bytes(id)) : std::nullopt;
  }
  [[nodiscard]] bool is_special(int32_t id) const override { return id == 256; }

 private:
  bool adds_bos_;
};

}  // namespace lissom::testing
