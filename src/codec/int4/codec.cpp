#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "base/threads.h"
#include "codec/int4/expand.h"
#include "codec/int4/int4.h"

namespace lissom::int4 {

struct GroupsCodec::Layout {
  int64_t rows = 0, cols = 0, group = 0, groups = 0, row_bytes = 0;
  int64_t eights = 0, twos = 0;  ///< groups of so many bits
  int64_t outliers = 0;          ///< of a row
  bool wide = false;             ///< outlier columns in U32
  int codes = 0, scales = 1, offsets = -1, columns = -1, bits = -1, index = -1, values = -1;  ///< of parts

  [[nodiscard]] int64_t size(int64_t g) const { return std::min(group, cols - g * group); }
  [[nodiscard]] uint32_t outlier(std::span<const std::byte> part, size_t i) const {
    return wide ? load<uint32_t>(part, i) : load<uint16_t>(part, i);
  }
};

/// What the rows of a tensor share while it is encoded.
struct GroupsCodec::Work {
  const float* w = nullptr;
  std::vector<float> importance;  ///< relative
  std::vector<float> inverse;     ///< the stored column factors
  std::vector<float> scaled_v;    ///< importance of a column after division
  std::vector<uint8_t> group_bits;
  const ColumnFeedback* feedback = nullptr;
};

/// A row on its way into the components.
struct GroupsCodec::Row {
  std::vector<Fit> fits;  ///< of the groups
  std::vector<uint8_t> codes;
  std::vector<uint32_t> apart = {};  ///< columns of outliers, ascending
  std::vector<uint16_t> kept = {};   ///< their values in F16
  double error = 0;
};

GroupsCodec::Layout GroupsCodec::layout(const Shape& shape) const {
  Layout at;
  at.cols = shape.cols();
  at.rows = at.cols > 0 ? shape.elements() / at.cols : 0;
  at.group = std::max<int64_t>(1, std::min(options_.group, at.cols));
  at.groups = (at.cols + at.group - 1) / at.group;
  const int64_t whole = at.cols / at.group;
  at.eights = whole * options_.eights / 8;
  at.twos = whole * options_.twos / 8;
  at.row_bytes = (at.cols * 4 + at.group * (4 * at.eights - 2 * at.twos)) / 8;
  at.outliers = options_.outliers ? (at.cols * 5 + 999) / 1000 : 0;
  at.wide = at.cols > 65536;
  int next = 2;
  if (options_.offsets) at.offsets = next++;
  if (options_.awq) at.columns = next++;
  if (options_.eights + options_.twos > 0) at.bits = next++;
  if (options_.outliers) {
    at.index = next++;
    at.values = next;
  }
  return at;
}

std::vector<Component> GroupsCodec::components(const Shape& shape) const {
  const Layout at = layout(shape);
  const int64_t cols = at.rows > 0 ? at.cols : 0, groups = at.rows > 0 ? at.groups : 0;
  std::vector<Component> parts{component("codes", "U8", Shape{at.rows, at.row_bytes}, 1),
                               component("scales", "F16", Shape{at.rows, groups}, 2)};
  if (at.offsets >= 0) parts.push_back(component("offsets", "F16", Shape{at.rows, groups}, 2));
  if (at.columns >= 0) parts.push_back(component("columns", "F16", Shape{cols}, 2));
  if (at.bits >= 0) parts.push_back(component("group_bits", "U8", Shape{groups}, 1));
  if (at.index >= 0) {
    parts.push_back(
        component("outlier_index", at.wide ? "U32" : "U16", Shape{at.rows, at.outliers}, at.wide ? 4 : 2));
    parts.push_back(component("outliers", "F16", Shape{at.rows, at.outliers}, 2));
  }
  return parts;
}

Result<void> GroupsCodec::check_parts(const Shape& shape,
                                      std::span<const std::span<const std::byte>> parts) const {
  const Layout at = layout(shape);
  if (at.rows == 0) return {};
  if (at.bits >= 0) {
    int64_t bits = 0;
    for (int64_t g = 0; g < at.groups; ++g) {
      const auto b = std::to_integer<int64_t>(parts[static_cast<size_t>(at.bits)][static_cast<size_t>(g)]);
      if (b != 2 && b != 4 && b != 8) return bad_input(fmt::format("group_bits of group {} are {}", g, b));
      bits += b * at.size(g);
    }
    if (bits != 8 * at.row_bytes)
      return bad_input(fmt::format("group_bits make {} bits a row, the codes have {}", bits, 8 * at.row_bytes));
  }
  if (at.index >= 0)
    for (size_t i = 0; i < static_cast<size_t>(at.rows * at.outliers); ++i)
      if (const uint32_t column = at.outlier(parts[static_cast<size_t>(at.index)], i); column >= at.cols)
        return bad_input(fmt::format("outlier_index {} of {} columns", column, at.cols));
  return {};
}

/// The largest terms of the weighted energy.
static std::vector<uint32_t> row_outliers(const float* w, const std::vector<float>& v, size_t count) {
  std::vector<uint32_t> columns(v.size());
  std::iota(columns.begin(), columns.end(), 0U);
  const auto larger = [&](uint32_t a, uint32_t b) {
    const float x = w[a] * w[a] * v[a], y = w[b] * w[b] * v[b];
    return x > y || (x == y && a < b);
  };
  std::partial_sort(columns.begin(), columns.begin() + static_cast<std::ptrdiff_t>(count), columns.end(),
                    larger);
  columns.resize(count);
  std::sort(columns.begin(), columns.end());
  return columns;
}

GroupsCodec::Row GroupsCodec::fit_row(const Layout& at, const Work& work, int64_t row) const {
  const auto cols = static_cast<size_t>(at.cols);
  const float* w = work.w + row * at.cols;
  Row out{.fits = std::vector<Fit>(static_cast<size_t>(at.groups)), .codes = std::vector<uint8_t>(cols)};
  std::vector<float> x(cols), v = work.scaled_v;
  if (at.index >= 0) out.apart = row_outliers(w, work.importance, static_cast<size_t>(at.outliers));
  for (const uint32_t column : out.apart) {
    v[column] = 0;
    out.kept.push_back(float_to_half(w[column]));
  }
  const auto choose = [&](int64_t begin, int64_t n, const float* targets) {
    const auto first = static_cast<size_t>(begin), group = static_cast<size_t>(begin / at.group);
    for (size_t i = 0; i < static_cast<size_t>(n); ++i) x[first + i] = targets[i] / work.inverse[first + i];
    out.fits[group] = fit_group(x.data() + first, v.data() + first, static_cast<size_t>(n),
                                work.group_bits[group], options_.offsets, options_.rounds, &out.codes[first]);
  };
  const auto round = [&](int64_t column, float target) {
    const auto j = static_cast<size_t>(column), group = static_cast<size_t>(column / at.group);
    if (const auto found = std::ranges::lower_bound(out.apart, column);
        found != out.apart.end() && *found == j) {
      uint16_t& kept = out.kept[static_cast<size_t>(found - out.apart.begin())];
      kept = float_to_half(std::clamp(target, -65504.0F, 65504.0F));
      return half_to_float(kept);
    }
    const Line line = line_of(out.fits[group], work.group_bits[group], options_.offsets);
    out.codes[j] = code_of(line, target / work.inverse[j], work.group_bits[group]);
    return line.at(out.codes[j]) * work.inverse[j];
  };
  if (work.feedback != nullptr) {
    round_row(*work.feedback, w, at.group, choose, round);
  } else {
    for (int64_t g = 0; g < at.groups; ++g) choose(g * at.group, at.size(g), w + g * at.group);
  }
  for (const Fit& fit : out.fits) out.error += fit.error;
  return out;
}

/// Puts a row where it belongs; `parts`' codes are 0 there.
void GroupsCodec::store_row(const Layout& at, const Row& row, int64_t index,
                            std::span<const uint8_t> group_bits, std::span<const std::span<std::byte>> parts) {
  const auto part = [&](int i) { return parts[static_cast<size_t>(i)]; };
  for (size_t n = 0; n < row.apart.size(); ++n) {
    const size_t place = static_cast<size_t>(index * at.outliers) + n;
    if (at.wide)
      store(part(at.index), place, row.apart[n]);
    else
      store(part(at.index), place, static_cast<uint16_t>(row.apart[n]));
    store(part(at.values), place, row.kept[n]);
  }
  size_t bit = static_cast<size_t>(index * at.row_bytes) * 8;
  for (int64_t g = 0; g < at.groups; ++g) {
    const auto place = static_cast<size_t>(index * at.groups + g);
    store(part(at.scales), place, row.fits[static_cast<size_t>(g)].scale);
    if (at.offsets >= 0) store(part(at.offsets), place, row.fits[static_cast<size_t>(g)].offset);
    const auto first = static_cast<size_t>(g * at.group);
    const size_t bits = group_bits[static_cast<size_t>(g)];
    for (size_t i = 0; i < static_cast<size_t>(at.size(g)); ++i, bit += bits)
      part(at.codes)[bit / 8] |= static_cast<std::byte>(row.codes[first + i] << bit % 8);
  }
}

/// importance^alpha, as AWQ has it (arXiv 2306.00978), with the alpha that gives some rows the least error.
void GroupsCodec::choose_columns(const Layout& at, Work& work) const {
  const auto cols = static_cast<size_t>(at.cols);
  const auto set = [&](double alpha) {
    float most = 0;
    for (float v : work.importance) most = std::max(most, v);
    for (size_t j = 0; j < cols; ++j) {
      // Divided by 1 … 64: what is multiplied by less than 1 stays in the range of F16.
      const double factor = std::pow(static_cast<double>(most / work.importance[j]), alpha / 2);
      work.inverse[j] = half_to_float(float_to_half(static_cast<float>(std::min(factor, 64.0))));
      work.scaled_v[j] = work.importance[j] * work.inverse[j] * work.inverse[j];
    }
  };
  set(0);
  if (!options_.awq) return;
  const int64_t step = std::max<int64_t>(1, at.rows / 48);
  double best = HUGE_VAL, chosen = 0;
  for (int tenth = 0; tenth <= 10; ++tenth) {
    set(tenth / 10.0);
    double error = 0;
    for (int64_t row = 0; row < at.rows; row += step) error += fit_row(at, work, row).error;
    if (error < best) {
      best = error;
      chosen = tenth / 10.0;
    }
  }
  set(chosen);
}

std::vector<uint8_t> GroupsCodec::choose_bits(const Layout& at, const Work& work) const {
  const auto groups = static_cast<size_t>(at.groups);
  std::vector<uint8_t> bits(groups, 4);
  std::vector<double> energy(groups, 0);
  for (int64_t i = 0; i < at.rows; ++i)
    for (int64_t j = 0; j < at.cols; ++j) {
      const auto w = static_cast<double>(work.w[i * at.cols + j]);
      energy[static_cast<size_t>(j / at.group)] +=
          w * w * static_cast<double>(work.importance[static_cast<size_t>(j)]);
    }
  std::vector<size_t> order(static_cast<size_t>(at.cols / at.group));
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return energy[a] > energy[b] || (energy[a] == energy[b] && a < b); });
  for (size_t i = 0; i < static_cast<size_t>(at.eights); ++i) bits[order[i]] = 8;
  for (size_t i = 0; i < static_cast<size_t>(at.twos); ++i) bits[order[order.size() - 1 - i]] = 2;
  return bits;
}

