#pragma once
// Teacher and student side by side, and the student's gradients (lissom/engine.h).

#include <c10/core/Device.h>

#include <memory>

#include "lissom/engine.h"

namespace lissom::engine {

[[nodiscard]] Result<std::unique_ptr<Distiller>> make_distiller(const Checkpoint& teacher,
                                                                const c10::Device& device,
                                                                const EngineOptions& options);

}  // namespace lissom::engine
