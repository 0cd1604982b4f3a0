#pragma once
// Codecs that take parameters. Their names carry them behind a colon: "svd_int8_v1:r64" is the family
// svd_int8_v1 with the parameters "r64". find_codec() makes the codec when it first meets the name and keeps
// it.

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "lissom/codec.h"
#include "lissom/result.h"

namespace lissom {

class CodecFamily {
 public:
  virtual ~CodecFamily() = default;
  /// The versioned name without parameters.
  [[nodiscard]] virtual std::string_view name() const = 0;
  /// For messages: which parameters there are, "r64 (a rank), f0.5 (…)".
  [[nodiscard]] virtual std::string_view parameters() const = 0;
  /// `parameters`: what follows the colon; empty where the name has none. The codec's own name() says all of
  /// its parameters, so that find_codec(codec.name()) is the same codec. An error says what is wrong with them.
  [[nodiscard]] virtual Result<std::unique_ptr<Codec>> make(std::string_view parameters) const = 0;
};

/// All families, in the order of src/codec/registry.cpp.
[[nodiscard]] std::span<const CodecFamily* const> codec_families();

/// find_codec() with the reason why there is none: an unknown name, or wrong parameters.
[[nodiscard]] Result<const Codec*> codec_named(std::string_view name);

}  // namespace lissom
