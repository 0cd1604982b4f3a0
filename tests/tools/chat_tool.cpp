// chat_tool: chat templates for the tests. Each line of standard input is {"template", "variables", "now"};
// each line printed is {"text"} or {"error"}.
#include <cstdio>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include "lissom/chat.h"

namespace {

nlohmann::json answer(const std::string& line) {
  // The order of the keys of variables counts, so they are handed on as they stand.
  const auto request = nlohmann::ordered_json::parse(line, nullptr, false);
  if (!request.is_object()) return {{"error", "not an object"}};
  const auto parsed = lissom::ChatTemplate::parse(request.value("template", std::string()), "template");
  if (!parsed) return {{"error", parsed.error().message}};
  const auto text = (*parsed)->render(request["variables"].dump(), request.value("now", int64_t{0}));
  if (!text) return {{"error", text.error().message}};
  return {{"text", *text}};
}

}  // namespace

int main() {
  std::string line;
  for (int c = std::getchar(); c != EOF; c = std::getchar()) {
    if (c != '\n') {
      line += static_cast<char>(c);
      continue;
    }
    std::printf("%s\n", answer(line).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
    line.clear();
  }
  return 0;
}
