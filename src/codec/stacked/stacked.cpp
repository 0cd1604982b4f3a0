// stacked_v1:A|B|C: the rows of a tensor in as many equal shares, from the top, each in a codec of its own: a
// fused q|k|v whose K alone is of low rank, "stacked_v1:BF16|svd_int8_v1:f0.75|BF16". Share i of n has the rows
// from ⌊i·rows/n⌋ to ⌊(i+1)·rows/n⌋. Its components are those of its codec, with "part0.", "part1." … before
// the suffix; an empty suffix makes "part0".

#include "codec/stacked/stacked.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <vector>

#include "codec/builtin.h"
#include "codec/parts.h"
#include "codec/statistics.h"

namespace lissom {
namespace {

constexpr std::string_view kName = "stacked_v1";
constexpr size_t kMostShares = 8;

/// By the whole XᵀX, where there is one and the codec knows what to do with it.
bool encode_wisely(const Codec& codec, const Shape& shape, std::span<const float> weights,
                   const InputStatistics& statistics, std::span<const std::span<std::byte>> parts) {
  const auto* wise = dynamic_cast<const HessianCodec*>(&codec);
  if (wise == nullptr || statistics.hessian.empty()) return false;
  wise->encode_with(shape, weights, statistics, parts);
  return true;
}

class Stacked final : public Codec, public HessianCodec, public StackedCodec, public PartsCheck {
 public:
  explicit Stacked(std::vector<const Codec*> codecs) : codecs_(std::move(codecs)) {
    for (const Codec* codec : codecs_) {
      name_ += name_.empty() ? std::string(kName) + ":" : "|";
      name_ += codec->name();
    }
  }
  [[nodiscard]] std::string_view name() const override { return name_; }
  [[nodiscard]] int64_t column_multiple() const override {
    int64_t multiple = 1;
    for (const Codec* codec : codecs_) multiple = std::lcm(multiple, codec->column_multiple());
    return multiple;
  }
  [[nodiscard]] float max_magnitude() const override {
    float least = codecs_.front()->max_magnitude();
    for (const Codec* codec : codecs_) least = std::min(least, codec->max_magnitude());
    return least;
  }
  [[nodiscard]] ErrorInterval error_interval() const override { return {0.0, 1.0}; }
  [[nodiscard]] std::vector<Component> components(const Shape& shape) const override {
    std::vector<Component> all;
    for (const Share& share : shares(shape))
      for (Component part : share.codec->components(share.shape)) {
        part.suffix = fmt::format("part{}{}{}", share.number, part.suffix.empty() ? "" : ".", part.suffix);
        all.push_back(std::move(part));
      }
    return all;
  }
  void encode(const Shape& shape, std::span<const float> weights, std::span<const float> importance,
              std::span<const std::span<std::byte>> parts) const override {
    encode_with(shape, weights, {.importance = importance}, parts);
  }
  void encode_with(const Shape& shape, std::span<const float> weights, const InputStatistics& statistics,
                   std::span<const std::span<std::byte>> parts) const override {
    const auto cols = static_cast<size_t>(shape.cols());
    std::vector<float> diagonal;
    for (size_t c = 0; c < cols && !statistics.hessian.empty(); ++c)
      diagonal.push_back(statistics.hessian[c * cols + c]);
    for (const Share& share : shares(shape)) {
      const auto w =
          weights.subspan(static_cast<size_t>(share.first) * cols, static_cast<size_t>(share.shape.elements()));
      const auto own = parts.subspan(share.part, share.parts);
      if (encode_wisely(*share.codec, share.shape, w, statistics, own)) continue;
      share.codec->encode(share.shape, w, diagonal.empty() ? statistics.importance : diagonal, own);
    }
  }
  void decode_rows(const Shape& shape, std::span<const std::span<const std::byte>> parts, int64_t first,
                   int64_t count, float* out) const override {
    for (const Share& share : shares(shape)) {
      const int64_t from = std::max(first, share.first);
      const int64_t to = std::min(first + count, share.first + share.shape.rows());
      if (from < to)
        share.codec->decode_rows(share.shape, parts.subspan(share.part, share.parts), from - share.first,
                                 to - from, out + (from - first) * shape.cols());
    }
  }
  [[nodiscard]] std::vector<Share> shares(const Shape& shape) const override {
    std::vector<Share> list;
    const auto n = static_cast<int64_t>(codecs_.size());
    size_t part = 0;
    for (int64_t i = 0; i < n; ++i) {
      const int64_t begin = shape.rows() * i / n, end = shape.rows() * (i + 1) / n;
      if (begin == end) continue;
      const Codec* codec = codecs_[static_cast<size_t>(i)];
      const Shape own{end - begin, shape.cols()};
      const size_t parts = codec->components(own).size();
      list.push_back({static_cast<size_t>(i), codec, begin, own, part, parts});
      part += parts;
    }
    return list;
  }
  [[nodiscard]] Result<void> check_parts(const Shape& shape,
                                         std::span<const std::span<const std::byte>> parts) const override {
    for (const Share& share : shares(shape))
      if (const auto* check = dynamic_cast<const PartsCheck*>(share.codec))
        LISSOM_CHECK(check->check_parts(share.shape, parts.subspan(share.part, share.parts)));
    return {};
  }

 private:
  std::vector<const Codec*> codecs_;
  std::string name_;
};

class Family final : public CodecFamily {
 public:
  [[nodiscard]] std::string_view name() const override { return kName; }
  [[nodiscard]] std::string_view parameters() const override {
    return "two to eight codecs with | between them, for equal shares of the rows";
  }
  [[nodiscard]] Result<std::unique_ptr<Codec>> make(std::string_view text) const override {
    std::vector<const Codec*> codecs;
    for (size_t begin = 0; begin <= text.size() && codecs.size() <= kMostShares;) {
      const size_t end = std::min(text.find('|', begin), text.size());
      const std::string_view one = text.substr(begin, end - begin);
      if (one.starts_with(kName)) return bad_input("shares are not stacked themselves");
      LISSOM_TRY(const Codec* codec, codec_named(one));
      if (dynamic_cast<const AdaptiveCodec*>(codec) != nullptr)
        return bad_input(std::string(one) + " chooses by a whole tensor, not by a share of it");
      codecs.push_back(codec);
      begin = end + 1;
    }
    if (codecs.size() < 2 || codecs.size() > kMostShares)
      return bad_input("expected " + std::string(parameters()));
    return std::make_unique<Stacked>(std::move(codecs));
  }
};

}  // namespace

const CodecFamily& stacked_family() {
  static const Family family;
  return family;
}

}  // namespace lissom
