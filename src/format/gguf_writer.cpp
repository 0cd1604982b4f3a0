#include <bit>
#include <cstring>
#include <unordered_set>

#include "base/file.h"
#include "base/text.h"
#include "format/gguf_types.h"
#include "lissom/gguf.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxTensorName = 63, kMaxKey = 65535;
constexpr int kMaxArrayDepth = 4;

uint64_t pad(uint64_t n, uint64_t alignment) {
  return (n + alignment - 1) & ~(alignment - 1);
}

// ---------------------------------------------------------------- header

template <class T>
void put(std::string& out, T value) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  out.append(bytes, sizeof(T));
}
void put(std::string& out, bool value) {
  out.push_back(value ? 1 : 0);
}
void put(std::string& out, const std::string& text) {
  put(out, static_cast<uint64_t>(text.size()));
  out += text;
}

void put(std::string& out, const std::shared_ptr<GgufArray>& array) {
  put(out,
      static_cast<uint32_t>(array->items.index()));  // the order of alternatives is the order of type numbers
  std::visit(
      [&](const auto& items) {
        put(out, static_cast<uint64_t>(items.size()));
        using T = typename std::decay_t<decltype(items)>::value_type;
        for (const T& item : items) put(out, item);
      },
      array->items);
}

bool well_nested(const std::shared_ptr<GgufArray>& array, int depth) {
  if (array == nullptr || depth > kMaxArrayDepth) return false;
  const auto* inner = std::get_if<std::vector<std::shared_ptr<GgufArray>>>(&array->items);
  if (inner == nullptr) return true;
  for (const auto& item : *inner)
    if (!well_nested(item, depth + 1)) return false;
  return true;
}

Result<void> put_metadata(std::string& out, const GgufMetadata& metadata) {
  std::unordered_set<std::string_view> seen;
  for (const auto& [key, value] : metadata.entries()) {
    const std::string field = "metadata key " + in_quotes(key);
    if (key.empty() || key.size() > kMaxKey || !valid_utf8(key)) return bad_input(field + ": not a valid key");
    if (!seen.insert(key).second) return bad_input(field + ": occurs twice");
    if (const auto* array = std::get_if<std::shared_ptr<GgufArray>>(&value); array && !well_nested(*array, 1))
      return bad_input(field + ": nests arrays deeper than " + std::to_string(kMaxArrayDepth) +
                       ", or holds a null one");
    put(out, key);
    put(out, static_cast<uint32_t>(value.index()));
    std::visit([&](const auto& v) { put(out, v); }, value);
  }
  return {};
}

/// Bytes that each tensor takes; fills the header's directory.
Result<std::vector<uint64_t>> put_directory(std::string& out, const std::vector<TensorInfo>& directory,
                                            uint64_t alignment) {
  std::vector<uint64_t> sizes;
  std::unordered_set<std::string_view> seen;
  uint64_t offset = 0;
  for (const TensorInfo& t : directory) {
    const std::string field = "tensor " + in_quotes(t.name);
    if (t.name.empty() || t.name.size() > kMaxTensorName || !valid_utf8(t.name) ||
        t.name.find('\0') != std::string::npos)
      return bad_input(field + ": GGUF wants names of 1 to 63 bytes of UTF-8");
    if (!seen.insert(t.name).second) return bad_input(field + ": occurs twice");
    const GgmlType* type = find_ggml_type(std::string_view(t.type));
    if (type == nullptr) return unsupported(field + ": GGUF cannot store type " + in_quotes(t.type));
    if (t.shape.rank() > 4)
      return unsupported(field + ": shape " + t.shape.str() + " has more than 4 dimensions");
    const auto bytes = ggml_bytes(*type, t.shape);
    if (!bytes) return tl::unexpected(bytes.error().within(field));
    if (t.bytes != 0 && t.bytes != *bytes)
      return bad_input(field + ": announced with " + std::to_string(t.bytes) + " bytes, but " + t.type + " " +
                       t.shape.str() + " takes " + std::to_string(*bytes));
    put(out, t.name);
    put(out, static_cast<uint32_t>(t.shape.rank()));
    for (int i = t.shape.rank() - 1; i >= 0; --i) put(out, static_cast<uint64_t>(t.shape[i]));
    put(out, type->number);
    put(out, offset);
    sizes.push_back(*bytes);
    if (__builtin_add_overflow(offset, *bytes, &offset) || offset > (1ULL << 62U))
      return bad_input(field + ": the file grows past 2^62 bytes");
    offset = pad(offset, alignment);
  }
  return sizes;
}

struct Layout {
  std::string header;  // padded
  std::vector<uint64_t> sizes;
};

Result<Layout> make_layout(const GgufMetadata& metadata, const std::vector<TensorInfo>& directory,
                           uint32_t alignment) {
  if (alignment < 8 || !std::has_single_bit(alignment))
    return bad_input("alignment " + std::to_string(alignment) + " is not a power of two of at least 8");
  GgufMetadata keys = metadata;
  keys.erase("general.alignment");
  if (alignment != 32) keys.set("general.alignment", alignment);
  Layout layout;
  std::string& out = layout.header;
  out = "GGUF";
  put(out, uint32_t{3});
  put(out, static_cast<uint64_t>(directory.size()));
  put(out, static_cast<uint64_t>(keys.entries().size()));
  LISSOM_CHECK(put_metadata(out, keys));
  LISSOM_TRY(layout.sizes, put_directory(out, directory, alignment));
  out.resize(pad(out.size(), alignment), '\0');
  return layout;
}

