// Reads GGUF. Layout, little-endian: "GGUF", u32 version, u64 tensors, u64 keys; the keys, each a string, u32
// type and value; the directory, each a string, u32 rank, u64 dims (fastest first), u32 type, u64 offset;
// padding to the alignment; the data. A string is a u64 length and its bytes; an array a u32 type, a u64 count
// and its items.

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <unordered_map>
#include <unordered_set>

#include "base/file.h"
#include "base/text.h"
#include "format/gguf_types.h"
#include "lissom/gguf.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;
static_assert(std::endian::native == std::endian::little, "values are read as they lie in the file");

constexpr uint64_t kMaxHeader =
    1ULL << 30U;  // metadata and directory; the largest vocabularies take some 20 MB
constexpr uint64_t kMaxKeys = 65536;
constexpr int kMaxArrayDepth = 4;
constexpr size_t kMaxKey = 65535, kMaxTensorName = 63;
constexpr uint32_t kMaxRank = 4;
constexpr int64_t kMaxSplits = 99999;

enum ValueType : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64, kI64, kF64 };
constexpr uint32_t kValueTypes = 13;
// A value's type number is the index of its alternative, so that the writer needs no table.
static_assert(std::variant_size_v<GgufValue> == kValueTypes);
static_assert(std::is_same_v<std::variant_alternative_t<kArray, GgufValue>, std::shared_ptr<GgufArray>>);
static_assert(std::is_same_v<std::variant_alternative_t<kF64, GgufValue>, double>);

uint64_t pad(uint64_t n, uint64_t alignment) {
  return (n + alignment - 1) & ~(alignment - 1);
}

/// Reads forward through the header. Every read is checked against what is left; errors name file and field.
class Cursor {
 public:
  Cursor(std::span<const std::byte> bytes, std::string origin)
      : rest_(bytes.first(std::min<size_t>(bytes.size(), kMaxHeader))),
        size_(bytes.size()),
        origin_(std::move(origin)) {}

  [[nodiscard]] uint64_t left() const { return rest_.size(); }
  [[nodiscard]] uint64_t position() const { return position_; }
  [[nodiscard]] tl::unexpected<Error> error(const std::string& field, const std::string& what) const {
    return bad_input(origin_ + ": " + field + ": " + what);
  }

  Result<std::span<const std::byte>> take(uint64_t n, const std::string& field) {
    if (n > rest_.size()) {
      if (size_ > kMaxHeader)
        return error(field, "lies past the first GiB of the file, where the header must end");
      return error(field, "needs " + std::to_string(n) + " bytes at offset " + std::to_string(position_) +
                              ", but the file ends at " + std::to_string(size_));
    }
    const auto bytes = rest_.first(n);
    rest_ = rest_.subspan(n);
    position_ += n;
    return bytes;
  }
  template <class T>
  Result<T> value(const std::string& field) {
    LISSOM_TRY(const auto bytes, take(sizeof(T), field));
    T v;
    std::memcpy(&v, bytes.data(), sizeof(T));
    return v;
  }
  Result<std::string_view> string(uint64_t limit, const std::string& field) {
    LISSOM_TRY(const uint64_t n, value<uint64_t>(field));
    if (n > limit)
      return error(field, "is a string of " + std::to_string(n) + " bytes; at most " + std::to_string(limit) +
                              " are allowed or left in the file");
    LISSOM_TRY(const auto bytes, take(n, field));
    return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }

 private:
  std::span<const std::byte> rest_;
  uint64_t position_ = 0, size_;
  std::string origin_;
};

// ---------------------------------------------------------------- metadata

template <class T>
Result<std::vector<T>> read_numbers(Cursor& in, uint64_t count, const std::string& field) {
  if (count > in.left() / sizeof(T))
    return in.error(field, "claims " + std::to_string(count) + " items, more than the file can hold");
  LISSOM_TRY(const auto bytes, in.take(count * sizeof(T), field));
  std::vector<T> items(count);
  if (count > 0) std::memcpy(items.data(), bytes.data(), bytes.size());
  return items;
}

Result<bool> read_bool(Cursor& in, const std::string& field) {
  LISSOM_TRY(const auto v, in.value<uint8_t>(field));
  if (v > 1) return in.error(field, "is a boolean with value " + std::to_string(v));
  return v == 1;
}

