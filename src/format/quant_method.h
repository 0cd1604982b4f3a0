#pragma once
// The quantized Hugging Face folders of vLLM and transformers: config.json's quantization_config, and the
// tensors that stand in place of a linear layer's weight. One file for each quant_method (compressed_tensors,
// gptq, awq); quant_method.cpp lists them. What the values are is codec/group's business.

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "codec/group/group.h"
#include "format/json.h"
#include "lissom/result.h"
#include "lissom/tensor.h"

namespace lissom {

// ---------------------------------------------------------------- writing

/// The modules of a model that are written, for quantization_config: "model.layers.0.mlp.up_proj".
struct QuantModules {
  std::vector<std::string> quantized, plain;
};

/// How a scheme's layers lie in a folder of one format.
class LinearWriter {
 public:
  virtual ~LinearWriter() = default;
  [[nodiscard]] virtual const GroupSpec& spec() const = 0;
  /// The tensors of a layer of out × in: the ends of their names (".qweight"), types, shapes and bytes.
  [[nodiscard]] virtual std::vector<TensorInfo> parts(int64_t rows, int64_t cols) const = 0;
  /// Their bytes.
  [[nodiscard]] virtual std::vector<std::vector<std::byte>> pack(const GroupMatrix& matrix) const = 0;
  /// Why a layer of this size cannot be held; empty: it can.
  [[nodiscard]] virtual std::string unfit(int64_t rows, int64_t cols) const = 0;
  [[nodiscard]] virtual Json config(const QuantModules& modules) const = 0;
  /// What the measured result leaves out; empty: nothing.
  [[nodiscard]] virtual std::string caveat() const { return ""; }
};

/// What a user may write: the values of --format.
struct FolderFormat {
  std::string_view name, description;
  std::vector<std::string> schemes;  ///< the first is the default
  /// halves: F16 or BF16, the type of what is not quantized and of scales, where the format leaves it open.
  std::unique_ptr<LinearWriter> (*writer)(std::string_view scheme, GroupScale halves);
};
[[nodiscard]] std::span<const FolderFormat> folder_formats();
/// By name, or null.
[[nodiscard]] const FolderFormat* find_folder_format(std::string_view name);

/// The fields of "w4a16-g128" and "w4a16-g64-asym"; nothing where the text is no such name.
struct WeightOnlyScheme {
  int bits;
  int64_t group;
  bool symmetric;
};
[[nodiscard]] std::optional<WeightOnlyScheme> parse_weight_only(std::string_view scheme);
[[nodiscard]] std::string weight_only_name(const WeightOnlyScheme& scheme);

// ---------------------------------------------------------------- reading

/// A module's tensors by the last part of their names: "qweight", "scales", "bias".
struct LayerTensors {
  std::string name;  ///< "model.layers.0.mlp.up_proj"
  std::map<std::string, const TensorInfo*, std::less<>> parts;
  [[nodiscard]] const TensorInfo* find(std::string_view part) const;
};
using LayerViews = std::map<std::string, TensorView, std::less<>>;

/// A layer that is quantized: its size, and which of its tensors stand for the weight.
struct QuantizedLayer {
  int64_t rows = 0, cols = 0;
  GroupSpec spec;
  std::vector<std::string> parts;    ///< that unpack() wants
  std::vector<std::string> dropped;  ///< that only runtimes with quantized activations or caches want
};

/// One quantization_config, read.
class LinearReader {
 public:
  virtual ~LinearReader() = default;
  /// Nothing where the module is not quantized. Errors name the tensor, and the field that it does not fit.
  [[nodiscard]] virtual Result<std::optional<QuantizedLayer>> recognise(const LayerTensors& layer) const = 0;
  /// views: of layer.parts. Errors name the part.
  [[nodiscard]] virtual Result<GroupMatrix> unpack(const QuantizedLayer& layer,
                                                   const LayerViews& views) const = 0;
};

struct QuantMethod {
  std::string_view name;  ///< quant_method
  /// Errors begin with the field.
  Result<std::unique_ptr<LinearReader>> (*reader)(const Json& config);
};
[[nodiscard]] std::span<const QuantMethod> quant_methods();
/// The reader that a quantization_config asks for. Errors: "field 'bits': …"; unknown methods are named.
[[nodiscard]] Result<std::unique_ptr<LinearReader>> read_quantization_config(const Json& config);

/// Fields of quantization_config, with errors that name them.
class QuantFields {
 public:
  /// path: what comes before a field's name in errors: "config_groups.group_0.weights.".
  explicit QuantFields(const Json& object, std::string path = "") : object_(object), path_(std::move(path)) {}
  [[nodiscard]] bool has(std::string_view key) const;  ///< present and not null
  [[nodiscard]] Result<int64_t> integer(std::string_view key, int64_t low, int64_t high) const;
  [[nodiscard]] Result<int64_t> integer_or(std::string_view key, int64_t otherwise, int64_t low,
                                           int64_t high) const;
  [[nodiscard]] Result<bool> boolean_or(std::string_view key, bool otherwise) const;
  [[nodiscard]] Result<std::string> string_or(std::string_view key, std::string otherwise) const;
  [[nodiscard]] std::string field(std::string_view key) const;  ///< "field 'x'"

 private:
  const Json& object_;
  std::string path_;
};

/// That a part is there, of one of these types (separated by spaces) and of this shape.
[[nodiscard]] Result<const TensorInfo*> expect_part(const LayerTensors& layer, std::string_view part,
                                                    std::string_view types, const Shape& shape);
/// A view's values: F32, F16, BF16, F8_E4M3 to floats.
[[nodiscard]] std::vector<float> float_values(const TensorView& view);
template <class T>
[[nodiscard]] std::span<const T> typed(const TensorView& view) {
  return {reinterpret_cast<const T*>(view.data.data()), view.data.size() / sizeof(T)};
}
/// Scales as a tensor's bytes.
[[nodiscard]] std::vector<std::byte> scale_bytes(std::span<const float> scales, GroupScale stored);
[[nodiscard]] std::string_view scale_type(GroupScale scale);  ///< "F16", "BF16", "F32", "F8_E4M3", "U8"
template <class T>
[[nodiscard]] std::vector<std::byte> bytes_of(const std::vector<T>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  return {bytes.begin(), bytes.end()};
}
/// Columns of g_idx, checked to lie below `groups`; empty where they are in order.
[[nodiscard]] Result<std::vector<int32_t>> group_indices(const TensorView& view, int64_t groups,
                                                         int64_t of_group);

// The files of the list.
[[nodiscard]] std::unique_ptr<LinearWriter> compressed_tensors_writer(std::string_view scheme,
                                                                      GroupScale halves);
[[nodiscard]] Result<std::unique_ptr<LinearReader>> compressed_tensors_reader(const Json& config);
[[nodiscard]] std::unique_ptr<LinearWriter> gptq_v1_writer(std::string_view scheme, GroupScale halves);
[[nodiscard]] std::unique_ptr<LinearWriter> gptq_v2_writer(std::string_view scheme, GroupScale halves);
[[nodiscard]] Result<std::unique_ptr<LinearReader>> gptq_reader(const Json& config);
[[nodiscard]] std::unique_ptr<LinearWriter> awq_writer(std::string_view scheme, GroupScale halves);
[[nodiscard]] Result<std::unique_ptr<LinearReader>> awq_reader(const Json& config);

}  // namespace lissom
