// compressed-tensors (of llm-compressor and vLLM). A layer's weight of out × in, by `format`:
//   pack-quantized        weight_packed I32 [out, in·bits/32]: codes as unsigned numbers; weight_scale [out,
//                         groups]; weight_shape I64 [2]; weight_zero_point I32 [out·bits/32, groups], packed
//                         down the columns; weight_g_idx I32 [in] in older files
//   int-quantized         weight I8, weight_scale [out, groups], weight_zero_point I8 of the same shape
//   float-quantized       weight F8_E4M3, weight_scale [1], [out, 1], [out, groups] or one for each block
//   nvfp4-pack-quantized  weight_packed U8 [out, in/2], low nibble first; weight_scale F8_E4M3 [out, in/16];
//                         weight_global_scale F32 [1], by which scales are divided
//   mxfp4-pack-quantized  weight_packed U8 [out, in/2]; weight_scale U8 [out, in/32], exponents less 127
// A reader tells them by their tensors, and holds each against the config_groups.

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "format/packed_words.h"
#include "format/quant_method.h"

namespace lissom {
namespace {

constexpr int kMaxGroup = 1 << 24;

/// A signed number of `bits` bits, as these files mean it, from the unsigned one that is stored, or back.
void shift_by_half(std::vector<uint8_t>& values, int bits) {
  const auto half = static_cast<uint8_t>(1U << (bits - 1));
  for (uint8_t& v : values) v = static_cast<uint8_t>(v + half);
}

std::vector<uint8_t> nibbles(std::span<const uint8_t> bytes) {
  std::vector<uint8_t> codes;
  codes.reserve(bytes.size() * 2);
  for (const uint8_t b : bytes) {
    codes.push_back(b & 15);
    codes.push_back(b >> 4);
  }
  return codes;
}

// ---------------------------------------------------------------- writing

Json weights_json(const GroupSpec& spec) {
  Json json = {{"num_bits", spec.bits},
               {"type", spec.element == GroupElement::integer ? "int" : "float"},
               {"symmetric", spec.symmetric},
               {"strategy", spec.group == 0                  ? "channel"
                            : spec.scale == GroupScale::e4m3 ? "tensor_group"
                                                             : "group"},
               {"dynamic", false}};
  if (spec.group > 0) json["group_size"] = spec.group;
  return json;
}

struct Layout {
  std::string_view format;
  bool activations = false;  ///< quantized too, for each token as it comes
};

class Writer : public LinearWriter {
 public:
  Writer(const GroupSpec& spec, const Layout& layout) : spec_(spec), layout_(layout) {}
  [[nodiscard]] const GroupSpec& spec() const override { return spec_; }

  [[nodiscard]] std::vector<TensorInfo> parts(int64_t rows, int64_t cols) const override {
    const int64_t groups = cols / spec_.columns_of_group(cols);
    std::vector<TensorInfo> list;
    const auto add = [&](const char* name, std::string_view type, const Shape& shape, uint64_t of) {
      list.push_back({name, std::string(type), shape, static_cast<uint64_t>(shape.elements()) * of});
    };
    const auto scale = [&] {
      add(".weight_scale", scale_type(spec_.scale), {rows, groups},
          static_cast<uint64_t>(group_scale_bits(spec_.scale)) / 8);
    };
    if (layout_.activations) {
      add(".weight", spec_.element == GroupElement::integer ? "I8" : "F8_E4M3", {rows, cols}, 1);
      scale();
    } else if (spec_.element == GroupElement::e2m1) {
      add(".weight_packed", "U8", {rows, cols / 2}, 1);
      scale();
      if (spec_.scale == GroupScale::e4m3) add(".weight_global_scale", "F32", {1}, 4);
    } else {
      add(".weight_packed", "I32", {rows, packed_word_count(cols, spec_.bits)}, 4);
      scale();
      add(".weight_shape", "I64", {2}, 8);
      if (!spec_.symmetric) add(".weight_zero_point", "I32", {packed_word_count(rows, spec_.bits), groups}, 4);
    }
    return list;
  }

