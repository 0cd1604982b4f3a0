#include "codec/trellis/trellis.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include <fmt/format.h>

#include "base/half.h"
#include "base/threads.h"
#include "codec/builtin.h"
#include "codec/feedback.h"
#include "codec/panels.h"
#include "codec/parts.h"

namespace lissom {

namespace trellis {
namespace {

constexpr float kEdge = 3.4F;  ///< in deviations: what lies further out than this costs more than its rate says
constexpr size_t kRunSteps = 384;  ///< columns are searched together until they have so many weights

/// How many bits of what follows a run are searched with it: the run's last state is what that begins with.
constexpr size_t kAheadBits = 48;

/// Added to a column's importance over the mean: no text shows every input, and a token embedding that is the
/// output too is looked up whatever the output's importance says (measured: 0.1 and 0.3 beat 0.01 and 2).
constexpr double kFloor = 0.1;

enum Part { kCodes, kRates, kColumns, kRows, kOutlierIndex, kOutliers };

int rate_at(std::span<const std::byte> rates, size_t column) {
  return (std::to_integer<int>(rates[column / 2]) >> (4 * (column % 2))) & 15;
}

/// What all blocks of a tensor share.
struct Plan {
  Geometry g;
  int window = 12;
  const float* w = nullptr;
  const ColumnFeedback* feedback = nullptr;
  std::vector<float> importance, columns, rows;
  std::vector<uint8_t> rates;

  [[nodiscard]] float at(int64_t row, int64_t col) const { return w[row * g.cols + col]; }
};

/// w², or that of four deviations where it is larger: what lies out there is the outliers' business and must
/// not set a scale.
double clipped_square(float w, double variance) {
  return std::min(static_cast<double>(w) * static_cast<double>(w), 16 * variance);
}

/// Scales with which rows and columns have variance 1: the best fit of a Gaussian whose variance is a product.
void fit_scales(Plan& p) {
  const auto rows = static_cast<size_t>(p.g.rows), cols = static_cast<size_t>(p.g.cols);
  std::vector<double> row2(rows, 1), col2(cols, 1);
  for (int round = 0; round < 7; ++round) {
    // The first round knows no variance yet and clips nothing; each further one pulls an outlier's scale in.
    const double clip = round > 0 ? 1 : 1e60;
    std::vector<double> sums(cols, 0);
    for (size_t i = 0; i < rows; ++i) {
      if (row2[i] <= 0) continue;
      const float* w = p.w + i * cols;
      for (size_t j = 0; j < cols; ++j) sums[j] += clipped_square(w[j], clip * row2[i] * col2[j]) / row2[i];
    }
    const double largest = *std::max_element(sums.begin(), sums.end());
    for (size_t j = 0; j < cols; ++j) col2[j] = largest > 0 ? sums[j] / largest : 0;
    for (size_t i = 0; i < rows; ++i) {
      const float* w = p.w + i * cols;
      double sum = 0, counted = 0;
      for (size_t j = 0; j < cols; ++j)
        if (col2[j] > 1e-18) {
          // Sums were divided by the largest: the variance of before is not comparable in the first two rounds.
          sum += clipped_square(w[j], (round > 1 ? row2[i] * col2[j] : 1e60)) / col2[j];
          counted += 1;
        }
      row2[i] = counted > 0 ? sum / counted : 0;
    }
  }
  p.columns.resize(cols);
  p.rows.resize(rows);
  for (size_t j = 0; j < cols; ++j)
    p.columns[j] = column_scale(column_code(static_cast<float>(std::sqrt(col2[j]))));
  for (size_t i = 0; i < rows; ++i) p.rows[i] = static_cast<float>(std::sqrt(row2[i]));
}

void fit_rates(Plan& p) {
  const auto cols = static_cast<size_t>(p.g.cols);
  std::vector<double> costs(cols, 0);
  for (int64_t i = 0; i < p.g.rows; ++i)
    for (size_t j = 0; j < cols; ++j) {
      const double unit =
          static_cast<double>(p.rows[static_cast<size_t>(i)]) * static_cast<double>(p.columns[j]);
      costs[j] += clipped_square(p.at(i, static_cast<int64_t>(j)), unit * unit);
    }
  for (size_t j = 0; j < cols; ++j) costs[j] *= static_cast<double>(p.importance[j]);
  p.rates = choose_rates(costs, p.g.rate_sum);
}

/// Widens a row's scale where its largest weights would cost more beyond the codebook's edge than its noise.
void widen_rows(Plan& p) {
  const auto cols = static_cast<size_t>(p.g.cols);
  for (int64_t i = 0; i < p.g.rows; ++i) {
    const float scale = p.rows[static_cast<size_t>(i)];
    double best = HUGE_VAL;
    float chosen = 0;
    for (float wide : {1.0F, 1.2F, 1.5F, 2.0F, 3.0F, 4.5F, 7.0F, 12.0F, 20.0F}) {
      const float row = half_to_float(float_to_half(std::min(scale * wide, 65504.0F)));
      double error = 0;
      for (size_t j = 0; j < cols; ++j) {
        const double unit = static_cast<double>(row) * static_cast<double>(p.columns[j]);
        const double past = static_cast<double>(std::fabs(p.at(i, static_cast<int64_t>(j)))) - 3.6 * unit;
        error += static_cast<double>(p.importance[j]) *
                 (distortion(p.rates[j]) * unit * unit + (past > 0 && p.rates[j] > 0 ? past * past : 0));
      }
      if (error < best) {
        best = error;
        chosen = row;
      }
    }
    p.rows[static_cast<size_t>(i)] = chosen;
  }
}

/// One block of rows on its way into the components.
struct Block {
  const Plan& p;
  int64_t first, count;         ///< rows of the tensor
  std::vector<float> targets;   ///< the weights, with feedback compensated; count × cols
  std::vector<uint32_t> apart;  ///< 1 + its place among the block's outliers, or 0; count × cols
  std::vector<float> values;    ///< of the codebook; count × cols
  std::vector<uint8_t> codes;   ///< [column][height], newest bits of each weight

