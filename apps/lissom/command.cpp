#include "command.h"

#include <CLI/CLI.hpp>

namespace lissom::cli {

Option& Option::required() {
  option_->required();
  return *this;
}

Option& Option::show_default() {
  option_->capture_default_str();
  return *this;
}

Option& Option::comma_separated() {
  option_->delimiter(',');
  return *this;
}

Option& Option::between(int low, int high) {
  option_->check(CLI::Range(low, high));
  return *this;
}

Option& Option::between(double low, double high) {
  option_->check(CLI::Range(low, high));
  return *this;
}

Option& Option::positive() {
  option_->check(CLI::PositiveNumber);
  return *this;
}

Option& Option::not_negative() {
  option_->check(CLI::NonNegativeNumber);
  return *this;
}

Option& Option::one_of(const std::vector<std::string>& words) {
  option_->check(CLI::IsMember(words));
  return *this;
}

bool Option::given() const {
  return option_->count() > 0;
}

Command::Command(CLI::App& app, const char* name, const char* description)
    : app_(app.add_subcommand(name, description)) {}

Option Command::add(const char* names, Value value, const char* help) {
  return std::visit([&](auto* target) { return Option(app_->add_option(names, *target, help)); }, value);
}

void Command::flag(const char* names, bool& value, const char* help) {
  app_->add_flag(names, value, help);
}

void Command::footer(const char* text) {
  app_->footer(text);
}

void Command::action(std::function<void()> run) {
  app_->callback(std::move(run));
}

}  // namespace lissom::cli
