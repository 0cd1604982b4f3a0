// GPTQ: a layer of out × in is stored by its inputs. qweight: I32 [in·bits/32, out], the codes of one output
// down a column; qzeros: I32 [in/group, out·bits/32]; scales: F16 [in/group, out]; g_idx: I32 [in], the group
// of each input. checkpoint_format "gptq" holds each zero point less one, "gptq_v2" as it is.

#include <algorithm>
#include <set>

#include "base/text.h"
#include "format/packed_words.h"
#include "format/quant_method.h"

namespace lissom {
namespace {

std::vector<uint32_t> words_of(const TensorView& view) {
  const auto words = typed<uint32_t>(view);
  return {words.begin(), words.end()};
}

class Writer : public LinearWriter {
 public:
  Writer(const WeightOnlyScheme& scheme, bool less_one) : less_one_(less_one) {
    // The formats' programs give zero points less one a bit too few for 0 - 1.
    spec_ = {.bits = scheme.bits,
             .group = scheme.group,
             .symmetric = scheme.symmetric,
             .scale = GroupScale::f16,
             .signed_scale = scheme.symmetric,
             .lowest_zero = less_one ? 1 : 0};
  }
  [[nodiscard]] const GroupSpec& spec() const override { return spec_; }

  [[nodiscard]] std::vector<TensorInfo> parts(int64_t rows, int64_t cols) const override {
    const int64_t groups = cols / spec_.group, in = packed_word_count(cols, spec_.bits),
                  out = packed_word_count(rows, spec_.bits);
    const auto bytes = [](int64_t n, uint64_t of) { return static_cast<uint64_t>(n) * of; };
    return {{".qweight", "I32", {in, rows}, bytes(in * rows, 4)},
            {".qzeros", "I32", {groups, out}, bytes(groups * out, 4)},
            {".scales", "F16", {groups, rows}, bytes(groups * rows, 2)},
            {".g_idx", "I32", {cols}, bytes(cols, 4)}};
  }

  [[nodiscard]] std::vector<std::vector<std::byte>> pack(const GroupMatrix& m) const override {
    const int64_t groups = m.groups(), in = packed_word_count(m.cols, spec_.bits);
    std::vector<uint8_t> zeros = transposed(std::span(m.zeros), m.rows, groups);
    if (less_one_)
      for (uint8_t& z : zeros) --z;
    std::vector<int32_t> group_of(static_cast<size_t>(m.cols));
    for (size_t c = 0; c < group_of.size(); ++c)
      group_of[c] = static_cast<int32_t>(static_cast<int64_t>(c) / spec_.group);
    const std::vector<uint32_t> weight = pack_words(m.codes, m.rows, m.cols, spec_.bits);
    return {bytes_of(transposed(std::span(weight), m.rows, in)),
            bytes_of(pack_words(zeros, groups, m.rows, spec_.bits)),
            scale_bytes(transposed(std::span(m.scales), m.rows, groups), GroupScale::f16), bytes_of(group_of)};
  }

  [[nodiscard]] std::string unfit(int64_t rows, int64_t cols) const override {
    if (cols % spec_.group != 0)
      return "its " + std::to_string(cols) + " columns are no multiple of the group of " +
             std::to_string(spec_.group);
    if (rows % 32 != 0 || cols % 32 != 0)
      return "its shape [" + std::to_string(rows) + ", " + std::to_string(cols) +
             "] is no multiple of 32, as the format's kernels want it";
    return "";
  }

  [[nodiscard]] Json config(const QuantModules& modules) const override {
    Json json = {{"quant_method", "gptq"},
                 {"bits", spec_.bits},
                 {"group_size", spec_.group},
                 {"desc_act", false},
                 {"sym", spec_.symmetric},
                 {"lm_head", false},
                 {"checkpoint_format", less_one_ ? "gptq" : "gptq_v2"},
                 {"pack_dtype", "int32"}};
    if (modules.plain.empty()) return json;
    // gptqmodel and vLLM leave out what `dynamic` says, transformers what modules_in_block_to_quantize does
    // not.
    std::set<std::string> kinds;
    for (const std::string& name : modules.quantized) kinds.insert(kind_of(name));
    for (const std::string& name : modules.plain) {
      std::string pattern = "-:^";
      for (const char c : name) pattern += c == '.' ? std::string("\\.") : std::string(1, c);
      json["dynamic"][pattern + "$"] = Json::object();
    }
    json["modules_in_block_to_quantize"] = Json::array({kinds});
    return json;
  }

 private:
  /// "self_attn.q_proj" of "model.layers.0.self_attn.q_proj".
  static std::string kind_of(const std::string& name) {
    size_t at = 0;
    while ((at = name.find('.', at)) != std::string::npos) {
      const size_t end = std::min(name.find('.', at + 1), name.size());
      const bool number = end > at + 1 && std::all_of(name.begin() + static_cast<ptrdiff_t>(at) + 1,
                                                      name.begin() + static_cast<ptrdiff_t>(end),
                                                      [](char c) { return c >= '0' && c <= '9'; });
      if (number && end < name.size()) return name.substr(end + 1);
      ++at;
    }
    return name;
  }