  [[nodiscard]] float unit(size_t row, size_t col) const {
    return p.rows[static_cast<size_t>(first) + row] * p.columns[col];
  }
};

void choose_outliers(Block& b, std::span<const std::span<std::byte>> parts) {
  const Plan& p = b.p;
  struct Candidate {
    double benefit;
    uint32_t at;
  };
  std::vector<Candidate> list;
  for (int64_t i = 0; i < b.count; ++i)
    for (int64_t j = 0; j < p.g.cols; ++j) {
      const float w = p.at(b.first + i, j),
                  unit = p.rows[static_cast<size_t>(b.first + i)] * p.columns[static_cast<size_t>(j)];
      const float past = std::fabs(w) - kEdge * unit;
      if (!(past > 0) || std::fabs(w - half_to_float(float_to_half(w))) > past) continue;
      list.push_back({static_cast<double>(past) * static_cast<double>(past) *
                          static_cast<double>(p.importance[static_cast<size_t>(j)]),
                      static_cast<uint32_t>(i * p.g.cols + j)});
    }
  const auto room = static_cast<size_t>(p.g.outliers);
  std::sort(list.begin(), list.end(), [](const Candidate& a, const Candidate& c) {
    return a.benefit > c.benefit || (a.benefit == c.benefit && a.at < c.at);
  });
  if (list.size() > room) list.resize(room);
  std::sort(list.begin(), list.end(), [](const Candidate& a, const Candidate& c) { return a.at < c.at; });
  b.apart.assign(b.targets.size(), 0);
  const size_t base = static_cast<size_t>(b.first / p.g.height) * room;
  for (size_t n = 0; n < room; ++n) {
    const bool used = n < list.size();
    store(parts[kOutlierIndex], base + n, used ? list[n].at : kNoOutlier);
    store(parts[kOutliers], base + n,
          used ? float_to_half(p.w[b.first * p.g.cols + static_cast<int64_t>(list[n].at)]) : uint16_t{0});
    if (used) b.apart[list[n].at] = static_cast<uint32_t>(n) + 1;
  }
}

/// What a column lost goes to those after it; what is kept apart is kept as it is by now.
void hand_on(Block& b, size_t col, std::span<std::byte> outliers) {
  const Plan& p = b.p;
  const auto cols = static_cast<size_t>(p.g.cols);
  const size_t base = static_cast<size_t>(b.first / p.g.height * p.g.outliers);
  for (size_t i = 0; i < static_cast<size_t>(b.count); ++i) {
    const size_t at = i * cols + col;
    float kept = b.unit(i, col) * b.values[at];
    if (b.apart[at] != 0) {
      const uint16_t half = float_to_half(std::clamp(b.targets[at], -65504.0F, 65504.0F));
      store(outliers, base + b.apart[at] - 1, half);
      kept = half_to_float(half);
    }
    const float lost = p.at(b.first + static_cast<int64_t>(i), static_cast<int64_t>(col)) - kept;
    p.feedback->hand_on(static_cast<int64_t>(col), lost, b.targets.data() + i * cols, p.g.cols);
  }
}

/// Searches the bits of all columns, a few at a time; with feedback one at a time.
void search_block(Block& b, std::span<std::byte> outliers) {
  const Plan& p = b.p;
  const auto cols = static_cast<size_t>(p.g.cols), height = static_cast<size_t>(p.g.height);
  Search search(p.window);
  std::vector<float> found(kRunSteps + 2 * height);
  double weights = 0, counted = 0;
  for (size_t j = 0; j < cols; ++j)
    if (p.rates[j] > 0) {
      weights += static_cast<double>(p.importance[j] * p.columns[j] * p.columns[j]);
      counted += 1;
    }
  double rows2 = 0;
  for (int64_t i = 0; i < b.count; ++i)
    rows2 += std::pow(static_cast<double>(p.rows[static_cast<size_t>(b.first + i)]), 2) /
             static_cast<double>(b.count);
  const double norm = weights > 0 && rows2 > 0 ? 1 / (weights / counted * rows2) : 0;

  const auto add = [&](size_t column, size_t rows) {
    const double importance =
        static_cast<double>(p.importance[column] * p.columns[column] * p.columns[column]) * norm;
    for (size_t i = 0; i < rows; ++i) {
      const bool real = static_cast<int64_t>(i) < b.count;
      const float row = real ? p.rows[static_cast<size_t>(b.first) + i] : 0;
      const float unit = row * p.columns[column];
      const bool free = !(unit > 0) || b.apart[i * cols + column] != 0;
      const float x = free ? 0 : b.targets[i * cols + column] / unit;
      const auto weight = static_cast<float>(importance * static_cast<double>(row) * static_cast<double>(row));
      search.add(p.rates[column], std::clamp(x, -16.0F, 16.0F), free ? 0 : weight);
    }
  };
  const size_t most = p.feedback != nullptr ? 1 : cols;
  uint32_t state = 0;
  for (size_t column = 0; column < cols;) {
    size_t steps = 0, next = column;
    search.begin(state);
    for (; next < cols && next < column + most && steps < kRunSteps; ++next) {
      if (p.rates[next] == 0) continue;
      add(next, height);
      steps += height;
    }
    size_t ahead = 0;
    for (size_t j = next; j < cols && steps > 0 && ahead < kAheadBits; ++j) {
      if (p.rates[j] == 0) continue;
      const size_t rows = std::min(height, (kAheadBits - ahead + p.rates[j] - 1) / p.rates[j]);
      add(j, rows);
      ahead += rows * p.rates[j];
    }
    std::vector<uint8_t> codes(steps);
    found.resize(std::max(found.size(), steps));
    if (steps > 0) state = search.end(steps, codes.data(), found.data());
    size_t from = 0;
    for (; column < next; ++column) {
      if (p.rates[column] > 0) {
        std::copy_n(codes.begin() + static_cast<std::ptrdiff_t>(from), height,
                    b.codes.begin() + static_cast<std::ptrdiff_t>(column * height));
        for (size_t i = 0; i < static_cast<size_t>(b.count); ++i) b.values[i * cols + column] = found[from + i];
        from += height;
      }
      if (p.feedback != nullptr) hand_on(b, column, outliers);
    }
  }
}

void pack_block(const Block& b, std::byte* out) {
  const Plan& p = b.p;
  std::memset(out, 0, static_cast<size_t>(p.g.stream_bytes));
  size_t bit = 32;
  const auto height = static_cast<size_t>(p.g.height);
  for (size_t j = 0; j < p.rates.size(); ++j)
    for (size_t i = 0; i < height; ++i)
      for (int k = p.rates[j] - 1; k >= 0; --k, ++bit)  // the newest bits, oldest first
        if ((b.codes[j * height + i] >> k) & 1) out[bit / 8] |= static_cast<std::byte>(1 << bit % 8);
}

/// The row scales that suit the bits found; a row that is better off as zeros gets 0.
void refit_rows(const Block& b, std::span<std::byte> rows) {
  const Plan& p = b.p;
  const auto cols = static_cast<size_t>(p.g.cols);
  for (int64_t i = 0; i < b.count; ++i) {
    const auto row = static_cast<size_t>(b.first + i);
    double xx = 0, xy = 0, yy = 0;
    for (size_t j = 0; j < cols; ++j) {
      const size_t at = static_cast<size_t>(i) * cols + j;
      if (b.apart[at] != 0 || p.rates[j] == 0) continue;
      const double v = static_cast<double>(p.importance[j]),
                   y = static_cast<double>(p.at(b.first + i, static_cast<int64_t>(j)));
      const double x = static_cast<double>(p.columns[j]) * static_cast<double>(b.values[at]);
      xx += v * x * x;
      xy += v * x * y;
      yy += v * y * y;
    }
    const auto error = [&](uint16_t half) {
      const auto r = static_cast<double>(half_to_float(half));
      return yy - 2 * r * xy + r * r * xx;
    };
    uint16_t best = 0;
    for (const double scale : {static_cast<double>(p.rows[row]), xx > 0 ? xy / xx : 0.0}) {
      const uint16_t half = float_to_half(std::clamp(static_cast<float>(scale), 0.0F, 65504.0F));
      if (error(half) < error(best)) best = half;
    }
    store(rows, row, best);
  }
}

void encode_block(const Plan& p, int64_t index, std::span<const std::span<std::byte>> parts) {
  const int64_t first = index * p.g.height;
  Block b{p, first, std::clamp<int64_t>(p.g.rows - first, 0, p.g.height), {}, {}, {}, {}};
  b.targets.assign(p.w + first * p.g.cols, p.w + (first + b.count) * p.g.cols);
  b.values.assign(b.targets.size(), 0);
  b.codes.assign(static_cast<size_t>(p.g.height * p.g.cols), 0);
  choose_outliers(b, parts);
  search_block(b, parts[kOutliers]);
  pack_block(b, parts[kCodes].data() + index * p.g.stream_bytes);
  if (p.feedback == nullptr) return refit_rows(b, parts[kRows]);
  // Later columns have made up for what these scales lost, which no other scale knows of.
  for (int64_t i = first; i < first + b.count; ++i)
    store(parts[kRows], static_cast<size_t>(i), float_to_half(p.rows[static_cast<size_t>(i)]));
}

/// Where the columns of a tensor's blocks lie, and their scales.
class Decoder final : public PanelDecoder {
 public:
  Decoder(const Geometry& g, int window, std::span<const std::span<const std::byte>> parts)
      : g_(g), parts_(parts.begin(), parts.end()), window_(window) {
    uint32_t bit = 32;
    for (size_t j = 0; j < static_cast<size_t>(g.cols); ++j) {
      const int rate = rate_at(parts[kRates], j);
      rates_.push_back(rate);
      begin_.push_back(bit);
      bit += static_cast<uint32_t>(rate * g.height);
      scales_.push_back(rate > 0 ? column_scale(std::to_integer<uint8_t>(parts[kColumns][j])) : 0);
    }
  }
  void rows(int64_t first, int64_t count, float* out) const {
    for (int64_t row = first; row < first + count; ++row, out += g_.cols) {
      const int64_t block = row / g_.height;
      kernels().decode_row(streams(block), row % g_.height, row_scale(row), out);
      put_outliers(block, row % g_.height, 1, out, 1);
    }
  }
  void decode(int64_t first, int64_t count, float* out) const override {
    float scales[kLanes];
    for (int64_t i = 0; i < count; ++i) scales[i] = row_scale(first + i);
    for (int64_t done = 0; done < count;) {
      const int64_t row = first + done, block = row / g_.height;
      const int64_t some = std::min(count - done, (block + 1) * g_.height - row);
      kernels().decode_panel(streams(block), row % g_.height, some, scales + done, out + done);
      put_outliers(block, row % g_.height, some, out + done, kLanes);
      done += some;
    }
  }