Result<std::shared_ptr<GgufArray>> read_array(Cursor& in, int depth, const std::string& field);

/// Items that are read one by one: each takes at least `least` bytes of the file, which bounds what a count may
/// claim.
template <class T, class Read>
Result<std::vector<T>> read_items(Cursor& in, uint64_t count, uint64_t least, const std::string& field,
                                  Read read) {
  if (count > in.left() / least)
    return in.error(field, "claims " + std::to_string(count) + " items, more than the file can hold");
  std::vector<T> items;
  items.reserve(std::min<uint64_t>(count, 1U << 16U));
  for (uint64_t i = 0; i < count; ++i) {
    LISSOM_TRY(auto item, read());
    items.emplace_back(std::move(item));
  }
  return items;
}

Result<GgufArray> read_array_items(Cursor& in, uint32_t type, uint64_t count, int depth,
                                   const std::string& field) {
  const auto numbers = [&]<class T>(T /*tag*/) -> Result<GgufArray> {
    LISSOM_TRY(auto items, read_numbers<T>(in, count, field));
    return GgufArray{std::move(items)};
  };
  switch (type) {
    case kU8:
      return numbers(uint8_t{});
    case kI8:
      return numbers(int8_t{});
    case kU16:
      return numbers(uint16_t{});
    case kI16:
      return numbers(int16_t{});
    case kU32:
      return numbers(uint32_t{});
    case kI32:
      return numbers(int32_t{});
    case kF32:
      return numbers(float{});
    case kU64:
      return numbers(uint64_t{});
    case kI64:
      return numbers(int64_t{});
    case kF64:
      return numbers(double{});
    case kBool: {
      LISSOM_TRY(auto items, read_items<bool>(in, count, 1, field, [&] { return read_bool(in, field); }));
      return GgufArray{std::move(items)};
    }
    case kString: {
      LISSOM_TRY(auto items,
                 read_items<std::string>(in, count, 8, field, [&] { return in.string(in.left(), field); }));
      return GgufArray{std::move(items)};
    }
    default: {
      LISSOM_TRY(auto items, read_items<std::shared_ptr<GgufArray>>(
                                 in, count, 12, field, [&] { return read_array(in, depth + 1, field); }));
      return GgufArray{std::move(items)};
    }
  }
}

Result<std::shared_ptr<GgufArray>> read_array(Cursor& in, int depth, const std::string& field) {
  if (depth > kMaxArrayDepth)
    return in.error(field, "nests arrays deeper than " + std::to_string(kMaxArrayDepth));
  LISSOM_TRY(const auto type, in.value<uint32_t>(field));
  LISSOM_TRY(const auto count, in.value<uint64_t>(field));
  if (type >= kValueTypes) return in.error(field, "is an array of unknown type " + std::to_string(type));
  LISSOM_TRY(auto array, read_array_items(in, type, count, depth, field));
  return std::make_shared<GgufArray>(std::move(array));
}

Result<GgufValue> read_value(Cursor& in, const std::string& field) {
  const auto wrap = [](auto result) -> Result<GgufValue> {
    if (!result) return tl::unexpected(std::move(result).error());
    return GgufValue(*std::move(result));
  };
  LISSOM_TRY(const auto type, in.value<uint32_t>(field));
  switch (type) {
    case kU8:
      return wrap(in.value<uint8_t>(field));
    case kI8:
      return wrap(in.value<int8_t>(field));
    case kU16:
      return wrap(in.value<uint16_t>(field));
    case kI16:
      return wrap(in.value<int16_t>(field));
    case kU32:
      return wrap(in.value<uint32_t>(field));
    case kI32:
      return wrap(in.value<int32_t>(field));
    case kF32:
      return wrap(in.value<float>(field));
    case kBool:
      return wrap(read_bool(in, field));
    case kString: {
      LISSOM_TRY(const auto text, in.string(in.left(), field));
      return GgufValue(std::string(text));
    }
    case kArray:
      return wrap(read_array(in, 1, field));
    case kU64:
      return wrap(in.value<uint64_t>(field));
    case kI64:
      return wrap(in.value<int64_t>(field));
    case kF64:
      return wrap(in.value<double>(field));
    default:
      return in.error(field, "has unknown type " + std::to_string(type));
  }
}

