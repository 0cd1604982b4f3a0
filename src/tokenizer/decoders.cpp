#include <utility>

#include "base/text.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/byte_tokens.h"
#include "tokenizer/fields.h"
#include "tokenizer/metaspace.h"
#include "tokenizer/pattern.h"
#include "tokenizer/pipeline.h"
#include "tokenizer/sentencepiece.h"
#include "tokenizer/unicode.h"

namespace lissom::tok {
namespace {

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  if (from.empty()) return;
  std::string out;
  size_t done = 0;
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, done)) {
    out.append(text, done, at - done);
    out += to;
    done = at + from.size();
  }
  if (done == 0) return;
  out.append(text, done);
  text = std::move(out);
}

Result<Decoder> make_byte_level(const Fields& fields, Decoders& all) {
  LISSOM_CHECK(fields.only({"add_prefix_space", "trim_offsets", "use_regex"}));
  all.byte_level = true;
  return [](std::vector<std::string>& tokens) {
    std::string bytes;
    for (const std::string& token : tokens) append_bytes_of(bytes, token);
    tokens.assign(1, unicode::replace_invalid(bytes));
  };
}

/// Takes back the spaces that tokenization put around punctuation and contractions.
void clean_up(std::string& text) {
  constexpr std::pair<std::string_view, std::string_view> kRules[] = {
      {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
      {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [from, to] : kRules) replace_all(text, from, to);
}

Result<Decoder> make_wordpiece(const Fields& fields, Decoders& /*all*/) {
  LISSOM_CHECK(fields.only({"prefix", "cleanup"}));
  LISSOM_TRY(const std::string prefix, fields.string("prefix", "##"));
  LISSOM_TRY(const bool cleanup, fields.boolean("cleanup", true));
  return [prefix, cleanup](std::vector<std::string>& tokens) {
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (i != 0) {
        if (tokens[i].starts_with(prefix)) {
          tokens[i].erase(0, prefix.size());
        } else {
          tokens[i] = std::string(1, ' ').append(tokens[i]);
        }
      }
      if (cleanup) clean_up(tokens[i]);
    }
  };
}

Result<Decoder> make_fuse(const Fields& fields, Decoders& /*all*/) {
  LISSOM_CHECK(fields.only({}));
  return [](std::vector<std::string>& tokens) {
    std::string all;
    for (const std::string& token : tokens) all += token;
    tokens.resize(1);
    tokens[0] = std::move(all);
  };
}

Result<Decoder> make_replace(const Fields& fields, Decoders& /*all*/) {
  LISSOM_CHECK(fields.only({"pattern", "content"}));
  LISSOM_TRY(const Pattern pattern, make_pattern(fields, "pattern"));
  LISSOM_TRY(const std::string content, fields.string("content"));
  return [pattern, content](std::vector<std::string>& tokens) {
    for (std::string& token : tokens) {
      std::string out;
      size_t done = 0;
      pattern.find_all(token, [&](size_t begin, size_t end) {
        out.append(token, done, begin - done);
        out += content;
        done = end;
      });
      out.append(token, done);
      token = std::move(out);
    }
  };
}

/// Takes up to `start` and `stop` times a character from the ends of each token.
Result<Decoder> make_strip(const Fields& fields, Decoders& /*all*/) {
  LISSOM_CHECK(fields.only({"content", "start", "stop"}));
  LISSOM_TRY(const std::string content, fields.string("content"));
  LISSOM_TRY(const int64_t start, fields.integer("start", 0, 0, INT32_MAX));
  LISSOM_TRY(const int64_t stop, fields.integer("stop", 0, 0, INT32_MAX));
  if (content.empty() || unicode::to_code_points(unicode::replace_invalid(content)).size() != 1)
    return fields.wrong("content", "one character");
  return [content, start, stop](std::vector<std::string>& tokens) {
    for (std::string& token : tokens) {
      std::string_view rest = token;
      for (int64_t i = 0; i < start && rest.starts_with(content); ++i) rest.remove_prefix(content.size());
      for (int64_t i = 0; i < stop && rest.ends_with(content); ++i) rest.remove_suffix(content.size());
      token = std::string(rest);
    }
  };
}

/// Runs of byte tokens become their text; each byte of a run that is not UTF-8 becomes U+FFFD.
Result<Decoder> make_byte_fallback(const Fields& fields, Decoders& all) {
  LISSOM_CHECK(fields.only({}));
  all.byte_fallback = true;
  return [](std::vector<std::string>& tokens) {
    std::vector<std::string> out;
    std::string bytes;
    const auto flush = [&] {
      if (bytes.empty()) return;
      if (unicode::is_valid_utf8(bytes)) {
        out.push_back(bytes);
      } else {
        out.insert(out.end(), bytes.size(), "\xEF\xBF\xBD");
      }
      bytes.clear();
    };
    for (std::string& token : tokens) {
      if (const int byte = fallback_byte(token); byte >= 0) {
        bytes += static_cast<char>(byte);
        continue;
      }
      flush();
      out.push_back(std::move(token));
    }
    flush();
    tokens = std::move(out);
  };
}

Result<Decoder> make_bpe(const Fields& fields, Decoders& /*all*/) {
  LISSOM_CHECK(fields.only({"suffix"}));
  LISSOM_TRY(const std::string suffix, fields.string("suffix", "</w>"));
  return [suffix](std::vector<std::string>& tokens) {
    for (size_t i = 0; i < tokens.size(); ++i)
      replace_all(tokens[i], suffix, i + 1 == tokens.size() ? "" : " ");
  };
}

Result<Decoder> make_metaspace(const Fields& fields, Decoders& /*all*/) {
  LISSOM_TRY(const Metaspace options, read_metaspace(fields));
  return metaspace_decoder(options);
}

/// Connectionist temporal classification: repeated tokens are one, padding goes, delimiters become spaces.
Result<Decoder> make_ctc(const Fields& fields, Decoders& /*all*/) {
  LISSOM_CHECK(fields.only({"pad_token", "word_delimiter_token", "cleanup"}));
  LISSOM_TRY(const std::string pad, fields.string("pad_token", "<pad>"));
  LISSOM_TRY(const std::string delimiter, fields.string("word_delimiter_token", "|"));
  LISSOM_TRY(const bool cleanup, fields.boolean("cleanup", true));
  return [pad, delimiter, cleanup](std::vector<std::string>& tokens) {
    std::vector<std::string> out;
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0 && tokens[i] == tokens[i - 1]) continue;
      std::string token = tokens[i];
      replace_all(token, pad, "");
      if (cleanup) {
        clean_up(token);
        replace_all(token, delimiter, " ");
      }
      if (!token.empty()) out.push_back(std::move(token));
    }
    tokens = std::move(out);
  };
}

