#pragma once
// How much the prediction hangs on what each linear makes of each token (lissom/engine.h).

#include <memory>

#include "lissom/engine.h"

namespace lissom::engine {

[[nodiscard]] Result<std::unique_ptr<TokenFisher>> make_token_fisher(const Checkpoint& checkpoint,
                                                                     const EngineOptions& options);

}  // namespace lissom::engine
