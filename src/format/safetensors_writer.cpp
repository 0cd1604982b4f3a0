#include <algorithm>
#include <array>
#include <set>
#include <vector>

#include "base/file.h"
#include "base/text.h"
#include "format/json.h"
#include "format/safetensors.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;

struct Dtype {
  std::string_view name;
  int bits;
};
// In the reference library's order: its writer sorts by it, downwards.
constexpr auto kDtypes = std::to_array<Dtype>({
    {"BOOL", 8},    {"F4", 4},      {"F6_E2M3", 6}, {"F6_E3M2", 6}, {"U8", 8},   {"I8", 8},    {"F8_E5M2", 8},
    {"F8_E4M3", 8}, {"F8_E8M0", 8}, {"I16", 16},    {"U16", 16},    {"F16", 16}, {"BF16", 16}, {"I32", 32},
    {"U32", 32},    {"F32", 32},    {"C64", 64},    {"F64", 64},    {"I64", 64}, {"U64", 64},
});

size_t rank_of(std::string_view dtype) {
  return static_cast<size_t>(std::ranges::find(kDtypes, dtype, &Dtype::name) - kDtypes.begin());
}

Result<uint64_t> checked_bytes(const TensorInfo& t) {
  const int bits = safetensors_bits(t.type);
  if (bits == 0) return unsupported("safetensors cannot store type " + in_quotes(t.type));
  int64_t n = bits;
  for (const int64_t d : t.shape.dims())
    if (d < 0 || __builtin_mul_overflow(n, d, &n)) return bad_input("shape " + t.shape.str() + " is not valid");
  if (n % 8 != 0) return bad_input("shape " + t.shape.str() + " of " + t.type + " does not fill whole bytes");
  const auto bytes = static_cast<uint64_t>(n) / 8;
  if (t.bytes != 0 && t.bytes != bytes)
    return bad_input("announced with " + std::to_string(t.bytes) + " bytes, but " + t.type + " " +
                     t.shape.str() + " takes " + std::to_string(bytes));
  return bytes;
}

struct Layout {
  std::string header;  // with its length and padding
  uint64_t bytes = 0;
  std::vector<uint64_t> ends;  // of each tensor, in the data
};

Result<Layout> make_layout(const std::vector<TensorInfo>& directory,
                           const std::map<std::string, std::string>& metadata) {
  Layout layout;
  std::string json = "{";
  const auto text = [](const std::string& s) { return Json(s).dump(); };
  if (!metadata.empty()) {
    for (const auto& [key, value] : metadata)
      if (!valid_utf8(key) || !valid_utf8(value))
        return bad_input("metadata " + in_quotes(key) + ": is not UTF-8");
    json += "\"__metadata__\":" + Json(metadata).dump();
  }
  std::set<std::string_view> seen{"__metadata__"};
  for (const TensorInfo& t : directory) {
    const std::string field = "tensor " + in_quotes(t.name);
    if (t.name.empty() || !valid_utf8(t.name)) return bad_input(field + ": name is empty or not UTF-8");
    if (!seen.insert(t.name).second) return bad_input(field + ": occurs twice or is reserved");
    const auto bytes = checked_bytes(t);
    if (!bytes) return tl::unexpected(bytes.error().within(field));
    uint64_t end = 0;
    if (__builtin_add_overflow(layout.bytes, *bytes, &end) || end > (1ULL << 62U))
      return bad_input(field + ": the file grows past 2^62 bytes");
    if (json.size() > 1) json += ',';
    json += text(t.name) + ":{\"dtype\":\"" + t.type + "\",\"shape\":[";
    for (int i = 0; i < t.shape.rank(); ++i) json.append(i > 0 ? "," : "").append(std::to_string(t.shape[i]));
    json += "],\"data_offsets\":[" + std::to_string(layout.bytes) + "," + std::to_string(end) + "]}";
    layout.bytes = end;
    layout.ends.push_back(end);
  }
  json += '}';
  json.resize((json.size() + 7) / 8 * 8, ' ');
  if (json.size() > 100'000'000)
    return bad_input("header takes " + std::to_string(json.size()) + " bytes, more than 100 MB");
  const uint64_t length = json.size();
  layout.header.assign(reinterpret_cast<const char*>(&length), sizeof(length));
  layout.header += json;
  return layout;
}

class Writer : public SafetensorsWriter {
 public:
  Writer(std::unique_ptr<AtomicFile> file, fs::path path, Layout layout)
      : file_(std::move(file)),
        path_(std::move(path)),
        begin_(layout.header.size()),
        left_(layout.bytes),
        ends_(std::move(layout.ends)),
        there_(ends_.size(), false) {}

  [[nodiscard]] Result<void> append(std::span<const std::byte> data) override {
    if (data.size() > left_) return bad_input(path_.string() + ": more bytes appended than its tensors hold");
    LISSOM_CHECK(file_->write(data));
    left_ -= data.size();
    return {};
  }
  [[nodiscard]] Result<void> put(size_t index, std::span<const std::byte> data) override {
    const uint64_t begin = index > 0 && index < ends_.size() ? ends_[index - 1] : 0;
    if (index >= ends_.size() || there_[index] || data.size() != ends_[index] - begin)
      return bad_input(path_.string() + ": tensor " + std::to_string(index) + " of " +
                       std::to_string(ends_.size()) + " does not take " + std::to_string(data.size()) +
                       " bytes, or is there");
    LISSOM_CHECK(file_->write_at(begin_ + begin, data));
    there_[index] = true;
    left_ -= data.size();
    return {};
  }
  [[nodiscard]] Result<void> finish() override {
    if (left_ > 0) return bad_input(path_.string() + ": its tensors lack " + std::to_string(left_) + " bytes");
    return file_->commit();
  }

 private:
  std::unique_ptr<AtomicFile> file_;
  fs::path path_;
  uint64_t begin_, left_;
  std::vector<uint64_t> ends_;
  std::vector<bool> there_;
};

}  // namespace

int safetensors_bits(std::string_view dtype) {
  const size_t at = rank_of(dtype);
  return at == kDtypes.size() ? 0 : kDtypes[at].bits;
}

void sort_for_safetensors(std::vector<TensorInfo>& directory) {
  std::ranges::stable_sort(directory, [](const TensorInfo& a, const TensorInfo& b) {
    const size_t ra = rank_of(a.type), rb = rank_of(b.type);
    return ra != rb ? ra > rb : a.name < b.name;
  });
}

Result<uint64_t> safetensors_file_bytes(const std::vector<TensorInfo>& directory,
                                        const std::map<std::string, std::string>& metadata) {
  return make_layout(directory, metadata).map([](const Layout& l) { return l.header.size() + l.bytes; });
}

Result<std::unique_ptr<SafetensorsWriter>> SafetensorsWriter::create(
    const fs::path& path, const std::vector<TensorInfo>& directory,
    const std::map<std::string, std::string>& metadata) {
  auto layout = make_layout(directory, metadata);
  if (!layout) return tl::unexpected(layout.error().within(path.string()));
  LISSOM_TRY(auto file, AtomicFile::create(path));
  LISSOM_CHECK(file->write(layout->header));
  return std::make_unique<Writer>(std::move(file), path, std::move(*layout));
}

}  // namespace lissom
