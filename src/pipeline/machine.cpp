#include "pipeline/machine.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace lissom {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMost = 64 << 10;

/// A file of /proc or /sys: they tell no size, so that they are read to their end.
std::optional<std::string> system_file(const fs::path& path) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "re"), std::fclose);
  if (!file) return {};
  std::string text(kMost, '\0');
  text.resize(std::fread(text.data(), 1, text.size(), file.get()));
  return text;
}

/// The number after `key` in a text of lines "key value [kB]"; with an empty key, the text's own.
std::optional<uint64_t> number_after(const fs::path& path, std::string_view key) {
  const std::optional<std::string> text = system_file(path);
  if (!text) return {};
  size_t at = text->find(key);
  if (at == std::string::npos) return {};
  at = text->find_first_not_of(" \t", at + key.size());
  if (at == std::string::npos) return {};
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text->data() + at, text->data() + text->size(), value);
  if (error != std::errc()) return {};  // "max": no limit
  const bool kib = std::string_view(end, text->data() + text->size()).starts_with(" kB");
  return kib ? value * 1024 : value;
}

/// What is left of a control group's limit; nothing where there is none.
std::optional<uint64_t> group_left(const fs::path& limit, const fs::path& usage) {
  const auto most = number_after(limit, ""), used = number_after(usage, "");
  if (!most || !used) return {};
  return *most > *used ? *most - *used : 0;
}

fs::path nearest_folder(const fs::path& path) {
  std::error_code code;
  fs::path at = fs::absolute(path, code);
  while (!at.empty() && !fs::is_directory(at, code) && at != at.root_path()) at = at.parent_path();
  return at;
}

}  // namespace

uint64_t available_memory() {
  const auto system = number_after("/proc/meminfo", "MemAvailable:");
  const fs::path groups = "/sys/fs/cgroup";
  auto left = group_left(groups / "memory.max", groups / "memory.current");
  if (!left)
    left = group_left(groups / "memory/memory.limit_in_bytes", groups / "memory/memory.usage_in_bytes");
  if (!left) return system.value_or(0);
  return system ? std::min(*system, *left) : *left;
}

uint64_t resident_memory() {
  return number_after("/proc/self/status", "VmRSS:").value_or(0);
}

std::string memory_obstacle(uint64_t bytes, uint64_t ram) {
  const uint64_t need = bytes + resident_memory();
  const uint64_t have = ram > 0 ? ram : available_memory() + resident_memory();
  if (have == 0 || need <= have) return "";
  return fmt::format("about {:.1f} GB of memory, and may take {:.1f} GB", static_cast<double>(need) / 1e9,
                     static_cast<double>(have) / 1e9);
}

uint64_t free_disk(const fs::path& path) {
  std::error_code code;
  const fs::space_info space = fs::space(nearest_folder(path), code);
  return code ? 0 : space.available;
}

bool same_disk(const fs::path& a, const fs::path& b) {
  struct stat of_a {
  }, of_b{};
  return ::stat(nearest_folder(a).c_str(), &of_a) == 0 && ::stat(nearest_folder(b).c_str(), &of_b) == 0 &&
         of_a.st_dev == of_b.st_dev;
}

}  // namespace lissom
