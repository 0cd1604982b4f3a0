#include "lissom/chat.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <thread>

namespace lissom {
namespace {

using Json = nlohmann::json;

std::string render(const std::string& source, const Json& variables = Json::object()) {
  const auto parsed = ChatTemplate::parse(source, "t");
  if (!parsed) return "error: " + parsed.error().message;
  const auto text = (*parsed)->render(variables.dump(), 0);
  return text ? *text : "error: " + text.error().message;
}

TEST(ChatTemplate, TurnsOfAConversation) {
  const std::string source =
      "{% for m in messages %}\n  <|{{ m.role }}|>{{ m['content'] | trim }}\n{% endfor %}\n"
      "{%- if add_generation_prompt %}<|assistant|>{% endif %}\n";
  const Json variables = {
      {"messages", {{{"role", "user"}, {"content", " hi "}}, {{"role", "bot"}, {"content", "x"}}}},
      {"add_generation_prompt", true}};
  EXPECT_EQ(render(source, variables), "  <|user|>hi\n  <|bot|>x\n<|assistant|>");
}

TEST(ChatTemplate, WhiteSpace) {
  EXPECT_EQ(render("a \n  {%- if true %}\n b {% endif -%}\n\n c\n"), "a b c");
  EXPECT_EQ(render("  {% if true %}x{% endif %}\ny"), "xy");
  EXPECT_EQ(render("  {%+ if true %}x{% endif +%}\ny"), "  x\ny");
  EXPECT_EQ(render("{# gone #}\n{% raw %}{{ kept }}{% endraw %}"), "{{ kept }}");
}

TEST(ChatTemplate, Python) {
  EXPECT_EQ(render("{{ [1, 2.0, 'a\\'b', none, {'k': (1,)}] }}"), "[1, 2.0, \"a'b\", None, {'k': (1,)}]");
  EXPECT_EQ(render("{{ 7 // -2 }} {{ -7 % 3 }} {{ 2 ** 10 }} {{ 1 / 4 }} {{ 1e16 }} {{ 0.0001 }}"),
            "-4 2 1024 0.25 1e+16 0.0001");
  EXPECT_EQ(render("{{ 'abc'[::-1] }} {{ 'x,y'.split(',') }} {{ 1 < 2 < 3 }} {{ 'a' in 'cat' }}"),
            "cba ['x', 'y'] True True");
  EXPECT_EQ(render("{{ {'b': 1, 'a': [true, none]} | tojson }}"), R"({"b": 1, "a": [true, null]})");
  EXPECT_EQ(render("{{ x is defined }}{{ x }}{{ x | default('d') }}"), "Falsed");
}

TEST(ChatTemplate, NamespacesMacrosAndLoops) {
  EXPECT_EQ(render("{% set ns = namespace(n=0) %}{% for i in range(4) if i != 2 %}{% set ns.n = ns.n + i %}"
                   "{{ loop.index }}{{ ',' if not loop.last }}{% endfor %}={{ ns.n }}"),
            "1,2,3=4");
  EXPECT_EQ(render("{% macro f(a, b='B') %}{{ a }}{{ b }}{{ c }}{% endmacro %}{% set c = '!' %}{{ f(1) }}{{ "
                   "f(1, b=2) }}"),
            "1B!12!");
  EXPECT_EQ(render("{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = 5 %}{% endfor %}{{ x }}"), "111");
}

TEST(ChatTemplate, ErrorsSayWhere) {
  EXPECT_EQ(render("a\n {{ raise_exception('no') }}"), "error: t:2:20: the template says: no");
  EXPECT_EQ(render("{{ x | wobble }}"), "error: t:1:8: no filter named 'wobble'");
  EXPECT_EQ(render("{% include 'x' %}"), "error: t:1:4: unknown tag 'include'");
  EXPECT_EQ(render("é{{ x.y }}"), "error: t:1:6: 'x' is undefined");
  EXPECT_EQ(render("{% if x %}").substr(0, 13), "error: t:1:11");
  const auto parsed = ChatTemplate::parse("x", "t");
  EXPECT_FALSE((*parsed)->render("{"));
  EXPECT_FALSE(ChatTemplate::parse("\xff", "t"));
}

TEST(ChatTemplate, HostileTemplatesEnd) {
  for (const char* source :
       {"{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% set n = namespace(s='aaaaaaaa') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
        "{% set n = namespace(v=[]) %}{% for i in range(9999) %}{% set n.v = [n.v, n.v] %}{% endfor %}",
        "{% set n = namespace() %}{% set n.n = n %}{{ n }}", "{{ 'ab' * 99999999999 }}",
        "{{ range(99999999) }}",
        "{% set v = [[[[[[[[1, 2, 3] * 9] * 9] * 9] * 9] * 9] * 9] * 9] * 9 %}{{ v | tojson }}",
        "{{ 'a'.center(9999999999) }}", "{{ ('a' * 9000).replace('a', 'b' * 9000).replace('b', 'c' * 9000) }}"})
    EXPECT_TRUE(render(source).starts_with("error: t:1:")) << source;
  for (const char* part : {"(", "[", "{% if x %}", "-", "not ", "{{"})
    EXPECT_TRUE(
        render("{{ " + std::string(200'000, ' ').replace(0, 100'000, 100'000, part[0])).starts_with("error"));
  std::string deep;
  for (int i = 0; i < 5000; ++i) deep += "{% if true %}";
  EXPECT_TRUE(render(deep).starts_with("error: t:1:"));
}

TEST(ChatTemplate, MacrosMayHoldThemselves) {
  EXPECT_EQ(
      render("{% set n = namespace() %}{% for i in range(3) %}{% macro f() %}x{% endmacro %}{% set n.f = f %}"
             "{% set n.all = [n.f, f] %}{% endfor %}{{ n.f() }}"),
      "x");
}

TEST(ChatTemplate, RendersFromSeveralThreads) {
  const auto parsed = ChatTemplate::parse("{% for i in range(50) %}{{ i }}{% endfor %}", "t");
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int k = 0; k < 4; ++k)
    threads.emplace_back([&] {
      for (int i = 0; i < 20; ++i) EXPECT_TRUE((*parsed)->render("{}"));
    });
  for (std::thread& t : threads) t.join();
}

}  // namespace
}  // namespace lissom
