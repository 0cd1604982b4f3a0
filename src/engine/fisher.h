#pragma once
// How much the prediction hangs on what each linear makes of each token (lissom/engine.h).

#include <c10/core/Device.h>

#include <memory>

#include "lissom/engine.h"

namespace lissom::engine {

[[nodiscard]] Result<std::unique_ptr<TokenFisher>> make_token_fisher(const Checkpoint& checkpoint,
                                                                     const c10::Device& device,
                                                                     const EngineOptions& options);

}  // namespace lissom::engine
