#include "runtime/utf8_stream.h"

namespace lissom {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

/// Bytes of the sequence at the start of `text` that are well formed, and how many it should have (0: none
/// starts with this byte). The second byte's range is what excludes overlong forms, surrogates and what is past
/// U+10FFFF.
struct Sequence {
  size_t good, length;
};
Sequence measure(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {1, 1};
  const size_t length = lead >= 0xC2 && lead < 0xE0   ? 2
                        : lead >= 0xE0 && lead < 0xF0 ? 3
                        : lead >= 0xF0 && lead < 0xF5 ? 4
                                                      : 0;
  size_t good = 1;
  while (good < length && good < text.size()) {
    const unsigned char low = good > 1 ? 0x80 : lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    const unsigned char high = good > 1 ? 0xBF : lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (byte(good) < low || byte(good) > high) break;
    ++good;
  }
  return {good, length};
}

}  // namespace

std::string Utf8Stream::push(std::string_view bytes) {
  held_ += bytes;
  std::string out;
  size_t at = 0;
  while (at < held_.size()) {
    const std::string_view rest = std::string_view(held_).substr(at);
    const Sequence s = measure(rest);
    if (s.good == s.length) {
      out += rest.substr(0, s.good);
    } else if (s.length > 0 && s.good == rest.size()) {
      break;  // the next bytes may complete it
    } else {
      out += kReplacement;
    }
    at += s.good;
  }
  held_.erase(0, at);
  return out;
}

std::string Utf8Stream::finish() {
  const bool any = !held_.empty();
  held_.clear();
  return any ? std::string(kReplacement) : std::string();
}

}  // namespace lissom
