#pragma once
// The flags of verbs that draw tokens.

#include "command.h"
#include "lissom/runtime.h"

namespace lissom::cli {

/// --temperature, --top-k, --top-p, --min-p, --repetition-penalty, --penalty-window, --seed.
void add_sampling(Command& verb, SamplingOptions& s);

}  // namespace lissom::cli
