// Any bytes as a config.json, or, where they begin as one, as a GGUF: an error, or a configuration whose graph
// is sound.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "lissom/gguf.h"
#include "model/arch.h"

namespace {

void check(const lissom::Graph& graph, const lissom::Config& config) {
  if (graph.block_begin.size() != static_cast<size_t>(config.layers) + 1) std::abort();
  for (const lissom::Weight& weight : graph.weights)
    for (int64_t d : weight.shape.dims())
      if (d < 1) std::abort();
  for (int64_t width : graph.widths)
    if (width < 1) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lissom;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const Architecture* arch = nullptr;
  Result<Config> config = unsupported("");
  if (bytes.starts_with("GGUF")) {
    const auto file = GgufFile::open_memory(std::as_bytes(std::span(data, size)), "fuzz.gguf");
    if (!file) return 0;
    arch = find_architecture((*file)->metadata().string_or("general.architecture", ""));
    if (arch == nullptr) return 0;
    config = arch->from_gguf((*file)->metadata());
    if (config && config->vocab == 0) config->vocab = 1;  // open_checkpoint takes it from the embedding's shape
  } else {
    const auto json = parse_json(bytes, "config.json");
    if (!json) return 0;
    config = read_hf_config(*json, arch);
  }
  if (!config) {
    if (config.error().message.empty()) std::abort();
    return 0;
  }
  if (config->layers > 64) return 0;  // time, not safety
  const auto graph = arch->build(*config);
  if (!graph) return 0;
  check(*graph, *config);
  GgufMetadata metadata;
  arch->to_gguf(*config, metadata);
  const auto again = arch->from_gguf(metadata);
  if (again && again->width != config->width) std::abort();
  (void)arch->to_hf(*config).dump(-1, ' ', false, Json::error_handler_t::replace);
  return 0;
}
