#pragma once
// schemes/*.yaml as the build embeds them (cmake/schemes.cmake), sorted by name.

#include <span>
#include <string_view>

namespace lissom {

struct BuiltinScheme {
  std::string_view name, yaml;
};
[[nodiscard]] std::span<const BuiltinScheme> builtin_schemes();
/// schemes/pack/*.yaml, likewise: of codecs that only packs hold.
[[nodiscard]] std::span<const BuiltinScheme> builtin_pack_schemes();

}  // namespace lissom
