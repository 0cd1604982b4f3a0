// Reading tokenizer.model, and its tokenizer as parts.

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/text.h"
#include "tokenizer/charsmap.h"
#include "tokenizer/sentencepiece.h"
#include "tokenizer/unicode.h"

namespace lissom::tok {
namespace {

constexpr size_t kLongestPiece = 512, kLargestFile = size_t{64} << 20;

/// Fields of one protobuf message in turn; every length is checked against what is left.
class Message {
 public:
  explicit Message(std::string_view bytes) : rest_(bytes) {}

  struct Field {
    uint64_t number = 0, integer = 0;  ///< integer: also the bits of a fixed32
    std::string_view bytes;
    int wire = 0;
  };
  /// False at the end, and where the message is broken.
  bool next(Field& field) {
    if (rest_.empty()) return false;
    uint64_t tag = 0;
    if (!varint(tag)) return fail();
    field = {tag >> 3, 0, {}, static_cast<int>(tag & 7)};
    if (field.wire == 0) return varint(field.integer) || fail();
    uint64_t size = field.wire == 1 ? 8 : 4;
    if (field.wire == 2 ? !varint(size) : field.wire != 1 && field.wire != 5) return fail();
    if (size > rest_.size()) return fail();
    field.bytes = rest_.substr(0, static_cast<size_t>(size));
    rest_.remove_prefix(static_cast<size_t>(size));
    if (field.wire == 5)
      for (size_t i = 0; i < 4; ++i)
        field.integer |= static_cast<uint64_t>(static_cast<unsigned char>(field.bytes[i])) << (8 * i);
    return true;
  }
  [[nodiscard]] bool broken() const { return broken_; }

 private:
  bool fail() {
    broken_ = true;
    return false;
  }
  bool varint(uint64_t& value) {
    value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (rest_.empty()) return false;
      const auto byte = static_cast<unsigned char>(rest_[0]);
      rest_.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7fU) << shift;
      if (byte < 0x80) return true;
    }
    return false;
  }
  std::string_view rest_;
  bool broken_ = false;
};

Result<SentencePieceModel::Piece> read_piece(std::string_view bytes, const std::string& where) {
  SentencePieceModel::Piece piece;
  Message message(bytes);
  for (Message::Field f; message.next(f);) {
    if (f.number == 1 && f.wire == 2) piece.text = f.bytes;
    if (f.number == 2 && f.wire == 5) piece.score = std::bit_cast<float>(static_cast<uint32_t>(f.integer));
    if (f.number == 3 && f.wire == 0) {
      if (f.integer < 1 || f.integer > 6) return bad_input(where + ".type: " + std::to_string(f.integer));
      piece.type = static_cast<int>(f.integer);
    }
  }
  if (message.broken()) return bad_input(where + ": the message is broken");
  if (!std::isfinite(piece.score)) return bad_input(where + ".score: not finite");
  if (piece.text.empty() || piece.text.size() > kLongestPiece || !unicode::is_valid_utf8(piece.text))
    return bad_input(where + ".piece: expected 1 to " + std::to_string(kLongestPiece) + " bytes of UTF-8");
  return piece;
}

Result<void> read_trainer(std::string_view bytes, const std::string& where, SentencePieceModel& model) {
  Message message(bytes);
  const auto id = [](uint64_t v) { return v < (1U << 30) ? static_cast<int64_t>(v) : -1; };
  int64_t type = 1;
  for (Message::Field f; message.next(f);) {
    if (f.wire != 0) continue;
    if (f.number == 3) type = static_cast<int64_t>(std::min<uint64_t>(f.integer, 99));
    if (f.number == 24 && f.integer != 0)
      return unsupported(where + ".treat_whitespace_as_suffix: not supported");
    if (f.number == 35) model.byte_fallback = f.integer != 0;
    if (f.number == 40) model.unknown = id(f.integer);
    if (f.number == 41) model.bos = id(f.integer);
    if (f.number == 42) model.eos = id(f.integer);
    if (f.number == 43) model.pad = id(f.integer);
  }
  if (message.broken()) return bad_input(where + ": the message is broken");
  if (type != 1 && type != 2)
    return unsupported(where + ".model_type: " + std::to_string(type) +
                       ": only unigram (1) and bpe (2) are read");
  model.bpe = type == 2;
  return {};
}

