#pragma once
// SentencePiece's way with spaces: each becomes a visible mark, by custom U+2581, one is put before the first
// word. Included by .cpp files only.

#include <string>

#include "tokenizer/fields.h"
#include "tokenizer/pipeline.h"

namespace lissom::tok {

struct Metaspace {
  enum class Prepend { always, first, never };
  std::string mark = "\u2581";
  Prepend prepend = Prepend::always;
  bool split = true;  ///< before each mark
};
/// {"type": "Metaspace", "replacement", "prepend_scheme", "split"}, and the older "add_prefix_space".
[[nodiscard]] Result<Metaspace> read_metaspace(const Fields& fields);

[[nodiscard]] PreTokenizerStage metaspace_stage(const Metaspace& options);
[[nodiscard]] Decoder metaspace_decoder(const Metaspace& options);

}  // namespace lissom::tok
