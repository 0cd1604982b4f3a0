#pragma once
// Pieces of the page, shared by its sections.

#include <optional>
#include <string>
#include <string_view>

#include "format/json.h"

namespace lissom::html {

/// Text for an element or a quoted attribute: markup characters become entities, control characters and
/// malformed UTF-8 become U+FFFD.
[[nodiscard]] std::string escaped(std::string_view text);

/// A report may come from a file: every field is asked for, none is taken for granted.
[[nodiscard]] const Json& member(const Json& object, const char* key);  ///< null where absent
[[nodiscard]] std::string text(const Json& object, const char* key);    ///< escaped; "–" where absent
[[nodiscard]] std::optional<double> number(const Json& object, const char* key);
[[nodiscard]] bool flag(const Json& object, const char* key);

/// "–" for nothing; else fixed digits.
[[nodiscard]] std::string figure(std::optional<double> value, int digits);
/// Four significant digits, for divergences: "0.01234", "1.2e-05".
[[nodiscard]] std::string small(std::optional<double> value);
[[nodiscard]] std::string megabytes(std::optional<double> bytes);

/// Size against KL divergence, one point per result.
[[nodiscard]] std::string size_chart(const Json& report);
/// Of a result that a search has chosen: the divergence that it expects of each size. Empty for others.
[[nodiscard]] std::string frontier_chart(const Json& result);
/// Error of each kind of tensor in each layer.
[[nodiscard]] std::string layer_map(const Json& result);
/// Of a diagnosis: error of the hidden states and own error of each block; what restoring a block brings back.
[[nodiscard]] std::string error_chart(const Json& report);
[[nodiscard]] std::string gain_chart(const Json& report);

/// A tile: what it is, a figure, a remark.
[[nodiscard]] std::string tile(const std::string& label, const std::string& big, const std::string& sub);
/// What a diagnosis has between head and foot of its page.
[[nodiscard]] std::string diagnosis_body(const Json& report);
/// The whole page around it.
[[nodiscard]] std::string page(const std::string& title, const std::string& body);

}  // namespace lissom::html
