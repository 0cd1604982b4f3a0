#pragma once

#include "lissom/model.h"
#include "lissom/result.h"

namespace lissom {

/// Fails, naming both files, where the number of tokens differs or, where both carry them, a token.
[[nodiscard]] Result<void> check_vocabularies(const Checkpoint& model, const Checkpoint& base);

}  // namespace lissom
