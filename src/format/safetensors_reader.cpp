// Reads safetensors with the checks of the reference library: header at most 100 MB and beginning with '{',
// every byte of the data belonging to exactly one tensor, sizes that follow from dtype and shape.

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <set>
#include <unordered_map>

#include "base/file.h"
#include "base/text.h"
#include "format/json.h"
#include "format/safetensors.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;
static_assert(std::endian::native == std::endian::little, "values are read as they lie in the file");

constexpr uint64_t kMaxHeader = 100'000'000;

struct Entry {
  TensorInfo info;
  uint64_t begin = 0, end = 0;  // in the data
};

/// Reads the header's JSON straight into entries: there is no document, so a hostile header costs no more
/// memory than the tensors that it can name. Member functions are nlohmann's SAX interface; false stops the
/// parser.
class HeaderParser {
 public:
  std::vector<Entry> entries;
  std::map<std::string, std::string> metadata;
  std::string error;

  bool null() { return scalar("null"); }
  bool boolean(bool /*v*/) { return scalar("a boolean"); }
  bool number_integer(int64_t /*v*/) { return scalar("a negative number"); }
  bool number_float(double /*v*/, const std::string& /*text*/) { return scalar("a number that is no integer"); }
  bool binary(Json::binary_t& /*v*/) { return scalar("binary data"); }

