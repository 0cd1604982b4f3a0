#include "lissom/tokenizer.h"

#include <algorithm>
#include <functional>
#include <mutex>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "base/text.h"
#include "tokenizer/added_tokens.h"
#include "tokenizer/batch.h"
#include "tokenizer/byte_level.h"
#include "tokenizer/byte_tokens.h"
#include "tokenizer/gguf_tokenizer.h"
#include "tokenizer/pipeline.h"
#include "tokenizer/sentencepiece.h"
#include "tokenizer/unicode.h"
#include "tokenizer/word_cache.h"

namespace lissom {
namespace {

using tok::AddedToken;
using tok::Parts;

/// What one encode() call writes to. Lent from a pool, so that calls from several threads do not meet.
struct Workspace {
  tok::WordCache cache;
  std::string valid, normalized;
};

class Pipeline : public Tokenizer {
 public:
  Pipeline(std::unique_ptr<Parts> parts, const std::string& origin)
      : parts_(std::move(parts)), origin_(origin) {}
  [[nodiscard]] Result<void> build();

  [[nodiscard]] Encoding encode(std::string_view text, bool add_special,
                                std::optional<std::string_view> pair) const override {
    std::vector<Encoding> sequences = split(text, pair);
    return joined(sequences, add_special);
  }

  [[nodiscard]] Result<std::vector<PaddedEncoding>> encode_batch(std::span<const TextPair> batch,
                                                                 bool add_special) const override {
    std::vector<PaddedEncoding> out;
    out.reserve(batch.size());
    for (const TextPair& input : batch) {
      std::vector<Encoding> sequences = split(input.text, input.pair);
      std::vector<Encoding> empty(sequences.size());
      const auto added = add_special ? static_cast<int64_t>(joined(empty, true).ids.size()) : 0;
      if (auto cut = tok::truncate(sequences, truncation_, added); !cut)
        return tl::unexpected(cut.error().within(origin_));
      Encoding e = joined(sequences, add_special);
      const size_t n = e.ids.size();
      out.push_back({std::move(e.ids), std::move(e.type_ids), std::vector<int32_t>(n, 1)});
    }
    tok::pad(out, padding_);
    return out;
  }

  [[nodiscard]] std::string decode(std::span<const int32_t> ids, bool skip_special) const override {
    std::vector<std::string> tokens;
    tokens.reserve(ids.size());
    for (const int32_t id : ids) {
      const auto token = view(id);
      if (token && !(skip_special && specials_.contains(std::string(*token)))) tokens.emplace_back(*token);
    }
    if (decoder_.run) decoder_.run(tokens);
    std::string text;
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (i > 0 && !decoder_.run) text += ' ';
      text += tokens[i];
    }
    return text;
  }

  [[nodiscard]] std::string token_bytes(int32_t id) const override {
    const auto token = view(id);
    if (!token) return {};
    std::string bytes;
    if (decoder_.byte_level) {
      tok::append_bytes_of(bytes, *token);
      return bytes;
    }
    if (const int byte = tok::fallback_byte(*token); decoder_.byte_fallback && byte >= 0)
      return {static_cast<char>(byte)};
    // Behind another token: the first of a text is written without the space that parts words.
    std::vector<std::string> both{"a", std::string(*token)};
    if (!decoder_.run) return " " + both[1];
    decoder_.run(both);
    for (const std::string& part : both) bytes += part;
    return bytes.starts_with('a') ? bytes.substr(1) : bytes;
  }

  [[nodiscard]] int64_t vocab_size() const override { return end_id_; }
  [[nodiscard]] std::optional<int32_t> token_to_id(std::string_view token) const override {
    if (const auto it = added_ids_.find(std::string(token)); it != added_ids_.end()) return it->second;
    const int32_t id = parts_->vocab.find(token);
    return id == tok::Vocab::kAbsent ? std::nullopt : std::optional(id);
  }
  [[nodiscard]] std::optional<std::string> id_to_token(int32_t id) const override {
    const auto token = view(id);
    return token ? std::optional<std::string>(*token) : std::nullopt;
  }
  [[nodiscard]] bool is_special(int32_t id) const override {
    const auto token = view(id);
    return token && specials_.contains(std::string(*token));
  }

