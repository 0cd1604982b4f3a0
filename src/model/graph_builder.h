#pragma once
// Puts a graph together: one small function per op, each declaring the weights it needs.

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "format/json.h"
#include "lissom/gguf.h"
#include "lissom/model.h"
#include "lissom/result.h"
#include "model/fields.h"

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
  /// A name that is there already stands for the same weight: layers may share theirs.
  WeightId weight(Weight weight);

  /// first_row: rows of Hugging Face's table that come before, see HfTransform::drop_rows.
  ValueId embed(EmbedOp::Index index, const Names& names, int64_t rows, int64_t first_row = 0);
  ValueId linear(ValueId in, const LinearSpec& spec, const std::string& label);
  /// A product with a table that is already declared: a tied output.
  ValueId linear_tied(ValueId in, WeightId table, const std::string& label);
  ValueId rms_norm(ValueId in, const Names& names, int64_t group = 0);
  ValueId layer_norm(ValueId in, const Names& names);
  ValueId rope(ValueId in, int64_t heads, bool local = false);
  ValueId attention(ValueId q, ValueId k, ValueId v, int64_t layer, int64_t window);
  ValueId activation(ValueId in, const std::string& name);
  ValueId softcap(ValueId in, float cap);
  ValueId add(ValueId a, ValueId b);
  ValueId mul(ValueId a, ValueId b);
  ValueId slice(ValueId in, int64_t first, int64_t width);
  /// A mixture of experts. `hf`: an expert's tensor, with "{}" for its number.
  struct MoeNames {
    std::string canonical, hf_router, hf_gate, hf_up, hf_down, hf_bias = {};
  };
  ValueId moe(ValueId in, const MoeNames& names);
  ValueId pool(ValueId in, Pooling kind);

  void begin_block() { graph.block_begin.push_back(static_cast<int>(graph.ops.size())); }

  Graph graph;
  std::optional<RelativePositions> relative;       ///< attention() is over these
  HfTransform norm_transform = HfTransform::none;  ///< of RMS norms' weights

 private:
  WeightId expert_stack(const std::string& canonical, const std::string& hf, int64_t rows, int64_t cols);
  [[nodiscard]] const LinearOp& maker(ValueId value) const;  ///< the linear that made it
  const Config& config_;
  std::unordered_map<std::string, WeightId> by_name_;
};

/// What distinguishes the decoders of the llama family: rotary q and k, attention, then an MLP.
struct DecoderTraits {
  /// Where the norms are: before attention and MLP; after them; or both (Gemma).
  enum class Norms { pre, post, sandwich } norms = Norms::pre;
  bool layer_norm = false;  ///< layer norms with biases instead of RMS norms
  bool unit_norms = false;  ///< Hugging Face stores w and multiplies by 1 + w
  bool qkv_bias = false, output_bias = false, mlp_bias = false;
  /// RMS norm of q and k before RoPE: of each head, or of the whole row.
  enum class QkNorm { none, heads, row } qk_norm = QkNorm::none;
  bool permuted_rope = false;  ///< canonical q/k rows are interleaved (GGUF's "llama")
  bool fused = false;          ///< q|k|v are one matrix, and so are gate|up
  bool gated = true;           ///< else the MLP is c_proj(activation(c_fc(x)))
  /// The MLP of a layer, where it is another.
  ValueId (*mlp)(GraphBuilder& b, const Config& config, int64_t layer, ValueId in) = nullptr;
};
[[nodiscard]] Graph build_decoder(const Config& config, const DecoderTraits& traits);
/// gate, up and down of one width, under these names: a dense MLP, or a shared expert.
[[nodiscard]] ValueId gated_mlp(GraphBuilder& b, const Config& config, ValueId in, const std::string& canonical,
                                const std::string& suffix, const std::string& hf, int64_t ff, bool bias);

/// How a family spells the fields that decoders share.
struct DecoderFields {
  float eps = 1e-6F;
  std::string_view eps_key = "rms_norm_eps", activation_key = "hidden_act", activation = "silu";
  float rope_theta = 10000.0F;
  float partial_rotary = 0;  ///< the default of partial_rotary_factor; 0: the family has none
};
/// Config from the fields that those decoders share.
[[nodiscard]] Result<Config> decoder_from_hf(const Json& json, std::string_view arch,
                                             const DecoderFields& spelled);
[[nodiscard]] Result<Config> decoder_from_gguf(const GgufMetadata& metadata, std::string_view arch);
void decoder_to_gguf(const Config& config, GgufMetadata& metadata);
[[nodiscard]] Json decoder_to_hf(const Config& config);

/// transformers' `layer_types`: which layers have the window. `period`: without the list, every period-th layer
/// has none.
[[nodiscard]] Result<void> read_layer_types(const Json& json, int64_t period, Config& config);
[[nodiscard]] Json hf_layer_types(const Config& config);
/// The same in GGUF: attention.sliding_window_pattern, a period or a list, absent where it is llama.cpp's own.
[[nodiscard]] Result<void> read_gguf_windows(const GgufFields& fields, int64_t period, Config& config);
void write_gguf_windows(const Config& config, int64_t period, GgufMetadata& metadata);

}  // namespace lissom