  bool number_unsigned(uint64_t v) {
    if (state_ == State::shape) {
      if (v > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
        return fail("shape holds " + std::to_string(v));
      if (dims_.size() == Shape::kMaxRank) return fail("shape has more than 8 dimensions");
      dims_.push_back(static_cast<int64_t>(v));
      return true;
    }
    if (state_ == State::offsets) {
      if (n_offsets_ == 2) return fail("data_offsets holds more than two numbers");
      offsets_[n_offsets_++] = v;
      return true;
    }
    return scalar("a number");
  }
  bool string(std::string& v) {
    if (state_ == State::tensor && field_ == "dtype") {
      dtype_ = std::move(v);
      return true;
    }
    if (state_ == State::metadata) {
      if (!metadata.emplace(std::move(field_), std::move(v)).second) return fail("a key occurs twice");
      return true;
    }
    return scalar("a string");
  }
  bool key(std::string& v) {
    if (state_ == State::top) {
      name_ = std::move(v);
      if (!names_.insert(name_).second) return fail("occurs twice");
      return true;
    }
    if (state_ == State::skip) return true;
    field_ = std::move(v);
    if (state_ != State::tensor) return true;
    const int bit = field_ == "dtype" ? 1 : field_ == "shape" ? 2 : field_ == "data_offsets" ? 4 : 0;
    if ((fields_ & bit) != 0) return fail(field_ + " occurs twice");
    fields_ |= bit;
    return true;
  }
  bool start_object(size_t /*size*/) {
    switch (state_) {
      case State::start:
        state_ = State::top;
        return true;
      case State::top:
        if (name_ == "__metadata__") {
          state_ = State::metadata;
        } else {
          state_ = State::tensor;
          fields_ = 0;
          n_offsets_ = 0;
          dims_.clear();
        }
        return true;
      default:
        return nested("an object");
    }
  }
  bool start_array(size_t /*size*/) {
    if (state_ == State::tensor && field_ == "shape") {
      state_ = State::shape;
      return true;
    }
    if (state_ == State::tensor && field_ == "data_offsets") {
      state_ = State::offsets;
      return true;
    }
    return nested("an array");
  }
  bool end_object() {
    if (state_ == State::skip) return unnest();
    if (state_ == State::tensor && !finish_tensor()) return false;
    state_ = state_ == State::top ? State::start : State::top;
    return true;
  }
  bool end_array() {
    if (state_ == State::skip) return unnest();
    state_ = State::tensor;
    return true;
  }
  bool parse_error(size_t position, const std::string& /*token*/, const nlohmann::detail::exception& /*e*/) {
    name_.clear();
    return fail("is not valid JSON at byte " + std::to_string(position));
  }

 private:
  enum class State { start, top, metadata, tensor, shape, offsets, skip };
  static constexpr int kMaxSkip = 32;

  bool fail(const std::string& why) {
    if (error.empty()) error = (name_.empty() ? "header" : "header, tensor " + in_quotes(name_)) + ": " + why;
    return false;
  }
  /// Fields that the format does not name are read over, as the reference library does.
  [[nodiscard]] bool unknown_field() const {
    return state_ == State::tensor && field_ != "dtype" && field_ != "shape" && field_ != "data_offsets";
  }
  bool scalar(const std::string& what) {
    if (state_ == State::skip || unknown_field()) return true;
    return misplaced(what);
  }
  bool nested(const std::string& what) {
    if (state_ != State::skip && !unknown_field()) return misplaced(what);
    if (++depth_ > kMaxSkip) return fail("is nested too deep");
    state_ = State::skip;
    return true;
  }
  bool unnest() {
    if (--depth_ == 0) state_ = State::tensor;
    return true;
  }
  bool misplaced(const std::string& what) {
    if (state_ == State::start) return fail("is " + what + ", not an object");
    if (state_ == State::top) return fail("is " + what + ", not an object");
    return fail(in_quotes(field_) + " holds " + what);
  }
  bool finish_tensor() {
    if (fields_ != 7) return fail("lacks dtype, shape or data_offsets");
    if (n_offsets_ != 2) return fail("data_offsets does not hold two numbers");
    if (name_.empty()) return fail("a tensor has an empty name");
    Entry e;
    e.info = {name_, dtype_, Shape(dims_), 0};
    e.begin = offsets_[0];
    e.end = offsets_[1];
    entries.push_back(std::move(e));
    return true;
  }

  State state_ = State::start;
  std::set<std::string> names_;
  std::string name_, field_, dtype_;
  std::vector<int64_t> dims_;
  uint64_t offsets_[2] = {0, 0};
  int n_offsets_ = 0, fields_ = 0, depth_ = 0;
};

// ---------------------------------------------------------------- one file

struct Part {
  std::shared_ptr<MappedFile> file;
  std::map<std::string, std::string> metadata;
  std::vector<Entry> entries;  // in the order of their offsets
  uint64_t data = 0;           // where the tensors begin
};

Result<uint64_t> tensor_bytes(const TensorInfo& info) {
  const int bits = safetensors_bits(info.type);
  if (bits == 0) return unsupported("has unknown dtype " + in_quotes(info.type));
  int64_t n = bits;
  for (const int64_t d : info.shape.dims())
    if (__builtin_mul_overflow(n, d, &n)) return bad_input("shape " + info.shape.str() + " overflows");
  if (n % 8 != 0)
    return bad_input("shape " + info.shape.str() + " of " + info.type + " does not fill whole bytes");
  return static_cast<uint64_t>(n) / 8;
}

/// Every byte of the data belongs to exactly one tensor.
Result<void> check_layout(std::vector<Entry>& entries, uint64_t size, const std::string& origin) {
  std::ranges::sort(entries, [](const Entry& a, const Entry& b) {
    return std::tie(a.begin, a.end, a.info.name) < std::tie(b.begin, b.end, b.info.name);
  });
  uint64_t expected = 0;
  for (Entry& e : entries) {
    const auto refuse = [&](const std::string& why) {
      return bad_input(fmt::format("{}: tensor {}: data_offsets [{}, {}] {}", origin, in_quotes(e.info.name),
                                   e.begin, e.end, why));
    };
    const auto bytes = tensor_bytes(e.info);
    if (!bytes)
      return tl::unexpected(bytes.error().within(fmt::format("{}: tensor {}", origin, in_quotes(e.info.name))));
    if (e.begin != expected || e.end < e.begin)
      return refuse(fmt::format("should begin at {}: tensors must neither overlap nor leave gaps", expected));
    if (e.end - e.begin != *bytes)
      return refuse(fmt::format("span {} bytes, but {} {} takes {}", e.end - e.begin, e.info.type,
                                e.info.shape.str(), *bytes));
    if (e.end > size)
      return refuse(fmt::format("end past the file, which holds {} bytes of data: it is truncated", size));
    e.info.bytes = *bytes;
    expected = e.end;
  }
  if (expected != size)
    return bad_input(origin + ": the tensors end at " + std::to_string(expected) + ", but the file holds " +
                     std::to_string(size) + " bytes of data");
  return {};
}

Result<Part> read_part(std::shared_ptr<MappedFile> file) {
  const auto bytes = file->bytes();
  const std::string origin = file->path().string();
  uint64_t length = 0;
  if (bytes.size() < sizeof(length)) return bad_input(origin + ": header length: the file has no 8 bytes");
  std::memcpy(&length, bytes.data(), sizeof(length));
  if (length > kMaxHeader)
    return bad_input(origin + ": header length: " + std::to_string(length) +
                     " is more than 100 MB; is this safetensors?");
  if (length > bytes.size() - sizeof(length))
    return bad_input(origin + ": header length: " + std::to_string(length) + " is past the end of the file (" +
                     std::to_string(bytes.size()) + " bytes): it is truncated");
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + sizeof(length), length);
  if (text.empty() || text[0] != '{') return bad_input(origin + ": header: does not begin with '{'");
  // The parser takes NUL for the end of the text and would overlook what follows.
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos)
    return bad_input(origin + ": header: is not valid JSON at byte " + std::to_string(nul));
  HeaderParser parser;
  try {
    if (!Json::sax_parse(text.begin(), text.end(), &parser)) return bad_input(origin + ": " + parser.error);
  } catch (const std::exception& e) {
    return bad_input(origin + ": header: " + e.what());
  }
  Part part;
  part.data = sizeof(length) + length;
  part.entries = std::move(parser.entries);
  part.metadata = std::move(parser.metadata);
  LISSOM_CHECK(check_layout(part.entries, bytes.size() - part.data, origin));
  part.file = std::move(file);
  return part;
}