 private:
  class Lease {
   public:
    explicit Lease(const Pipeline& owner) : owner_(owner) {
      const std::lock_guard lock(owner.mutex_);
      if (owner.idle_.empty()) {
        workspace_ = std::make_unique<Workspace>();
      } else {
        workspace_ = std::move(owner.idle_.back());
        owner.idle_.pop_back();
      }
    }
    ~Lease() {
      const std::lock_guard lock(owner_.mutex_);
      owner_.idle_.push_back(std::move(workspace_));
    }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    Workspace& operator*() const { return *workspace_; }

   private:
    const Pipeline& owner_;
    std::unique_ptr<Workspace> workspace_;
  };

  [[nodiscard]] Result<void> add_tokens();

  [[nodiscard]] std::optional<std::string_view> view(int32_t id) const {
    if (const auto it = added_tokens_.find(id); it != added_tokens_.end()) return it->second;
    return parts_->vocab.token(id);
  }

  std::vector<Encoding> split(std::string_view text, std::optional<std::string_view> pair) const {
    Lease workspace(*this);
    std::vector<Encoding> sequences;
    sequences.push_back(sequence(text, 0, *workspace));
    if (pair) sequences.push_back(sequence(*pair, 1, *workspace));
    return sequences;
  }
  /// One encoding of one or two sequences, which are used up.
  Encoding joined(std::vector<Encoding>& sequences, bool add_special) const {
    if (post_processor_) post_processor_(sequences, add_special);
    Encoding out = std::move(sequences[0]);
    if (sequences.size() == 2) {
      out.ids.insert(out.ids.end(), sequences[1].ids.begin(), sequences[1].ids.end());
      out.type_ids.insert(out.type_ids.end(), sequences[1].type_ids.begin(), sequences[1].type_ids.end());
    }
    return out;
  }

  Encoding sequence(std::string_view text, int32_t type, Workspace& w) const {
    Encoding out;
    if (!unicode::is_valid_utf8(text)) {
      w.valid = unicode::replace_invalid(text);
      text = w.valid;
    }
    out.ids.reserve(text.size() / 3 + 4);
    if (raw_.empty()) {
      normalize(text, true, out.ids, w);
    } else {
      raw_.split(text, [&](std::string_view part, int32_t id) {
        if (id >= 0) {
          out.ids.push_back(id);
        } else {
          normalize(part, part.data() == text.data(), out.ids, w);
        }
      });
    }
    out.type_ids.assign(out.ids.size(), type);
    return out;
  }

  /// `start`: the stretch begins where the text does.
  void normalize(std::string_view text, bool start, std::vector<int32_t>& ids, Workspace& w) const {
    if (normalizer_) {
      w.normalized.assign(text);
      normalizer_(w.normalized);
      text = w.normalized;
    }
    if (normalized_.empty()) return pre_tokenize(0, text, start, ids, w);
    normalized_.split(text, [&](std::string_view part, int32_t id) {
      if (id >= 0) {
        ids.push_back(id);
      } else {
        pre_tokenize(0, part, start && part.data() == text.data(), ids, w);
      }
    });
  }

  void pre_tokenize(size_t stage, std::string_view piece, bool start, std::vector<int32_t>& ids,
                    Workspace& w) const {
    if (piece.empty()) return;
    if (stage < pre_tokenizers_.stages.size()) {
      const tok::PreTokenizerStage& s = pre_tokenizers_.stages[stage];
      bool first = true;
      (start && s.at_start ? s.at_start : s.split)(piece, [&](std::string_view part) {
        // A part of the piece begins where it does, or later; what was rewritten begins there if it comes
        // first.
        const bool inside = !std::less<>()(part.data(), piece.data()) &&
                            !std::less<>()(piece.data() + piece.size(), part.data());
        pre_tokenize(stage + 1, part, start && (inside ? part.data() == piece.data() : first), ids, w);
        first = false;
      });
      return;
    }
    w.cache.append(piece, ids,
                   [this](std::string_view word, std::vector<int32_t>& to) { model_->encode(word, to); });
  }

