#include "verbs.h"

#include <cstdio>

#include "console.h"

namespace lissom::cli {

// One file each, named as the verb.
void add_compress(CLI::App& app, int& exit_code);
void add_check(CLI::App& app, int& exit_code);
void add_report(CLI::App& app, int& exit_code);
void add_run(CLI::App& app, int& exit_code);
void add_chat(CLI::App& app, int& exit_code);
void add_bench(CLI::App& app, int& exit_code);
void add_info(CLI::App& app, int& exit_code);
void add_convert(CLI::App& app, int& exit_code);
void add_eval(CLI::App& app, int& exit_code);
void add_diagnose(CLI::App& app, int& exit_code);
void add_completion(CLI::App& app, int& exit_code);
void add_tokenize(CLI::App& app, int& exit_code);
void add_download(CLI::App& app, int& exit_code);

std::span<const Verb> verbs() {
  static constexpr Verb kVerbs[] = {
      // In the order in which --help lists them.
      {add_compress}, {add_check},   {add_run},  {add_chat},     {add_bench},    {add_report},     {add_info},
      {add_tokenize}, {add_convert}, {add_eval}, {add_diagnose}, {add_download}, {add_completion},
  };
  return kVerbs;
}

int fail(const Error& error) {
  end_progress();
  std::fprintf(stderr, "lissom: error: %s\n", error.message.c_str());
  if (error.kind == ErrorKind::cancelled) return 130;
  return error.kind == ErrorKind::limit ? 1 : 2;
}

}  // namespace lissom::cli
