#pragma once
// The stages of a tokenizer and where each kind of stage is listed. A new kind is one function and one line in
// the list of its file. Included by .cpp files only.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "format/json.h"
#include "lissom/result.h"
#include "lissom/tokenizer.h"
#include "tokenizer/function_ref.h"
#include "tokenizer/parts.h"

namespace lissom::tok {

/// Changes a stretch of well-formed UTF-8.
using Normalizer = std::function<void(std::string& text)>;
/// A null Json gives an empty function.
[[nodiscard]] Result<Normalizer> make_normalizer(const Json& json, const std::string& where);

using PieceSink = FunctionRef<void(std::string_view)>;
/// Hands out the pieces of a text in order; empty pieces are ignored by the caller.
using PreTokenizer = std::function<void(std::string_view text, PieceSink piece)>;
struct PreTokenizerStage {
  PreTokenizer split;
  PreTokenizer
      at_start;  ///< takes its place for a stretch that begins where the text does; empty: no difference

  template <class F>
  PreTokenizerStage(F s, PreTokenizer start = {})  // NOLINT(google-explicit-constructor): most stages are one
      : split(std::move(s)), at_start(std::move(start)) {}
};
struct PreTokenizers {
  std::vector<PreTokenizerStage> stages;
  /// The last stage is ByteLevel. Its mapping of bytes to printable characters is left out of `stages`: the
  /// model works on the bytes.
  bool byte_level = false;
};
/// `maps_bytes`: leave the mapping of a final ByteLevel to the model.
[[nodiscard]] Result<PreTokenizers> make_pre_tokenizers(const Json& json, const std::string& where,
                                                        bool maps_bytes);

/// Splits one pre-token into ids.
class Model {
 public:
  virtual ~Model() = default;
  /// Appends the ids of one non-empty word.
  virtual void encode(std::string_view word, std::vector<int32_t>& ids) const = 0;
};
/// `byte_level`: words are raw bytes, tokens their printable forms. The model keeps a reference to parts.vocab.
[[nodiscard]] Result<std::unique_ptr<Model>> make_model(const Parts& parts, bool byte_level,
                                                        const std::string& where);

/// Puts special tokens around one or two encoded sequences.
using PostProcessor = std::function<void(std::vector<Encoding>& sequences, bool add_special)>;
[[nodiscard]] Result<PostProcessor> make_post_processor(const Json& json, const std::string& where);

/// Changes the token strings of a text; joined, they are the text.
using Decoder = std::function<void(std::vector<std::string>& tokens)>;
struct Decoders {
  Decoder run;  ///< empty: tokens are joined with spaces
  bool byte_level = false, byte_fallback = false;
};
[[nodiscard]] Result<Decoders> make_decoder(const Json& json, const std::string& where);

}  // namespace lissom::tok
