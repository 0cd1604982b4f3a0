#pragma once
// Byte pair encoding over token ids (Sennrich et al. 2016): always the merge of lowest rank, the leftmost of
// equals.

#include <cstddef>
#include <cstdint>
#include <vector>

namespace lissom::tok {

/// (left id, right id) → rank and merged id, by open addressing.
class MergeTable {
 public:
  struct Merge {
    uint32_t rank = UINT32_MAX;  ///< UINT32_MAX: no such merge
    int32_t id = -1;
  };
  explicit MergeTable(size_t merges);
  /// A later merge of the same pair replaces an earlier one.
  void add(int32_t left, int32_t right, uint32_t rank, int32_t id);
  [[nodiscard]] Merge find(int32_t left, int32_t right) const;

 private:
  struct Slot {
    uint64_t key;
    Merge merge;
  };
  [[nodiscard]] size_t slot_of(uint64_t key) const;
  std::vector<Slot> slots_;
};

/// Merges in place until nothing merges. Near-linear in the number of symbols.
void merge_symbols(const MergeTable& table, std::vector<int32_t>& symbols);

}  // namespace lissom::tok
