#include "verbs.h"

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>

#include "base/cpu.h"

int main(int argc, char** argv) {
  // A file that may not grow further (ulimit -f) shall be an error like a full disk, not a death that leaves
  // pieces.
  std::signal(SIGXFSZ, SIG_IGN);
  CLI::App app{"lissom: the smallest model that keeps its quality, with proof"};
  app.set_version_flag("--version", std::string("lissom ") + LISSOM_VERSION);
  app.require_subcommand(1);
  int exit_code = 0;
  for (const lissom::cli::Verb& verb : lissom::cli::verbs()) verb.add(app, exit_code);
  app.parse_complete_callback([] {  // before any verb; --help and --version need no kernels
    const auto target = lissom::active_target();
    if (!target) throw CLI::RuntimeError(lissom::cli::fail(target.error()));
  });
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    const int code = app.exit(e);
    return code == 0 ? 0 : 2;
  }
  return exit_code;
}
