#pragma once
// The architectures of list.inc, one per file here, and what some of them share.

#include "model/arch.h"

namespace lissom {

class GraphBuilder;
struct EncoderBlock;
struct EncoderHead;
class JsonFields;
struct DecoderFields;

#define ARCHITECTURE(name) const Architecture& name##_architecture();
#include "model/archs/list.inc"
#undef ARCHITECTURE

// Mistral and Mixtral are llama with a window, or with experts: their files read the config, llama's does the
// rest.
[[nodiscard]] Result<Config> llama_from_hf(const Json& json);
[[nodiscard]] Result<Graph> llama_build(const Config& config);

[[nodiscard]] ValueId mixtral_mlp(GraphBuilder& b, const Config& config, int64_t layer, ValueId in);

// Gemma 3 is Gemma 2 with other traits. layers_27b: how llama.cpp knows the model whose scores it scales in
// another way. period: every period-th layer has no window.
[[nodiscard]] Result<Config> gemma_from_hf(const Json& json, std::string_view arch,
                                           const DecoderFields& spelled);
[[nodiscard]] Result<Config> gemma_from_gguf(const GgufMetadata& metadata, std::string_view arch,
                                             int64_t layers_27b, int64_t period);
void gemma_to_gguf(const Config& config, GgufMetadata& metadata, int64_t period);
[[nodiscard]] Json gemma_to_hf(const Config& config);
[[nodiscard]] Result<void> gemma_fits_gguf(const Config& config, int64_t layers_27b);

// DeepSeek V3's mixture of experts, which other families took over.
[[nodiscard]] Result<void> deepseek_experts_from_hf(const JsonFields& fields, Config& config);
void deepseek_experts_to_hf(const Config& config, Json& json);
[[nodiscard]] ValueId deepseek_mlp(GraphBuilder& b, const Config& config, int64_t layer, ValueId in);

// BERT's graph with the names of another family's blocks and head.
[[nodiscard]] EncoderBlock bert_block(int64_t layer);
[[nodiscard]] Graph build_bert(const Config& config, EncoderBlock (*block)(int64_t layer),
                               const EncoderHead& head);

}  // namespace lissom