void GroupsCodec::encode(const Shape& shape, std::span<const float> weights, std::span<const float> importance,
                         std::span<const std::span<std::byte>> parts) const {
  encode_as(shape, weights, importance, nullptr, parts);
}

void GroupsCodec::encode_fed(const Shape& shape, std::span<const float> weights, const ColumnFeedback& feedback,
                             std::span<const std::span<std::byte>> parts) const {
  encode_as(shape, weights, feedback.d, &feedback, parts);
}

void GroupsCodec::encode_as(const Shape& shape, std::span<const float> weights,
                            std::span<const float> importance, const ColumnFeedback* feedback,
                            std::span<const std::span<std::byte>> parts) const {
  const Layout at = layout(shape);
  const auto cols = static_cast<size_t>(at.cols);
  Work work{weights.data(),
            relative_importance(importance, at.cols),
            std::vector<float>(cols),
            std::vector<float>(cols),
            {}};
  work.group_bits = choose_bits(at, work);
  choose_columns(at, work);
  work.feedback = feedback;
  std::fill(parts[0].begin(), parts[0].end(), std::byte{0});
  if (at.columns >= 0)
    for (size_t j = 0; j < cols; ++j)
      store(parts[static_cast<size_t>(at.columns)], j, float_to_half(work.inverse[j]));
  if (at.bits >= 0)
    for (size_t g = 0; g < work.group_bits.size(); ++g)
      store(parts[static_cast<size_t>(at.bits)], g, work.group_bits[g]);
  ThreadPool pool(0);
  pool.parallel_for(at.rows, 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row)
      store_row(at, fit_row(at, work, row), row, work.group_bits, parts);
  });
}

