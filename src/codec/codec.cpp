#include "lissom/codec.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/cpu.h"

namespace lissom {

double Codec::bits_per_weight(const Shape& shape) const {
  uint64_t bytes = 0;
  for (const Component& part : components(shape)) bytes += part.bytes;
  const int64_t n = shape.elements();
  return n > 0 ? 8.0 * static_cast<double>(bytes) / static_cast<double>(n) : 0.0;
}

std::vector<Component> BlockCodec::components(const Shape& shape) const {
  const auto blocks = static_cast<uint64_t>(shape.elements() / block_weights());
  const uint64_t bytes = blocks * static_cast<uint64_t>(block_bytes());
  return {Component{"", "U8", Shape{static_cast<int64_t>(bytes)}, bytes}};
}

void BlockCodec::choose_blocks(const float* w, const float* importance, int64_t importance_blocks,
                               int64_t n_blocks, BlockGrid* grids) const {
  const int64_t n = block_weights();
  for (int64_t b = 0; b < n_blocks; ++b)
    choose(w + b * n, importance != nullptr ? importance + b % importance_blocks * n : nullptr, grids[b]);
}

void BlockCodec::encode_blocks(const float* w, const float* importance, int64_t importance_blocks,
                               int64_t n_blocks, std::byte* out) const {
  constexpr int64_t kBatch = 64;
  const int n = block_weights();
  std::vector<BlockGrid> grids(static_cast<size_t>(std::min(kBatch, n_blocks)));
  std::vector<int8_t> codes(static_cast<size_t>(n));
  std::vector<float> turned;
  for (int64_t first = 0; first < n_blocks; first += kBatch) {
    const int64_t count = std::min(kBatch, n_blocks - first);
    const float* v = importance;
    if (importance != nullptr && first % importance_blocks != 0) {
      turned.resize(static_cast<size_t>(importance_blocks * n));
      const auto shift = first % importance_blocks * n;
      std::rotate_copy(importance, importance + shift, importance + importance_blocks * n, turned.begin());
      v = turned.data();
    }
    choose_blocks(w + first * n, v, importance_blocks, count, grids.data());
    for (int64_t b = 0; b < count; ++b) {
      const float* block_importance = v != nullptr ? v + b % importance_blocks * n : nullptr;
      round(grids[static_cast<size_t>(b)], 0, n, w + (first + b) * n, block_importance, codes.data());
      pack(grids[static_cast<size_t>(b)], codes.data(), out + (first + b) * block_bytes());
    }
  }
}

void BlockCodec::encode(const Shape& shape, std::span<const float> weights, std::span<const float> importance,
                        std::span<const std::span<std::byte>> parts) const {
  encode_blocks(weights.data(), importance.empty() ? nullptr : importance.data(),
                shape.cols() / block_weights(), shape.elements() / block_weights(), parts[0].data());
}

void BlockCodec::decode_rows(const Shape& shape, std::span<const std::span<const std::byte>> parts,
                             int64_t first, int64_t count, float* out) const {
  const int64_t per_row = shape.cols() / block_weights();
  decode_blocks(parts[0].data() + first * per_row * block_bytes(), count * per_row, out);
}

namespace {

Result<void> check_importance(std::string_view tensor, const Shape& shape, std::span<const float> importance) {
  if (importance.empty()) return {};
  if (static_cast<int64_t>(importance.size()) != shape.cols())
    return bad_input(fmt::format("tensor {}: importance has {} values, the tensor {} columns", tensor,
                                 importance.size(), shape.cols()));
  for (size_t i = 0; i < importance.size(); ++i)
    if (!(importance[i] >= 0) || std::isinf(importance[i]))
      return bad_input(
          fmt::format("tensor {}: importance of column {} is {}; it must be finite and not negative", tensor, i,
                      importance[i]));
  return {};
}

Result<void> check_weights(const Codec& codec, std::string_view tensor, const Shape& shape,
                           std::span<const float> weights) {
  const float limit = codec.max_magnitude();
  constexpr size_t kRun = 4096;  // a run is passed at once when nothing in it is wrong
  for (size_t i = 0; i < weights.size(); ++i) {
    if (i % kRun == 0) {
      const size_t run = std::min(kRun, weights.size() - i);
      unsigned wrong = 0;
      for (size_t k = i; k < i + run; ++k) wrong |= static_cast<unsigned>(!(std::fabs(weights[k]) <= limit));
      if (wrong == 0) {
        i += run - 1;
        continue;
      }
    }
    if (std::fabs(weights[i]) <= limit) continue;
    const auto row = static_cast<int64_t>(i) / shape.cols(), column = static_cast<int64_t>(i) % shape.cols();
    const std::string where =
        fmt::format("tensor {}: row {}, column {} is {}", tensor, row, column, weights[i]);
    if (!std::isfinite(weights[i])) return bad_input(where + "; weights must be finite");
    return bad_input(fmt::format("{}; {} stores magnitudes up to {}", where, codec.name(), limit));
  }
  return {};
}

}  // namespace

Result<std::vector<std::vector<std::byte>>> encode_checked(const Codec& codec, std::string_view tensor,
                                                           const Shape& shape, std::span<const float> weights,
                                                           std::span<const float> importance) {
  uint64_t elements = 1;
  for (int64_t d : shape.dims())
    if (d < 0 || __builtin_mul_overflow(elements, static_cast<uint64_t>(d), &elements))
      return bad_input(fmt::format("tensor {}: impossible shape {}", tensor, shape.str()));
  if (elements != weights.size())
    return bad_input(fmt::format("tensor {}: shape {} has {} elements, {} weights are given", tensor,
                                 shape.str(), elements, weights.size()));
  if (shape.cols() % codec.column_multiple() != 0)
    return bad_input(fmt::format("tensor {}: {} columns do not divide by {}'s block of {}", tensor,
                                 shape.cols(), codec.name(), codec.column_multiple()));
  LISSOM_CHECK(check_importance(tensor, shape, importance));
  LISSOM_CHECK(check_weights(codec, tensor, shape, weights));
  if (const auto target = active_target(); !target) return tl::unexpected(target.error());

  std::vector<std::vector<std::byte>> parts;
  std::vector<std::span<std::byte>> views;
  const std::vector<Component> components = codec.components(shape);
  parts.reserve(components.size());
  views.reserve(components.size());
  for (const Component& part : components) views.emplace_back(parts.emplace_back(part.bytes));
  if (elements > 0) codec.encode(shape, weights, importance, views);
  return parts;
}

}  // namespace lissom
