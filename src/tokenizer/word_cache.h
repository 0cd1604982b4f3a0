#pragma once
// Ids of words seen lately: text repeats its words, and splitting one costs many times a look-up.

#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "tokenizer/hash.h"

namespace lissom::tok {

/// Bounded: 2 MB, each word has one place, a newer word takes the place of an older. Used by one thread at a
/// time.
class WordCache {
 public:
  static constexpr size_t kLongestWord = 30, kMostIds = 8;

  /// Appends the ids of a word; `encode(word, ids)` works them out where they are not known.
  template <class Encode>
  void append(std::string_view word, std::vector<int32_t>& ids, Encode&& encode) {
    if (word.size() > kLongestWord) {
      encode(word, ids);
      return;
    }
    if (entries_.empty()) entries_.resize(kEntries);
    Entry& entry = entries_[hash_bytes(word) & (kEntries - 1)];
    if (entry.length != word.size() || std::memcmp(entry.word, word.data(), word.size()) != 0) {
      const size_t before = ids.size();
      encode(word, ids);
      const size_t n = ids.size() - before;
      if (n > kMostIds) return;
      entry.length = static_cast<uint8_t>(word.size());
      entry.count = static_cast<uint8_t>(n);
      std::memcpy(entry.word, word.data(), word.size());
      if (n > 0) std::memcpy(entry.ids, &ids[before], n * sizeof(int32_t));
      return;
    }
    if (entry.count == 1) {
      ids.push_back(entry.ids[0]);
    } else {
      ids.insert(ids.end(), entry.ids, entry.ids + entry.count);
    }
  }

 private:
  static constexpr size_t kEntries = size_t{1} << 15;
  struct alignas(64) Entry {
    uint8_t length = 0;  ///< 0: free; words are never empty
    uint8_t count = 0;
    char word[kLongestWord];
    int32_t ids[kMostIds];
  };
  static_assert(sizeof(Entry) == 64);
  std::vector<Entry> entries_;
};

}  // namespace lissom::tok