void GroupsCodec::decode_rows(const Shape& shape, std::span<const std::span<const std::byte>> parts,
                              int64_t first, int64_t count, float* out) const {
  const Layout at = layout(shape);
  const Expanders& expand = expanders();
  const auto cols = static_cast<size_t>(at.cols), groups = static_cast<size_t>(at.groups);
  const auto part = [&](int i) { return parts[static_cast<size_t>(i)]; };
  const auto bits_of = [&](size_t g) { return at.bits >= 0 ? std::to_integer<int>(part(at.bits)[g]) : 4; };
  std::vector<float> columns(at.columns >= 0 ? cols : 0), scales(groups), offsets(groups);
  if (at.columns >= 0) expand.halves(part(at.columns).data(), cols, columns.data());
  for (int64_t row = first; row < first + count; ++row, out += at.cols) {
    const auto* codes = reinterpret_cast<const uint8_t*>(parts[0].data()) + row * at.row_bytes;
    const size_t place = static_cast<size_t>(row) * groups * sizeof(uint16_t);
    expand.halves(parts[1].data() + place, groups, scales.data());
    if (at.offsets >= 0)
      expand.halves(part(at.offsets).data() + place, groups, offsets.data());
    else
      for (size_t g = 0; g < groups; ++g) offsets[g] = -scales[g] * static_cast<float>(1 << (bits_of(g) - 1));
    if (at.bits < 0) {
      expand.lines({codes, cols, static_cast<size_t>(at.group), scales.data(), offsets.data()}, out);
    } else {
      for (size_t g = 0; g < groups; ++g) {
        const auto n = static_cast<size_t>(at.size(static_cast<int64_t>(g)));
        float* to = out + g * static_cast<size_t>(at.group);
        const int bits = bits_of(g);
        if (bits == 4)
          expand.lines({codes, n, n, &scales[g], &offsets[g]}, to);
        else
          (bits == 8 ? expand.bytes : expand.quarters)(codes, n, scales[g], offsets[g], to);
        codes += n * static_cast<size_t>(bits) / 8;
      }
    }
    if (at.columns >= 0) expand.multiply(columns.data(), cols, out);
    for (int64_t n = 0; n < at.outliers; ++n) {
      const auto outlier = static_cast<size_t>(row * at.outliers + n);
      out[at.outlier(part(at.index), outlier)] = load_half(part(at.values), outlier);
    }
  }
}

}  // namespace lissom::int4
