#include "hub/settings.h"

#include <algorithm>
#include <cstdlib>
#include <system_error>

#include "base/file.h"
#include "base/text.h"

namespace lissom::hub {
namespace {

namespace fs = std::filesystem;

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool is_true(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
  return text == "1" || text == "ON" || text == "YES" || text == "TRUE";
}

fs::path expand_home(const std::string& text) {
  if (text == "~") return variable("HOME");
  return text.starts_with("~/") ? fs::path(variable("HOME")) / text.substr(2) : fs::path(text);
}

fs::path hub_home() {
  if (const std::string home = variable("HF_HOME"); !home.empty()) return expand_home(home);
  if (const std::string xdg = variable("XDG_CACHE_HOME"); !xdg.empty()) return fs::path(xdg) / "huggingface";
  return fs::path(variable("HOME")) / ".cache" / "huggingface";
}

/// Without the white space around it; a token is one line.
Result<std::string> clean_token(std::string_view text, const std::string& origin) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return std::string();
  text = text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
  // It becomes part of a header: a line break in it would begin another one. It is never shown.
  if (!std::ranges::all_of(text, [](char c) { return c > 0x20 && c < 0x7F; }) || text.size() > 4096)
    return bad_input(origin + ": holds no access token (one word of printable ASCII)");
  return std::string(text);
}

Result<std::string> find_token() {
  for (const char* name : {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"})
    if (const std::string value = variable(name); !value.empty()) return clean_token(value, name);
  const std::string named = variable("HF_TOKEN_PATH");
  const fs::path path = named.empty() ? hub_home() / "token" : expand_home(named);
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return std::string();
  const auto text = read_file(path, 65536);
  if (!text) return tl::unexpected(text.error());
  return clean_token(*text, path.string());
}

}  // namespace

fs::path hub_cache() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"})
    if (const std::string cache = variable(name); !cache.empty()) return expand_home(cache);
  return hub_home() / "hub";
}

Result<Settings> settings_of_environment() {
  Settings s;
  s.cache = hub_cache();
  const std::string offline = variable("HF_HUB_OFFLINE");
  s.offline = is_true(offline.empty() ? variable("TRANSFORMERS_OFFLINE") : offline);
  if (const std::string endpoint = variable("HF_ENDPOINT"); !endpoint.empty()) s.endpoint = endpoint;
  while (s.endpoint.ends_with('/')) s.endpoint.pop_back();
  const bool is_web = s.endpoint.starts_with("https://") || s.endpoint.starts_with("http://");
  const bool printable_only = std::ranges::all_of(s.endpoint, [](char c) { return c > 0x20 && c < 0x7F; });
  if (!is_web || !printable_only || s.endpoint.find_first_of("@?#") != std::string::npos)
    return bad_input("HF_ENDPOINT: " + in_quotes(s.endpoint) + " is no address such as https://huggingface.co");
  if (const std::string seconds = variable("HF_HUB_DOWNLOAD_TIMEOUT"); !seconds.empty()) {
    char* end = nullptr;
    const long value = std::strtol(seconds.c_str(), &end, 10);
    if (*end != '\0' || value < 1 || value > 86400)
      return bad_input("HF_HUB_DOWNLOAD_TIMEOUT: " + in_quotes(seconds) + " is no number of seconds");
    s.timeout = static_cast<int>(value);
  }
  s.certificates = variable("SSL_CERT_FILE");
  if (!s.offline) {
    LISSOM_TRY(s.token, find_token());
  }
  return s;
}

}  // namespace lissom::hub
