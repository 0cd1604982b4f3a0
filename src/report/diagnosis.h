#pragma once
// The report of a diagnosis; docs/diagnose.md describes the fields.

#include <string_view>

#include "eval/diagnose/diagnose.h"
#include "format/json.h"

namespace lissom {

/// Its "report" field, by which its page is chosen.
inline constexpr std::string_view kDiagnosis = "lissom diagnose";

/// tensors, layers, logits, scan, culprits, summary.
[[nodiscard]] Json diagnosis_json(const Diagnosis& found);

}  // namespace lissom
