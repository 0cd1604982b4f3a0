// Finds architectures. The explicit list is archs/list.inc.

#include <algorithm>
#include <array>

#include "base/text.h"
#include "model/arch.h"
#include "model/archs/archs.h"

namespace lissom {

std::span<const Architecture* const> architectures() {
  static const std::array list = {
#define ARCHITECTURE(name) &name##_architecture(),
#include "model/archs/list.inc"
#undef ARCHITECTURE
  };
  return list;
}

const Architecture* find_architecture(std::string_view gguf_name) {
  for (const Architecture* arch : architectures())
    if (arch->name == gguf_name) return arch;
  return nullptr;
}

const Architecture* find_hf_architecture(std::string_view hf_name, std::string_view model_type) {
  for (const Architecture* arch : architectures())
    if (std::ranges::find(arch->hf_architectures, hf_name) != arch->hf_architectures.end()) return arch;
  if (!hf_name.empty()) return nullptr;
  for (const Architecture* arch : architectures())
    if (std::ranges::find(arch->hf_model_types, model_type) != arch->hf_model_types.end()) return arch;
  return nullptr;
}

const Architecture* architecture_of(const Config& config) {
  const Architecture* arch = find_hf_architecture(config.hf_arch, "");
  return arch != nullptr ? arch : find_architecture(config.arch);
}

namespace {

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substitution = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substitution});
    }
  }
  return row.back();
}

}  // namespace

Error unknown_architecture(std::string_view name) {
  const std::string_view cut = name.substr(0, 100);
  std::string_view nearest;
  size_t best = SIZE_MAX;
  const auto consider = [&](std::string_view known) {
    if (const size_t d = edit_distance(cut, known); d < best) best = d, nearest = known;
  };
  for (const Architecture* arch : architectures()) {
    consider(arch->name);
    for (std::string_view hf : arch->hf_architectures) consider(hf);
  }
  return {ErrorKind::unsupported, "unknown architecture " + in_quotes(name) + "; the nearest known one is '" +
                                      std::string(nearest) + "'. docs/architectures.md says how to add one"};
}

}  // namespace lissom
