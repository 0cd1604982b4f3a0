#include "tokenizer/metaspace.h"

#include "base/text.h"
#include "tokenizer/unicode.h"

namespace lissom::tok {
namespace {

void split_marked(std::string_view text, std::string_view mark, bool prefix, bool split, PieceSink piece) {
  std::string marked;
  marked.reserve(text.size() + text.size() / 2 + mark.size());
  if (prefix && !text.starts_with(' ') && !text.starts_with(mark)) marked += mark;
  for (const char c : text)
    if (c == ' ') {
      marked += mark;
    } else {
      marked += c;
    }
  if (!split) return piece(marked);
  // A mark begins a piece; of several in a row each but the last is a piece of its own.
  for (size_t begin = 0; begin < marked.size();) {
    const size_t end = std::min(marked.find(mark, begin + 1), marked.size());
    piece(std::string_view(marked).substr(begin, end - begin));
    begin = end;
  }
}

}  // namespace

Result<Metaspace> read_metaspace(const Fields& fields) {
  LISSOM_CHECK(fields.only({"replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep"}));
  Metaspace options;
  LISSOM_TRY(options.mark, fields.string("replacement"));
  if (options.mark.empty() || unicode::to_code_points(unicode::replace_invalid(options.mark)).size() != 1)
    return fields.wrong("replacement", "one character");
  LISSOM_TRY(const std::string scheme, fields.string("prepend_scheme", "always"));
  if (scheme == "first") {
    options.prepend = Metaspace::Prepend::first;
  } else if (scheme == "never") {
    options.prepend = Metaspace::Prepend::never;
  } else if (scheme != "always") {
    return unsupported(fields.at("prepend_scheme") + ": unknown scheme " + in_quotes(scheme));
  }
  LISSOM_TRY(const bool prefix, fields.boolean("add_prefix_space", true));
  if (!prefix && options.prepend != Metaspace::Prepend::never)
    return bad_input(fields.at("add_prefix_space") + ": false, but prepend_scheme is " + in_quotes(scheme));
  LISSOM_TRY(options.split, fields.boolean("split", true));
  return options;
}

PreTokenizerStage metaspace_stage(const Metaspace& options) {
  const auto stage = [mark = options.mark, split = options.split](bool prefix) -> PreTokenizer {
    return [mark, split, prefix](std::string_view text, PieceSink piece) {
      split_marked(text, mark, prefix, split, piece);
    };
  };
  switch (options.prepend) {
    case Metaspace::Prepend::always:
      return {stage(true)};
    case Metaspace::Prepend::first:
      return {stage(false), stage(true)};
    case Metaspace::Prepend::never:
      break;
  }
  return {stage(false)};
}

Decoder metaspace_decoder(const Metaspace& options) {
  return [mark = options.mark,
          drop = options.prepend != Metaspace::Prepend::never](std::vector<std::string>& tokens) {
    for (size_t i = 0; i < tokens.size(); ++i) {
      std::string out;
      const std::string& token = tokens[i];
      size_t done = 0;
      for (size_t at = token.find(mark); at != std::string::npos; at = token.find(mark, done)) {
        out.append(token, done, at - done);
        if (i != 0 || !drop) out += ' ';
        done = at + mark.size();
      }
      out.append(token, done);
      tokens[i] = std::move(out);
    }
  };
}

}  // namespace lissom::tok
