// svd_int8_v1: W ≈ U·S·Vᵀ as two factors of INT8.
//   left         I8  [rows, rank]   a column for each component
//   right        I8  [rank, cols]   a row for each component
//   left_scale   F16 [rank]
//   right_scale  F16 [rank]
// w[i][j] = Σ_k (left_scale[k]·left[i][k]) · (right_scale[k]·right[k][j])
// Codes are -127 … 127. The scales hold the singular values, shared evenly, and a factor that gives Ŵ the
// Frobenius norm of W, which truncation and rounding make smaller. Where statistics of the inputs are known,
// both norms are those that the inputs see: what a whitened SVD leaves out may be most of W's plain norm.
//
// Parameters: r64, a rank; f0.5, a share of the full rank; b4, so many bits per weight at most; e0.99,
// adaptive: the least rank that keeps this share of the energy (Q8_0 where that would be larger). ",raw" behind
// them: no correction of the norm.

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "base/half.h"
#include "codec/builtin.h"
#include "codec/low_rank.h"
#include "codec/parts.h"
#include "codec/statistics.h"
#include "codec/svd_int8/factor.h"

namespace lissom {
namespace {

constexpr std::string_view kName = "svd_int8_v1";
constexpr int64_t kBlock = 32, kBlockBytes = 34;  // of Q8_0
constexpr int64_t kMostRank = 1 << 20;

enum class By { rank, share, bits, energy };
struct Parameters {
  By by = By::share;
  double value = 0.5;
  bool raw = false;
};

uint16_t half_at(std::span<const std::byte> bytes, int64_t i) {
  uint16_t half;
  std::memcpy(&half, bytes.data() + 2 * i, 2);
  return half;
}

int8_t code_of(float value, float scale) {
  if (!(scale > 0)) return 0;
  return static_cast<int8_t>(std::clamp(std::nearbyint(value / scale), -127.0F, 127.0F));
}

class SvdInt8 : public Codec, public LowRankCodec, public HessianCodec, public PartsCheck {
 public:
  explicit SvdInt8(const Parameters& p) : p_(p) {
    const char letters[] = {'r', 'f', 'b', 'e'};
    name_ = fmt::format("{}:{}{}{}", kName, letters[static_cast<int>(p.by)], p.value, p.raw ? ",raw" : "");
  }
  [[nodiscard]] std::string_view name() const override { return name_; }
  [[nodiscard]] int64_t column_multiple() const override { return kBlock; }
  [[nodiscard]] float max_magnitude() const override { return 65504.0F; }
  /// Noise has no structure that a low rank could keep: how much is lost is the rank's choice.
  [[nodiscard]] ErrorInterval error_interval() const override { return {0.0, 1.0}; }

  [[nodiscard]] int64_t rank(const Shape& shape) const {
    const int64_t rows = shape.rows(), cols = shape.cols(), full = std::min(rows, cols);
    double wanted = p_.value;
    if (p_.by == By::share) wanted = std::ceil(p_.value * static_cast<double>(full));
    if (p_.by == By::energy) wanted = static_cast<double>(full);
    if (p_.by == By::bits)
      wanted = std::floor(p_.value / 8 * static_cast<double>(rows) * static_cast<double>(cols) /
                          static_cast<double>(rows + cols + 4));
    return std::clamp<int64_t>(static_cast<int64_t>(wanted), 1, std::max<int64_t>(full, 1));
  }

  [[nodiscard]] std::vector<Component> components(const Shape& shape) const override {
    const int64_t r = rank(shape), rows = shape.rows(), cols = shape.cols();
    const auto bytes = [](int64_t n) { return static_cast<uint64_t>(n); };
    return {{"left", "I8", Shape{rows, r}, bytes(rows * r)},
            {"right", "I8", Shape{r, cols}, bytes(r * cols)},
            {"left_scale", "F16", Shape{r}, bytes(2 * r)},
            {"right_scale", "F16", Shape{r}, bytes(2 * r)}};
  }

  void encode(const Shape& shape, std::span<const float> weights, std::span<const float> importance,
              std::span<const std::span<std::byte>> parts) const override {
    encode_with(shape, weights, {.importance = importance}, parts);
  }