// ---------------------------------------------------------------- stream

class Writer : public GgufWriter {
 public:
  Writer(std::unique_ptr<AtomicFile> file, fs::path path, const std::vector<TensorInfo>& directory,
         std::vector<uint64_t> sizes, uint64_t alignment)
      : file_(std::move(file)),
        path_(std::move(path)),
        directory_(directory),
        sizes_(std::move(sizes)),
        alignment_(alignment) {}

  [[nodiscard]] size_t resumed_tensors() const override { return resumed_; }

  [[nodiscard]] Result<void> append(std::span<const std::byte> data) override {
    while (!data.empty()) {
      if (current_ == sizes_.size())
        return bad_input(path_.string() + ": more bytes appended than its tensors hold");
      const size_t n = std::min<uint64_t>(data.size(), sizes_[current_] - filled_);
      LISSOM_CHECK(file_->write(data.first(n)));
      filled_ += n;
      data = data.subspan(n);
      if (filled_ == sizes_[current_]) LISSOM_CHECK(end_tensor());
    }
    return {};
  }
  [[nodiscard]] Result<void> flush() override { return file_->flush(); }
  [[nodiscard]] Result<void> rewrite_header(const GgufMetadata& metadata) override {
    const auto layout = make_layout(metadata, directory_, static_cast<uint32_t>(alignment_));
    if (!layout) return tl::unexpected(layout.error().within(path_.string()));
    uint64_t data = 0;
    for (const uint64_t size : sizes_) data += pad(size, alignment_);
    if (current_ != sizes_.size() || layout->header.size() != file_->position() - data)
      return bad_input(path_.string() + ": a header of another size cannot replace the first");
    return file_->overwrite(layout->header);
  }
  [[nodiscard]] Result<void> finish() override {
    if (current_ != sizes_.size())
      return bad_input(path_.string() + ": tensor " + in_quotes(directory_[current_].name) + " got " +
                       std::to_string(filled_) + " of its " + std::to_string(sizes_[current_]) + " bytes");
    return file_->commit();
  }

  /// Goes on after `count` tensors of an existing partial file, if it has them behind the same header.
  Result<bool> resume(const std::string& header, const std::string& rewritten, size_t count) {
    uint64_t end = header.size();
    for (size_t i = 0; i < count; ++i) end += pad(sizes_[i], alignment_);
    if (file_->position() < end) return false;
    LISSOM_TRY(const auto old, MappedFile::open(AtomicFile::partial_path(path_)));
    if (old->bytes().size() < end) return false;
    const std::string_view there(reinterpret_cast<const char*>(old->bytes().data()), header.size());
    if (there != header && there != rewritten) return false;
    LISSOM_CHECK(file_->overwrite(header));
    LISSOM_CHECK(file_->truncate(end));
    current_ = resumed_ = count;
    return true;
  }

 private:
  Result<void> end_tensor() {
    static constexpr std::byte kZeros[64]{};
    uint64_t gap = pad(filled_, alignment_) - filled_;
    while (gap > 0) {
      const size_t n = std::min<uint64_t>(gap, sizeof(kZeros));
      LISSOM_CHECK(file_->write(std::span(kZeros, n)));
      gap -= n;
    }
    ++current_;
    filled_ = 0;
    return {};
  }

  std::unique_ptr<AtomicFile> file_;
  fs::path path_;
  std::vector<TensorInfo> directory_;
  std::vector<uint64_t> sizes_;
  uint64_t alignment_, filled_ = 0;
  size_t current_ = 0, resumed_ = 0;
};

}  // namespace

Result<std::unique_ptr<GgufWriter>> GgufWriter::create(const fs::path& path, const GgufMetadata& metadata,
                                                       const std::vector<TensorInfo>& directory,
                                                       const Options& options) {
  auto layout = make_layout(metadata, directory, options.alignment);
  if (!layout) return tl::unexpected(layout.error().within(path.string()));
  if (options.resume_tensors > directory.size())
    return bad_input(path.string() + ": cannot resume after " + std::to_string(options.resume_tensors) +
                     " of " + std::to_string(directory.size()) + " tensors");
  LISSOM_TRY(auto file, AtomicFile::create(path, {.resume = options.resume_tensors > 0,
                                                  .keep_partial = options.keep_partial}));
  AtomicFile& out = *file;
  auto writer =
      std::make_unique<Writer>(std::move(file), path, directory, std::move(layout->sizes), options.alignment);
  if (options.resume_tensors > 0) {
    std::string rewritten;
    if (options.rewritten != nullptr)
      if (auto other = make_layout(*options.rewritten, directory, options.alignment))
        rewritten = std::move(other->header);
    LISSOM_TRY(const bool resumed, writer->resume(layout->header, rewritten, options.resume_tensors));
    if (resumed) return writer;
    LISSOM_CHECK(out.truncate(0));
  }
  LISSOM_CHECK(out.write(layout->header));
  return writer;
}

}  // namespace lissom
