#pragma once
// Tokens that are cut out of a text before anything else happens to it.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tokenizer/function_ref.h"
#include "tokenizer/parts.h"

namespace lissom::tok {

/// Finds the leftmost, of those the longest, of a set of strings.
class AddedMatcher {
 public:
  /// `text`: what to look for; empty texts are left out.
  void add(std::string_view text, const AddedToken& token, int32_t id);
  [[nodiscard]] bool empty() const { return patterns_.empty(); }

  /// Calls part(text, id) for each stretch in order: the id of an added token, or -1 for text between them.
  void split(std::string_view text, FunctionRef<void(std::string_view, int32_t)> part) const;

 private:
  struct Pattern {
    int32_t id;
    bool single_word, lstrip, rstrip;
  };
  /// Length of the longest pattern at `at`, and which; 0 for none.
  [[nodiscard]] size_t match(std::string_view text, size_t at, size_t& pattern) const;

  std::vector<Pattern> patterns_;
  std::unordered_map<uint64_t, uint32_t> edges_;  ///< trie: node << 8 | byte → node; the root is 0
  std::unordered_map<uint32_t, size_t> ends_;     ///< node → pattern
  std::array<bool, 256> first_{};                 ///< bytes that a pattern starts with
  uint32_t nodes_ = 1;
};

}  // namespace lissom::tok
