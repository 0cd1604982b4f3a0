#include "format/quant_method.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>

#include "base/half.h"
#include "base/text.h"
#include "codec/float/float.h"

namespace lissom {
namespace {

std::vector<std::string> weight_only_names(std::initializer_list<int> bits, bool symmetric, bool asymmetric) {
  std::vector<std::string> names;
  for (const int b : bits)
    for (const int64_t group : {128, 64, 32}) {
      if (symmetric) names.push_back(weight_only_name({b, group, true}));
      if (asymmetric) names.push_back(weight_only_name({b, group, false}));
    }
  return names;
}

std::vector<std::string> compressed_tensors_schemes() {
  std::vector<std::string> names = weight_only_names({4, 8}, true, true);
  names.insert(names.end(), {"w8a8", "fp8", "nvfp4a16", "mxfp4a16"});
  return names;
}

bool reads_number(std::string_view text, int64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

std::span<const FolderFormat> folder_formats() {
  static const std::vector<FolderFormat> formats = {
      {"compressed-tensors", "vLLM and transformers (compressed-tensors)", compressed_tensors_schemes(),
       compressed_tensors_writer},
      {"gptq", "GPTQ, zero points stored less one (checkpoint_format gptq)",
       weight_only_names({4, 8, 3, 2}, true, true), gptq_v1_writer},
      {"gptq_v2", "GPTQ, zero points as they are (checkpoint_format gptq_v2)",
       weight_only_names({4, 8, 3, 2}, true, true), gptq_v2_writer},
      {"awq", "AWQ (gemm)", weight_only_names({4}, false, true), awq_writer},
  };
  return formats;
}

const FolderFormat* find_folder_format(std::string_view name) {
  const auto list = folder_formats();
  const auto found = std::ranges::find(list, name, &FolderFormat::name);
  return found == list.end() ? nullptr : &*found;
}

std::span<const QuantMethod> quant_methods() {
  static constexpr QuantMethod kMethods[] = {
      {"compressed-tensors", compressed_tensors_reader},
      {"gptq", gptq_reader},
      {"awq", awq_reader},
  };
  return kMethods;
}

std::string weight_only_name(const WeightOnlyScheme& scheme) {
  return "w" + std::to_string(scheme.bits) + "a16-g" + std::to_string(scheme.group) +
         (scheme.symmetric ? "" : "-asym");
}

std::optional<WeightOnlyScheme> parse_weight_only(std::string_view scheme) {
  const bool symmetric = !scheme.ends_with("-asym");
  if (!symmetric) scheme.remove_suffix(5);
  const size_t at = scheme.find("a16-g");
  int64_t bits = 0, group = 0;
  if (!scheme.starts_with('w') || at == std::string_view::npos ||
      !reads_number(scheme.substr(1, at - 1), bits) || !reads_number(scheme.substr(at + 5), group) ||
      bits < 2 || bits > 8 || group < 1)
    return {};
  return WeightOnlyScheme{static_cast<int>(bits), group, symmetric};
}

Result<std::unique_ptr<LinearReader>> read_quantization_config(const Json& config) {
  if (!config.is_object()) return bad_input("is not an object");
  LISSOM_TRY(const std::string method, QuantFields(config).string_or("quant_method", ""));
  std::string known;
  for (const QuantMethod& m : quant_methods()) {
    if (m.name == method) return m.reader(config);
    known += (known.empty() ? "" : ", ") + std::string(m.name);
  }
  return unsupported("field 'quant_method': " + in_quotes(method) + " is not read here; " + known + " are");
}

// ---------------------------------------------------------------- fields and tensors

const TensorInfo* LayerTensors::find(std::string_view part) const {
  const auto it = parts.find(part);
  return it == parts.end() ? nullptr : it->second;
}

bool QuantFields::has(std::string_view key) const {
  const auto it = object_.find(std::string(key));
  return it != object_.end() && !it->is_null();
}

std::string QuantFields::field(std::string_view key) const {
  return "field '" + path_ + std::string(key) + "'";
}

Result<int64_t> QuantFields::integer(std::string_view key, int64_t low, int64_t high) const {
  if (!has(key)) return bad_input(field(key) + ": is missing");
  const Json& value = object_[std::string(key)];
  if (!value.is_number_integer()) return bad_input(field(key) + ": is not a whole number");
  if (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(high))
    return bad_input(field(key) + ": is " + value.dump() + ", at most " + std::to_string(high));
  const auto n = value.get<int64_t>();
  if (n < low || n > high)
    return bad_input(field(key) + ": is " + std::to_string(n) + ", expected " + std::to_string(low) + " to " +
                     std::to_string(high));
  return n;
}

Result<int64_t> QuantFields::integer_or(std::string_view key, int64_t otherwise, int64_t low,
                                        int64_t high) const {
  return has(key) ? integer(key, low, high) : Result<int64_t>(otherwise);
}

Result<bool> QuantFields::boolean_or(std::string_view key, bool otherwise) const {
  if (!has(key)) return otherwise;
  const Json& value = object_[std::string(key)];
  if (!value.is_boolean()) return bad_input(field(key) + ": is neither true nor false");
  return value.get<bool>();
}

Result<std::string> QuantFields::string_or(std::string_view key, std::string otherwise) const {
  if (!has(key)) return otherwise;
  const Json& value = object_[std::string(key)];
  if (!value.is_string()) return bad_input(field(key) + ": is not a text");
  return value.get<std::string>();
}

Result<const TensorInfo*> expect_part(const LayerTensors& layer, std::string_view part, std::string_view types,
                                      const Shape& shape) {
  const std::string where = "tensor " + in_quotes(layer.name + "." + std::string(part));
  const TensorInfo* info = layer.find(part);
  if (info == nullptr) return bad_input(where + " is missing");
  const std::string padded = " " + std::string(types) + " ";
  if (padded.find(" " + info->type + " ") == std::string::npos)
    return bad_input(where + " has type " + info->type + ", expected " + std::string(types));
  if (info->shape != shape)
    return bad_input(where + " has shape " + info->shape.str() + ", expected " + shape.str() +
                     " from quantization_config");
  return info;
}

std::vector<float> float_values(const TensorView& view) {
  std::vector<float> out(static_cast<size_t>(view.info.shape.elements()));
  const std::string& type = view.info.type;
  for (size_t i = 0; i < out.size(); ++i)
    out[i] = type == "F32"    ? typed<float>(view)[i]
             : type == "F16"  ? half_to_float(typed<uint16_t>(view)[i])
             : type == "BF16" ? bf16_to_float(typed<uint16_t>(view)[i])
                              : e4m3_to_float(typed<uint8_t>(view)[i]);
  return out;
}

std::string_view scale_type(GroupScale scale) {
  switch (scale) {
    case GroupScale::f16:
      return "F16";
    case GroupScale::bf16:
      return "BF16";
    case GroupScale::e4m3:
      return "F8_E4M3";
    case GroupScale::e8m0:
      return "U8";
    case GroupScale::f32:
      break;
  }
  return "F32";
}

std::vector<std::byte> scale_bytes(std::span<const float> scales, GroupScale stored) {
  if (stored == GroupScale::f32) return bytes_of(std::vector<float>(scales.begin(), scales.end()));
  if (group_scale_bits(stored) == 16) {
    std::vector<uint16_t> halves;
    halves.reserve(scales.size());
    for (const float s : scales)
      halves.push_back(stored == GroupScale::f16 ? float_to_half(s) : float_to_bf16(s));
    return bytes_of(halves);
  }
  std::vector<uint8_t> bytes;
  bytes.reserve(scales.size());
  for (const float s : scales)
    bytes.push_back(stored == GroupScale::e4m3 ? float_to_e4m3(s) : static_cast<uint8_t>(std::ilogb(s) + 127));
  return bytes_of(bytes);
}

Result<std::vector<int32_t>> group_indices(const TensorView& view, int64_t groups, int64_t of_group) {
  const auto given = typed<int32_t>(view);
  bool in_order = true;
  for (size_t c = 0; c < given.size(); ++c) {
    if (given[c] < 0 || given[c] >= groups)
      return bad_input("tensor " + in_quotes(view.info.name) + ": column " + std::to_string(c) +
                       " is in group " + std::to_string(given[c]) + ", but there are " +
                       std::to_string(groups));
    in_order = in_order && given[c] == static_cast<int64_t>(c) / of_group;
  }
  return in_order ? std::vector<int32_t>() : std::vector<int32_t>(given.begin(), given.end());
}

}  // namespace lissom