 private:
  [[nodiscard]] RowStreams streams(int64_t block) const {
    const auto* codes = reinterpret_cast<const uint8_t*>(parts_[kCodes].data());
    return {codes + block * g_.stream_bytes,
            codes + parts_[kCodes].size(),
            state_values(window_),
            window_,
            g_.cols,
            begin_.data(),
            rates_.data(),
            scales_.data()};
  }
  [[nodiscard]] float row_scale(int64_t row) const {
    return half_to_float(load<uint16_t>(parts_[kRows], static_cast<size_t>(row)));
  }
  /// Into out[column·stride + i] for rows row+i of the block, i < count; stride 1 for a row alone.
  void put_outliers(int64_t block, int64_t row, int64_t count, float* out, int64_t stride) const {
    const auto base = static_cast<size_t>(block * g_.outliers);
    const auto cols = static_cast<uint32_t>(g_.cols);
    const auto begin = static_cast<uint32_t>(row * g_.cols),
               end = static_cast<uint32_t>((row + count) * g_.cols);
    size_t low = 0, high = static_cast<size_t>(g_.outliers);
    while (low < high) {
      const size_t middle = (low + high) / 2;
      if (load<uint32_t>(parts_[kOutlierIndex], base + middle) < begin)
        low = middle + 1;
      else
        high = middle;
    }
    for (; low < static_cast<size_t>(g_.outliers); ++low) {
      const uint32_t at = load<uint32_t>(parts_[kOutlierIndex], base + low);
      if (at >= end) return;
      if (at < begin) continue;  // out of order: a damaged file
      const uint32_t column = (at - begin) % cols, i = (at - begin) / cols;
      out[column * stride + i] = half_to_float(load<uint16_t>(parts_[kOutliers], base + low));
    }
  }

