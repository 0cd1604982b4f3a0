#include "format/pack.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <unordered_map>

#include "base/text.h"
#include "codec/family.h"
#include "codec/parts.h"
#include "format/json.h"
#include "format/safetensors.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFormat = "lissom-pack";
/// Where components' sizes are computed from a shape, nothing overflows below this.
constexpr int64_t kMostElements = int64_t{1} << 42;

std::string stored_name(const std::string& tensor, const Component& part) {
  return part.suffix.empty() ? tensor : tensor + "." + part.suffix;
}

/// The codec, where the shape is one that it can have.
Result<const Codec*> codec_for(const TensorInfo& info) {
  LISSOM_TRY(const Codec* codec, codec_named(info.type));
  int64_t elements = 1;
  for (const int64_t d : info.shape.dims())
    if (d <= 0 || __builtin_mul_overflow(elements, d, &elements) || elements > kMostElements)
      return bad_input("shape " + info.shape.str() + " is not one of a tensor");
  if (info.shape.cols() % codec->column_multiple() != 0)
    return bad_input(fmt::format("shape {}: {} needs columns in multiples of {}", info.shape.str(), info.type,
                                 codec->column_multiple()));
  return codec;
}

// ---------------------------------------------------------------- reading

/// One entry of the list of tensors.
Result<TensorInfo> read_tensor(const Json& json, std::vector<std::string>& parts) {
  const auto text = [&](const char* key) {
    const auto it = json.find(key);
    return it != json.end() && it->is_string() ? it->get<std::string>() : std::string();
  };
  if (!json.is_object()) return bad_input("expected an object");
  TensorInfo info;
  info.name = text("name");
  if (info.name.empty()) return bad_input("lacks 'name'");
  const std::string where = "tensor " + in_quotes(info.name) + ": ";
  info.type = text("codec");
  if (info.type.empty()) return bad_input(where + "lacks 'codec'");
  const auto shape = json.find("shape");
  if (shape == json.end() || !shape->is_array() || shape->empty() || shape->size() > Shape::kMaxRank)
    return bad_input(where + "'shape' is not a list of one to eight dimensions");
  std::vector<int64_t> dims;
  for (const Json& d : *shape) {
    if (!d.is_number_unsigned() || d.get<uint64_t>() > static_cast<uint64_t>(kMostElements))
      return bad_input(where + "'shape' holds " + d.dump() + ", which is no dimension");
    dims.push_back(d.get<int64_t>());
  }
  info.shape = Shape(dims);
  const auto list = json.find("parts");
  if (list == json.end() || !list->is_array()) return bad_input(where + "lacks 'parts'");
  for (const Json& part : *list) {
    if (!part.is_string()) return bad_input(where + "'parts' holds what is no name");
    parts.push_back(part.get<std::string>());
  }
  return info;
}

class Reader final : public PackFile {
 public:
  explicit Reader(std::shared_ptr<SafetensorsFile> file) : file_(std::move(file)) {}

  [[nodiscard]] std::span<const TensorInfo> tensors() const override { return infos_; }
  [[nodiscard]] const GgufMetadata& metadata() const override { return metadata_; }
  [[nodiscard]] std::string origin() const override { return file_->origin(); }
  [[nodiscard]] int64_t find(std::string_view name) const override {
    const auto it = index_.find(name);
    return it == index_.end() ? -1 : it->second;
  }
  [[nodiscard]] std::vector<TensorInfo> stored(size_t index) const override {
    std::vector<TensorInfo> list;
    for (const size_t part : parts_[index]) list.push_back(file_->tensors()[part]);
    return list;
  }
  [[nodiscard]] Result<TensorView> read(size_t index) const override {
    if (index >= infos_.size()) return bad_input(origin() + ": there is no tensor " + std::to_string(index));
    const std::vector<size_t>& parts = parts_[index];
    if (parts.size() == 1) {
      LISSOM_TRY(TensorView view, file_->read(parts[0]));
      view.info = infos_[index];
      return view;
    }
    const Codec& codec = *find_codec(infos_[index].type);
    const std::vector<uint64_t> offsets = part_offsets(codec.components(infos_[index].shape));
    const size_t size = (offsets.back() + kPartAlignment - 1) / kPartAlignment * kPartAlignment;
    const std::shared_ptr<std::byte> owned(static_cast<std::byte*>(std::aligned_alloc(kPartAlignment, size)),
                                           std::free);
    if (owned == nullptr) return io_error(origin() + ": out of memory: " + std::to_string(size) + " bytes");
    for (size_t i = 0; i < parts.size(); ++i) {
      LISSOM_TRY(const TensorView view, file_->read(parts[i]));
      std::ranges::copy(view.data, owned.get() + offsets[i]);
      const uint64_t end = offsets[i] + view.data.size();
      if (i + 1 < parts.size()) std::memset(owned.get() + end, 0, offsets[i + 1] - end);
      file_->release(parts[i]);
    }
    return TensorView{infos_[index], {owned.get(), static_cast<size_t>(offsets.back())}, owned};
  }
  void release(size_t index) const override {
    if (index < parts_.size())
      for (const size_t part : parts_[index]) file_->release(part);
  }