  std::unique_ptr<Parts> parts_;  ///< the model refers to its vocabulary
  std::string origin_;
  tok::Normalizer normalizer_;
  tok::PreTokenizers pre_tokenizers_;
  std::unique_ptr<tok::Model> model_;
  tok::PostProcessor post_processor_;
  tok::Decoders decoder_;
  tok::Truncation truncation_;
  tok::Padding padding_;
  tok::AddedMatcher raw_, normalized_;  ///< added tokens found before and after normalization
  std::unordered_map<int32_t, std::string> added_tokens_;
  std::unordered_map<std::string, int32_t> added_ids_;
  std::unordered_set<std::string> specials_;
  int64_t end_id_ = 0;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Workspace>> idle_;
};

Result<void> Pipeline::add_tokens() {
  // `tokenizers` numbers added tokens itself: a token of the model keeps its id, another comes behind the
  // largest. A file that says otherwise would be read differently there, so it is refused.
  const auto model_size = static_cast<int64_t>(parts_->vocab.size());
  int64_t largest = -1;
  for (size_t i = 0; i < parts_->added.size(); ++i) {
    const AddedToken& token = parts_->added[i];
    if (token.content.empty()) continue;
    const auto known = token_to_id(token.content);
    const int64_t id = known ? *known : largest >= model_size ? largest + 1 : model_size;
    if (id != token.id)
      return bad_input(origin_ + ": added_tokens[" + std::to_string(i) + "].id: token " +
                       in_quotes(token.content) + " has the id " + std::to_string(token.id) + ", expected " +
                       std::to_string(id));
    largest = std::max(largest, id);
    added_tokens_[token.id] = token.content;
    added_ids_[token.content] = token.id;
    if (token.special) specials_.insert(token.content);
  }
  // Special tokens first: of two equal texts the first counts.
  for (const bool special : {true, false}) {
    for (const AddedToken& token : parts_->added) {
      if (specials_.contains(token.content) != special) continue;
      std::string text = token.content;
      if (token.normalized && normalizer_ && !token.verbatim) normalizer_(text);
      (token.normalized ? normalized_ : raw_).add(text, token, token.id);
    }
  }
  end_id_ = std::max(parts_->vocab.end_id(), largest + 1);
  return {};
}

Result<void> Pipeline::build() {
  const bool bpe = parts_->model.is_object() && parts_->model.value("type", Json("BPE")) == "BPE";
  LISSOM_TRY(normalizer_, tok::make_normalizer(parts_->normalizer, origin_ + ": normalizer"));
  LISSOM_TRY(pre_tokenizers_,
             tok::make_pre_tokenizers(parts_->pre_tokenizer, origin_ + ": pre_tokenizer", bpe));
  LISSOM_TRY(model_, tok::make_model(*parts_, pre_tokenizers_.byte_level, origin_ + ": model"));
  LISSOM_TRY(post_processor_, tok::make_post_processor(parts_->post_processor, origin_ + ": post_processor"));
  LISSOM_TRY(decoder_, tok::make_decoder(parts_->decoder, origin_ + ": decoder"));
  LISSOM_TRY(truncation_, tok::read_truncation(parts_->truncation, origin_ + ": truncation"));
  LISSOM_TRY(padding_, tok::read_padding(parts_->padding, origin_ + ": padding"));
  LISSOM_CHECK(add_tokens());
  parts_->merges = {};  // the model has its own table
  return {};
}

Result<std::unique_ptr<Tokenizer>> build(Parts&& parts, const std::string& origin) {
  auto pipeline = std::make_unique<Pipeline>(std::make_unique<Parts>(std::move(parts)), origin);
  LISSOM_CHECK(pipeline->build());
  return pipeline;
}

}  // namespace

Result<std::vector<PaddedEncoding>> Tokenizer::encode_batch(std::span<const TextPair> batch,
                                                            bool add_special) const {
  std::vector<PaddedEncoding> out;
  for (const TextPair& input : batch) {
    Encoding e = encode(input.text, add_special, input.pair);
    const size_t n = e.ids.size();
    out.push_back({std::move(e.ids), std::move(e.type_ids), std::vector<int32_t>(n, 1)});
  }
  return out;
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::from_json(std::string_view json, const std::string& origin) {
  LISSOM_TRY(Parts parts, tok::parts_from_json(json, origin));
  return build(std::move(parts), origin);
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::from_sentencepiece(std::string_view bytes,
                                                                 const std::string& origin) {
  LISSOM_TRY(const tok::SentencePieceModel model, tok::read_sentencepiece(bytes, origin));
  LISSOM_TRY(Parts parts, tok::parts_from_sentencepiece(model, origin));
  return build(std::move(parts), origin);
}

Result<std::unique_ptr<Tokenizer>> Tokenizer::from_gguf(const GgufMetadata& metadata,
                                                        const std::string& origin) {
  LISSOM_TRY(Parts parts, tok::parts_from_gguf(metadata, origin));
  return build(std::move(parts), origin);
}

}  // namespace lissom