  Geometry g_;
  Parts parts_;
  int window_;
  std::vector<uint32_t> begin_;
  std::vector<int32_t> rates_;
  std::vector<float> scales_;
};

class TrellisCodec final : public Codec, public FeedbackCodec, public PanelCodec, public PartsCheck {
 public:
  TrellisCodec(const char* name, int half_bits, int window, ErrorInterval interval)
      : name_(name), half_bits_(half_bits), window_(window), interval_(interval) {}

  [[nodiscard]] std::string_view name() const override { return name_; }
  [[nodiscard]] int64_t column_multiple() const override { return 2; }
  [[nodiscard]] ErrorInterval error_interval() const override { return interval_; }
  [[nodiscard]] float max_magnitude() const override { return 65504.0F; }

  [[nodiscard]] std::vector<Component> components(const Shape& shape) const override {
    const Geometry g = geometry(shape, half_bits_);
    const auto part = [](const char* suffix, const char* type, const Shape& of, int64_t size) {
      return Component{suffix, type, of, static_cast<uint64_t>(of.elements() * size)};
    };
    const int64_t pairs = g.rows > 0 ? (g.cols + 1) / 2 : 0, cols = g.rows > 0 ? g.cols : 0;
    return {part("codes", "U8", Shape{g.blocks, g.stream_bytes}, 1),
            part("rates", "U8", Shape{pairs}, 1),
            part("columns", "U8", Shape{cols}, 1),
            part("rows", "F16", Shape{g.rows}, 2),
            part("outlier_index", "U32", Shape{g.blocks, g.outliers}, 4),
            part("outliers", "F16", Shape{g.blocks, g.outliers}, 2)};
  }