  [[nodiscard]] std::vector<std::vector<std::byte>> pack(const GroupMatrix& m) const override {
    std::vector<std::byte> scales = scale_bytes(m.scales, spec_.scale);
    if (layout_.activations) {
      std::vector<uint8_t> codes = m.codes;
      if (spec_.element == GroupElement::integer) shift_by_half(codes, 8);
      return {bytes_of(codes), std::move(scales)};
    }
    if (spec_.element == GroupElement::e2m1) {
      std::vector<uint8_t> bytes(m.codes.size() / 2);
      for (size_t i = 0; i < bytes.size(); ++i)
        bytes[i] = static_cast<uint8_t>(m.codes[2 * i] | (m.codes[2 * i + 1] << 4));
      if (spec_.scale != GroupScale::e4m3) return {bytes_of(bytes), std::move(scales)};
      return {bytes_of(bytes), std::move(scales), bytes_of(std::vector<float>{m.global_scale})};
    }
    std::vector<std::vector<std::byte>> all = {bytes_of(pack_words(m.codes, m.rows, m.cols, spec_.bits)),
                                               std::move(scales),
                                               bytes_of(std::vector<int64_t>{m.rows, m.cols})};
    if (spec_.symmetric) return all;
    const int64_t groups = m.groups();
    const auto by_group = transposed(std::span(m.zeros), m.rows, groups);
    const auto words = pack_words(by_group, groups, m.rows, spec_.bits);
    all.push_back(bytes_of(transposed(std::span(words), groups, packed_word_count(m.rows, spec_.bits))));
    return all;
  }

  [[nodiscard]] std::string unfit(int64_t /*rows*/, int64_t cols) const override {
    if (spec_.group > 0 && cols % spec_.group != 0)
      return "its " + std::to_string(cols) + " columns are no multiple of the group of " +
             std::to_string(spec_.group);
    return "";
  }

  [[nodiscard]] Json config(const QuantModules& modules) const override {
    Json group = {{"targets", {"Linear"}}, {"weights", weights_json(spec_)}};
    group["input_activations"] = nullptr;
    group["output_activations"] = nullptr;
    if (layout_.activations)
      group["input_activations"] = {{"num_bits", 8},
                                    {"type", spec_.element == GroupElement::integer ? "int" : "float"},
                                    {"symmetric", true},
                                    {"strategy", "token"},
                                    {"dynamic", true}};
    std::vector<std::string> ignore = {"lm_head"};
    ignore.insert(ignore.end(), modules.plain.begin(), modules.plain.end());
    return {{"quant_method", "compressed-tensors"},
            {"format", layout_.format},
            {"quantization_status", "compressed"},
            {"ignore", ignore},
            {"config_groups", {{"group_0", group}}}};
  }

  [[nodiscard]] std::string caveat() const override {
    return layout_.activations
               ? "measured with activations as they are: a loader that rounds them to 8 bits for "
                 "each token, as the folder asks for, loses a little more"
               : "";
  }