Result<GgufMetadata> read_metadata(Cursor& in, uint64_t count) {
  if (count > kMaxKeys)
    return in.error("metadata count", std::to_string(count) + " keys; at most " + std::to_string(kMaxKeys));
  GgufMetadata metadata;
  std::unordered_set<std::string_view> seen;
  for (uint64_t i = 0; i < count; ++i) {
    LISSOM_TRY(const auto key, in.string(kMaxKey, "metadata key " + std::to_string(i)));
    const std::string field = "metadata key " + in_quotes(key);
    if (key.empty() || !valid_utf8(key)) return in.error(field, "is empty or not UTF-8");
    if (!seen.insert(key).second) return in.error(field, "occurs twice");
    LISSOM_TRY(auto value, read_value(in, field));
    metadata.append(std::string(key), std::move(value));
  }
  return metadata;
}

// ---------------------------------------------------------------- directory

struct Entry {
  TensorInfo info;
  uint64_t offset = 0;  // from the start of the data
};

Result<Shape> read_shape(Cursor& in, const std::string& field) {
  LISSOM_TRY(const auto rank, in.value<uint32_t>(field));
  if (rank > kMaxRank) return in.error(field, "has " + std::to_string(rank) + " dimensions; at most 4");
  std::array<int64_t, kMaxRank> dims{};
  for (uint32_t i = 0; i < rank; ++i) {
    LISSOM_TRY(const auto d, in.value<uint64_t>(field));
    if (d == 0 || d > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
      return in.error(field, "dimension " + std::to_string(i) + " is " + std::to_string(d));
    dims[rank - 1 - i] = static_cast<int64_t>(d);
  }
  return Shape(std::span<const int64_t>(dims.data(), rank));
}

Result<Entry> read_entry(Cursor& in, uint64_t index) {
  LISSOM_TRY(const auto name, in.string(kMaxTensorName, "name of tensor " + std::to_string(index)));
  const std::string field = "tensor " + in_quotes(name);
  if (name.empty() || !valid_utf8(name) || name.find('\0') != std::string_view::npos)
    return in.error(field, "name is empty or not UTF-8");
  LISSOM_TRY(const Shape shape, read_shape(in, field));
  LISSOM_TRY(const auto number, in.value<uint32_t>(field));
  LISSOM_TRY(const auto offset, in.value<uint64_t>(field));
  const GgmlType* type = find_ggml_type(number);
  if (type == nullptr) return in.error(field, "has unknown ggml type " + std::to_string(number));
  if (type->block_bytes == 0)
    return in.error(field,
                    "has type " + std::string(type->name) + ", which GGUF no longer has; make the file anew");
  const auto bytes = ggml_bytes(*type, shape);
  if (!bytes) return in.error(field, bytes.error().message);
  return Entry{{std::string(name), std::string(type->name), shape, *bytes}, offset};
}

/// The rule of llama.cpp's loader: tensors lie in directory order, each at the padded end of the one before.
Result<std::vector<Entry>> read_directory(Cursor& in, uint64_t count, uint64_t alignment) {
  constexpr uint64_t kLeast = 8 + 4 + 4 + 8;
  if (count > in.left() / kLeast)
    return in.error("tensor count",
                    "claims " + std::to_string(count) + " tensors, more than the file can hold");
  std::vector<Entry> entries;
  std::unordered_set<std::string> seen;
  uint64_t expected = 0;
  for (uint64_t i = 0; i < count; ++i) {
    LISSOM_TRY(Entry entry, read_entry(in, i));
    const std::string field = "tensor " + in_quotes(entry.info.name);
    if (!seen.insert(entry.info.name).second) return in.error(field, "occurs twice");
    if (entry.offset != expected)
      return in.error(field, "data offset is " + std::to_string(entry.offset) + ", expected " +
                                 std::to_string(expected) + " (tensors must be contiguous)");
    if (__builtin_add_overflow(expected, entry.info.bytes, &expected) || expected > (1ULL << 62U))
      return in.error(field, "data offset overflows");
    expected = pad(expected, alignment);
    entries.push_back(std::move(entry));
  }
  return entries;
}

// ---------------------------------------------------------------- one file

struct Part {
  std::shared_ptr<MappedFile> file;
  GgufMetadata metadata;
  std::vector<Entry> entries;
  uint64_t data = 0;  // where the tensors begin
};

Result<uint64_t> read_alignment(const Cursor& in, const GgufMetadata& metadata) {
  const GgufValue* value = metadata.find("general.alignment");
  if (value == nullptr) return uint64_t{32};
  const auto* alignment = std::get_if<uint32_t>(value);
  if (alignment == nullptr) return in.error("general.alignment", "is not a u32");
  if (!std::has_single_bit(*alignment))
    return in.error("general.alignment", std::to_string(*alignment) + " is not a power of two");
  return uint64_t{*alignment};
}

Result<void> read_version(Cursor& in) {
  LISSOM_TRY(const auto magic, in.take(4, "magic"));
  if (std::memcmp(magic.data(), "GGUF", 4) != 0) return in.error("magic", "this is not a GGUF file");
  LISSOM_TRY(const auto version, in.value<uint32_t>("version"));
  if ((version & 0xffffU) == 0 && version != 0)
    return in.error("version", "the file is big-endian; only little-endian GGUF is read");
  // Version 3 differs from 2 only in allowing big-endian files.
  if (version != 2 && version != 3) return in.error("version", std::to_string(version) + "; 2 and 3 are read");
  return {};
}

Result<Part> read_part(std::shared_ptr<MappedFile> file) {
  const auto bytes = file->bytes();
  Cursor in(bytes, file->path().string());
  LISSOM_CHECK(read_version(in));
  LISSOM_TRY(const auto tensors, in.value<uint64_t>("tensor count"));
  LISSOM_TRY(const auto keys, in.value<uint64_t>("metadata count"));
  Part part;
  LISSOM_TRY(part.metadata, read_metadata(in, keys));
  LISSOM_TRY(const uint64_t alignment, read_alignment(in, part.metadata));
  LISSOM_TRY(part.entries, read_directory(in, tensors, alignment));
  part.data = pad(in.position(), alignment);
  for (const Entry& e : part.entries)
    if (part.data > bytes.size() || e.offset > bytes.size() - part.data ||
        e.info.bytes > bytes.size() - part.data - e.offset)
      return in.error("tensor " + in_quotes(e.info.name),
                      "ends at " + std::to_string(part.data + e.offset + e.info.bytes) +
                          ", past the end of the file (" + std::to_string(bytes.size()) +
                          " bytes): the file is truncated");
  part.file = std::move(file);
  return part;
}

// ---------------------------------------------------------------- all files

class Reader : public GgufFile {
 public:
  [[nodiscard]] std::span<const TensorInfo> tensors() const override { return infos_; }
  [[nodiscard]] const GgufMetadata& metadata() const override { return parts_.front().metadata; }
  [[nodiscard]] const std::vector<fs::path>& files() const override { return files_; }
  [[nodiscard]] std::string origin() const override { return files_.front().string(); }

  [[nodiscard]] Result<TensorView> read(size_t index) const override {
    if (index >= infos_.size()) return bad_input(origin() + ": there is no tensor " + std::to_string(index));
    const Location& at = locations_[index];
    const auto bytes = parts_[at.part].file->bytes().subspan(at.offset, infos_[index].bytes);
    // A file in memory need not lie aligned, and an alignment below 8 does not keep F64 and I64 so.
    if (reinterpret_cast<uintptr_t>(bytes.data()) % 8 == 0)
      return TensorView{infos_[index], bytes, parts_[at.part].file};
    auto copy = std::make_shared<std::vector<std::byte>>(bytes.begin(), bytes.end());
    return TensorView{infos_[index], *copy, copy};
  }
  void release(size_t index) const override {
    if (index < infos_.size())
      parts_[locations_[index].part].file->drop(locations_[index].offset, infos_[index].bytes);
  }
  [[nodiscard]] int64_t find(std::string_view name) const override {
    const auto it = index_.find(name);
    return it == index_.end() ? -1 : it->second;
  }

  Result<void> add(Part part) {
    files_.push_back(part.file->path());
    for (Entry& e : part.entries) {
      locations_.push_back({parts_.size(), part.data + e.offset});
      infos_.push_back(std::move(e.info));
    }
    part.entries.clear();
    parts_.push_back(std::move(part));
    return {};
  }
  Result<void> finish() {
    for (const char* key : {"split.no", "split.count", "split.tensors.count"})
      parts_.front().metadata.erase(key);
    for (size_t i = 0; i < infos_.size(); ++i)
      if (!index_.emplace(infos_[i].name, static_cast<int64_t>(i)).second)
        return bad_input(origin() + ": tensor " + in_quotes(infos_[i].name) +
                         " occurs in two files of the split");
    return {};
  }

 private:
  struct Location {
    size_t part;
    uint64_t offset;
  };
  std::vector<Part> parts_;
  std::vector<TensorInfo> infos_;
  std::vector<Location> locations_;
  std::vector<fs::path> files_;
  std::unordered_map<std::string_view, int64_t> index_;
};

/// "…-00001-of-00003.gguf" → the path of file `no` (from 0).
Result<fs::path> split_path(const fs::path& first, int64_t no, int64_t count) {
  const auto suffix = [&](int64_t i) {
    const auto five = [](int64_t n) {
      const std::string digits = std::to_string(n);
      return std::string(5 - std::min<size_t>(5, digits.size()), '0') + digits;
    };
    return "-" + five(i + 1) + "-of-" + five(count) + ".gguf";
  };
  std::string name = first.string();
  if (!name.ends_with(suffix(0)))
    return bad_input(name + ": split.count is " + std::to_string(count) + ", so its name should end in " +
                     suffix(0));
  name.resize(name.size() - suffix(0).size());
  return fs::path(name + suffix(no));
}

Result<void> add_splits(Reader& reader, const fs::path& path, int64_t count, int64_t total) {
  for (int64_t no = 1; no < count; ++no) {
    LISSOM_TRY(const fs::path next, split_path(path, no, count));
    LISSOM_TRY(auto file, MappedFile::open(next));
    LISSOM_TRY(Part part, read_part(std::move(file)));
    if (part.metadata.integer_or("split.no", -1) != no || part.metadata.integer_or("split.count", -1) != count)
      return bad_input(next.string() + ": split.no and split.count do not say file " + std::to_string(no) +
                       " of " + std::to_string(count) + " (counted from 0)");
    LISSOM_CHECK(reader.add(std::move(part)));
  }
  if (total >= 0 && static_cast<uint64_t>(total) != reader.tensors().size())
    return bad_input(path.string() + ": split.tensors.count is " + std::to_string(total) +
                     ", but the files hold " + std::to_string(reader.tensors().size()) + " tensors");
  return {};
}

Result<std::shared_ptr<GgufFile>> open_file(std::shared_ptr<MappedFile> file, bool in_memory) {
  const fs::path path = file->path();
  auto reader = std::make_shared<Reader>();
  LISSOM_TRY(Part part, read_part(std::move(file)));
  const int64_t count = part.metadata.integer_or("split.count", 1),
                no = part.metadata.integer_or("split.no", 0);
  const int64_t total = part.metadata.integer_or("split.tensors.count", -1);
  if (count < 0 || count > kMaxSplits)
    return bad_input(path.string() + ": split.count is " + std::to_string(count));
  if (count > 1 && no != 0)
    return bad_input(path.string() + ": is file " + std::to_string(no + 1) +
                     " of a split model; open the first");
  if (count > 1 && in_memory)
    return unsupported(path.string() + ": a split model cannot be opened from memory");
  LISSOM_CHECK(reader->add(std::move(part)));
  if (count > 1) LISSOM_CHECK(add_splits(*reader, path, count, total));
  LISSOM_CHECK(reader->finish());
  return reader;
}

}  // namespace

Result<std::shared_ptr<GgufFile>> GgufFile::open(const fs::path& path) {
  LISSOM_TRY(auto file, MappedFile::open(path));
  return open_file(std::move(file), false);
}

Result<std::shared_ptr<GgufFile>> GgufFile::open_memory(std::span<const std::byte> bytes,
                                                        const std::string& name) {
  return open_file(MappedFile::borrow(bytes, name), true);
}

}  // namespace lissom
