// tokenizer_bench TOKENIZER.json TEXT lines|whole: CPU seconds to encode the text, and how many ids it makes.
#include <cstdio>
#include <ctime>
#include <string>

#include "base/file.h"
#include "lissom/tokenizer.h"

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const auto json = lissom::read_file(argv[1], 64U << 20);
  const auto text = lissom::read_file(argv[2], 1U << 30);
  if (!json || !text) return 2;
  const auto tokenizer = lissom::Tokenizer::from_json(*json, argv[1]);
  if (!tokenizer) return 2;
  const bool whole = std::string(argv[3]) == "whole";
  const std::clock_t begin = std::clock();
  size_t count = 0;
  for (size_t at = 0; at <= text->size();) {
    size_t end = whole ? text->size() : text->find('\n', at);
    if (end == std::string::npos) end = text->size();
    count += (*tokenizer)->encode(std::string_view(*text).substr(at, end - at), false).ids.size();
    at = end + 1;
  }
  std::printf("%.6f %zu\n", static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC, count);
  return 0;
}
