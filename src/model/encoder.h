#pragma once
// The encoders of the BERT family: post-norm blocks, embeddings of tokens, types and positions.

#include <string>
#include <string_view>

#include "model/graph_builder.h"

namespace lissom {

/// A block's tensors, without ".weight" and ".bias".
struct EncoderBlock {
  std::string canonical;  ///< "blk.0."
  std::string q, k, v, o, attention_norm, up, down, output_norm;
};
/// `label`: the start of its input labels.
[[nodiscard]] ValueId build_encoder_block(GraphBuilder& b, const Config& config, const EncoderBlock& names,
                                          const std::string& label, int64_t layer, ValueId x);
[[nodiscard]] ValueId build_encoder_embeddings(GraphBuilder& b, const Config& config);

/// What follows the last block.
struct EncoderHead {
  std::string pooler, activation = "tanh", classifier = "classifier";  ///< of a classifier
  std::string base_pooler = {};                                        ///< of a model without a head
};
void build_encoder_head(GraphBuilder& b, const Config& config, const EncoderHead& head, ValueId x);

[[nodiscard]] Result<Config> encoder_from_hf(const Json& json, std::string_view arch);
[[nodiscard]] Result<Config> encoder_from_gguf(const GgufMetadata& metadata, std::string_view arch);
void encoder_to_gguf(const Config& config, GgufMetadata& metadata);
/// `family`: "Bert" of BertModel and BertForSequenceClassification.
[[nodiscard]] Json encoder_to_hf(const Config& config, std::string_view family);
/// Fields that follow from others.
void finish_encoder(Config& config);
/// GGUF has no key for an encoder's activation.
[[nodiscard]] Result<void> only_erf_gelu(const Config& config);

}  // namespace lissom
