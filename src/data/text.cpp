#include "data/text.h"

#include "base/file.h"
#include "base/text.h"

namespace lissom {
namespace {

/// Offset of the first byte that is not UTF-8; the size where there is none.
size_t first_malformed(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    size_t length = 1;
    while (length <= 4 && at + length <= text.size() && !valid_utf8(text.substr(at, length))) ++length;
    if (length > 4 || at + length > text.size()) return at;
    at += length;
  }
  return at;
}

}  // namespace

Result<std::string> read_text(const std::filesystem::path& path, uint64_t limit) {
  LISSOM_TRY(std::string text, read_file(path, limit));
  if (text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);
  if (text.find_first_not_of(" \t\r\n\v\f") == std::string::npos) {
    return bad_input(path.string() + ": the text is empty");
  }
  if (!valid_utf8(text)) {
    return bad_input(path.string() + ": not UTF-8 text: malformed at byte " +
                     std::to_string(first_malformed(text)));
  }
  return text;
}

}  // namespace lissom