// ---------------------------------------------------------------- all files

class Reader : public SafetensorsFile {
 public:
  explicit Reader(std::string origin) : origin_(std::move(origin)) {}
  [[nodiscard]] std::span<const TensorInfo> tensors() const override { return infos_; }
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const override {
    return parts_.front().metadata;
  }
  [[nodiscard]] std::vector<fs::path> files() const override {
    std::vector<fs::path> paths;
    for (const Part& part : parts_) paths.push_back(part.file->path());
    return paths;
  }
  [[nodiscard]] std::string origin() const override { return origin_; }
  [[nodiscard]] int64_t find(std::string_view name) const override {
    const auto it = index_.find(name);
    return it == index_.end() ? -1 : it->second;
  }

  [[nodiscard]] Result<TensorView> read(size_t index) const override {
    if (index >= infos_.size()) return bad_input(origin_ + ": there is no tensor " + std::to_string(index));
    const Location& at = locations_[index];
    const TensorInfo& info = infos_[index];
    const auto bytes = parts_[at.part].file->bytes().subspan(at.offset, info.bytes);
    // The format does not ask for alignment, though the reference library keeps it.
    const auto element = static_cast<uintptr_t>(std::max(1, safetensors_bits(info.type) / 8));
    if (reinterpret_cast<uintptr_t>(bytes.data()) % element == 0)
      return TensorView{info, bytes, parts_[at.part].file};
    auto copy = std::make_shared<std::vector<std::byte>>(bytes.begin(), bytes.end());
    return TensorView{info, *copy, copy};
  }
  void release(size_t index) const override {
    if (index < infos_.size())
      parts_[locations_[index].part].file->drop(locations_[index].offset, infos_[index].bytes);
  }

