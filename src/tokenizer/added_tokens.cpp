#include "tokenizer/added_tokens.h"

#include "tokenizer/unicode.h"

namespace lissom::tok {
namespace {

bool is(const char* p, uint16_t bits) {
  return (unicode::classes(unicode::decode(p)) & bits) != 0;
}

}  // namespace

void AddedMatcher::add(std::string_view text, const AddedToken& token, int32_t id) {
  if (text.empty()) return;
  uint32_t node = 0;
  for (const char byte : text) {
    const auto [it, fresh] =
        edges_.try_emplace((static_cast<uint64_t>(node) << 8) | static_cast<unsigned char>(byte), nodes_);
    if (fresh) ++nodes_;
    node = it->second;
  }
  if (!ends_.try_emplace(node, patterns_.size()).second) return;  // the first of equal texts counts
  first_[static_cast<unsigned char>(text[0])] = true;
  patterns_.push_back({id, token.single_word, token.lstrip, token.rstrip});
}

size_t AddedMatcher::match(std::string_view text, size_t at, size_t& pattern) const {
  size_t longest = 0;
  uint32_t node = 0;
  for (size_t i = at; i < text.size(); ++i) {
    const auto it = edges_.find((static_cast<uint64_t>(node) << 8) | static_cast<unsigned char>(text[i]));
    if (it == edges_.end()) break;
    node = it->second;
    if (const auto end = ends_.find(node); end != ends_.end()) {
      longest = i + 1 - at;
      pattern = end->second;
    }
  }
  return longest;
}

void AddedMatcher::split(std::string_view text, FunctionRef<void(std::string_view, int32_t)> part) const {
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    size_t which = 0;
    const size_t length = first_[static_cast<unsigned char>(text[at])] ? match(text, at, which) : 0;
    if (length == 0) {
      ++at;
      continue;
    }
    const Pattern& pattern = patterns_[which];
    size_t begin = at, end = at + length;
    at = end;  // matches do not overlap, even those that are turned down
    const char* const base = text.data();
    if (pattern.single_word && ((begin > 0 && is(unicode::previous(base + begin), unicode::kWord)) ||
                                (end < text.size() && is(base + end, unicode::kWord))))
      continue;
    while (pattern.lstrip && begin > done && is(unicode::previous(base + begin), unicode::kSpace))
      begin = static_cast<size_t>(unicode::previous(base + begin) - base);
    while (pattern.rstrip && end < text.size() && is(base + end, unicode::kSpace))
      end += static_cast<size_t>(unicode::sequence_length(text[end]));
    if (done < begin) part(text.substr(done, begin - done), -1);
    part(text.substr(begin, end - begin), pattern.id);
    done = end;
  }
  if (done < text.size()) part(text.substr(done), -1);
}

}  // namespace lissom::tok
