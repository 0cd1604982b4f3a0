#pragma once
// Puts a graph together: one small function per op, each declaring the weights it needs.

#include <string>
#include <vector>

#include "format/json.h"
#include "lissom/gguf.h"
#include "lissom/model.h"
#include "lissom/result.h"

namespace lissom {

/// A tensor's name on both sides, without ".weight" or ".bias".
struct Names {
  std::string canonical;  ///< "blk.0.attn_q"
  std::string hf;         ///< "layers.0.self_attn.q_proj"
};

struct LinearSpec {
  Names names;
  int64_t out = 0;
  bool bias = false;
  HfTransform transform = HfTransform::none;
  int64_t heads = 0;  ///< for permute_rope
};

class GraphBuilder {
 public:
  explicit GraphBuilder(const Config& config) : config_(config) {}

  ValueId value(int64_t width);
  WeightId weight(Weight weight);

  ValueId embed(EmbedOp::Index index, const Names& names, int64_t rows);
  ValueId linear(ValueId in, const LinearSpec& spec, const std::string& label);
  /// A product with a table that is already declared: a tied output.
  ValueId linear_tied(ValueId in, WeightId table, const std::string& label);
  ValueId rms_norm(ValueId in, const Names& names, int64_t group = 0);
  ValueId layer_norm(ValueId in, const Names& names);
  ValueId rope(ValueId in, int64_t heads);
  ValueId attention(ValueId q, ValueId k, ValueId v, int64_t layer, int64_t window);
  ValueId activation(ValueId in, const std::string& name);
  ValueId add(ValueId a, ValueId b);
  ValueId mul(ValueId a, ValueId b);
  ValueId slice(ValueId in, int64_t first, int64_t width);
  ValueId pool(ValueId in, Pooling kind);

  void begin_block() { graph.block_begin.push_back(static_cast<int>(graph.ops.size())); }

  Graph graph;

 private:
  const Config& config_;
};

/// What distinguishes the decoders of the llama family: pre-norm with RMS, gated MLP, rotary q and k.
struct DecoderTraits {
  bool qkv_bias = false, output_bias = false, mlp_bias = false;
  bool qk_norm = false;        ///< RMS norm of each q and k head before RoPE
  bool permuted_rope = false;  ///< canonical q/k rows are interleaved (GGUF's "llama")
};
[[nodiscard]] Graph build_decoder(const Config& config, const DecoderTraits& traits);

/// Config from the fields that those decoders share.
[[nodiscard]] Result<Config> decoder_from_hf(const Json& json, std::string_view arch, float default_eps);
[[nodiscard]] Result<Config> decoder_from_gguf(const GgufMetadata& metadata, std::string_view arch);
void decoder_to_gguf(const Config& config, GgufMetadata& metadata);
[[nodiscard]] Json decoder_to_hf(const Config& config);

}  // namespace lissom
