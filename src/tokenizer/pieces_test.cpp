// Vocabularies of pieces: Unigram, Metaspace, character maps, tokenizer.model, truncation and padding.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <random>

#include "lissom/tokenizer.h"
#include "tokenizer/charsmap.h"
#include "tokenizer/sentencepiece.h"

namespace lissom {
namespace {

using Json = nlohmann::json;
using Ids = std::vector<int32_t>;

Json metaspace(const char* scheme = "always", bool split = true) {
  return {{"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", scheme}, {"split", split}};
}

Json small_unigram() {
  const std::pair<const char*, double> pieces[] = {{"<unk>", 0.0}, {"</s>", 0.0}, {"▁", -3.0},   {"a", -2.0},
                                                   {"b", -2.5},    {"ab", -3.0},  {"▁ab", -4.0}, {"c", -5.0},
                                                   {"<0xC3>", -9}, {"<0xA9>", -9}};
  Json vocab = Json::array();
  for (const auto& [text, score] : pieces) vocab.push_back(Json::array({text, score}));
  return {{"added_tokens", {{{"id", 1}, {"content", "</s>"}, {"special", true}, {"normalized", false}}}},
          {"normalizer", nullptr},
          {"pre_tokenizer", metaspace()},
          {"decoder", metaspace()},
          {"model", {{"type", "Unigram"}, {"unk_id", 0}, {"vocab", vocab}}}};
}

std::unique_ptr<Tokenizer> load(const Json& json) {
  auto t = Tokenizer::from_json(json.dump(), "t.json");
  EXPECT_TRUE(t) << t.error().message;
  return t ? *std::move(t) : nullptr;
}
std::string error_of(const Json& json) {
  const auto t = Tokenizer::from_json(json.dump(), "t.json");
  return t ? "" : t.error().message;
}
Ids ids(const Tokenizer& t, std::string_view text) {
  return t.encode(text, false).ids;
}

TEST(Unigram, TakesTheMostProbablePieces) {
  const auto t = load(small_unigram());
  EXPECT_EQ(ids(*t, "ab"), (Ids{6}));
  EXPECT_EQ(ids(*t, "abab"), (Ids{6, 5}));
  EXPECT_EQ(ids(*t, "ba"), (Ids{2, 4, 3}));
  EXPECT_EQ(ids(*t, "ab ab"), (Ids{6, 6}));
}

TEST(Unigram, UnknownsFuseAndBytesTakeTheirPlace) {
  Json json = small_unigram();
  EXPECT_EQ(ids(*load(json), "xyza"), (Ids{2, 0, 3}));
  json["model"]["byte_fallback"] = true;
  EXPECT_EQ(ids(*load(json), "aéa"), (Ids{2, 3, 8, 9, 3}));
  EXPECT_EQ(ids(*load(json), "aéxa"), (Ids{2, 3, 0, 3})) << "x has no byte token, and a run is one";
}

TEST(Unigram, RefusesWhatIsNoVocabulary) {
  Json json = small_unigram();
  json["model"]["unk_id"] = 10;
  EXPECT_NE(error_of(json).find("t.json: model.unk_id"), std::string::npos);
  json["model"]["vocab"][0] = Json::array({"<unk>"});
  EXPECT_NE(error_of(json).find("t.json: model.vocab[0]"), std::string::npos);
  json["model"]["vocab"] = Json{{"a", 0}, {"b", 1}};
  EXPECT_NE(error_of(json).find("model.vocab"), std::string::npos);
  json = small_unigram();
  json["model"]["vocab"][9][0] = std::string(5000, 'x');
  EXPECT_NE(error_of(json).find("a token of 5000 bytes"), std::string::npos);
}

TEST(Metaspace, Schemes) {
  const auto pieces = [](const Json& pre, std::string_view text) {
    Json json = small_unigram();
    json["pre_tokenizer"] = pre;
    return ids(*load(json), text);
  };
  EXPECT_EQ(pieces(metaspace("never"), "ab ab"), (Ids{5, 6}));
  EXPECT_EQ(pieces(metaspace("first"), "ab</s>ab"), (Ids{6, 1, 5}));
  EXPECT_EQ(pieces(metaspace("always"), "ab</s>ab"), (Ids{6, 1, 6}));
  EXPECT_EQ(pieces(metaspace("always", false), " ab"), (Ids{6}));
  Json old = metaspace("always");
  old["add_prefix_space"] = false;
  Json json = small_unigram();
  json["pre_tokenizer"] = old;
  EXPECT_NE(error_of(json).find("add_prefix_space"), std::string::npos);
}

/// A double array of one key: 'a' → replacement at `value`.
std::string one_key_map(uint32_t value, const std::string& blob) {
  std::vector<uint32_t> units(512, 0);
  units[0] = 256U << 10;                                             // the root's offset is 256
  units[256 ^ 'a'] = ((256U ^ 'a' ^ 300U) << 10) | (1U << 8) | 'a';  // its value lies at 300
  units[300] = (1U << 31) | value;
  std::string bytes;
  const auto put = [&bytes](uint32_t v) {
    for (int i = 0; i < 4; ++i) bytes += static_cast<char>((v >> (8 * i)) & 255U);
  };
  put(static_cast<uint32_t>(units.size() * 4));
  for (const uint32_t unit : units) put(unit);
  return bytes + blob;
}

TEST(Charsmap, Replaces) {
  const auto map = tok::Charsmap::parse(one_key_map(2, std::string("x\0yz\0", 5)));
  ASSERT_TRUE(map) << map.error().message;
  const auto match = map->longest("ab");
  ASSERT_TRUE(match);
  EXPECT_EQ(match->length, 1U);
  EXPECT_EQ(match->replacement, "yz");
  EXPECT_FALSE(map->shortest("b"));
  EXPECT_FALSE(map->shortest(""));
}

TEST(Charsmap, SurvivesHostileBytes) {
  EXPECT_FALSE(tok::Charsmap::parse(""));
  EXPECT_FALSE(tok::Charsmap::parse(std::string(4, '\0')));
  EXPECT_FALSE(tok::Charsmap::parse("\xff\xff\xff\xff"));
  EXPECT_FALSE(tok::Charsmap::parse(one_key_map(0, std::string(2000, 'x')))) << "a replacement without bound";
  EXPECT_FALSE(tok::Charsmap::parse(one_key_map(0, "\xff")));
  const auto outside = tok::Charsmap::parse(one_key_map(0x7fffffff, "abc"));
  ASSERT_TRUE(outside);
  EXPECT_FALSE(outside->longest("a"));
  std::mt19937 rng(7);
  for (int round = 0; round < 300; ++round) {
    std::string bytes = one_key_map(0, std::string("x\0", 2));
    for (int i = 0; i < 200; ++i) bytes[4 + rng() % 2048] = static_cast<char>(rng());
    if (const auto map = tok::Charsmap::parse(bytes))
      for (int i = 0; i < 50; ++i) {
        const char text[3] = {static_cast<char>(rng()), 'a', static_cast<char>(rng())};
        (void)map->longest({text, 3});
        (void)map->shortest({text + 1, 2});
      }
  }
}

TEST(Charsmap, Base64) {
  for (const std::string text : {"", "a", "ab", "abc", "\xff\x00\x10z"})
    EXPECT_EQ(tok::from_base64(tok::to_base64(text)), text);
  for (const char* bad : {"a", "ab==c", "a===", "!!!!", "====", "YQ=a"})
    EXPECT_FALSE(tok::from_base64(bad)) << bad;
}

// ---------------------------------------------------------------- tokenizer.model

std::string varint(uint64_t v) {
  std::string out;
  for (; v >= 128; v >>= 7) out += static_cast<char>(v | 128);
  return out + static_cast<char>(v);
}
std::string bytes_field(int number, const std::string& bytes) {
  return varint(static_cast<uint64_t>(number) << 3 | 2) + varint(bytes.size()) + bytes;
}
std::string integer_field(int number, uint64_t value) {
  return varint(static_cast<uint64_t>(number) << 3) + varint(value);
}
std::string piece(const std::string& text, float score, int type) {
  std::string raw(4, '\0');
  std::memcpy(raw.data(), &score, 4);
  return bytes_field(
      1, bytes_field(1, text) + varint(2 << 3 | 5) + raw + integer_field(3, static_cast<uint64_t>(type)));
}
std::string small_model(int kind = 2, const std::string& trainer = {}) {
  return piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3) + piece("▁a", -1, 1) +
         piece("ab", -2, 1) + piece("▁", -3, 1) + piece("a", -4, 1) + piece("b", -5, 1) + piece("a▁b", 0, 4) +
         bytes_field(2, integer_field(3, static_cast<uint64_t>(kind)) + trainer);
}

TEST(SentencePiece, BestScoreFirst) {
  const auto t = Tokenizer::from_sentencepiece(small_model(), "m.model");
  ASSERT_TRUE(t) << t.error().message;
  EXPECT_EQ(ids(**t, "ab  b"), (Ids{3, 7, 5, 7}));
  EXPECT_EQ(ids(**t, "xab"), (Ids{5, 0, 4}));
  EXPECT_EQ(ids(**t, "<s>a"), (Ids{1, 3}));
  EXPECT_EQ(ids(**t, "ba bb"), (Ids{5, 7, 8, 7}));
  EXPECT_EQ((*t)->decode(Ids{3, 7, 5, 7}, false), "ab b");
  EXPECT_EQ((*t)->decode(Ids{1, 0, 4}, false), " \u2047 ab");
}

TEST(SentencePiece, RefusesBrokenFiles) {
  const auto message = [](const std::string& bytes) {
    const auto t = Tokenizer::from_sentencepiece(bytes, "m.model");
    return t ? std::string() : t.error().message;
  };
  EXPECT_EQ(message(""), "m.model: pieces: there are none");
  EXPECT_NE(message(piece("a", 0, 1)).find("no unknown piece"), std::string::npos);
  EXPECT_NE(message(small_model(3)).find("trainer_spec.model_type: 3"), std::string::npos);
  EXPECT_NE(message(small_model() + piece("ab", 0, 1)).find("pieces[9]"), std::string::npos);
  EXPECT_NE(message(piece("a", 0, 9)).find("pieces[0].type"), std::string::npos);
  EXPECT_NE(message(piece(std::string(600, 'a'), 0, 1)).find("pieces[0].piece"), std::string::npos);
  EXPECT_NE(message(piece("a", NAN, 1)).find("pieces[0].score"), std::string::npos);
  EXPECT_NE(message(small_model(2, integer_field(35, 1))).find("byte_fallback"), std::string::npos);
  const std::string whole = small_model();
  for (size_t n = 0; n < whole.size(); ++n) (void)message(whole.substr(0, n));
  std::mt19937 rng(3);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes = whole;
    for (int i = 0; i < 3; ++i) bytes[rng() % bytes.size()] = static_cast<char>(rng());
    if (const auto t = Tokenizer::from_sentencepiece(bytes, "m.model")) (void)ids(**t, "ab <s> \xff b");
  }
}

