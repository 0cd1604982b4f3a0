// tokenizer_tool gguf FOLDER ROWS: gguf_vocabulary() as JSON.  tokenizer_tool hf MODEL.gguf OUT:
// hf_tokenizer_files().
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "base/file.h"
#include "lissom/gguf.h"
#include "lissom/tokenizer.h"

namespace {

int fail(const lissom::Error& error) {
  std::fprintf(stderr, "%s\n", error.message.c_str());
  return 2;
}

nlohmann::json to_json(const lissom::GgufValue& value) {
  return std::visit(
      []<class T>(const T& v) -> nlohmann::json {
        if constexpr (std::is_same_v<T, std::shared_ptr<lissom::GgufArray>>) {
          return std::visit(
              []<class V>(const V& items) -> nlohmann::json {
                if constexpr (std::is_same_v<V, std::vector<std::shared_ptr<lissom::GgufArray>>>) {
                  return nullptr;
                } else {
                  return items;
                }
              },
              v->items);
        } else {
          return v;
        }
      },
      value);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  if (std::string(argv[1]) == "gguf") {
    const auto metadata = lissom::gguf_vocabulary(argv[2], std::atoll(argv[3]));
    if (!metadata) return fail(metadata.error());
    nlohmann::json out = nlohmann::json::object();
    for (const auto& [key, value] : metadata->entries()) out[key] = to_json(value);
    std::printf("%s\n", out.dump().c_str());
    return 0;
  }
  const auto file = lissom::GgufFile::open(argv[2]);
  if (!file) return fail(file.error());
  const auto files = lissom::hf_tokenizer_files((*file)->metadata(), argv[2]);
  if (!files) return fail(files.error());
  for (const auto& [name, text] : {std::pair{"/tokenizer.json", &files->tokenizer_json},
                                   {"/tokenizer_config.json", &files->tokenizer_config_json}})
    if (const auto written = lissom::write_file(std::string(argv[3]) + name, *text); !written)
      return fail(written.error());
  return 0;
}