  void add(Part part) {
    for (Entry& e : part.entries) {
      locations_.push_back({parts_.size(), part.data + e.begin});
      infos_.push_back(std::move(e.info));
    }
    part.entries.clear();
    parts_.push_back(std::move(part));
  }
  Result<void> finish() {
    for (size_t i = 0; i < infos_.size(); ++i)
      if (const auto [it, is_new] = index_.emplace(infos_[i].name, static_cast<int64_t>(i)); !is_new)
        return bad_input(origin_ + ": tensor " + in_quotes(infos_[i].name) + " occurs in two shards, " +
                         file_of(static_cast<size_t>(it->second)) + " and " + file_of(i));
    return {};
  }
  [[nodiscard]] std::string file_of(size_t index) const {
    return parts_[locations_[index].part].file->path().filename().string();
  }

 private:
  struct Location {
    size_t part;
    uint64_t offset;
  };
  std::string origin_;
  std::vector<Part> parts_;
  std::vector<TensorInfo> infos_;
  std::vector<Location> locations_;
  std::unordered_map<std::string_view, int64_t> index_;
};

/// A shard is a plain file name beside its index: an index from elsewhere must not reach the rest of the disk.
bool plain_file_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
         name.find('\\') == std::string::npos && name.find('\0') == std::string::npos;
}

Result<std::map<std::string, std::string>> read_index(const fs::path& path) {
  LISSOM_TRY(const Json index, read_json(path, kMaxHeader));
  const std::string origin = path.string();
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  if (map == index.end() || !map->is_object() || map->empty())
    return bad_input(origin + ": weight_map is absent, empty or not an object");
  std::map<std::string, std::string> shards;
  for (const auto& [tensor, file] : map->items()) {
    const auto* name = file.get_ptr<const std::string*>();
    if (name == nullptr || !plain_file_name(*name))
      return bad_input(
          origin + ": weight_map: tensor " + in_quotes(tensor) + ": " +
          (name == nullptr ? "its shard is not a string" : in_quotes(*name) + " is not a plain file name"));
    shards.emplace(tensor, *name);
  }
  return shards;
}

Result<std::shared_ptr<SafetensorsFile>> open_index(const fs::path& path) {
  LISSOM_TRY(const auto shard_of, read_index(path));
  std::set<std::string> shards;
  for (const auto& [tensor, shard] : shard_of) shards.insert(shard);
  auto reader = std::make_shared<Reader>(path.string());
  for (const std::string& shard : shards) {
    const fs::path at = path.parent_path() / shard;
    std::error_code ignored;
    if (!fs::exists(at, ignored))
      return bad_input(path.string() + ": weight_map names the shard " + in_quotes(shard) +
                       ", which is absent");
    LISSOM_TRY(auto file, MappedFile::open(at));
    LISSOM_TRY(Part part, read_part(std::move(file)));
    reader->add(std::move(part));
  }
  LISSOM_CHECK(reader->finish());
  for (const auto& [tensor, shard] : shard_of) {
    const int64_t at = reader->find(tensor);
    if (at < 0 || reader->file_of(static_cast<size_t>(at)) != shard)
      return bad_input(path.string() + ": weight_map says that tensor " + in_quotes(tensor) + " is in " +
                       in_quotes(shard) + ", but it is not there");
  }
  return reader;
}

}  // namespace

Result<std::shared_ptr<SafetensorsFile>> SafetensorsFile::open(const fs::path& path) {
  if (path.extension() == ".json") return open_index(path);
  LISSOM_TRY(auto file, MappedFile::open(path));
  auto reader = std::make_shared<Reader>(path.string());
  LISSOM_TRY(Part part, read_part(std::move(file)));
  reader->add(std::move(part));
  LISSOM_CHECK(reader->finish());
  return reader;
}

Result<std::shared_ptr<SafetensorsFile>> SafetensorsFile::open_memory(std::span<const std::byte> bytes,
                                                                      const std::string& name) {
  auto reader = std::make_shared<Reader>(name);
  LISSOM_TRY(Part part, read_part(MappedFile::borrow(bytes, name)));
  reader->add(std::move(part));
  LISSOM_CHECK(reader->finish());
  return reader;
}

}  // namespace lissom