 private:
  GroupSpec spec_;
  Layout layout_;
};

// ---------------------------------------------------------------- reading

/// What a config group says of its weights.
struct Declared {
  GroupElement element;
  int bits;
  int64_t group;  ///< columns; 0: whole rows, or blocks
  bool blocks;    ///< of rows and columns
  bool symmetric;
};

Result<Declared> read_declared(const Json& group, const std::string& path) {
  const auto it = group.is_object() ? group.find("weights") : group.end();
  if (it == group.end() || !it->is_object())
    return bad_input("field '" + path + "weights': is missing or not an object");
  const QuantFields f(*it, path + "weights.");
  Declared d{};
  LISSOM_TRY(const int64_t bits, f.integer("num_bits", 1, 8));
  d.bits = static_cast<int>(bits);
  LISSOM_TRY(const std::string type, f.string_or("type", "int"));
  if (type != "int" && type != "float") return bad_input(f.field("type") + ": is neither int nor float");
  d.element = type == "int" ? GroupElement::integer : bits == 8 ? GroupElement::e4m3 : GroupElement::e2m1;
  if (d.element == GroupElement::e2m1 && bits != 4)
    return unsupported(f.field("num_bits") + ": floats of " + std::to_string(bits) + " bits are not read");
  LISSOM_TRY(d.symmetric, f.boolean_or("symmetric", true));
  LISSOM_TRY(const int64_t columns, f.integer_or("group_size", -1, -1, kMaxGroup));
  LISSOM_TRY(const std::string strategy, f.string_or("strategy", columns > 0 ? "group" : "channel"));
  const bool grouped = strategy == "group" || strategy == "tensor_group";
  if (grouped && columns < 1) return bad_input(f.field("group_size") + ": is missing");
  d.group = grouped ? columns : 0;
  d.blocks = strategy == "block";
  return d;
}

class Reader : public LinearReader {
 public:
  explicit Reader(std::vector<Declared> groups) : groups_(std::move(groups)) {}

  [[nodiscard]] Result<std::optional<QuantizedLayer>> recognise(const LayerTensors& layer) const override {
    const TensorInfo *packed = layer.find("weight_packed"), *plain = layer.find("weight");
    const TensorInfo* weight = packed != nullptr ? packed : plain;
    if (weight == nullptr) return std::nullopt;
    const bool naive = packed == nullptr && (plain->type == "I8" || plain->type == "F8_E4M3");
    if (packed == nullptr && !naive) return std::nullopt;
    if (weight->shape.rank() != 2 || weight->shape.elements() < 1)
      return bad_input("tensor " + in_quotes(weight->name) + " has shape " + weight->shape.str() +
                       ", expected a matrix");
    Result<QuantizedLayer> found = naive                   ? recognise_naive(layer, *weight)
                                   : weight->type == "I32" ? recognise_packed(layer, *weight)
                                                           : recognise_floats(layer, *weight);
    if (!found) return tl::unexpected(found.error());
    for (const auto& [part, info] : layer.parts)
      if (std::ranges::count(found->parts, part) == 0 && is_side(part)) found->dropped.push_back(part);
    return std::optional<QuantizedLayer>(std::move(*found));
  }

  [[nodiscard]] Result<GroupMatrix> unpack(const QuantizedLayer& layer,
                                           const LayerViews& views) const override {
    GroupMatrix m{layer.spec, layer.rows, layer.cols, {}, {}, {}, 1, {}};
    const auto view = [&](const char* part) -> const TensorView& { return views.find(part)->second; };
    const auto has = [&](const char* part) { return views.contains(part); };
    if (layer.spec.element == GroupElement::e2m1) {
      unpack_floats(view("weight_packed"), view("weight_scale"), m);
      if (has("weight_global_scale")) m.global_scale = float_values(view("weight_global_scale"))[0];
      return m;
    }
    LISSOM_CHECK(spread_scales(float_values(view("weight_scale")), view("weight_scale").info.shape, m));
    if (has("weight_packed")) {
      LISSOM_CHECK(check_shape(view("weight_shape"), layer));
      m.codes = unpack_words(typed<uint32_t>(view("weight_packed")), layer.rows, layer.cols, layer.spec.bits);
    } else {
      const auto bytes = typed<uint8_t>(view("weight"));
      m.codes.assign(bytes.begin(), bytes.end());
      if (layer.spec.element == GroupElement::integer) shift_by_half(m.codes, 8);
    }
    if (layer.spec.element == GroupElement::e4m3) return m;
    LISSOM_CHECK(unpack_zeros(layer, views, m));
    if (has("weight_g_idx")) {
      LISSOM_TRY(m.group_of, group_indices(view("weight_g_idx"), m.groups(), m.spec.columns_of_group(m.cols)));
    }
    return m;
  }

 private:
  /// What only runtimes with quantized activations or caches want.
  static bool is_side(std::string_view part) {
    return part == "input_scale" || part == "input_zero_point" || part == "input_global_scale" ||
           part == "output_scale" || part == "output_zero_point" || part == "weight_shape";
  }

