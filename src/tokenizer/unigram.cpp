#include "tokenizer/unigram.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include "base/text.h"
#include "tokenizer/byte_tokens.h"
#include "tokenizer/unicode.h"

namespace lissom::tok {
namespace {

constexpr double kUnknownPenalty = 10.0;
constexpr size_t kLongestToken = 4096;  // a step of the search walks at most this far

/// Children of a node lie side by side, ordered by label.
class Trie {
 public:
  static constexpr uint32_t kRoot = 0, kNone = UINT32_MAX;

  explicit Trie(std::vector<std::pair<std::string_view, int32_t>> tokens) {
    std::sort(tokens.begin(), tokens.end());
    struct Range {
      size_t begin, end, depth;
    };
    std::vector<Range> ranges{{0, tokens.size(), 0}};
    nodes_.push_back({});
    labels_.push_back(0);
    for (size_t node = 0; node < ranges.size(); ++node) {
      Range r = ranges[node];
      if (r.begin < r.end && tokens[r.begin].first.size() == r.depth)
        nodes_[node].id = tokens[r.begin++].second;
      nodes_[node].first = static_cast<uint32_t>(nodes_.size());
      for (size_t i = r.begin; i < r.end;) {
        const char label = tokens[i].first[r.depth];
        size_t j = i + 1;
        while (j < r.end && tokens[j].first[r.depth] == label) ++j;
        ranges.push_back({i, j, r.depth + 1});
        nodes_.push_back({});
        labels_.push_back(static_cast<unsigned char>(label));
        ++nodes_[node].count;
        i = j;
      }
      // std::string_view orders by unsigned bytes, so the labels rise.
    }
    root_.fill(kNone);
    for (uint32_t i = 0; i < nodes_[0].count; ++i) root_[labels_[nodes_[0].first + i]] = nodes_[0].first + i;
  }

  [[nodiscard]] uint32_t child(uint32_t node, unsigned char label) const {
    if (node == kRoot) return root_[label];
    const Node& n = nodes_[node];
    const uint8_t* const begin = labels_.data() + n.first;
    const uint8_t* const end = begin + n.count;
    const uint8_t* at = n.count <= 8 ? std::find(begin, end, label) : std::lower_bound(begin, end, label);
    return at == end || *at != label ? kNone : n.first + static_cast<uint32_t>(at - begin);
  }
  [[nodiscard]] int32_t id(uint32_t node) const { return nodes_[node].id; }

 private:
  struct Node {
    uint32_t first = 0;
    uint16_t count = 0;
    int32_t id = Vocab::kAbsent;
  };
  std::vector<Node> nodes_;
  std::vector<uint8_t> labels_;  ///< of the edge to each node
  std::array<uint32_t, 256> root_{};
};

/// A score as the `tokenizers` package reads its decimal digits: all of them as one integer, rounded, then
/// divided by a power of ten and rounded again. That may be a unit in the last place off, which decides between
/// two splits into the same tokens.
double as_tokenizers_reads(double score) {
  if (!std::isfinite(score)) return score;
  std::array<char, 32> text{};
  const auto end =
      std::to_chars(text.data(), text.data() + text.size(), std::abs(score), std::chars_format::scientific);
  uint64_t digits = 0;
  int exponent = 0;
  const char* at = text.data();
  for (bool fraction = false; *at != 'e'; ++at) {
    if (*at == '.') {
      fraction = true;
      continue;
    }
    digits = digits * 10 + static_cast<uint64_t>(*at - '0');
    exponent -= fraction ? 1 : 0;
  }
  int power = 0;
  std::from_chars(at[1] == '+' ? at + 2 : at + 1, end.ptr, power);
  exponent += power;
  if (std::abs(exponent) > 22) return score;  // such a power of ten is not exact; no score is so small or large
  double value = static_cast<double>(digits);
  double scale = 1;
  for (int i = 0; i < std::abs(exponent); ++i) scale *= 10;
  value = exponent < 0 ? value / scale : value * scale;
  return std::signbit(score) ? -value : value;
}

class Unigram : public Model {
 public:
  /// single: scores and sums in F32, as the sentencepiece package has them.
  Unigram(const Parts& parts, Trie trie, int32_t unknown, bool byte_fallback, bool single)
      : vocab_(parts.vocab), scores_(parts.scores), trie_(std::move(trie)), unknown_(unknown), single_(single) {
    if (!single)
      for (double& score : scores_) score = as_tokenizers_reads(score);
    double lowest = std::numeric_limits<double>::infinity();
    for (const double score : scores_)
      if (std::isfinite(score)) lowest = std::min(lowest, score);
    unknown_score_ = lowest - kUnknownPenalty;
    if (byte_fallback) bytes_ = byte_tokens(vocab_);
  }