  GroupSpec spec_;
  bool less_one_;
};

class Reader : public LinearReader {
 public:
  Reader(const GroupSpec& spec, bool less_one) : spec_(spec), less_one_(less_one) {}

  [[nodiscard]] Result<std::optional<QuantizedLayer>> recognise(const LayerTensors& layer) const override {
    const TensorInfo* weight = layer.find("qweight");
    if (weight == nullptr) return std::nullopt;
    const std::string where = "tensor " + in_quotes(weight->name);
    if (weight->type != "I32" || weight->shape.rank() != 2 || weight->shape.elements() < 1)
      return bad_input(where + " is " + weight->type + " " + weight->shape.str() +
                       ", expected a matrix of I32: columns packed by 'bits', rows");
    if (weight->shape[0] * 32 % spec_.bits != 0)
      return bad_input(where + ": " + std::to_string(weight->shape[0]) +
                       " words do not hold whole numbers of " + std::to_string(spec_.bits) + " bits");
    QuantizedLayer found{weight->shape[1], weight->shape[0] * 32 / spec_.bits, spec_, {}, {}};
    const int64_t of_group = spec_.columns_of_group(found.cols),
                  groups = (found.cols + of_group - 1) / of_group;
    LISSOM_CHECK(expect_part(layer, "qzeros", "I32", {groups, packed_word_count(found.rows, spec_.bits)}));
    LISSOM_CHECK(expect_part(layer, "scales", "F16 BF16 F32", {groups, found.rows}));
    found.parts = {"qweight", "qzeros", "scales"};
    if (layer.find("g_idx") != nullptr) {
      LISSOM_CHECK(expect_part(layer, "g_idx", "I32", {found.cols}));
      found.parts.emplace_back("g_idx");
    }
    return found;
  }

  [[nodiscard]] Result<GroupMatrix> unpack(const QuantizedLayer& layer,
                                           const LayerViews& views) const override {
    GroupMatrix m{layer.spec, layer.rows, layer.cols, {}, {}, {}, 1, {}};
    const int64_t groups = m.groups();
    const std::vector<uint32_t> words = words_of(views.find("qweight")->second);
    const auto by_row = transposed(std::span(words), packed_word_count(layer.cols, spec_.bits), layer.rows);
    m.codes = unpack_words(by_row, layer.rows, layer.cols, spec_.bits);
    std::vector<uint8_t> zeros =
        unpack_words(words_of(views.find("qzeros")->second), groups, layer.rows, spec_.bits);
    if (less_one_)
      for (uint8_t& z : zeros) ++z;
    m.zeros = transposed(std::span(zeros), groups, layer.rows);
    const std::vector<float> scales = float_values(views.find("scales")->second);
    m.scales = transposed(std::span(scales), groups, layer.rows);
    if (const auto index = views.find("g_idx"); index != views.end()) {
      LISSOM_TRY(m.group_of, group_indices(index->second, groups, m.spec.columns_of_group(m.cols)));
    }
    return m;
  }

 private:
  GroupSpec spec_;
  bool less_one_;
};

std::unique_ptr<LinearWriter> writer(std::string_view scheme, bool less_one) {
  const auto parsed = parse_weight_only(scheme);
  return parsed ? std::make_unique<Writer>(*parsed, less_one) : nullptr;
}

}  // namespace

std::unique_ptr<LinearWriter> gptq_v1_writer(std::string_view scheme, GroupScale /*halves*/) {
  return writer(scheme, true);
}
std::unique_ptr<LinearWriter> gptq_v2_writer(std::string_view scheme, GroupScale /*halves*/) {
  return writer(scheme, false);
}

Result<std::unique_ptr<LinearReader>> gptq_reader(const Json& config) {
  const QuantFields f(config);
  LISSOM_TRY(const int64_t bits, f.integer("bits", 2, 8));
  if (bits != 2 && bits != 3 && bits != 4 && bits != 8)
    return unsupported(f.field("bits") + ": is " + std::to_string(bits) + ", expected 2, 3, 4 or 8");
  LISSOM_TRY(const int64_t group, f.integer("group_size", -1, 1 << 24));
  if (group == 0) return bad_input(f.field("group_size") + ": is 0, expected -1 or columns");
  LISSOM_TRY(const std::string format, f.string_or("checkpoint_format", "gptq"));
  if (format != "gptq" && format != "gptq_v2")
    return unsupported(f.field("checkpoint_format") + ": is " + in_quotes(format) +
                       "; gptq and gptq_v2 are read");
  LISSOM_TRY(const bool symmetric, f.boolean_or("sym", true));
  const GroupSpec spec{
      .bits = static_cast<int>(bits), .group = std::max<int64_t>(group, 0), .symmetric = symmetric};
  return std::make_unique<Reader>(spec, format == "gptq");
}

}  // namespace lissom
