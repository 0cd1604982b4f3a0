#pragma once
// The options of a verb, without CLI11's header: each source that sees it costs ten seconds of build and twenty
// of lint.

#include <cstdint>
#include <functional>
#include <string>
#include <variant>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace lissom::cli {

/// One option; the calls chain.
class Option {
 public:
  explicit Option(CLI::Option* option) : option_(option) {}
  Option& required();
  Option& show_default();              ///< in the help: the value that the variable has now
  Option& comma_separated();           ///< several values in one word
  Option& between(int low, int high);  ///< both ends are allowed
  Option& between(double low, double high);
  Option& positive();
  Option& not_negative();
  Option& one_of(const std::vector<std::string>& words);
  [[nodiscard]] bool given() const;  ///< after parsing

 private:
  CLI::Option* option_;
};

/// One verb of the program. What its options write to must outlive the parsing.
class Command {
 public:
  Command(CLI::App& app, const char* name, const char* description);

  using Value = std::variant<int*, int64_t*, uint64_t*, float*, double*, std::string*, std::vector<int>*,
                             std::vector<std::string>*>;
  /// names: "--long,-s", or a bare word for a positional one.
  template <class T>
  Option option(const char* names, T& value, const char* help) {
    return add(names, Value(&value), help);
  }
  void flag(const char* names, bool& value, const char* help);
  void footer(const char* text);
  void action(std::function<void()> run);

 private:
  Option add(const char* names, Value value, const char* help);
  CLI::App* app_;
};

}  // namespace lissom::cli