  void encode(std::string_view word, std::vector<int32_t>& ids) const override {
    struct Best {
      double score = 0;
      uint32_t from = UINT32_MAX;
      int32_t id = 0;
    };
    std::vector<Best> best(word.size() + 1);
    const auto offer = [&](size_t from, size_t to, double score, int32_t id) {
      const double sum = best[from].score + score;
      if (best[to].from != UINT32_MAX && !(sum > best[to].score)) return;
      best[to] = {single_ ? static_cast<double>(static_cast<float>(sum)) : sum, static_cast<uint32_t>(from),
                  id};
    };
    for (size_t at = 0; at < word.size();) {
      const auto character = static_cast<size_t>(unicode::sequence_length(word[at]));
      bool single = false;
      uint32_t node = Trie::kRoot;
      for (size_t i = at; i < word.size();) {
        node = trie_.child(node, static_cast<unsigned char>(word[i++]));
        if (node == Trie::kNone) break;
        const int32_t id = trie_.id(node);
        if (id == Vocab::kAbsent) continue;
        offer(at, i, scores_[static_cast<size_t>(id)], id);
        single = single || i - at == character;
      }
      if (!single) offer(at, at + character, unknown_score_, kUnknown);
      at += character;
    }
    std::vector<std::pair<uint32_t, uint32_t>>
        pieces;  // begin and end, from the last; unknowns in a row are one
    bool after_unknown = false;
    for (auto end = static_cast<uint32_t>(word.size()); end > 0; end = best[end].from) {
      const bool unknown = best[end].id == kUnknown || best[end].id == unknown_;
      if (unknown && after_unknown && unknown_ != Vocab::kAbsent) {
        pieces.back().first = best[end].from;
      } else {
        pieces.emplace_back(best[end].from, end);
      }
      after_unknown = unknown;
    }
    for (size_t i = pieces.size(); i-- > 0;)
      append(word.substr(pieces[i].first, pieces[i].second - pieces[i].first), ids);
  }

 private:
  static constexpr int32_t kUnknown = -2;

  void append(std::string_view piece, std::vector<int32_t>& ids) const {
    if (const int32_t id = vocab_.find(piece); id != Vocab::kAbsent) {
      ids.push_back(id);
      return;
    }
    if (bytes_ && append_byte_tokens(*bytes_, piece, ids)) return;
    if (unknown_ != Vocab::kAbsent) ids.push_back(unknown_);
  }

  const Vocab& vocab_;
  std::vector<double> scores_;
  Trie trie_;
  int32_t unknown_;
  bool single_;
  double unknown_score_ = 0;
  std::optional<ByteTokens> bytes_;
};

}  // namespace

Result<std::unique_ptr<Model>> make_unigram(const Parts& parts, const Fields& fields, bool /*byte_level*/) {
  LISSOM_CHECK(fields.only({"unk_id", "byte_fallback", "sentencepiece"}));
  if (parts.scores.size() != static_cast<size_t>(parts.vocab.end_id()))
    return fields.wrong("vocab", "an array of [token, score]");
  int32_t unknown = Vocab::kAbsent;
  if (fields.find("unk_id") != nullptr) {
    if (parts.scores.empty()) return bad_input(fields.at("unk_id") + ": the vocabulary is empty");
    LISSOM_TRY(const int64_t id, fields.integer("unk_id", 0, 0, parts.vocab.end_id() - 1));
    unknown = static_cast<int32_t>(id);
  }
  LISSOM_TRY(const bool byte_fallback, fields.boolean("byte_fallback", false));
  LISSOM_TRY(const bool single, fields.boolean("sentencepiece", false));
  std::vector<std::pair<std::string_view, int32_t>> tokens;
  tokens.reserve(parts.scores.size());
  for (int64_t id = 0; id < parts.vocab.end_id(); ++id) {
    const auto token = parts.vocab.token(id);
    if (!token || token->empty() || !std::isfinite(parts.scores[static_cast<size_t>(id)])) continue;
    if (token->size() > kLongestToken)
      return bad_input(fields.at("vocab") + "[" + std::to_string(id) + "]: a token of " +
                       std::to_string(token->size()) + " bytes");
    tokens.emplace_back(*token, static_cast<int32_t>(id));
  }
  return std::make_unique<Unigram>(parts, Trie(std::move(tokens)), unknown, byte_fallback, single);
}

}  // namespace lissom::tok
