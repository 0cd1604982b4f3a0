// Mistral 7B (Jiang et al. 2023): llama with a sliding window. Its GGUF is "llama"; the window is kept in
// llama.attention.sliding_window, which lissom reads and llama.cpp ignores: past the window the two differ.

#include "model/archs/archs.h"
#include "model/fields.h"
#include "model/graph_builder.h"

namespace lissom {
namespace {

Result<Config> from_hf(const Json& json) {
  LISSOM_TRY(Config c, llama_from_hf(json));
  const JsonFields f(json);
  LISSOM_TRY(c.sliding_window, f.integer_or("sliding_window", 0, Bounds{0, kContext.high}));
  return c;
}

}  // namespace

const Architecture& mistral_architecture() {
  static const Architecture arch = [] {
    Architecture a = llama_architecture();
    a.hf_architectures = {"MistralForCausalLM"};
    a.hf_model_types = {"mistral"};
    a.from_hf = from_hf;
    return a;
  }();
  return arch;
}

}  // namespace lissom