  void encode_with(const Shape& shape, std::span<const float> weights, const InputStatistics& statistics,
                   std::span<const std::span<std::byte>> parts) const override {
    const int64_t rows = shape.rows(), cols = shape.cols(), r = rank(shape);
    const RankFactorization svd(weights, rows, cols, statistics);
    const RankFactors f = svd.factors(r);
    std::vector<float> left_scale(static_cast<size_t>(r)), right_scale(left_scale);
    for (int64_t k = 0; k < r; ++k) {
      float of_left = 0, of_right = 0;
      for (int64_t i = 0; i < rows; ++i)
        of_left = std::max(of_left, std::fabs(f.left[static_cast<size_t>(i * r + k)]));
      for (int64_t c = 0; c < cols; ++c)
        of_right = std::max(of_right, std::fabs(f.right[static_cast<size_t>(k * cols + c)]));
      left_scale[static_cast<size_t>(k)] = half_to_float(float_to_half(of_left / 127));
      right_scale[static_cast<size_t>(k)] = half_to_float(float_to_half(of_right / 127));
    }
    auto* left = reinterpret_cast<int8_t*>(parts[0].data());
    auto* right = reinterpret_cast<int8_t*>(parts[1].data());
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t k = 0; k < r; ++k)
        left[i * r + k] = code_of(f.left[static_cast<size_t>(i * r + k)], left_scale[static_cast<size_t>(k)]);
    for (int64_t k = 0; k < r; ++k)
      for (int64_t c = 0; c < cols; ++c)
        right[k * cols + c] =
            code_of(f.right[static_cast<size_t>(k * cols + c)], right_scale[static_cast<size_t>(k)]);
    if (!p_.raw) {
      const double factor = norm_factor(svd, rows, cols, r, left, right, left_scale, right_scale);
      for (float& s : left_scale) s = static_cast<float>(double{s} * factor);
    }
    for (int64_t k = 0; k < r; ++k) {
      const uint16_t a = float_to_half(left_scale[static_cast<size_t>(k)]);
      const uint16_t b = float_to_half(right_scale[static_cast<size_t>(k)]);
      std::memcpy(parts[2].data() + 2 * k, &a, 2);
      std::memcpy(parts[3].data() + 2 * k, &b, 2);
    }
  }

  void decode_rows(const Shape& shape, std::span<const std::span<const std::byte>> parts, int64_t first,
                   int64_t count, float* out) const override {
    const int64_t cols = shape.cols(), r = rank(shape);
    const auto* left = reinterpret_cast<const int8_t*>(parts[0].data());
    const auto* right = reinterpret_cast<const int8_t*>(parts[1].data());
    std::fill(out, out + count * cols, 0.0F);
    std::vector<float> row(static_cast<size_t>(cols));
    for (int64_t k = 0; k < r; ++k) {
      const float left_scale = half_to_float(half_at(parts[2], k));
      const float right_scale = half_to_float(half_at(parts[3], k));
      for (int64_t c = 0; c < cols; ++c)
        row[static_cast<size_t>(c)] = right_scale * static_cast<float>(right[k * cols + c]);
      for (int64_t i = 0; i < count; ++i) {
        const float weight = static_cast<float>(left[(first + i) * r + k]) * left_scale;
        float* to = out + i * cols;
        for (int64_t c = 0; c < cols; ++c) to[c] += weight * row[static_cast<size_t>(c)];
      }
    }
  }

  [[nodiscard]] Result<void> check_parts(const Shape& shape,
                                         std::span<const std::span<const std::byte>> parts) const override {
    for (const size_t part : {size_t{2}, size_t{3}})
      for (int64_t k = 0; k < rank(shape); ++k)
        if (!std::isfinite(half_to_float(half_at(parts[part], k))))
          return bad_input(fmt::format("{}: component {} is not finite at {}", kName,
                                       part == 2 ? "left_scale" : "right_scale", k));
    return {};
  }

  // What the kernels run.

  [[nodiscard]] const Codec& factor_codec() const override { return q8_0_codec(); }
  [[nodiscard]] int64_t padded_rank(const Shape& shape) const override {
    return (rank(shape) + kBlock - 1) / kBlock * kBlock;
  }
  /// Blocks of Q8_0 hold the codes as they are: a row of `right` has one scale, in all of its blocks; `left`
  /// has 1, and its scales lie in the middle.
  [[nodiscard]] LowRankFactors factors(const Shape& shape,
                                       std::span<const std::span<const std::byte>> parts) const override {
    const int64_t rows = shape.rows(), cols = shape.cols(), r = rank(shape), padded = padded_rank(shape);
    LowRankFactors f;
    f.codec = &factor_codec();
    f.middle.resize(static_cast<size_t>(padded));
    f.right.resize(static_cast<size_t>(padded * cols / kBlock * kBlockBytes));
    f.left.resize(static_cast<size_t>(rows * padded / kBlock * kBlockBytes));
    for (int64_t k = 0; k < r; ++k) {
      f.middle[static_cast<size_t>(k)] = half_to_float(half_at(parts[2], k));
      for (int64_t b = 0; b < cols / kBlock; ++b) {
        std::byte* block = f.right.data() + (k * cols / kBlock + b) * kBlockBytes;
        std::memcpy(block, parts[3].data() + 2 * k, 2);
        std::memcpy(block + 2, parts[1].data() + k * cols + b * kBlock, kBlock);
      }
    }
    const uint16_t one = float_to_half(1.0F);
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t b = 0; b < padded / kBlock; ++b) {
        std::byte* block = f.left.data() + (i * padded / kBlock + b) * kBlockBytes;
        std::memcpy(block, &one, 2);
        std::memcpy(block + 2, parts[0].data() + i * r + b * kBlock,
                    static_cast<size_t>(std::min(kBlock, r - b * kBlock)));
      }
    return f;
  }