  Result<void> load() {
    const auto& text = file_->metadata();
    const auto field = [&](const char* key) -> const std::string* {
      const auto it = text.find(key);
      return it == text.end() ? nullptr : &it->second;
    };
    const std::string* format = field("format");
    if (format == nullptr || *format != kFormat)
      return bad_input(origin() + ": metadata 'format' does not say " + std::string(kFormat) +
                       ": this is no pack of lissom");
    const std::string* version = field("version");
    if (version == nullptr || version->empty() || version->size() > 9 ||
        version->find_first_not_of("0123456789") != std::string::npos)
      return bad_input(origin() + ": metadata 'version' is absent or no number");
    if (std::stoi(*version) != kPackVersion)
      return unsupported(
          fmt::format("{}: metadata 'version': a pack of version {}; this lissom reads version {}", origin(),
                      *version, kPackVersion));
    for (const char* key : {"gguf", "tensors"})
      if (field(key) == nullptr) return bad_input(fmt::format("{}: metadata '{}' is absent", origin(), key));
    LISSOM_TRY(metadata_, metadata_from_json(*field("gguf"), origin() + ": metadata 'gguf'"));
    LISSOM_TRY(const Json list, parse_json(*field("tensors"), origin() + ": metadata 'tensors'"));
    if (!list.is_array()) return bad_input(origin() + ": metadata 'tensors' is not a list");
    used_.assign(file_->tensors().size(), false);
    for (size_t i = 0; i < list.size(); ++i)
      if (const auto added = add(list[i]); !added)
        return tl::unexpected(added.error().within(fmt::format("{}: metadata 'tensors'[{}]", origin(), i)));
    for (size_t i = 0; i < used_.size(); ++i)
      if (!used_[i])
        return bad_input(origin() + ": tensor " + in_quotes(file_->tensors()[i].name) +
                         " is a component of no tensor in metadata 'tensors'");
    for (size_t i = 0; i < infos_.size(); ++i) index_.emplace(infos_[i].name, static_cast<int64_t>(i));
    return {};
  }

 private:
  Result<void> add(const Json& json) {
    std::vector<std::string> names;
    LISSOM_TRY(TensorInfo info, read_tensor(json, names));
    const auto where = [&] { return "tensor " + in_quotes(info.name); };
    if (!seen_.insert(info.name).second) return bad_input(where() + ": occurs twice");
    const auto codec = codec_for(info);
    if (!codec) return tl::unexpected(codec.error().within(where()));
    const std::vector<Component> components = pack_components(**codec, info.shape);
    std::vector<size_t> parts;
    for (size_t i = 0; i < std::max(components.size(), names.size()); ++i) {
      if (i >= components.size() || i >= names.size() || names[i] != components[i].suffix)
        return bad_input(fmt::format("{}: 'parts' are not those of {}", where(), info.type));
      const std::string name = stored_name(info.name, components[i]);
      const int64_t at = file_->find(name);
      if (at < 0) return bad_input(where() + ": its component " + in_quotes(name) + " is missing");
      const TensorInfo& there = file_->tensors()[static_cast<size_t>(at)];
      if (there.type != components[i].type || !(there.shape == components[i].shape) ||
          there.bytes != components[i].bytes)
        return bad_input(fmt::format("{}: its component {} is {} {}, expected {} {}", where(), in_quotes(name),
                                     there.type, there.shape.str(), components[i].type,
                                     components[i].shape.str()));
      if (used_[static_cast<size_t>(at)])
        return bad_input(where() + ": " + in_quotes(name) + " is a component of another tensor too");
      used_[static_cast<size_t>(at)] = true;
      parts.push_back(static_cast<size_t>(at));
      info.bytes += there.bytes;
    }
    info.type = (*codec)->name();
    infos_.push_back(std::move(info));
    parts_.push_back(std::move(parts));
    return {};
  }

  std::shared_ptr<SafetensorsFile> file_;
  GgufMetadata metadata_;
  std::vector<TensorInfo> infos_;
  std::vector<std::vector<size_t>> parts_;  ///< of each tensor, in the safetensors file
  std::vector<bool> used_;
  std::set<std::string> seen_;
  std::unordered_map<std::string_view, int64_t> index_;
};

Result<std::shared_ptr<PackFile>> open_file(std::shared_ptr<SafetensorsFile> file) {
  auto reader = std::make_shared<Reader>(std::move(file));
  LISSOM_CHECK(reader->load());
  return reader;
}

// ---------------------------------------------------------------- writing

struct Layout {
  std::vector<TensorInfo> directory;       ///< as the file has it
  std::vector<std::vector<size_t>> parts;  ///< of each tensor, in the directory
  std::map<std::string, std::string> metadata;
};