  /// The group of this element and these bits that `fits`; an error names what was found.
  template <class Fits>
  Result<Declared> declared(const TensorInfo& weight, GroupElement element, int bits, Fits fits) const {
    std::string sizes;
    for (const Declared& d : groups_) {
      if (d.element != element || (bits > 0 && d.bits != bits)) continue;
      if (fits(d)) return d;
      sizes += (sizes.empty() ? "" : ", ") + std::to_string(d.group);
    }
    const std::string where = "tensor " + in_quotes(weight.name) + " " + weight.type + " " + weight.shape.str();
    if (sizes.empty()) return bad_input(where + " has a type of which field 'config_groups' says nothing");
    return bad_input(where + " and its scales do not fit field 'config_groups': group_size " + sizes +
                     " (0: whole rows)");
  }

  Result<QuantizedLayer> recognise_packed(const LayerTensors& layer, const TensorInfo& weight) const {
    const TensorInfo* scale = layer.find("weight_scale");
    if (scale == nullptr || scale->shape.rank() != 2 || scale->shape.elements() < 1)
      return bad_input("tensor " + in_quotes(layer.name + ".weight_scale") + " is missing or no matrix");
    const int64_t words = weight.shape[1], groups = scale->shape[1];
    int64_t cols = 0;
    const auto fits = [&](const Declared& d) {
      // Of whole rows the tensors do not say how far the last word is filled; linear layers fill it.
      if (d.group > 0 && (groups > words * 32 || __builtin_mul_overflow(groups, d.group, &cols))) return false;
      if (d.group == 0) cols = words * 32 / d.bits;
      return (d.group > 0 || groups == 1) && cols <= words * 32 && packed_word_count(cols, d.bits) == words &&
             (layer.find("weight_zero_point") != nullptr) == !d.symmetric;
    };
    LISSOM_TRY(const Declared d, declared(weight, GroupElement::integer, 0, fits));
    QuantizedLayer found{weight.shape[0],
                         cols,
                         {.bits = d.bits, .group = d.group, .symmetric = d.symmetric},
                         {"weight_packed", "weight_scale", "weight_shape"},
                         {}};
    LISSOM_CHECK(expect_part(layer, "weight_scale", "F16 BF16 F32", {found.rows, groups}));
    LISSOM_CHECK(expect_part(layer, "weight_shape", "I64 I32", {2}));
    if (!d.symmetric) {
      LISSOM_CHECK(
          expect_part(layer, "weight_zero_point", "I32", {packed_word_count(found.rows, d.bits), groups}));
      found.parts.emplace_back("weight_zero_point");
    }
    if (layer.find("weight_g_idx") != nullptr) {
      LISSOM_CHECK(expect_part(layer, "weight_g_idx", "I32", {cols}));
      found.parts.emplace_back("weight_g_idx");
    }
    return found;
  }

  Result<QuantizedLayer> recognise_naive(const LayerTensors& layer, const TensorInfo& weight) const {
    const bool integer = weight.type == "I8";
    const TensorInfo* scale = layer.find("weight_scale");
    const std::string where = "tensor " + in_quotes(layer.name + ".weight_scale");
    if (scale == nullptr) return bad_input(where + " is missing");
    const int64_t rows = weight.shape[0], cols = weight.shape[1];
    const Shape& s = scale->shape;
    const bool one = s.elements() == 1;
    if (!one && (s.rank() != 2 || s[0] < 1 || s[0] > rows || s[1] < 1 || s[1] > cols))
      return bad_input(where + " has shape " + s.str() + ", which does not fit the weight's " +
                       weight.shape.str());
    const int64_t groups = one ? 1 : s[1];
    const auto fits = [&](const Declared& d) {
      return d.blocks || (d.group > 0 ? (cols + d.group - 1) / d.group : 1) == groups;
    };
    LISSOM_TRY(const Declared d,
               declared(weight, integer ? GroupElement::integer : GroupElement::e4m3, integer ? 0 : 8, fits));
    // A block's size is not asked for where it follows from the shapes.
    const int64_t of_group = groups == 1 ? 0 : d.group > 0 ? d.group : block_of(cols, groups);
    QuantizedLayer found{rows,
                         cols,
                         {.element = integer ? GroupElement::integer : GroupElement::e4m3,
                          .bits = 8,
                          .group = of_group,
                          .symmetric = d.symmetric},
                         {"weight", "weight_scale"},
                         {}};
    LISSOM_CHECK(expect_part(layer, "weight_scale", "F16 BF16 F32", s));
    if (d.symmetric) return found;
    LISSOM_CHECK(expect_part(layer, "weight_zero_point", "I8", s));
    found.parts.emplace_back("weight_zero_point");
    return found;
  }