Result<Decoder> make_sequence(const Fields& fields, Decoders& all) {
  LISSOM_CHECK(fields.only({"decoders"}));
  LISSOM_TRY(const Json* list, fields.array("decoders"));
  std::vector<Decoder> chain;
  for (size_t i = 0; i < list->size(); ++i) {
    LISSOM_TRY(Decoders one, make_decoder((*list)[i], fields.at("decoders") + "[" + std::to_string(i) + "]"));
    all.byte_level = all.byte_level || one.byte_level;
    all.byte_fallback = all.byte_fallback || one.byte_fallback;
    if (one.run) chain.push_back(std::move(one.run));
  }
  return [chain](std::vector<std::string>& tokens) {
    for (const Decoder& one : chain) one(tokens);
  };
}

struct Kind {
  std::string_view type;
  Result<Decoder> (*make)(const Fields& fields, Decoders& all);
};
constexpr Kind kKinds[] = {
    {"ByteLevel", make_byte_level},
    {"WordPiece", make_wordpiece},
    {"Fuse", make_fuse},
    {"Replace", make_replace},
    {"Strip", make_strip},
    {"ByteFallback", make_byte_fallback},
    {"Metaspace", make_metaspace},
    {"BPEDecoder", make_bpe},
    {"CTC", make_ctc},
    {"SentencePiece", make_sentencepiece_decoder},
    {"Sequence", make_sequence},
};

}  // namespace

Result<Decoders> make_decoder(const Json& json, const std::string& where) {
  Decoders all;
  if (json.is_null()) return all;
  LISSOM_TRY(const Fields fields, fields_of(json, where));
  LISSOM_TRY(const std::string type, fields.type());
  for (const Kind& kind : kKinds) {
    if (kind.type != type) continue;
    LISSOM_TRY(all.run, kind.make(fields, all));
    return all;
  }
  return unsupported(fields.at("type") + ": unknown decoder " + in_quotes(type));
}

}  // namespace lissom::tok
