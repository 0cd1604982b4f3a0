// AWQ, version "gemm": a layer of out × in is stored by its inputs. qweight: I32 [in, out/8]; qzeros: I32
// [in/group, out/8], zero points as they are; scales: F16 [in/group, out]. Of the eight outputs of a word the
// four with even numbers come first: nibble i holds output kOrder[i].

#include <algorithm>

#include "base/text.h"
#include "format/packed_words.h"
#include "format/quant_method.h"

namespace lissom {
namespace {

constexpr int kBits = 4, kNibbles = 8;
constexpr int kOrder[kNibbles] = {0, 2, 4, 6, 1, 3, 5, 7};

/// Puts each run of eight into the order of the nibbles, or back.
void reorder(std::vector<uint8_t>& values, bool into_words) {
  for (size_t at = 0; at + kNibbles <= values.size(); at += kNibbles) {
    uint8_t run[kNibbles];
    std::copy_n(values.begin() + static_cast<ptrdiff_t>(at), kNibbles, run);
    for (size_t i = 0; i < kNibbles; ++i) {
      const auto from = static_cast<size_t>(kOrder[i]);
      if (into_words)
        values[at + i] = run[from];
      else
        values[at + from] = run[i];
    }
  }
}

/// out-major values to words by their inputs or groups.
std::vector<std::byte> packed(const std::vector<uint8_t>& by_output, int64_t rows, int64_t cols) {
  std::vector<uint8_t> values = transposed(std::span(by_output), rows, cols);
  reorder(values, true);
  return bytes_of(pack_words(values, cols, rows, kBits));
}

std::vector<uint8_t> unpacked(const TensorView& view, int64_t rows, int64_t cols) {
  std::vector<uint8_t> values = unpack_words(typed<uint32_t>(view), cols, rows, kBits);
  reorder(values, false);
  return transposed(std::span(values), cols, rows);
}

class Writer : public LinearWriter {
 public:
  explicit Writer(const GroupSpec& spec) : spec_(spec) {}
  [[nodiscard]] const GroupSpec& spec() const override { return spec_; }

  [[nodiscard]] std::vector<TensorInfo> parts(int64_t rows, int64_t cols) const override {
    const int64_t groups = cols / spec_.group, words = rows / kNibbles;
    const auto bytes = [](int64_t n, uint64_t of) { return static_cast<uint64_t>(n) * of; };
    return {{".qweight", "I32", {cols, words}, bytes(cols * words, 4)},
            {".qzeros", "I32", {groups, words}, bytes(groups * words, 4)},
            {".scales", "F16", {groups, rows}, bytes(groups * rows, 2)}};
  }
  [[nodiscard]] std::vector<std::vector<std::byte>> pack(const GroupMatrix& m) const override {
    return {packed(m.codes, m.rows, m.cols), packed(m.zeros, m.rows, m.groups()),
            scale_bytes(transposed(std::span(m.scales), m.rows, m.groups()), GroupScale::f16)};
  }
  [[nodiscard]] std::string unfit(int64_t rows, int64_t cols) const override {
    if (cols % spec_.group != 0)
      return "its " + std::to_string(cols) + " columns are no multiple of the group of " +
             std::to_string(spec_.group);
    if (rows % kNibbles != 0) return "its " + std::to_string(rows) + " rows are no multiple of 8";
    return "";
  }
  [[nodiscard]] Json config(const QuantModules& modules) const override {
    std::vector<std::string> plain = modules.plain;
    plain.emplace_back("lm_head");
    return {{"quant_method", "awq"}, {"bits", kBits},     {"group_size", spec_.group},
            {"zero_point", true},    {"version", "gemm"}, {"modules_to_not_convert", plain}};
  }

 private:
  GroupSpec spec_;
};

class Reader : public LinearReader {
 public:
  explicit Reader(int64_t group) : spec_{.bits = kBits, .group = group, .symmetric = false} {}

  [[nodiscard]] Result<std::optional<QuantizedLayer>> recognise(const LayerTensors& layer) const override {
    const TensorInfo* weight = layer.find("qweight");
    if (weight == nullptr) return std::nullopt;
    if (weight->type != "I32" || weight->shape.rank() != 2 || weight->shape.elements() < 1)
      return bad_input("tensor " + in_quotes(weight->name) + " is " + weight->type + " " + weight->shape.str() +
                       ", expected a matrix of I32: columns, rows/8");
    QuantizedLayer found{weight->shape[1] * kNibbles, weight->shape[0], spec_, {}, {}};
    const int64_t of_group = spec_.columns_of_group(found.cols),
                  groups = (found.cols + of_group - 1) / of_group;
    LISSOM_CHECK(expect_part(layer, "qzeros", "I32", {groups, weight->shape[1]}));
    LISSOM_CHECK(expect_part(layer, "scales", "F16 BF16 F32", {groups, found.rows}));
    found.parts = {"qweight", "qzeros", "scales"};
    return found;
  }
  [[nodiscard]] Result<GroupMatrix> unpack(const QuantizedLayer& layer,
                                           const LayerViews& views) const override {
    GroupMatrix m{layer.spec, layer.rows, layer.cols, {}, {}, {}, 1, {}};
    const int64_t groups = m.groups();
    m.codes = unpacked(views.find("qweight")->second, layer.rows, layer.cols);
    m.zeros = unpacked(views.find("qzeros")->second, layer.rows, groups);
    const std::vector<float> scales = float_values(views.find("scales")->second);
    m.scales = transposed(std::span(scales), groups, layer.rows);
    return m;
  }

 private:
  GroupSpec spec_;
};

}  // namespace

std::unique_ptr<LinearWriter> awq_writer(std::string_view scheme, GroupScale /*halves*/) {
  const auto parsed = parse_weight_only(scheme);
  if (!parsed || parsed->bits != kBits || parsed->symmetric) return nullptr;
  return std::make_unique<Writer>(
      GroupSpec{.bits = kBits, .group = parsed->group, .symmetric = false, .scale = GroupScale::f16});
}

Result<std::unique_ptr<LinearReader>> awq_reader(const Json& config) {
  const QuantFields f(config);
  LISSOM_TRY(const int64_t bits, f.integer("bits", 1, 64));
  if (bits != kBits)
    return unsupported(f.field("bits") + ": is " + std::to_string(bits) + "; AWQ of 4 is read");
  LISSOM_TRY(const int64_t group, f.integer("group_size", -1, 1 << 24));
  if (group == 0) return bad_input(f.field("group_size") + ": is 0, expected -1 or columns");
  LISSOM_TRY(std::string version, f.string_or("version", "gemm"));
  if (version != "gemm" && version != "GEMM")
    return unsupported(f.field("version") + ": is " + in_quotes(version) + "; gemm is read");
  LISSOM_TRY(const bool zero_point, f.boolean_or("zero_point", true));
  if (!zero_point) return unsupported(f.field("zero_point") + ": is false; only AWQ with zero points is read");
  return std::make_unique<Reader>(std::max<int64_t>(group, 0));
}

}  // namespace lissom