  void encode(const Shape& shape, std::span<const float> weights, std::span<const float> importance,
              std::span<const std::span<std::byte>> parts) const override {
    encode_as(shape, weights, relative(importance, shape.cols(), kFloor), nullptr, parts);
  }

  void encode_fed(const Shape& shape, std::span<const float> weights, const ColumnFeedback& feedback,
                  std::span<const std::span<std::byte>> parts) const override {
    encode_as(shape, weights, relative(feedback.d, shape.cols(), 0), &feedback, parts);
  }

  [[nodiscard]] Result<void> check_parts(const Shape& shape,
                                         std::span<const std::span<const std::byte>> parts) const override {
    const Geometry g = geometry(shape, half_bits_);
    if (g.rows == 0) return {};
    int64_t sum = 0;
    for (size_t j = 0; j < static_cast<size_t>(g.cols); ++j) {
      const int rate = rate_at(parts[kRates], j);
      if (rate > kMaxRate) return bad_input(fmt::format("the rate of column {} is {}", j, rate));
      sum += rate;
    }
    if (sum != g.rate_sum) return bad_input(fmt::format("the sum of rates is {}, not {}", sum, g.rate_sum));
    for (size_t i = 0; i < static_cast<size_t>(g.blocks * g.outliers); ++i) {
      const uint32_t at = load<uint32_t>(parts[kOutlierIndex], i);
      if (at != kNoOutlier && at >= g.height * g.cols)
        return bad_input(fmt::format("outlier_index {} of a block of {}", at, g.height * g.cols));
    }
    return {};
  }

