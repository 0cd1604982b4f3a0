// `lissom completion SHELL`: a completion script, made from the verbs and options that the program really has.

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "command.h"
#include "verbs.h"

namespace lissom::cli {
namespace {

struct Words {
  std::string verb, help;
  std::vector<std::string> options;
};

std::vector<Words> words_of(const CLI::App& root) {
  std::vector<Words> all;
  for (const CLI::App* verb : root.get_subcommands({})) {
    Words words{verb->get_name(), verb->get_description(), {}};
    for (const CLI::Option* option : verb->get_options()) {
      for (const std::string& name : option->get_lnames()) words.options.push_back("--" + name);
      for (const std::string& name : option->get_snames()) words.options.push_back("-" + name);
    }
    all.push_back(std::move(words));
  }
  return all;
}

std::string join(const std::vector<std::string>& items) {
  std::string line;
  for (const std::string& item : items) line += (line.empty() ? "" : " ") + item;
  return line;
}

std::string bash(const std::vector<Words>& verbs) {
  std::string names, cases;
  for (const Words& v : verbs) {
    names += (names.empty() ? "" : " ") + v.verb;
    cases += fmt::format("    {}) words=\"{}\" ;;\n", v.verb, join(v.options));
  }
  return fmt::format(R"(_lissom() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" words=""
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{} --help --version" -- "$current"))
    return
  fi
  case "${{COMP_WORDS[1]}}" in
{}  esac
  case "$current" in
    -*) COMPREPLY=($(compgen -W "$words" -- "$current")) ;;
    *) COMPREPLY=($(compgen -f -- "$current")) ;;
  esac
}}
complete -o filenames -F _lissom lissom
)",
                     names, cases);
}

std::string zsh(const std::vector<Words>& verbs) {
  return "autoload -U +X bashcompinit && bashcompinit\n" + bash(verbs);
}

std::string fish(const std::vector<Words>& verbs) {
  std::string script;
  for (const Words& v : verbs) {
    std::string help = v.help.substr(0, v.help.find('\n'));
    std::erase(help, '\'');
    script += fmt::format("complete -c lissom -n __fish_use_subcommand -a {} -d '{}'\n", v.verb, help);
    for (const std::string& option : v.options) {
      const bool is_long = option.starts_with("--");
      script += fmt::format("complete -c lissom -n '__fish_seen_subcommand_from {}' -{} {}\n", v.verb,
                            is_long ? 'l' : 's', option.substr(is_long ? 2 : 1));
    }
  }
  return script;
}

}  // namespace

void add_completion(CLI::App& app, int& exit_code) {
  Command verb(app, "completion", "Print a shell completion script");
  verb.footer("Example:\n  lissom completion bash > /etc/bash_completion.d/lissom");
  auto shell = std::make_shared<std::string>();
  verb.option("SHELL", *shell, "bash, zsh or fish").required().one_of({"bash", "zsh", "fish"});
  verb.action([&app, &exit_code, shell] {
    const auto verbs = words_of(app);
    fmt::print("{}", *shell == "bash" ? bash(verbs) : *shell == "zsh" ? zsh(verbs) : fish(verbs));
    exit_code = 0;
  });
}

}  // namespace lissom::cli