// ---------------------------------------------------------------- truncation, padding

TEST(Batch, TruncatesAndPads) {
  Json json = small_unigram();
  json["truncation"] = {{"max_length", 2}, {"strategy", "LongestFirst"}, {"direction", "Left"}, {"stride", 0}};
  json["padding"] = {{"strategy", {{"Fixed", 3}}}, {"direction", "Left"}, {"pad_id", 9}, {"pad_type_id", 4}};
  const std::vector<TextPair> batch{{"ab ab ab", {}}, {"a", "ab"}};
  const auto out = load(json)->encode_batch(batch, true);
  ASSERT_TRUE(out) << out.error().message;
  EXPECT_EQ((*out)[0].ids, (Ids{9, 6, 6}));
  EXPECT_EQ((*out)[0].attention, (Ids{0, 1, 1}));
  EXPECT_EQ((*out)[1].type_ids, (Ids{4, 0, 1}));
  json["truncation"]["strategy"] = "OnlyFirst";
  EXPECT_FALSE(load(json)->encode_batch(std::vector<TextPair>{{"a", "ab ab ab"}}, true));
  json["padding"]["strategy"]["Fixed"] = int64_t{1} << 40;
  EXPECT_NE(error_of(json).find("t.json: padding.strategy.Fixed"), std::string::npos);
  json["padding"] = {{"strategy", "BatchLongest"}, {"pad_to_multiple_of", -1}};
  EXPECT_NE(error_of(json).find("pad_to_multiple_of"), std::string::npos);
}

}  // namespace
}  // namespace lissom
