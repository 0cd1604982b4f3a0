#include "tokenizer/bpe.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <queue>

#include "tokenizer/hash.h"

namespace lissom::tok {
namespace {

constexpr uint64_t kEmpty = UINT64_MAX;  // ids are not negative, so no pair has this key
constexpr size_t kShort = 48;            // symbols up to which scanning for the lowest rank beats a heap

uint64_t key_of(int32_t left, int32_t right) {
  return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) | static_cast<uint32_t>(right);
}

void merge_short(const MergeTable& table, std::vector<int32_t>& symbols) {
  std::array<MergeTable::Merge, kShort> merges;  // merges[i]: of symbols i and i+1
  size_t n = symbols.size();
  for (size_t i = 0; i + 1 < n; ++i) merges[i] = table.find(symbols[i], symbols[i + 1]);
  while (n > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < n; ++i)
      if (merges[i].rank < merges[best].rank) best = i;
    if (merges[best].rank == UINT32_MAX) break;
    symbols[best] = merges[best].id;
    --n;
    for (size_t i = best + 1; i < n; ++i) symbols[i] = symbols[i + 1];
    for (size_t i = best; i + 1 < n; ++i) merges[i] = merges[i + 1];
    if (best > 0) merges[best - 1] = table.find(symbols[best - 1], symbols[best]);
    if (best + 1 < n) merges[best] = table.find(symbols[best], symbols[best + 1]);
  }
  symbols.resize(n);
}

struct Candidate {
  uint32_t rank, position;
  int32_t id;
  /// Ordered so that the front of the heap is the lowest rank, the leftmost of equals.
  bool operator<(const Candidate& o) const { return rank != o.rank ? rank > o.rank : position > o.position; }
};

void merge_long(const MergeTable& table, std::vector<int32_t>& symbols) {
  constexpr uint32_t kNone = UINT32_MAX;
  const auto n = static_cast<uint32_t>(symbols.size());
  std::vector<uint32_t> next(n), previous(n);
  std::vector<Candidate> heap;
  const auto candidate = [&](uint32_t left, uint32_t right, auto&& keep) {
    const auto merge = table.find(symbols[left], symbols[right]);
    if (merge.rank != UINT32_MAX) keep(Candidate{merge.rank, left, merge.id});
  };
  for (uint32_t i = 0; i < n; ++i) {
    next[i] = i + 1 < n ? i + 1 : kNone;
    previous[i] = i == 0 ? kNone : i - 1;
    if (i + 1 < n) candidate(i, i + 1, [&](const Candidate& c) { heap.push_back(c); });
  }
  std::priority_queue<Candidate> queue({}, std::move(heap));
  while (!queue.empty()) {
    const Candidate top = queue.top();
    queue.pop();
    const uint32_t i = top.position;
    if (symbols[i] < 0 || next[i] == kNone) continue;
    const uint32_t j = next[i];
    // Stale when either side has merged since.
    if (const auto now = table.find(symbols[i], symbols[j]); now.rank != top.rank || now.id != top.id) continue;
    symbols[i] = top.id;
    symbols[j] = -1;
    next[i] = next[j];
    if (next[i] != kNone) previous[next[i]] = i;
    const auto push = [&](const Candidate& c) { queue.push(c); };
    if (previous[i] != kNone) candidate(previous[i], i, push);
    if (next[i] != kNone) candidate(i, next[i], push);
  }
  std::erase_if(symbols, [](int32_t id) { return id < 0; });
}

}  // namespace

MergeTable::MergeTable(size_t merges) {
  size_t size = 64;
  while (size < 2 * merges) size *= 2;
  slots_.assign(size, Slot{kEmpty, {}});
}

size_t MergeTable::slot_of(uint64_t key) const {
  size_t slot = mix(key, 0x9e3779b97f4a7c15U) & (slots_.size() - 1);
  while (slots_[slot].key != kEmpty && slots_[slot].key != key) slot = (slot + 1) & (slots_.size() - 1);
  return slot;
}

void MergeTable::add(int32_t left, int32_t right, uint32_t rank, int32_t id) {
  const uint64_t key = key_of(left, right);
  slots_[slot_of(key)] = {key, {rank, id}};
}

MergeTable::Merge MergeTable::find(int32_t left, int32_t right) const {
  const Slot& slot = slots_[slot_of(key_of(left, right))];
  return slot.key == kEmpty ? Merge{} : slot.merge;
}

void merge_symbols(const MergeTable& table, std::vector<int32_t>& symbols) {
  if (symbols.size() < 2) return;
  if (symbols.size() <= kShort) {
    merge_short(table, symbols);
  } else {
    merge_long(table, symbols);
  }
}

}  // namespace lissom::tok