Result<void> read_normalizer(std::string_view bytes, const std::string& where, SentencePieceModel& model) {
  Message message(bytes);
  for (Message::Field f; message.next(f);) {
    if (f.number == 2 && f.wire == 2) model.charsmap = f.bytes;
    if (f.number == 3 && f.wire == 0) model.add_dummy_prefix = f.integer != 0;
    if (f.number == 4 && f.wire == 0) model.remove_extra_whitespaces = f.integer != 0;
    if (f.number == 5 && f.wire == 0 && f.integer == 0)
      return unsupported(where + ".escape_whitespaces: false is not supported");
  }
  if (message.broken()) return bad_input(where + ": the message is broken");
  return {};
}

std::string byte_name(size_t b) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  return std::string("<0x") + kDigits[b >> 4] + kDigits[b & 15] + ">";
}

}  // namespace

Result<SentencePieceModel> read_sentencepiece(std::string_view bytes, const std::string& origin) {
  if (bytes.size() > kLargestFile) return bad_input(origin + ": larger than 64 MiB");
  SentencePieceModel model;
  model.unknown = 0, model.bos = 1, model.eos = 2;  // what an absent field means
  Message message(bytes);
  for (Message::Field f; message.next(f);) {
    if (f.wire != 2) continue;
    if (f.number == 1) {
      LISSOM_TRY(auto piece,
                 read_piece(f.bytes, origin + ": pieces[" + std::to_string(model.pieces.size()) + "]"));
      model.pieces.push_back(std::move(piece));
    }
    if (f.number == 2) LISSOM_CHECK(read_trainer(f.bytes, origin + ": trainer_spec", model));
    if (f.number == 3) LISSOM_CHECK(read_normalizer(f.bytes, origin + ": normalizer_spec", model));
  }
  if (message.broken()) return bad_input(origin + ": not a SentencePiece model: the message is broken");
  if (model.pieces.empty()) return bad_input(origin + ": pieces: there are none");
  const auto n = static_cast<int64_t>(model.pieces.size());
  model.unknown = -1;
  for (int64_t i = 0; i < n; ++i)
    if (model.pieces[static_cast<size_t>(i)].type == SentencePieceModel::kUnknown) model.unknown = i;
  if (model.unknown < 0) return bad_input(origin + ": pieces: no unknown piece");
  for (int64_t* id : {&model.bos, &model.eos, &model.pad})
    if (*id >= n || (*id >= 0 && model.pieces[static_cast<size_t>(*id)].type != SentencePieceModel::kControl))
      *id = -1;
  return model;
}

Json sentencepiece_normalizer(const SentencePieceModel& model) {
  Json symbols = Json::array();
  for (const auto& piece : model.pieces)
    if (piece.type == SentencePieceModel::kUserDefined) symbols.push_back(piece.text);
  return {{"type", "SentencePiece"},
          {"precompiled_charsmap", model.charsmap.empty() ? Json() : Json(to_base64(model.charsmap))},
          {"add_dummy_prefix", model.add_dummy_prefix},
          {"remove_extra_whitespaces", model.remove_extra_whitespaces},
          {"symbols", symbols}};
}

Json sentencepiece_decoder(const SentencePieceModel& model) {
  Json control = Json::array();
  for (const auto& piece : model.pieces)
    if (piece.type == SentencePieceModel::kControl) control.push_back(piece.text);
  return {{"type", "SentencePiece"},
          {"add_dummy_prefix", model.add_dummy_prefix},
          {"remove_extra_whitespaces", model.remove_extra_whitespaces},
          {"unknown", model.pieces[static_cast<size_t>(model.unknown)].text},
          {"control", control}};
}

