// Phi-3 and Phi-4 (Abdin et al. 2024): fused q|k|v and gate|up, partial rotary, longrope. llama.cpp's phi3
// ignores the window, which lissom keeps in phi3.attention.sliding_window: past it the two differ.

#include "model/archs/archs.h"
#include "model/fields.h"
#include "model/graph_builder.h"

namespace lissom {
namespace {

Result<Config> from_hf(const Json& json) {
  LISSOM_TRY(Config c, decoder_from_hf(json, "phi3", {.eps = 1e-5F, .partial_rotary = 1.0F}));
  LISSOM_TRY(c.sliding_window, JsonFields(json).integer_or("sliding_window", 0, Bounds{0, kContext.high}));
  return c;
}

Result<Config> from_gguf(const GgufMetadata& metadata) {
  return decoder_from_gguf(metadata, "phi3");
}

void to_gguf(const Config& c, GgufMetadata& metadata) {
  decoder_to_gguf(c, metadata);
  metadata.set("phi3.attention.sliding_window", static_cast<uint32_t>(c.sliding_window));  // 0 says: none
  if (c.rope.scaling == RopeScaling::none)
    metadata.set("phi3.rope.scaling.original_context_length", static_cast<uint32_t>(c.context));
}

Json to_hf(const Config& c) {
  Json json = decoder_to_hf(c);
  json.erase("head_dim");
  json["architectures"] = {"Phi3ForCausalLM"};
  json["model_type"] = "phi3";
  json["original_max_position_embeddings"] =
      c.rope.scaling == RopeScaling::none ? c.context : c.rope.original_context;
  json["sliding_window"] = c.sliding_window > 0 ? Json(c.sliding_window) : Json();
  return json;
}

Result<Graph> build(const Config& c) {
  return build_decoder(c, {.fused = true});
}

}  // namespace

const Architecture& phi3_architecture() {
  static const Architecture arch{
      "phi3", {"Phi3ForCausalLM"}, {"phi3"}, {"model."}, from_hf, from_gguf, to_gguf, to_hf, build};
  return arch;
}

}  // namespace lissom