  Result<QuantizedLayer> recognise_floats(const LayerTensors& layer, const TensorInfo& weight) const {
    if (weight.type != "U8")
      return bad_input("tensor " + in_quotes(weight.name) + " has type " + weight.type +
                       ", expected I32 (whole numbers) or U8 (floats of 4 bits)");
    const int64_t cols = weight.shape[1] * 2;
    const bool global = layer.find("weight_global_scale") != nullptr;
    const auto fits = [&](const Declared& d) { return d.group > 0 && cols % d.group == 0; };
    LISSOM_TRY(const Declared d, declared(weight, GroupElement::e2m1, 4, fits));
    QuantizedLayer found{weight.shape[0],
                         cols,
                         {.element = GroupElement::e2m1,
                          .bits = 4,
                          .group = d.group,
                          .symmetric = true,
                          .scale = global ? GroupScale::e4m3 : GroupScale::e8m0},
                         {"weight_packed", "weight_scale"},
                         {}};
    LISSOM_CHECK(
        expect_part(layer, "weight_scale", global ? "F8_E4M3" : "U8 F8_E8M0", {found.rows, cols / d.group}));
    if (!global) return found;
    LISSOM_CHECK(expect_part(layer, "weight_global_scale", "F32", {1}));
    found.parts.emplace_back("weight_global_scale");
    return found;
  }

  /// The usual block sizes first: of 300 columns in 3 blocks both 100 and 128 would do.
  static int64_t block_of(int64_t cols, int64_t groups) {
    for (const int64_t block : {128, 64, 32, 256})
      if ((cols + block - 1) / block == groups) return block;
    return (cols + groups - 1) / groups;
  }

  static void unpack_floats(const TensorView& packed, const TensorView& scale, GroupMatrix& m) {
    m.codes = nibbles(typed<uint8_t>(packed));
    if (m.spec.scale == GroupScale::e4m3) {
      m.scales = float_values(scale);
      return;
    }
    for (const uint8_t e : typed<uint8_t>(scale))
      m.scales.push_back(std::ldexp(1.0F, static_cast<int>(e) - 127));
  }

  /// One scale for each row and group from what there is: one of all, one of each row, one of each block of
  /// rows.
  static Result<void> spread_scales(const std::vector<float>& scales, const Shape& shape, GroupMatrix& m) {
    const int64_t groups = m.groups(), rows = scales.size() == 1 ? 1 : shape[0];
    if (static_cast<int64_t>(scales.size()) != rows * groups)
      return bad_input("weight_scale: shape " + shape.str() + " does not fit " + std::to_string(m.rows) +
                       " rows of " + std::to_string(groups) + " groups");
    const int64_t of_block = rows == m.rows ? 1 : rows == 1 ? m.rows : block_of(m.rows, rows);
    m.scales.resize(static_cast<size_t>(m.rows * groups));
    for (int64_t r = 0; r < m.rows; ++r)
      std::copy_n(scales.begin() + r / of_block * groups, groups, m.scales.begin() + r * groups);
    return {};
  }

