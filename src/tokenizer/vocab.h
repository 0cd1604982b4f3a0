#pragma once
// Token strings by id and ids by token string.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lissom/result.h"

namespace lissom::tok {

/// Ids may have holes. Strings lie in one arena; lookup is by open addressing.
class Vocab {
 public:
  static constexpr int32_t kAbsent = -1;

  /// Refuses a second token with the same string or id. `id` must be in [0, max_id(n)] of the vocabulary's n
  /// entries.
  [[nodiscard]] Result<void> add(std::string_view token, int64_t id);
  void reserve(size_t tokens);
  /// The largest id that a vocabulary of n tokens may use: a file cannot make us allocate far more than it
  /// holds.
  [[nodiscard]] static int64_t max_id(size_t tokens) { return 2 * static_cast<int64_t>(tokens) + 65536; }

  [[nodiscard]] int32_t find(std::string_view token) const;
  [[nodiscard]] std::optional<std::string_view> token(int64_t id) const;
  [[nodiscard]] int64_t end_id() const { return static_cast<int64_t>(entries_.size()); }  ///< largest id + 1
  [[nodiscard]] size_t size() const { return count_; }

 private:
  struct Entry {
    uint32_t offset = 0;
    int32_t length = -1;  ///< -1: a hole
  };
  void grow();
  [[nodiscard]] std::string_view at(int32_t id) const {
    const Entry& e = entries_[static_cast<size_t>(id)];
    return {arena_.data() + e.offset, static_cast<size_t>(e.length)};
  }

  std::string arena_;
  std::vector<Entry> entries_;
  std::vector<int32_t> slots_;  ///< ids; a power of two of them
  size_t count_ = 0;
};

}  // namespace lissom::tok
