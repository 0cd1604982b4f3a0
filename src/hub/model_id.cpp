#include "hub/model_id.h"

#include <algorithm>

#include "base/text.h"

namespace lissom::hub {
namespace {

bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/// The hub's rule for the parts of a repository's name.
bool valid_name(std::string_view part) {
  if (part.empty() || part.size() > 96) return false;
  if (part.front() == '.' || part.front() == '-' || part.back() == '.' || part.back() == '-') return false;
  if (part.find("--") != std::string_view::npos || part.find("..") != std::string_view::npos) return false;
  return std::ranges::all_of(part,
                             [](char c) { return is_letter_or_digit(c) || c == '-' || c == '_' || c == '.'; });
}

bool has_control(std::string_view text) {
  return std::ranges::any_of(text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; });
}

bool ends_as_a_file(std::string_view name) {
  return name.ends_with(".gguf") || name.ends_with(".safetensors") || name.ends_with(".json") ||
         name.ends_with(".bin") || name.ends_with(".pth") || name.ends_with(".pt");
}

}  // namespace

std::optional<ModelId> parse_model_id(std::string_view text) {
  constexpr std::string_view kScheme = "hf://";
  const bool is_uri = text.starts_with(kScheme);
  if (is_uri) text.remove_prefix(kScheme.size());
  const size_t slash = text.find('/');
  if (slash == std::string_view::npos) return {};
  ModelId id;
  const size_t name_end = std::min(text.find_first_of("@:/", slash + 1), text.size());
  const std::string_view organisation = text.substr(0, slash);
  const std::string_view name = text.substr(slash + 1, name_end - slash - 1);
  if (!valid_name(organisation) || !valid_name(name)) return {};
  id.repo = text.substr(0, name_end);
  text.remove_prefix(name_end);
  if (text.starts_with('@')) {
    const size_t end = std::min(text.find_first_of(":/"), text.size());
    id.revision = text.substr(1, end - 1);
    if (!check_revision(id.revision)) return {};
    text.remove_prefix(end);
  }
  if (text.empty()) {
    if (!is_uri && id.revision.empty() && ends_as_a_file(name)) return {};
    return id;
  }
  const char kind = text.front();
  text.remove_prefix(1);
  if (kind == ':') {
    id.tag = text;
    const bool good = !text.empty() && text.size() <= 64 && std::ranges::all_of(text, [](char c) {
      return is_letter_or_digit(c) || c == '-' || c == '_' || c == '.';
    });
    return good ? std::optional(id) : std::nullopt;
  }
  id.file = text;
  return safe_repo_path(text) && text.ends_with(".gguf") ? std::optional(id) : std::nullopt;
}

Result<void> check_revision(std::string_view revision) {
  const bool good = !revision.empty() && revision.size() <= 255 && safe_repo_path(revision) &&
                    revision.find("..") == std::string_view::npos && !revision.ends_with(".lock") &&
                    revision.find_first_of(" ~^:?*[") == std::string_view::npos && revision.front() != '-' &&
                    revision != "@";
  if (!good) return bad_input("revision " + in_quotes(revision) + ": no name of a branch, tag or commit");
  return {};
}

bool is_commit(std::string_view text) {
  return text.size() == 40 &&
         std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool safe_repo_path(std::string_view path) {
  if (path.empty() || path.size() > 1024 || has_control(path) || !valid_utf8(path)) return false;
  if (path.find('\\') != std::string_view::npos) return false;
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    if (part.empty() || part == "." || part == ".." || part.size() > 255) return false;
    begin = end + 1;
  }
  return true;
}

}  // namespace lissom::hub