  static Result<void> check_shape(const TensorView& view, const QuantizedLayer& layer) {
    int64_t dims[2] = {};
    for (size_t i = 0; i < 2; ++i)
      dims[i] = view.info.type == "I64" ? typed<int64_t>(view)[i] : typed<int32_t>(view)[i];
    if (dims[0] == layer.rows && dims[1] == layer.cols) return {};
    return bad_input("tensor " + in_quotes(view.info.name) + " says [" + std::to_string(dims[0]) + ", " +
                     std::to_string(dims[1]) + "], but the packed weight holds [" + std::to_string(layer.rows) +
                     ", " + std::to_string(layer.cols) + "]");
  }

  static Result<void> unpack_zeros(const QuantizedLayer& layer, const LayerViews& views, GroupMatrix& m) {
    const int64_t groups = m.groups();
    const auto found = views.find("weight_zero_point");
    if (found == views.end()) {
      m.zeros.assign(m.scales.size(), static_cast<uint8_t>(1U << (layer.spec.bits - 1)));
      return {};
    }
    if (!views.contains("weight_packed")) {
      const auto bytes = typed<uint8_t>(found->second);
      if (bytes.size() != m.scales.size())
        return unsupported("weight_zero_point: shape " + found->second.info.shape.str() +
                           ": only one for each row and group is read");
      m.zeros.assign(bytes.begin(), bytes.end());
      shift_by_half(m.zeros, 8);
      return {};
    }
    const int64_t words = packed_word_count(m.rows, layer.spec.bits);
    const auto by_group = transposed(typed<uint32_t>(found->second), words, groups);
    const auto zeros = unpack_words(by_group, groups, m.rows, layer.spec.bits);
    m.zeros = transposed(std::span(zeros), groups, m.rows);
    return {};
  }

  std::vector<Declared> groups_;
};

}  // namespace

std::unique_ptr<LinearWriter> compressed_tensors_writer(std::string_view scheme, GroupScale halves) {
  if (const auto p = parse_weight_only(scheme))
    return std::make_unique<Writer>(GroupSpec{.bits = p->bits,
                                              .group = p->group,
                                              .symmetric = p->symmetric,
                                              .scale = halves,
                                              .signed_scale = p->symmetric},
                                    Layout{"pack-quantized"});
  if (scheme == "w8a8")
    return std::make_unique<Writer>(GroupSpec{.bits = 8, .group = 0, .scale = halves},
                                    Layout{"int-quantized", true});
  if (scheme == "fp8")
    return std::make_unique<Writer>(
        GroupSpec{.element = GroupElement::e4m3, .bits = 8, .group = 0, .scale = halves},
        Layout{"float-quantized", true});
  if (scheme == "nvfp4a16")
    return std::make_unique<Writer>(
        GroupSpec{.element = GroupElement::e2m1, .bits = 4, .group = 16, .scale = GroupScale::e4m3},
        Layout{"nvfp4-pack-quantized"});
  if (scheme == "mxfp4a16")
    return std::make_unique<Writer>(
        GroupSpec{.element = GroupElement::e2m1, .bits = 4, .group = 32, .scale = GroupScale::e8m0},
        Layout{"mxfp4-pack-quantized"});
  return nullptr;
}

Result<std::unique_ptr<LinearReader>> compressed_tensors_reader(const Json& config) {
  const auto groups = config.find("config_groups");
  if (groups == config.end() || !groups->is_object() || groups->empty())
    return bad_input("field 'config_groups': is missing, empty or not an object");
  std::vector<Declared> declared;
  for (const auto& [name, group] : groups->items()) {
    LISSOM_TRY(const Declared d, read_declared(group, "config_groups." + name + "."));
    declared.push_back(d);
  }
  const auto sparse = config.find("sparsity_config");
  if (sparse != config.end() && sparse->is_object() && !sparse->empty() &&
      sparse->value("format", Json("dense")) != Json("dense"))
    return unsupported("field 'sparsity_config': compressed sparse weights are not read");
  return std::make_unique<Reader>(std::move(declared));
}

}  // namespace lissom
