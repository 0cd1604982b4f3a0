#include "lissom/tokenizer.h"

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <random>
#include <stdexcept>
#include <thread>

#include "tokenizer/bpe.h"
#include "tokenizer/regex.h"
#include "tokenizer/split_patterns.h"
#include "tokenizer/unicode.h"
#include "tokenizer/vocab.h"

namespace lissom {
namespace {

using Json = nlohmann::json;
using Ids = std::vector<int32_t>;

Json byte_level(bool use_regex = true, bool prefix_space = false) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", prefix_space},
          {"trim_offsets", true},
          {"use_regex", use_regex}};
}

/// Letters a–d, space (Ġ), and merges that make "ab", "abc", "Ġab".
Json small_bpe() {
  Json vocab = {{"a", 0},  {"b", 1},   {"c", 2},   {"d", 3},     {"Ġ", 4},  {"ab", 5},
                {"bc", 6}, {"abc", 7}, {"Ġab", 8}, {"<end>", 9}, {"1", 10}, {"Ġa", 11}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", {{{"id", 9}, {"content", "<end>"}, {"special", true}}}},
          {"normalizer", nullptr},
          {"pre_tokenizer", byte_level()},
          {"post_processor", nullptr},
          {"decoder", byte_level()},
          {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", {"b c", "a b", "a bc", "Ġ ab"}}}}};
}

Json small_wordpiece() {
  Json vocab = {{"[UNK]", 0}, {"[CLS]", 1},  {"[SEP]", 2}, {"un", 3},
                {"##aff", 4}, {"##able", 5}, {"e", 6},     {"!", 7}};
  const auto special = [](const char* id, int type) -> Json {
    return {{"SpecialToken", {{"id", id}, {"type_id", type}}}};
  };
  const auto sequence = [](const char* id, int type) -> Json {
    return {{"Sequence", {{"id", id}, {"type_id", type}}}};
  };
  Json pair = {special("[CLS]", 0), sequence("A", 0), special("[SEP]", 0), sequence("B", 1),
               special("[SEP]", 1)};
  return {
      {"added_tokens",
       {{{"id", 1}, {"content", "[CLS]"}, {"special", true}},
        {{"id", 2}, {"content", "[SEP]"}, {"special", true}}}},
      {"normalizer", {{"type", "BertNormalizer"}, {"lowercase", true}, {"strip_accents", nullptr}}},
      {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
      {"post_processor",
       {{"type", "TemplateProcessing"},
        {"single", {special("[CLS]", 0), sequence("A", 0), special("[SEP]", 0)}},
        {"pair", pair},
        {"special_tokens",
         {{"[CLS]", {{"id", "[CLS]"}, {"ids", {1}}, {"tokens", {"[CLS]"}}}},
          {"[SEP]", {{"id", "[SEP]"}, {"ids", {2}}, {"tokens", {"[SEP]"}}}}}}}},
      {"decoder", {{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}}},
      {"model",
       {{"type", "WordPiece"}, {"unk_token", "[UNK]"}, {"max_input_chars_per_word", 10}, {"vocab", vocab}}}};
}

std::unique_ptr<Tokenizer> load(const Json& json) {
  auto tokenizer = Tokenizer::from_json(json.dump(), "test.json");
  if (!tokenizer) throw std::runtime_error(tokenizer.error().message);
  return std::move(*tokenizer);
}

std::string error_of(const std::string& text) {
  const auto tokenizer = Tokenizer::from_json(text, "test.json");
  EXPECT_FALSE(tokenizer) << text.substr(0, 200);
  return tokenizer ? "" : tokenizer.error().message;
}

Ids ids(const Tokenizer& tokenizer, std::string_view text, bool special = false) {
  return tokenizer.encode(text, special).ids;
}

TEST(Bpe, MergesByRankThenFromTheLeft) {
  const auto t = load(small_bpe());
  // "b c" ranks before "a b", so "abc" is a + bc, which merges on.
  EXPECT_EQ(ids(*t, "abc"), (Ids{7}));
  EXPECT_EQ(ids(*t, "ab abd"), (Ids{5, 8, 3}));
  EXPECT_EQ(ids(*t, "abab"), (Ids{5, 5}));
  EXPECT_EQ(ids(*t, ""), Ids{});
  EXPECT_EQ(t->decode(Ids{5, 8, 3}, true), "ab abd");
  EXPECT_EQ(t->vocab_size(), 12);
  EXPECT_EQ(t->token_to_id("Ġab"), 8);
  EXPECT_EQ(t->id_to_token(8), "Ġab");
  EXPECT_EQ(t->token_bytes(8), " ab");
  EXPECT_EQ(t->id_to_token(99), std::nullopt);
  EXPECT_EQ(t->decode(Ids{5, 99, -1, 3}, false), "abd");
}

TEST(Bpe, MergesAsPairsAndIgnoreMerges) {
  Json j = small_bpe();
  j["model"]["merges"] = Json::parse(R"([["b","c"],["a","b"],["a","bc"],["Ġ","ab"]])");
  EXPECT_EQ(ids(*load(j), "ab abc"), ids(*load(small_bpe()), "ab abc"));
  j["model"]["merges"] = Json::array();
  EXPECT_EQ(ids(*load(j), " ab"), (Ids{4, 0, 1}));
  j["model"]["ignore_merges"] = true;
  EXPECT_EQ(ids(*load(j), " ab"), (Ids{8}));
}

TEST(Bpe, LongWordsMatchShortOnesAndDoNotGrowQuadratically) {
  std::mt19937 rng(3);
  tok::MergeTable table(64);
  for (int32_t left = 0; left < 6; ++left)
    for (int32_t right = 0; right < 6; ++right)
      if (rng() % 2 == 0) table.add(left, right, rng() % 40, static_cast<int32_t>(rng() % 6));
  // The rule itself, step by step, against both ways of following it.
  const auto naive = [&table](Ids symbols) {
    while (true) {
      size_t best = SIZE_MAX;
      uint32_t rank = UINT32_MAX;
      for (size_t i = 0; i + 1 < symbols.size(); ++i)
        if (const auto m = table.find(symbols[i], symbols[i + 1]); m.rank < rank) best = i, rank = m.rank;
      if (best == SIZE_MAX) return symbols;
      symbols[best] = table.find(symbols[best], symbols[best + 1]).id;
      symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
  };
  for (int round = 0; round < 300; ++round) {
    Ids word(1 + rng() % 120);
    for (int32_t& s : word) s = static_cast<int32_t>(rng() % 6);
    Ids merged = word;
    tok::merge_symbols(table, merged);
    EXPECT_EQ(merged, naive(word));
  }
  const auto t = load(small_bpe());
  const std::string megabyte(1'000'000, 'a');
  EXPECT_EQ(ids(*t, megabyte).size(), megabyte.size());
}

TEST(WordPiece, LongestMatchUnknownsAndPairs) {
  const auto t = load(small_wordpiece());
  EXPECT_EQ(ids(*t, "UNaffable!"), (Ids{3, 4, 5, 7}));
  EXPECT_EQ(ids(*t, "unx"), (Ids{0}));
  EXPECT_EQ(ids(*t, "É", true), (Ids{1, 6, 2}));  // the accent goes
  EXPECT_EQ(ids(*t, "unaffableeee"), (Ids{0}));   // longer than max_input_chars_per_word
  const Encoding e = t->encode("un", true, "e!");
  EXPECT_EQ(e.ids, (Ids{1, 3, 2, 6, 7, 2}));
  EXPECT_EQ(e.type_ids, (Ids{0, 0, 0, 1, 1, 1}));
  EXPECT_EQ(t->encode("un", false, "e").type_ids, (Ids{0, 1}));
  EXPECT_EQ(t->decode(Ids{1, 3, 4, 5, 7, 2}, true), "unaffable!");
  EXPECT_EQ(t->token_bytes(4), "aff");
  EXPECT_EQ(t->token_bytes(6), " e");
  EXPECT_TRUE(t->is_special(1));
  EXPECT_FALSE(t->is_special(3));
}

TEST(AddedTokens, AreCutOutFirst) {
  Json j = small_bpe();
  EXPECT_EQ(ids(*load(j), "ab<end>ab"), (Ids{5, 9, 5}));
  EXPECT_EQ(load(j)->decode(Ids{5, 9, 5}, true), "abab");
  EXPECT_EQ(load(j)->decode(Ids{5, 9, 5}, false), "ab<end>ab");
  j["added_tokens"][0]["lstrip"] = true;
  j["added_tokens"][0]["rstrip"] = true;
  EXPECT_EQ(ids(*load(j), "ab  <end> \n ab"), (Ids{5, 9, 5}));
  j["added_tokens"][0]["single_word"] = true;
  EXPECT_EQ(ids(*load(j), "ab <end> ab"), (Ids{5, 9, 5}));
  EXPECT_NE(ids(*load(j), "ab<end>ab"), (Ids{5, 9, 5}));
  // The longest of those that begin leftmost.
  j = small_bpe();
  j["added_tokens"].push_back({{"id", 12}, {"content", "<end>a"}, {"normalized", false}});
  EXPECT_EQ(ids(*load(j), "<end>ab"), (Ids{12, 1}));
}

TEST(Unicode, InvalidBytesBecomeReplacementCharacters) {
  using unicode::replace_invalid;
  const std::string r = "\xEF\xBF\xBD";
  EXPECT_EQ(replace_invalid("a\xFFz"), "a" + r + "z");
  EXPECT_EQ(replace_invalid("\xE2\x82"), r);  // a truncated sequence is one
  EXPECT_EQ(replace_invalid("\xE2\x82z"), r + "z");
  EXPECT_EQ(replace_invalid("\xF0\x9F\x98"), r);
  EXPECT_EQ(replace_invalid("\xED\xA0\x80"), r + r + r);          // a surrogate
  EXPECT_EQ(replace_invalid("\xC0\xAF"), r + r);                  // an overlong form
  EXPECT_EQ(replace_invalid("\xF4\x90\x80\x80"), r + r + r + r);  // past U+10FFFF
  EXPECT_EQ(replace_invalid("é😀"), "é😀");
  Json j = small_bpe();
  for (const char* byte : {"ï", "¿", "½"}) j["model"]["vocab"][byte] = j["model"]["vocab"].size();
  const auto t = load(j);
  EXPECT_EQ(t->decode(ids(*t, "a\xFFz"), false), "a" + r);  // z is not in this vocabulary
}

TEST(Unicode, NormalFormsAndLowerCase) {
  const auto form = [](const char* text, bool compatible, bool compose) {
    return unicode::to_utf8(unicode::normalize(unicode::to_code_points(text), compatible, compose));
  };
  EXPECT_EQ(form("Å", false, false), "A\xCC\x8A");
  EXPECT_EQ(form("A\xCC\x8A", false, true), "Å");
  EXPECT_EQ(form("각", false, false), "\u1100\u1161\u11a8");
  EXPECT_EQ(form("\u1100\u1161\u11a8", false, true), "각");
  EXPECT_EQ(form("ﬁ½", true, true), "fi1\u20442");
  EXPECT_EQ(form("a\u0301\u0323", false, false), "a\u0323\u0301");  // ordered by combining class
  EXPECT_EQ(form("\u1e69", false, false), "s\u0323\u0307");
  EXPECT_EQ(form("s\u0323\u0307", false, true), "\u1e69");
  std::string lower;
  for (const char32_t c : unicode::to_code_points("AÉİΣ")) unicode::append_lower(lower, c);
  EXPECT_EQ(lower, "aéi\u0307σ");
}

/// Text that the split patterns disagree on, if anything does.
std::string random_text(std::mt19937& rng) {
  static const std::u32string kCharacters =
      U"aZéßſK'’sStTrReEvVmMlLdD0९½Ⅷ  "
      U"\t\n\r\v\u0085\u00a0\u2028\u3000.,!?-_$€字가あ\u0301\u200d😀\u0d4e\U00016d67";
  std::string text;
  for (size_t n = rng() % 14; n > 0; --n) unicode::append(text, kCharacters[rng() % kCharacters.size()]);
  return text;
}

TEST(SplitPatterns, EqualTheRegularExpressions) {
  std::mt19937 rng(7);
  for (const tok::KnownPattern* known : {&tok::kGpt2, &tok::kLlama3, &tok::kQwen2}) {
    const auto regex = tok::Regex::compile(std::string(known->pattern));
    ASSERT_TRUE(regex);
    for (int round = 0; round < 20000; ++round) {
      const std::string text = random_text(rng);
      std::vector<std::string> by_hand, by_regex;
      known->split(text, [&](std::string_view piece) { by_hand.emplace_back(piece); });
      (*regex)->find_all(text, [&](size_t b, size_t e) { by_regex.push_back(text.substr(b, e - b)); });
      ASSERT_EQ(by_hand, by_regex) << known->name << ": " << Json(text).dump(-1, ' ', true);
    }
  }
}

TEST(Split, BehaviorsAndInversion) {
  Json j = small_bpe();
  const auto pieces = [&](const char* behavior, bool invert) {
    j["pre_tokenizer"] = {
        {"type", "Sequence"},
        {"pretokenizers",
         {{{"type", "Split"}, {"pattern", {{"Regex", "[cd]"}}}, {"behavior", behavior}, {"invert", invert}},
          byte_level(false)}}};
    j["model"]["ignore_merges"] = true;
    j["model"]["merges"] = Json::array();
    return ids(*load(j), "abcab");  // "ab" and "abc" are tokens, "cab" is not
  };
  EXPECT_EQ(pieces("Isolated", false), (Ids{5, 2, 5}));
  EXPECT_EQ(pieces("Removed", false), (Ids{5, 5}));
  EXPECT_EQ(pieces("Removed", true), (Ids{2}));
  EXPECT_EQ(pieces("MergedWithPrevious", false), (Ids{7, 5}));
  EXPECT_EQ(pieces("MergedWithNext", false), (Ids{5, 2, 0, 1}));
  EXPECT_EQ(pieces("Contiguous", false), (Ids{5, 2, 5}));
}

TEST(Split, HopelessPatternsEnd) {
  Json j = small_bpe();
  j["pre_tokenizer"] = {
      {"type", "Split"}, {"pattern", {{"Regex", "(a+)+$"}}}, {"behavior", "Isolated"}, {"invert", false}};
  EXPECT_FALSE(ids(*load(j), std::string(60, 'a') + "b").empty());
}

TEST(Encode, FromSeveralThreads) {
  const auto t = load(small_bpe());
  const Ids expected = ids(*t, "ab abc <end> abd cab");
  std::vector<std::thread> threads;
  std::vector<int> wrong(4, 0);
  for (size_t i = 0; i < wrong.size(); ++i)
    threads.emplace_back([&, i] {
      for (int k = 0; k < 200; ++k) wrong[i] += ids(*t, "ab abc <end> abd cab") == expected ? 0 : 1;
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

// ---------------------------------------------------------------- hostile tokenizer.json

TEST(Hostile, ErrorsNameFileAndField) {
  const auto broken = [](const std::function<void(Json&)>& change) {
    Json j = small_bpe();
    change(j);
    return error_of(j.dump());
  };
  const std::pair<std::function<void(Json&)>, const char*> cases[] = {
      {[](Json& j) { j.erase("model"); }, "test.json: model: expected an object"},
      {[](Json& j) { j["model"]["type"] = "Magic"; }, "test.json: model.type: unknown model 'Magic'"},
      {[](Json& j) { j["model"]["type"] = 3; }, "test.json: model.type: expected a string"},
      {[](Json& j) { j["model"]["vocab"] = Json::array(); }, "test.json: model.vocab: expected an object"},
      {[](Json& j) { j["model"]["vocab"]["x"] = -1; }, "test.json: model.vocab: token 'x' has the negative id"},
      {[](Json& j) { j["model"]["vocab"]["x"] = 3; }, "both have the id 3"},
      {[](Json& j) { j["model"]["vocab"]["x"] = 4'000'000'000U; },
       "test.json: model.vocab: token 'x' has the id 4000000000"},
      {[](Json& j) { j["model"]["vocab"]["x"] = UINT64_MAX; }, "out of range"},
      {[](Json& j) { j["model"]["vocab"]["x"] = 1.5; },
       "test.json: model.vocab: token 'x': expected an integer"},
      {[](Json& j) { j["model"]["merges"] = Json::array({"a z"}); },
       "test.json: model.merges[0]: token 'z' is not in the vocabulary"},
      {[](Json& j) { j["model"]["merges"] = Json::array({"ab"}); }, "test.json: model.merges[0]"},
      {[](Json& j) { j["model"]["merges"] = Json::parse(R"([["a",3]])"); }, "test.json: model.merges[0]"},
      {[](Json& j) { j["model"]["merges"] = 3; }, "test.json: model.merges: expected an array"},
      {[](Json& j) { j["model"]["dropout"] = 0.5; }, "test.json: model.dropout"},
      {[](Json& j) { j["model"]["unk_token"] = "?"; },
       "test.json: model.unk_token: token '?' is not in the vocabulary"},
      {[](Json& j) { j["model"]["colour"] = 1; }, "test.json: model: unknown field 'colour'"},
      {[](Json& j) { j["extra"] = 1; }, "test.json: unknown field 'extra'"},
      {[](Json& j) {
         j["normalizer"] = {{"type", "Magic"}};
       },
       "test.json: normalizer.type: unknown normalizer"},
      {[](Json& j) { j["normalizer"] = 3; }, "test.json: normalizer: expected an object"},
      {[](Json& j) {
         j["normalizer"] = {{"type", "Sequence"},
                            {"normalizers", {{{"type", "BertNormalizer"}, {"lowercase", 1}}}}};
       },
       "test.json: normalizer.normalizers[0].lowercase: expected a boolean"},
      {[](Json& j) {
         j["pre_tokenizer"] = {{"type", "Magic"}};
       },
       "test.json: pre_tokenizer.type"},
      {[](Json& j) {
         j["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"Regex", "(a"}}}, {"behavior", "Isolated"}};
       },
       "test.json: pre_tokenizer.pattern.Regex: Oniguruma"},
      {[](Json& j) {
         j["pre_tokenizer"] = {{"type", "Split"}, {"pattern", {{"Regex", "a"}}}, {"behavior", "Sideways"}};
       },
       "test.json: pre_tokenizer.behavior: unknown behavior"},
      {[](Json& j) {
         j["post_processor"] = {{"type", "Magic"}};
       },
       "test.json: post_processor.type"},
      {[](Json& j) {
         j["post_processor"] = {{"type", "TemplateProcessing"},
                                {"single", {{{"SpecialToken", {{"id", "<s>"}}}}}},
                                {"pair", Json::array()}};
       },
       "test.json: post_processor.single[0].SpecialToken.id: '<s>' is not in special_tokens"},
      {[](Json& j) {
         j["decoder"] = {{"type", "Magic"}};
       },
       "test.json: decoder.type: unknown decoder"},
      {[](Json& j) { j["added_tokens"][0]["id"] = -3; }, "test.json: added_tokens[0].id"},
      {[](Json& j) { j["added_tokens"][0]["id"] = 3; }, "test.json: added_tokens[0].id"},
      {[](Json& j) { j["added_tokens"][0]["content"] = nullptr; }, "test.json: added_tokens[0].content"},
  };
  for (const auto& [change, message] : cases) {
    const std::string error = broken(change);
    EXPECT_NE(error.find(message), std::string::npos) << "got: " << error << "\nexpected: " << message;
    EXPECT_EQ(error.find("test.json: "), 0U) << error;
  }
}

TEST(Hostile, JsonThatIsNone) {
  EXPECT_NE(error_of("").find("test.json"), std::string::npos);
  EXPECT_NE(error_of("[]").find("test.json"), std::string::npos);
  EXPECT_NE(error_of(std::string(100'000, '[')).find("test.json"), std::string::npos);
  EXPECT_NE(error_of(R"({"model":{"vocab":{"a":0,"a":1}}})").find("twice"), std::string::npos);
}

// ---------------------------------------------------------------- GGUF

GgufMetadata small_gguf() {
  GgufMetadata m;
  m.set("tokenizer.ggml.model", std::string("gpt2"));
  m.set("tokenizer.ggml.pre", std::string("smollm"));
  m.set_array("tokenizer.ggml.tokens",
              std::vector<std::string>{"a", "b", "1", "11", "Ġ", "ab", "<s>", "[PAD7]"});
  m.set_array("tokenizer.ggml.token_type", std::vector<int32_t>{1, 1, 1, 1, 1, 1, 3, 5});
  m.set_array("tokenizer.ggml.merges", std::vector<std::string>{"a b", "1 1"});
  m.set("tokenizer.ggml.bos_token_id", uint32_t{6});
  m.set("tokenizer.ggml.add_bos_token", true);
  return m;
}

TEST(Gguf, ByteLevelBpe) {
  const auto t = Tokenizer::from_gguf(small_gguf(), "test.gguf");
  ASSERT_TRUE(t) << t.error().message;
  EXPECT_EQ(ids(**t, "ab11", true), (Ids{6, 5, 2, 2}));  // digits one by one
  EXPECT_EQ(ids(**t, "a<s>b"), (Ids{0, 6, 1}));
  EXPECT_EQ((*t)->id_to_token(7), std::nullopt);
  const auto files = hf_tokenizer_files(small_gguf(), "test.gguf");
  ASSERT_TRUE(files);
  const auto again = Tokenizer::from_json(files->tokenizer_json, "again.json");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(ids(**again, "ab11 <s>", true), ids(**t, "ab11 <s>", true));
  EXPECT_EQ(Json::parse(files->tokenizer_config_json)["bos_token"], "<s>");
}

TEST(Gguf, WordPieceMarksWordsInsteadOfContinuations) {
  GgufMetadata m;
  m.set("tokenizer.ggml.model", std::string("bert"));
  m.set_array("tokenizer.ggml.tokens", std::vector<std::string>{"[UNK]", "[CLS]", "[SEP]", "\u2581un", "able"});
  m.set_array("tokenizer.ggml.token_type", std::vector<int32_t>{3, 3, 3, 1, 1});
  m.set("tokenizer.ggml.unknown_token_id", uint32_t{0});
  m.set("tokenizer.ggml.bos_token_id", uint32_t{1});
  m.set("tokenizer.ggml.seperator_token_id", uint32_t{2});
  const auto t = Tokenizer::from_gguf(m, "test.gguf");
  ASSERT_TRUE(t) << t.error().message;
  EXPECT_EQ(ids(**t, "Unable able", true), (Ids{1, 3, 4, 0, 2}));
  EXPECT_EQ((*t)->id_to_token(4), "##able");
}

TEST(Gguf, ErrorsNameFileAndKey) {
  const auto error = [](const std::function<void(GgufMetadata&)>& change) {
    GgufMetadata m = small_gguf();
    change(m);
    const auto t = Tokenizer::from_gguf(m, "test.gguf");
    EXPECT_FALSE(t);
    return t ? "" : t.error().message;
  };
  EXPECT_EQ(error([](GgufMetadata& m) { m.erase("tokenizer.ggml.model"); }),
            "test.gguf: tokenizer.ggml.model: the file has no tokenizer");
  EXPECT_EQ(error([](GgufMetadata& m) { m.set("tokenizer.ggml.pre", std::string("magic")); }),
            "test.gguf: tokenizer.ggml.pre: unknown pre-tokenizer 'magic'");
  for (const auto& bad : {std::pair<std::string, std::vector<std::string>>{"tokens", {"a", "a"}},
                          {"tokens", {"a", "\xFF"}},
                          {"merges", {"a z"}},
                          {"merges", {"ab"}}}) {
    const std::string full = "tokenizer.ggml." + bad.first;
    EXPECT_EQ(error([&](GgufMetadata& m) {
                m.erase("tokenizer.ggml.token_type");
                m.set_array(full, bad.second);
              }).find("test.gguf: " + full),
              0U);
  }
  EXPECT_NE(error([](GgufMetadata& m) {
              m.set_array("tokenizer.ggml.token_type", std::vector<int32_t>{1});
            }).find("token_type"),
            std::string::npos);
}

}  // namespace
}  // namespace lissom
