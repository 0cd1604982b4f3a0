#pragma once
// Text to token ids and back, as the Hugging Face `tokenizers` package does it, from a tokenizer.json or from
// GGUF metadata; as SentencePiece does it, from a tokenizer.model.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lissom/gguf.h"
#include "lissom/result.h"

namespace lissom {

struct Encoding {
  std::vector<int32_t> ids;
  std::vector<int32_t> type_ids;
};

/// Of a batch: padded, `attention` 1 for tokens and 0 for padding.
struct PaddedEncoding {
  std::vector<int32_t> ids, type_ids, attention;
};
struct TextPair {
  std::string_view text;
  std::optional<std::string_view> pair;
};

/// Immutable after loading; every method may be called from several threads.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  /// Parses tokenizer.json text; `origin` names it in errors.
  [[nodiscard]] static Result<std::unique_ptr<Tokenizer>> from_json(std::string_view json,
                                                                    const std::string& origin);
  /// The bytes of a tokenizer.model (SentencePiece, BPE or Unigram). Adds no special tokens.
  [[nodiscard]] static Result<std::unique_ptr<Tokenizer>> from_sentencepiece(std::string_view bytes,
                                                                             const std::string& origin);
  [[nodiscard]] static Result<std::unique_ptr<Tokenizer>> from_gguf(const GgufMetadata& metadata,
                                                                    const std::string& origin);

  /// Invalid UTF-8 is first replaced: each maximal ill-formed subsequence becomes one U+FFFD (Unicode 15, §3.9,
  /// as Python's errors="replace" does). `add_special`: run the post-processor (BOS, [CLS] … [SEP]). `pair`: a
  /// second sequence, for encoders.
  [[nodiscard]] virtual Encoding encode(std::string_view text, bool add_special,
                                        std::optional<std::string_view> pair = {}) const = 0;
  /// A batch cut and padded as the `truncation` and `padding` of tokenizer.json say; encode() leaves both to
  /// the caller. Fails where a strategy of truncation cannot make a sequence fit.
  [[nodiscard]] virtual Result<std::vector<PaddedEncoding>> encode_batch(std::span<const TextPair> batch,
                                                                         bool add_special) const;
  /// Ids outside the vocabulary are skipped.
  [[nodiscard]] virtual std::string decode(std::span<const int32_t> ids, bool skip_special) const = 0;
  /// The raw bytes that one token adds to a text, for streaming output of byte-level vocabularies.
  [[nodiscard]] virtual std::string token_bytes(int32_t id) const = 0;

  [[nodiscard]] virtual int64_t vocab_size() const = 0;  ///< largest id + 1
  [[nodiscard]] virtual std::optional<int32_t> token_to_id(std::string_view token) const = 0;
  [[nodiscard]] virtual std::optional<std::string> id_to_token(int32_t id) const = 0;
  [[nodiscard]] virtual bool is_special(int32_t id) const = 0;
};

/// tokenizer.ggml.* for a Hugging Face folder (tokenizer.json, tokenizer_config.json, special tokens, chat
/// template); `vocab` is the embedding's row count: holes become [PADi].
[[nodiscard]] Result<GgufMetadata> gguf_vocabulary(const std::filesystem::path& folder, int64_t vocab);
/// The way back: tokenizer.json and tokenizer_config.json texts for GGUF metadata.
struct TokenizerFiles {
  std::string tokenizer_json, tokenizer_config_json;
};
[[nodiscard]] Result<TokenizerFiles> hf_tokenizer_files(const GgufMetadata& metadata,
                                                        const std::string& origin);

}  // namespace lissom