  void decode_rows(const Shape& shape, std::span<const std::span<const std::byte>> parts, int64_t first,
                   int64_t count, float* out) const override {
    const Geometry g = geometry(shape, half_bits_);
    Decoder(g, window_, parts).rows(first, count, out);
  }

  [[nodiscard]] std::unique_ptr<PanelDecoder> panels(
      const Shape& shape, std::span<const std::span<const std::byte>> parts) const override {
    return std::make_unique<Decoder>(geometry(shape, half_bits_), window_, parts);
  }

 private:
  /// Over their mean, and `floor` more; 1 where there are none.
  static std::vector<float> relative(std::span<const float> importance, int64_t cols, double floor) {
    std::vector<float> out(static_cast<size_t>(cols), 1.0F);
    double sum = 0;
    for (float v : importance) sum += static_cast<double>(v);
    if (!(sum > 0)) return out;
    for (size_t j = 0; j < out.size(); ++j)
      out[j] = static_cast<float>(static_cast<double>(importance[j]) / sum * static_cast<double>(cols) + floor);
    return out;
  }

  void encode_as(const Shape& shape, std::span<const float> weights, std::vector<float> importance,
                 const ColumnFeedback* feedback, std::span<const std::span<std::byte>> parts) const {
    Plan p;
    p.g = geometry(shape, half_bits_);
    p.window = window_;
    p.w = weights.data();
    p.feedback = feedback;
    p.importance = std::move(importance);
    fit_scales(p);
    fit_rates(p);
    widen_rows(p);
    std::fill(parts[kRates].begin(), parts[kRates].end(), std::byte{0});
    for (size_t j = 0; j < p.rates.size(); ++j) {
      parts[kRates][j / 2] |= static_cast<std::byte>(p.rates[j] << (4 * (j % 2)));
      parts[kColumns][j] = static_cast<std::byte>(column_code(p.columns[j]));
    }
    ThreadPool pool(0);
    pool.parallel_for(p.g.blocks, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t block = begin; block < end; ++block) encode_block(p, block, parts);
    });
  }

  const char* name_;
  int half_bits_, window_;
  ErrorInterval interval_;
};

}  // namespace
}  // namespace trellis

const Codec& lissom_2_codec() {
  static const trellis::TrellisCodec codec("lissom_2_v1", 4, 12, {0.2, 0.32});
  return codec;
}
const Codec& lissom_2_5_codec() {
  static const trellis::TrellisCodec codec("lissom_2_5_v1", 5, 12, {0.15, 0.25});
  return codec;
}
const Codec& lissom_3_codec() {
  static const trellis::TrellisCodec codec("lissom_3_v1", 6, 12, {0.1, 0.18});
  return codec;
}
const Codec& lissom_4_codec() {
  static const trellis::TrellisCodec codec("lissom_4_v1", 8, 12, {0.05, 0.1});
  return codec;
}

}  // namespace lissom
