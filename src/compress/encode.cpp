#include "compress/encode.h"

#include <algorithm>
#include <bit>
#include <cassert>
#include <cmath>
#include <cstring>
#include <limits>

#include "compress/digest.h"
#include "lissom/codec.h"

namespace lissom {
namespace {

constexpr int64_t kUnitWeights = 16 << 10;  // what one thread takes at a time
/// Errors of matrices with more weights than this are measured on every fourth row: tens of thousands of
/// weights tell the error to three digits, and reading all of them back would cost as much as the simple
/// codecs' encoding.
constexpr int64_t kMeasuredWhole = 128 << 10, kMeasuredStride = 4;

/// Lanes of F32 sums, emptied into F64 every kRun weights: as exact as the report needs, and it vectorises.
constexpr int64_t kLanes = 16, kRun = 512;

template <bool Weighted>
ErrorSums measure(const float* w, const float* back, const float* importance, int64_t n) {
  ErrorSums sums;
  for (int64_t begin = 0; begin < n; begin += kRun) {
    const int64_t end = std::min(begin + kRun, n);
    float lane[4][kLanes] = {};
    for (int64_t i = begin; i < end; i += kLanes) {
      const int64_t width = std::min(kLanes, end - i);
      for (int64_t l = 0; l < width; ++l) {
        const float d = (w[i + l] - back[i + l]) * (w[i + l] - back[i + l]);
        const float p = w[i + l] * w[i + l];
        lane[0][l] += d;
        lane[1][l] += p;
        if constexpr (Weighted) {
          lane[2][l] += importance[i + l] * d;
          lane[3][l] += importance[i + l] * p;
        }
      }
    }
    double total[4] = {};
    for (int k = 0; k < 4; ++k)
      for (int64_t l = 0; l < kLanes; ++l) total[k] += static_cast<double>(lane[k][l]);
    if constexpr (Weighted)
      sums.add({total[0], total[1], total[2], total[3]});
    else
      sums.add({total[0], total[1], total[0], total[1]});
  }
  return sums;
}

/// Index of the first weight that is not finite or larger than the codec can hold, or -1.
int64_t find_bad(const float* w, int64_t n, float limit) {
  // Magnitudes compare as their bits do, NaN above all; integers vectorise where a bool would not.
  const auto most = std::bit_cast<int32_t>(limit);
  int32_t bad = 0;
  for (int64_t i = 0; i < n; ++i) bad |= (std::bit_cast<int32_t>(w[i]) & 0x7fffffff) > most ? 1 : 0;
  if (bad == 0) return -1;
  return std::find_if(w, w + n, [limit](float v) { return !(std::fabs(v) <= limit); }) - w;
}

}  // namespace

void ErrorSums::add(const ErrorSums& other) {
  error += other.error;
  power += other.power;
  weighted_error += other.weighted_error;
  weighted_power += other.weighted_power;
}
double ErrorSums::relative() const {
  return power > 0 ? std::sqrt(error / power) : 0;
}
double ErrorSums::weighted_relative() const {
  return weighted_power > 0 ? std::sqrt(weighted_error / weighted_power) : 0;
}

ErrorSums measure_rows(const BlockCodec& codec, int64_t rows, std::span<const float> weights,
                       std::span<const std::byte> bytes,
                       const std::function<const float*(int64_t row)>& importance_of) {
  const int64_t cols = static_cast<int64_t>(weights.size()) / std::max<int64_t>(rows, 1);
  const int64_t blocks = cols / codec.block_weights();
  std::vector<float> back(static_cast<size_t>(cols));
  ErrorSums sums;
  for (int64_t r = 0; r < rows; ++r) {
    codec.decode_blocks(bytes.data() + r * blocks * codec.block_bytes(), blocks, back.data());
    const float *row = weights.data() + r * cols, *importance = importance_of(r);
    sums.add(importance == nullptr ? measure<false>(row, back.data(), nullptr, cols)
                                   : measure<true>(row, back.data(), importance, cols));
  }
  return sums;
}

/// Rows that one thread encodes at once.
struct Encoder::Unit {
  size_t part;
  int64_t first_row, rows;  ///< of the tensor
};
struct Encoder::Outcome {
  ErrorSums sums;
  float bad_value = 0;
  bool bad = false;
};

Encoder::Encoder(const TensorSource& source, const Plan& plan,
                 const std::map<std::string, std::vector<float>>& means, ThreadPool& pool, int64_t slab_weights,
                 bool digest)
    : source_(source),
      plan_(plan),
      means_(means),
      pool_(pool),
      slab_weights_(std::max<int64_t>(slab_weights, 1)),
      digest_(digest),
      decoded_(static_cast<size_t>(pool.size())),
      read_back_(static_cast<size_t>(pool.size())) {}

void Encoder::seek(size_t entry) {
  entry_ = entry;
  row_ = 0;
}

/// Fills the slab's list of parts, and the views of their tensors.
Result<void> Encoder::take(Slab& slab) {
  slab.parts.clear();
  uint64_t offset = 0;
  for (int64_t weights = 0; !done() && weights < slab_weights_;) {
    const PlanEntry& entry = plan_.entries[entry_];
    if (!views_.contains(entry_)) {
      if (!slab.parts.empty() && !source_.ready(entry_)) break;  // nothing waits that could be done
      LISSOM_TRY(TensorView view, source_.read(entry_));
      views_.emplace(entry_, std::move(view));
    }
    const int64_t cols = entry.shape.cols(), rows = entry.shape.rows(), left = rows - row_;
    assert(cols > 0 && rows > 0);  // a plan has no empty tensors
    SlabPart part;
    part.entry = entry_;
    part.first_row = row_;
    part.rows = std::min(left, std::max<int64_t>(1, (slab_weights_ - weights) / cols));
    part.last = part.rows == left;
    part.offset = offset;
    part.bytes = entry.bytes / static_cast<uint64_t>(rows) * static_cast<uint64_t>(part.rows);
    offset += part.bytes;
    weights += part.rows * cols;
    row_ = part.last ? 0 : row_ + part.rows;
    entry_ += part.last ? 1 : 0;
    slab.parts.push_back(part);
  }
  slab.bytes.resize(offset);
  if (digest_) digest_new();
  return {};
}

/// Those of the slab's tensors that were not in the one before.
void Encoder::digest_new() {
  std::vector<size_t> entries;
  std::vector<std::span<const std::byte>> data;
  for (const auto& [entry, view] : views_)
    if (!pieces_.contains(entry)) {
      entries.push_back(entry);
      data.push_back(view.data);
    }
  std::vector<std::string> pieces = piece_digests(data, pool_);
  for (size_t i = 0; i < entries.size(); ++i) pieces_.emplace(entries[i], std::move(pieces[i]));
}

std::vector<Encoder::Unit> Encoder::units_of(const Slab& slab) const {
  std::vector<Unit> units;
  for (size_t p = 0; p < slab.parts.size(); ++p) {
    const SlabPart& part = slab.parts[p];
    // The rows of a unit belong to one expert, so that they have one importance.
    const Shape& shape = plan_.entries[part.entry].shape;
    const int64_t step = std::max<int64_t>(1, kUnitWeights / std::max<int64_t>(1, shape.cols()));
    const int64_t matrix = std::max<int64_t>(1, shape.rank() == 3 ? shape[1] : shape.rows());
    for (int64_t row = 0; row < part.rows;) {
      const int64_t left = matrix - (part.first_row + row) % matrix;
      units.push_back({p, part.first_row + row, std::min({step, part.rows - row, left})});
      row += units.back().rows;
    }
  }
  return units;
}

void Encoder::run(const Unit& unit, Slab& slab, Outcome& outcome, int worker) {
  const SlabPart& part = slab.parts[unit.part];
  const PlanEntry& entry = plan_.entries[part.entry];
  const BlockCodec& from = *find_block_codec(entry.from);
  const BlockCodec& to = *find_block_codec(entry.codec);
  const int64_t cols = entry.shape.cols(), n = unit.rows * cols;
  const auto size = static_cast<size_t>(n);
  const auto row_bytes = [&](const BlockCodec& codec) {
    return static_cast<size_t>(cols / codec.block_weights() * codec.block_bytes());
  };
  const std::byte* source =
      views_.at(part.entry).data.data() + static_cast<size_t>(unit.first_row) * row_bytes(from);
  std::byte* out =
      slab.bytes.data() + part.offset + static_cast<size_t>(unit.first_row - part.first_row) * row_bytes(to);

  auto& decoded = decoded_[static_cast<size_t>(worker)];
  const float* w = reinterpret_cast<const float*>(source);
  if (from.name() != "F32") {
    decoded.resize(std::max(decoded.size(), size));
    from.decode_blocks(source, n / from.block_weights(), decoded.data());
    w = decoded.data();
  }
  const bool same = entry.from == entry.codec;
  const float limit = same ? std::numeric_limits<float>::max() : to.max_magnitude();
  if (const int64_t bad = find_bad(w, n, limit); bad >= 0) {
    outcome.bad = true;
    outcome.bad_value = w[bad];
    return;
  }
  const auto mean = means_.find(entry.tensor);
  std::span<const float> importance = mean == means_.end() ? std::span<const float>() : mean->second;
  if (static_cast<int64_t>(importance.size()) > cols)
    importance = importance.subspan(static_cast<size_t>(unit.first_row / entry.shape[1] * cols),
                                    static_cast<size_t>(cols));
  const size_t bytes = static_cast<size_t>(unit.rows) * row_bytes(to);
  auto& back = read_back_[static_cast<size_t>(worker)];
  if (same) {
    std::memcpy(out, source, bytes);
  } else {
    const std::span<std::byte> destination(out, bytes);
    to.encode(Shape{unit.rows, cols}, {w, size}, importance, {&destination, 1});
    back.resize(std::max(back.size(), static_cast<size_t>(cols)));
  }
  const int64_t stride = entry.shape.elements() > kMeasuredWhole ? kMeasuredStride : 1;
  for (int64_t r = (stride - unit.first_row % stride) % stride; r < unit.rows; r += stride) {
    const float *row = w + r * cols, *stored = same ? row : back.data();
    if (!same)
      to.decode_blocks(out + static_cast<size_t>(r) * row_bytes(to), cols / to.block_weights(), back.data());
    outcome.sums.add(importance.empty() ? measure<false>(row, stored, nullptr, cols)
                                        : measure<true>(row, stored, importance.data(), cols));
  }
}

Result<void> Encoder::next(Slab& slab) {
  LISSOM_CHECK(take(slab));
  const std::vector<Unit> units = units_of(slab);
  std::vector<Outcome> outcomes(units.size());
  pool_.parallel_for(static_cast<int64_t>(units.size()), 1, [&](int64_t first, int64_t last, int worker) {
    for (auto u = static_cast<size_t>(first); u < static_cast<size_t>(last); ++u)
      run(units[u], slab, outcomes[u], worker);
  });
  for (size_t u = 0; u < units.size(); ++u) {
    SlabPart& part = slab.parts[units[u].part];
    if (outcomes[u].bad) {
      const PlanEntry& entry = plan_.entries[part.entry];
      const std::string where = source_.origin() + ": tensor '" + entry.tensor + "' ";
      if (!std::isfinite(outcomes[u].bad_value)) return bad_input(where + "holds NaN or Inf");
      return bad_input(where + "holds " + std::to_string(outcomes[u].bad_value) + ", more than " + entry.codec +
                       " can store");
    }
    part.sums.add(outcomes[u].sums);
  }
  for (SlabPart& part : slab.parts) {
    if (!part.last) continue;
    if (digest_) part.source = std::move(pieces_.extract(part.entry).mapped());
    views_.erase(part.entry);
    source_.release(part.entry);
  }
  return {};
}

}  // namespace lissom
