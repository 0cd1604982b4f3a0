#pragma once
// What a compression takes from its source and its statistics, whatever it writes.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lissom/compress.h"

namespace lissom {

/// Mean squares of the inputs of each matrix, by the tensor's name: one for each column, or of a mixture's 3-D
/// tensor one for each expert and column.
using Means = std::map<std::string, std::vector<float>>;
/// Errors: values that do not fit the model; statistics of another model.
[[nodiscard]] Result<Means> means_of(const Checkpoint& checkpoint, const std::optional<Importance>& importance);

/// Says so where weights of the source have fewer than 16 bits.
void warn_of_quantized_source(const Plan& plan, const Progress& progress, std::vector<std::string>& warnings);

}  // namespace lissom
