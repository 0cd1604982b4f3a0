#include "format/quantized_source.h"

#include <algorithm>
#include <unordered_map>

#include "base/text.h"
#include "format/quant_method.h"

namespace lissom {
namespace {

struct Entry {
  std::vector<size_t> parts;  ///< of the source; one that is no layer's is passed through
  std::vector<std::string> names;
  QuantizedLayer layer;
  bool quantized = false;
};

class QuantizedSource : public TensorSource {
 public:
  QuantizedSource(std::shared_ptr<const TensorSource> source, std::unique_ptr<LinearReader> reader)
      : source_(std::move(source)), reader_(std::move(reader)) {}

  /// Groups the source's tensors by module, in the order of each module's first.
  Result<void> open() {
    const auto list = source_->tensors();
    std::vector<LayerTensors> modules;
    std::unordered_map<std::string, size_t> place;
    for (const TensorInfo& info : list) {
      const size_t dot = info.name.rfind('.');
      const std::string module = dot == std::string::npos ? "" : info.name.substr(0, dot);
      const auto [it, is_new] = place.emplace(module, modules.size());
      if (is_new) modules.push_back({module, {}});
      modules[it->second].parts.emplace(info.name.substr(dot == std::string::npos ? 0 : dot + 1), &info);
    }
    bool any = false;
    for (const LayerTensors& module : modules) {
      auto found = reader_->recognise(module);
      if (!found) return tl::unexpected(found.error().within(source_->origin()));
      any = any || found->has_value();
      add(module, found->has_value() ? &**found : nullptr, list.data());
    }
    if (!any)
      return bad_input(source_->origin() +
                       ": config.json has a quantization_config, but no layer is quantized so");
    for (size_t i = 0; i < infos_.size(); ++i)
      if (!index_.emplace(infos_[i].name, static_cast<int64_t>(i)).second)
        return bad_input(source_->origin() + ": tensor " + in_quotes(infos_[i].name) +
                         " is there quantized and as it is");
    return {};
  }

  std::span<const TensorInfo> tensors() const override { return infos_; }
  std::string origin() const override { return source_->origin(); }
  int64_t find(std::string_view name) const override {
    const auto it = index_.find(std::string(name));
    return it == index_.end() ? -1 : it->second;
  }
  void release(size_t index) const override {
    if (index >= entries_.size()) return;
    for (const size_t part : entries_[index].parts) source_->release(part);
  }
  Result<void> expect(std::span<const size_t> indices) const override {
    std::vector<size_t> parts;
    for (const size_t index : indices)
      parts.insert(parts.end(), entries_[index].parts.begin(), entries_[index].parts.end());
    return source_->expect(parts);
  }
  bool ready(size_t index) const override {
    return std::ranges::all_of(entries_[index].parts, [this](size_t part) { return source_->ready(part); });
  }

  Result<TensorView> read(size_t index) const override {
    if (index >= entries_.size()) return bad_input(origin() + ": there is no tensor " + std::to_string(index));
    const Entry& entry = entries_[index];
    if (!entry.quantized) return source_->read(entry.parts[0]);
    LayerViews views;
    for (size_t p = 0; p < entry.parts.size(); ++p) {
      LISSOM_TRY(TensorView view, source_->read(entry.parts[p]));
      views.emplace(entry.names[p], std::move(view));
    }
    auto matrix = reader_->unpack(entry.layer, views);
    if (!matrix)
      return tl::unexpected(matrix.error().within(origin() + ": layer of " + in_quotes(infos_[index].name)));
    auto values = std::make_shared<std::vector<float>>(static_cast<size_t>(matrix->rows * matrix->cols));
    for (int64_t r = 0; r < matrix->rows; ++r) matrix->decode_row(r, values->data() + r * matrix->cols);
    return TensorView{infos_[index], std::as_bytes(std::span<const float>(*values)), values};
  }

  [[nodiscard]] uint64_t stored(size_t index) const {
    uint64_t bytes = 0;
    for (const size_t part : entries_[index].parts) bytes += source_->tensors()[part].bytes;
    return bytes;
  }

 private:
  void add(const LayerTensors& module, const QuantizedLayer* layer, const TensorInfo* first) {
    if (layer != nullptr) {
      Entry entry{{}, layer->parts, *layer, true};
      for (const std::string& part : layer->parts)
        entry.parts.push_back(static_cast<size_t>(module.find(part) - first));
      infos_.push_back({module.name + ".weight",
                        "F32",
                        {layer->rows, layer->cols},
                        static_cast<uint64_t>(layer->rows * layer->cols) * sizeof(float)});
      entries_.push_back(std::move(entry));
    }
    for (const auto& [part, info] : module.parts) {
      if (layer != nullptr &&
          (std::ranges::count(layer->parts, part) > 0 || std::ranges::count(layer->dropped, part) > 0))
        continue;
      // Scales of a quantized KV cache belong to no layer.
      if (part == "k_scale" || part == "v_scale") continue;
      infos_.push_back(*info);
      entries_.push_back({{static_cast<size_t>(info - first)}, {part}, {}, false});
    }
  }

  std::shared_ptr<const TensorSource> source_;
  std::unique_ptr<LinearReader> reader_;
  std::vector<TensorInfo> infos_;
  std::vector<Entry> entries_;
  std::unordered_map<std::string, int64_t> index_;
};

}  // namespace

Result<std::shared_ptr<const TensorSource>> dequantized_view(std::shared_ptr<const TensorSource> source,
                                                             const Json& quantization_config) {
  auto reader = read_quantization_config(quantization_config);
  if (!reader) return tl::unexpected(reader.error().within("config.json: quantization_config"));
  auto view = std::make_shared<QuantizedSource>(std::move(source), std::move(*reader));
  LISSOM_CHECK(view->open());
  return view;
}

uint64_t stored_bytes(const TensorSource& source, size_t index) {
  const auto* quantized = dynamic_cast<const QuantizedSource*>(&source);
  return quantized != nullptr ? quantized->stored(index) : source.tensors()[index].bytes;
}

}  // namespace lissom
