// Qwen2 and Qwen2.5: biases on q, k and v; RoPE over halves.

#include "model/archs/archs.h"
#include "model/fields.h"
#include "model/graph_builder.h"

namespace lissom {
namespace {

Result<Config> from_hf(const Json& json) {
  LISSOM_TRY(Config c, decoder_from_hf(json, "qwen2", {}));
  const JsonFields f(json);
  LISSOM_TRY(const bool windowed, f.boolean_or("use_sliding_window", false));
  if (windowed && f.has("sliding_window"))
    return unsupported(
        "config.json: field 'use_sliding_window': windows in some layers only are not supported");
  c.attention_bias = true;
  return c;
}

Result<Config> from_gguf(const GgufMetadata& metadata) {
  LISSOM_TRY(Config c, decoder_from_gguf(metadata, "qwen2"));
  c.attention_bias = true;
  return c;
}

Json to_hf(const Config& c) {
  Json json = decoder_to_hf(c);
  json.erase("head_dim");
  json["architectures"] = {"Qwen2ForCausalLM"};
  json["model_type"] = "qwen2";
  json["use_sliding_window"] = false;
  return json;
}

Result<Graph> build(const Config& c) {
  return build_decoder(c, {.qkv_bias = true});
}

}  // namespace

const Architecture& qwen2_architecture() {
  static const Architecture arch{"qwen2",   {"Qwen2ForCausalLM"}, {"qwen2"}, {"model."}, from_hf,
                                 from_gguf, decoder_to_gguf,      to_hf,     build};
  return arch;
}

}  // namespace lissom