Result<Layout> layout_of(const GgufMetadata& metadata, const std::vector<TensorInfo>& tensors) {
  Layout layout;
  std::vector<std::vector<std::string>> names;
  Json list = Json::array();
  for (const TensorInfo& info : tensors) {
    const auto codec = codec_for(info);
    if (!codec) return tl::unexpected(codec.error().within("tensor " + in_quotes(info.name)));
    Json suffixes = Json::array();
    names.emplace_back();
    for (const Component& part : pack_components(**codec, info.shape)) {
      suffixes.push_back(part.suffix);
      names.back().push_back(stored_name(info.name, part));
      layout.directory.push_back({names.back().back(), part.type, part.shape, part.bytes});
    }
    list.push_back({{"name", info.name},
                    {"codec", (*codec)->name()},
                    {"shape", std::vector<int64_t>(info.shape.dims().begin(), info.shape.dims().end())},
                    {"parts", std::move(suffixes)}});
  }
  sort_for_safetensors(layout.directory);
  std::unordered_map<std::string_view, size_t> at;
  for (size_t i = 0; i < layout.directory.size(); ++i) at.emplace(layout.directory[i].name, i);
  for (const auto& of_tensor : names) {
    layout.parts.emplace_back();
    for (const std::string& name : of_tensor) layout.parts.back().push_back(at.at(name));
  }
  LISSOM_TRY(layout.metadata["gguf"], metadata_to_json(metadata));
  layout.metadata["tensors"] = list.dump(-1, ' ', false, Json::error_handler_t::replace);
  layout.metadata["format"] = kFormat;
  layout.metadata["version"] = std::to_string(kPackVersion);
  layout.metadata["lissom.version"] = LISSOM_VERSION;
  return layout;
}

class Writer final : public PackWriter {
 public:
  Writer(std::unique_ptr<SafetensorsWriter> file, std::vector<std::vector<size_t>> parts)
      : file_(std::move(file)), parts_(std::move(parts)) {}
  [[nodiscard]] Result<void> put(size_t index, std::span<const std::span<const std::byte>> parts) override {
    if (index >= parts_.size() || parts.size() != parts_[index].size())
      return bad_input("a pack's tensor " + std::to_string(index) + " has another number of components");
    for (size_t i = 0; i < parts.size(); ++i) LISSOM_CHECK(file_->put(parts_[index][i], parts[i]));
    return {};
  }
  [[nodiscard]] Result<void> finish() override { return file_->finish(); }

 private:
  std::unique_ptr<SafetensorsWriter> file_;
  std::vector<std::vector<size_t>> parts_;
};

}  // namespace

std::vector<Component> pack_components(const Codec& codec, const Shape& shape) {
  std::vector<Component> parts = codec.components(shape);
  if (parts.size() != 1 || !parts[0].suffix.empty()) return parts;
  Component& part = parts[0];
  const std::string name(codec.name());
  const auto bits = static_cast<uint64_t>(safetensors_bits(name));
  if (bits > 0 && bits * static_cast<uint64_t>(shape.elements()) == 8 * part.bytes) {
    part.type = name;
    part.shape = shape;
  } else if (const auto rows = static_cast<uint64_t>(shape.rows());
             part.type == "U8" && rows > 0 && part.bytes % rows == 0) {
    part.shape = Shape{static_cast<int64_t>(rows), static_cast<int64_t>(part.bytes / rows)};
  }
  return parts;
}

bool is_pack(const fs::path& path) {
  const auto file = SafetensorsFile::open(path);
  if (!file) return false;
  const auto it = (*file)->metadata().find("format");
  return it != (*file)->metadata().end() && it->second == kFormat;
}

Result<std::shared_ptr<PackFile>> PackFile::open(const fs::path& path) {
  LISSOM_TRY(auto file, SafetensorsFile::open(path));
  return open_file(std::move(file));
}

Result<std::shared_ptr<PackFile>> PackFile::open_memory(std::span<const std::byte> bytes,
                                                        const std::string& name) {
  LISSOM_TRY(auto file, SafetensorsFile::open_memory(bytes, name));
  return open_file(std::move(file));
}

Result<std::unique_ptr<PackWriter>> PackWriter::create(const fs::path& path, const GgufMetadata& metadata,
                                                       const std::vector<TensorInfo>& tensors) {
  auto layout = layout_of(metadata, tensors);
  if (!layout) return tl::unexpected(layout.error().within(path.string()));
  LISSOM_TRY(auto file, SafetensorsWriter::create(path, layout->directory, layout->metadata));
  return std::make_unique<Writer>(std::move(file), std::move(layout->parts));
}

Result<uint64_t> pack_file_bytes(const GgufMetadata& metadata, const std::vector<TensorInfo>& tensors) {
  LISSOM_TRY(const Layout layout, layout_of(metadata, tensors));
  return safetensors_file_bytes(layout.directory, layout.metadata);
}

}  // namespace lissom
