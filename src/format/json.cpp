#include "format/json.h"

#include <algorithm>
#include <vector>

#include "base/file.h"
#include "base/text.h"

namespace lissom {
namespace {

constexpr size_t kMaxDepth = 64;
constexpr size_t kMaxValues =
    10'000'000;  // a value takes 16 bytes and up, a byte of text can make a third of one

/// Builds the document while it is parsed, so that a bad one is given up at its first fault. Member functions
/// are nlohmann's SAX interface; false stops the parser.
class Builder {
 public:
  std::string error;
  Json root;

  bool null() { return put(nullptr); }
  bool boolean(bool v) { return put(v); }
  bool number_integer(int64_t v) { return put(v); }
  bool number_unsigned(uint64_t v) { return put(v); }
  bool number_float(double v, const std::string& /*text*/) { return put(v); }
  bool string(std::string& v) { return put(std::move(v)); }
  bool binary(Json::binary_t& /*v*/) { return fail("holds binary data"); }
  bool start_object(size_t /*size*/) { return open(Json::object()); }
  bool start_array(size_t /*size*/) { return open(Json::array()); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool key(std::string& name) {
    auto& object = *stack_.back()->get_ptr<Json::object_t*>();
    const auto [member, is_new] = object.emplace(std::move(name), nullptr);
    if (!is_new) return fail("key " + in_quotes(member->first) + " occurs twice in one object");
    slot_ = &member->second;
    return true;
  }
  bool parse_error(size_t /*position*/, const std::string& /*token*/, const nlohmann::detail::exception& e) {
    // "[json.exception.parse_error.101] parse error at line 1, column 2: why; last read: 'all of a token'"
    std::string_view text = e.what();
    if (const size_t bracket = text.find("] "); bracket != std::string_view::npos)
      text.remove_prefix(bracket + 2);
    return fail(std::string(text.substr(0, std::min<size_t>(text.find("; last read"), 200))));
  }

 private:
  bool fail(std::string why) {
    error = std::move(why);
    return false;
  }

  Json* place(Json&& value) {
    if (stack_.empty()) return &(root = std::move(value));
    if (auto* array = stack_.back()->get_ptr<Json::array_t*>()) return &array->emplace_back(std::move(value));
    return &(*slot_ = std::move(value));
  }
  bool put(Json&& value) {
    if (++values_ > kMaxValues) return fail("holds more than " + std::to_string(kMaxValues) + " values");
    place(std::move(value));
    return true;
  }
  bool open(Json&& value) {
    if (stack_.size() == kMaxDepth) return fail("is nested deeper than " + std::to_string(kMaxDepth));
    if (++values_ > kMaxValues) return fail("holds more than " + std::to_string(kMaxValues) + " values");
    stack_.push_back(place(std::move(value)));
    return true;
  }
  bool close() {
    stack_.pop_back();
    return true;
  }

  std::vector<Json*> stack_;  // the open containers; a vector grows only at its end, so these stay valid
  Json* slot_ = nullptr;      // where the value of the last key goes
  size_t values_ = 0;
};

}  // namespace

Result<Json> parse_json(std::string_view text, const std::string& origin) {
  // The parser takes NUL for the end of the text and would overlook what follows.
  if (text.find('\0') != std::string_view::npos) return bad_input(origin + ": JSON: holds a NUL byte");
  try {
    Builder builder;
    if (!Json::sax_parse(text.begin(), text.end(), &builder))
      return bad_input(origin + ": JSON: " + builder.error);
    return std::move(builder.root);
  } catch (const std::exception& e) {
    return bad_input(origin + ": JSON: " + e.what());
  }
}

Result<Json> read_json(const std::filesystem::path& path, uint64_t limit) {
  LISSOM_TRY(const std::string text, read_file(path, limit));
  return parse_json(text, path.string());
}

}  // namespace lissom