 protected:
  [[nodiscard]] const Parameters& parameters() const { return p_; }

 private:
  /// ‖W·C‖ / ‖Ŵ·C‖, where ‖Ŵ·C‖² = Σ_kl (LᵀL)_kl · (RC(RC)ᵀ)_kl.
  static double norm_factor(const RankFactorization& svd, int64_t rows, int64_t cols, int64_t r,
                            const int8_t* left, const int8_t* right, const std::vector<float>& left_scale,
                            const std::vector<float>& right_scale) {
    std::vector<int64_t> of_left(static_cast<size_t>(r * r));
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t k = 0; k < r; ++k) {
        const int32_t a = left[i * r + k];
        int64_t* to = of_left.data() + k * r;
        for (int64_t l = 0; l < r; ++l) to[l] += a * left[i * r + l];
      }
    std::vector<float> rows_of_right(static_cast<size_t>(r * cols));
    for (int64_t k = 0; k < r; ++k)
      for (int64_t c = 0; c < cols; ++c)
        rows_of_right[static_cast<size_t>(k * cols + c)] =
            right_scale[static_cast<size_t>(k)] * static_cast<float>(right[k * cols + c]);
    const std::vector<double> of_right = svd.products(rows_of_right, r);
    double norm = 0, approximation = 0;
    for (const double energy : svd.energies()) norm += energy;
    for (int64_t k = 0; k < r; ++k)
      for (int64_t l = 0; l < r; ++l) {
        const auto at = static_cast<size_t>(k * r + l), a = static_cast<size_t>(k), b = static_cast<size_t>(l);
        approximation +=
            double{left_scale[a]} * double{left_scale[b]} * static_cast<double>(of_left[at]) * of_right[at];
      }
    return norm > 0 && approximation > 0 ? std::sqrt(norm / approximation) : 1.0;
  }

  Parameters p_;
  std::string name_;
};

/// Stands for a rank that the weights decide.
class AdaptiveSvdInt8 final : public SvdInt8, public AdaptiveCodec {
 public:
  using SvdInt8::SvdInt8;
  [[nodiscard]] std::string choose(const Shape& shape, std::span<const float> weights,
                                   const InputStatistics& statistics) const override {
    const RankFactorization factorization(weights, shape.rows(), shape.cols(), statistics);
    const auto energies = factorization.energies();
    double total = 0, kept = 0;
    for (const double e : energies) total += e;
    int64_t r = 0;
    while (r < static_cast<int64_t>(energies.size()) && kept < parameters().value * total)
      kept += energies[static_cast<size_t>(r++)];
    const SvdInt8 chosen({By::rank, static_cast<double>(std::max<int64_t>(r, 1)), parameters().raw});
    if (stored_bytes(chosen, shape) >= stored_bytes(q8_0_codec(), shape))
      return std::string(q8_0_codec().name());
    return std::string(chosen.name());
  }
};

class Family final : public CodecFamily {
 public:
  [[nodiscard]] std::string_view name() const override { return kName; }
  [[nodiscard]] std::string_view parameters() const override {
    return "r64 (a rank), f0.5 (a share of the full rank), b4 (bits per weight), e0.99 (adaptive: a share of "
           "the "
           "energy); ,raw behind it leaves the norm alone";
  }
  [[nodiscard]] Result<std::unique_ptr<Codec>> make(std::string_view text) const override {
    Parameters p;
    const auto wrong = [&] { return bad_input("expected " + std::string(parameters())); };
    if (text.empty()) return std::make_unique<SvdInt8>(p);
    if (text.ends_with(",raw")) {
      p.raw = true;
      text.remove_suffix(4);
    }
    const size_t by = std::string_view("rfbe").find(text.empty() ? ' ' : text[0]);
    if (by == std::string_view::npos) return wrong();
    p.by = static_cast<By>(by);
    const auto [end, error] = std::from_chars(text.data() + 1, text.data() + text.size(), p.value);
    if (error != std::errc() || end != text.data() + text.size() || !(p.value > 0)) return wrong();
    if (p.by == By::rank && (p.value != std::floor(p.value) || p.value > static_cast<double>(kMostRank)))
      return wrong();
    if (p.by != By::rank && p.value > (p.by == By::bits ? 16.0 : 1.0)) return wrong();
    if (p.by == By::energy) return std::make_unique<AdaptiveSvdInt8>(p);
    return std::make_unique<SvdInt8>(p);
  }
};

}  // namespace

const CodecFamily& svd_int8_family() {
  static const Family family;
  return family;
}

}  // namespace lissom
