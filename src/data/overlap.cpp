#include "data/overlap.h"

#include <algorithm>
#include <vector>

namespace lissom {
namespace {

/// A 64-bit hash of every run. A false match has a chance of about runs²/2^64: nothing at any real size.
std::vector<uint64_t> run_hashes(std::span<const int32_t> tokens, size_t length) {
  std::vector<uint64_t> hashes;
  if (length == 0 || tokens.size() < length) return hashes;
  hashes.reserve(tokens.size() - length + 1);
  for (size_t i = 0; i + length <= tokens.size(); ++i) {
    uint64_t h = 0x9E3779B97F4A7C15U;
    for (size_t j = i; j < i + length; ++j) {
      h = (h ^ static_cast<uint32_t>(tokens[j])) * 0xBF58476D1CE4E5B9U;
      h ^= h >> 29U;
    }
    hashes.push_back(h);
  }
  return hashes;
}

}  // namespace

double shared_runs(std::span<const int32_t> evaluation, std::span<const int32_t> calibration, int64_t length) {
  const auto n = static_cast<size_t>(std::max<int64_t>(length, 0));
  const std::vector<uint64_t> wanted = run_hashes(evaluation, n);
  if (wanted.empty()) return 0;
  std::vector<uint64_t> seen = run_hashes(calibration, n);
  std::ranges::sort(seen);
  const auto found =
      std::ranges::count_if(wanted, [&](uint64_t h) { return std::ranges::binary_search(seen, h); });
  return static_cast<double>(found) / static_cast<double>(wanted.size());
}

}  // namespace lissom