void add_scored_merges(Parts& parts, const std::vector<float>& scores, const std::vector<bool>& usable,
                       bool shared_ranks) {
  struct Merge {
    std::array<int32_t, 2> pair;
    float score;
    size_t left, right;  ///< lengths in characters
  };
  std::vector<Merge> merges;
  for (int64_t id = 0; id < parts.vocab.end_id(); ++id) {
    const auto token = parts.vocab.token(id);
    if (!token || !usable[static_cast<size_t>(id)] || token->size() > kLongestPiece) continue;
    const auto n = static_cast<size_t>(std::count_if(
        token->begin(), token->end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U; }));
    const size_t first = merges.size();
    size_t at = 0;
    for (size_t k = 1; k < n; ++k) {
      at += static_cast<size_t>(unicode::sequence_length((*token)[at]));
      const int32_t left = parts.vocab.find(token->substr(0, at)), right = parts.vocab.find(token->substr(at));
      if (left == Vocab::kAbsent || right == Vocab::kAbsent || !usable[static_cast<size_t>(left)] ||
          !usable[static_cast<size_t>(right)])
        continue;
      merges.push_back({{left, right}, scores[static_cast<size_t>(id)], k, n - k});
    }
    std::sort(merges.begin() + static_cast<std::ptrdiff_t>(first), merges.end(),
              [](const Merge& a, const Merge& b) { return a.pair < b.pair; });
  }
  std::stable_sort(merges.begin(), merges.end(), [](const Merge& a, const Merge& b) {
    if (a.score != b.score) return a.score > b.score;
    return a.left != b.left ? a.left > b.left : a.right > b.right;
  });
  uint32_t rank = 0;
  for (size_t i = 0; i < merges.size(); ++i) {
    parts.merges.push_back(merges[i].pair);
    if (i > 0 && merges[i].score != merges[i - 1].score) ++rank;
    if (shared_ranks) parts.ranks.push_back(rank);
  }
}

Result<Parts> parts_from_sentencepiece(const SentencePieceModel& model, const std::string& origin) {
  using M = SentencePieceModel;
  Parts parts;
  parts.vocab.reserve(model.pieces.size());
  std::vector<float> scores;
  std::vector<bool> normal;
  float highest = std::numeric_limits<float>::min();  // as SentencePiece begins
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const M::Piece& piece = model.pieces[i];
    if (auto added = parts.vocab.add(piece.text, static_cast<int64_t>(i)); !added)
      return tl::unexpected(added.error().within(origin + ": pieces[" + std::to_string(i) + "]"));
    scores.push_back(piece.score);
    normal.push_back(piece.type == M::kNormal);
    if (piece.type == M::kNormal) highest = std::max(highest, piece.score);
    if (piece.type == M::kControl)
      parts.added.push_back({piece.text, static_cast<int32_t>(i), false, false, false, false, true});
    if (piece.type == M::kUserDefined && model.bpe)
      parts.added.push_back({piece.text, static_cast<int32_t>(i), false, false, false, true, false, true});
  }
  if (model.byte_fallback)
    for (size_t b = 0; b < 256; ++b)
      if (parts.vocab.find(byte_name(b)) == Vocab::kAbsent)
        return bad_input(origin + ": pieces: byte_fallback without the piece " + byte_name(b));
  if (model.bpe) {
    add_scored_merges(parts, scores, normal, true);
    parts.model = {{"type", "BPE"},
                   {"unk_token", model.pieces[static_cast<size_t>(model.unknown)].text},
                   {"fuse_unk", true},
                   {"byte_fallback", model.byte_fallback},
                   {"ignore_merges", false}};
  } else {
    for (size_t i = 0; i < model.pieces.size(); ++i) {
      const int type = model.pieces[i].type;
      const double bonus = static_cast<double>(static_cast<float>(model.pieces[i].text.size()) * highest) - 0.1;
      // Others are not found in a text: no score.
      parts.scores.push_back(type == M::kNormal        ? double{scores[i]}
                             : type == M::kUserDefined ? bonus
                                                       : -std::numeric_limits<double>::infinity());
    }
    parts.model = {{"type", "Unigram"},
                   {"unk_id", model.unknown},
                   {"byte_fallback", model.byte_fallback},
                   {"sentencepiece", true}};
  }
  parts.normalizer = sentencepiece_normalizer(model);
  parts.decoder = sentencepiece_decoder(model);
  return parts;
}

}  // namespace lissom::tok
