#pragma once
// The flags of verbs that draw tokens.

#include "lissom/runtime.h"

namespace CLI {
class App;
}

namespace lissom::cli {

/// --temperature, --top-k, --top-p, --min-p, --repetition-penalty, --penalty-window, --seed.
void add_sampling(CLI::App* verb, SamplingOptions& s);

}  // namespace lissom::cli
