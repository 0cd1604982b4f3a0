#pragma once
// The architectures, one per file here. registry.cpp lists them.

#include "model/arch.h"

namespace lissom {

const Architecture& llama_architecture();
const Architecture& mistral_architecture();
const Architecture& qwen2_architecture();
const Architecture& qwen3_architecture();
const Architecture& gpt2_architecture();
const Architecture& bert_architecture();

// Mistral is llama with a window: its file reads the config, llama's does the rest.
[[nodiscard]] Result<Config> llama_from_hf(const Json& json);
[[nodiscard]] Result<Graph> llama_build(const Config& config);

}  // namespace lissom
