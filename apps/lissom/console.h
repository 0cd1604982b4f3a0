#pragma once
// Progress for people, on standard error.

#include "lissom/progress.h"

namespace lissom::cli {

/// A line per stage with done, rate and time left, rewritten in place on a terminal and otherwise printed every
/// few seconds; warnings and notes on lines of their own. Ctrl-C once asks the job to stop, twice ends it at
/// once. quiet: warnings only.
[[nodiscard]] Progress console_progress(bool quiet);
/// True after Ctrl-C.
[[nodiscard]] bool interrupted();
/// Ends the line in progress, before results are printed.
void end_progress();

}  // namespace lissom::cli
