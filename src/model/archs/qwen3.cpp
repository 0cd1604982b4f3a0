// Qwen3: an RMS norm of every q and k head before RoPE, no biases.

#include "model/archs/archs.h"
#include "model/fields.h"
#include "model/graph_builder.h"

namespace lissom {
namespace {

Result<Config> from_hf(const Json& json) {
  LISSOM_TRY(Config c, decoder_from_hf(json, "qwen3", {}));
  const JsonFields f(json);
  LISSOM_TRY(const bool windowed, f.boolean_or("use_sliding_window", false));
  if (windowed && f.has("sliding_window"))
    return unsupported(
        "config.json: field 'use_sliding_window': windows in some layers only are not supported");
  LISSOM_TRY(const bool bias, f.boolean_or("attention_bias", false));
  if (bias)
    return unsupported("config.json: field 'attention_bias': true is not supported for qwen3 (GGUF has none)");
  return c;
}

Result<Config> from_gguf(const GgufMetadata& metadata) {
  return decoder_from_gguf(metadata, "qwen3");
}

Json to_hf(const Config& c) {
  Json json = decoder_to_hf(c);
  json["architectures"] = {"Qwen3ForCausalLM"};
  json["model_type"] = "qwen3";
  json["attention_bias"] = false;
  json["use_sliding_window"] = false;
  return json;
}

Result<Graph> build(const Config& c) {
  return build_decoder(c, {.qk_norm = DecoderTraits::QkNorm::heads});
}

}  // namespace

const Architecture& qwen3_architecture() {
  static const Architecture arch{"qwen3",   {"Qwen3ForCausalLM"}, {"qwen3"}, {"model."}, from_hf,
                                 from_gguf, decoder_to_gguf,      to_hf,     build};
  return arch;
}

}  // namespace lissom
