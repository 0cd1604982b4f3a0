#pragma once
// The CLI's verbs: one file each, listed in verbs.cpp.

#include <span>

#include "lissom/result.h"

namespace CLI {
class App;
}

namespace lissom::cli {

struct Verb {
  /// Adds the subcommand with its options and an example in its help. When it runs it sets `exit_code`:
  /// 0 done, 1 limits not met, 2 bad input.
  void (*add)(CLI::App& app, int& exit_code);
};
[[nodiscard]] std::span<const Verb> verbs();

/// For --revision, of every verb that takes a MODEL.
inline constexpr const char* kRevisionHelp = "Of a model on the hub: branch, tag or commit; else main";

/// Prints the error as "lissom: error: …" to stderr and gives its exit code: the one place where errors become
/// text. A stop by
/// Ctrl-C is 130.
int fail(const Error& error);

}  // namespace lissom::cli
