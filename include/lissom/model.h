#pragma once
// A model: its configuration, its graph of coarse ops, and its weights under canonical names. The graph is
// built once per architecture and read by the runtime and the GGUF writer, later by the LibTorch engine and the
// ONNX writer.
//
// Canonical means GGUF's convention: GGUF's tensor names ("blk.0.attn_q.weight"), shapes [out, in], q/k rows
// permuted for interleaved RoPE where the architecture's GGUF has it so. A Hugging Face checkpoint is seen
// through a source that renames, and reorders the few tensors that need it, so that nothing downstream knows
// where weights came from.

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "lissom/progress.h"
#include "lissom/result.h"
#include "lissom/tensor.h"

namespace lissom {

// ---------------------------------------------------------------- configuration

enum class RopeScaling { none, linear, llama3, yarn };
enum class RopePairing { interleaved, halves };  ///< (0,1),(2,3)… as canonical llama; or (i, i+d/2) as NeoX

struct Rope {
  float base = 10000.0F;
  int dim = 0;  ///< rotated dimensions of each head
  RopePairing pairing = RopePairing::halves;
  RopeScaling scaling = RopeScaling::none;
  float factor = 1.0F;
  float low_freq_factor = 1.0F, high_freq_factor = 4.0F;  ///< llama3
  float attention_factor = 0.0F;                          ///< yarn; 0: derived from factor (0.1·ln f + 1)
  float beta_fast = 32.0F, beta_slow = 1.0F;              ///< yarn
  int64_t original_context = 0;
  std::vector<float>
      inv_freq_divisor;  ///< per-pair divisors read from GGUF's rope_freqs.weight; then scaling is none
};

enum class Pooling { none, cls, mean, last };

/// One struct for every architecture; a field that an architecture lacks keeps its default.
struct Config {
  std::string arch;     ///< registry name = GGUF's general.architecture: "llama", "qwen2", "gpt2", "bert"
  std::string hf_arch;  ///< "LlamaForCausalLM", "BertForSequenceClassification", …
  std::string name;     ///< general.name
  int64_t vocab = 0, context = 0, width = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0, ff = 0;
  float norm_eps = 1e-5F;
  Rope rope;
  int64_t sliding_window = 0;  ///< keys seen by each query, itself included; 0: all
  bool tied_embeddings = false;
  bool attention_bias = false, mlp_bias = false;
  std::string activation = "silu";  ///< "silu", "gelu" (erf), "gelu_tanh", "relu"
  bool causal = true;
  int64_t token_types = 0;  ///< bert
  Pooling pooling = Pooling::none;
  std::vector<std::string> labels;  ///< sequence classification: id → label; empty without a head
  int64_t bos = -1, pad = -1;
  std::vector<int64_t> eos;
};

// ---------------------------------------------------------------- graph

enum class WeightRole { embedding, linear, norm, bias, position, constant };

/// How a canonical tensor is made from Hugging Face's.
enum class HfTransform {
  none,
  permute_rope,  ///< [heads, 2, d/2, in] → [heads, d/2, 2, in]; `heads` of the weight says how many
  transpose,     ///< GPT-2's Conv1D stores [in, out]
  concat_rows,   ///< several tensors, stacked along the first dimension
};

struct Weight {
  std::string name;  ///< canonical (GGUF)
  Shape shape;
  WeightRole role = WeightRole::linear;
  std::vector<std::string> hf;  ///< name(s) in the Hugging Face checkpoint, without the arch's optional prefix
  HfTransform transform = HfTransform::none;
  int64_t heads = 0;
  bool optional = false;  ///< absent in some checkpoints of the architecture (a tied output, a pooler)
};

using ValueId = int;   ///< an activation: tokens × Graph::widths[id], F32
using WeightId = int;  ///< index into Graph::weights; -1: none

struct EmbedOp {
  enum class Index { token, position, token_type } index = Index::token;
  WeightId table;
  ValueId out;
};
struct LinearOp {
  ValueId in, out;
  WeightId weight, bias = -1;
  /// Linears with the same label read the same input, so they share its statistics: "blk.3.attn_in".
  std::string input_label;
};
struct NormOp {
  enum class Kind { rms, layer } kind = Kind::rms;
  ValueId in, out;
  WeightId weight, bias = -1;
  float eps = 1e-5F;
  int64_t group =
      0;  ///< normalise each run of this many features on its own (per-head q/k norm); 0: the whole row
};
struct RopeOp {
  ValueId in, out;
  int64_t heads, head_dim;  ///< parameters are Config::rope
};
struct AttentionOp {
  ValueId q, k, v, out;
  int64_t layer;  ///< which KV cache slot
  int64_t heads, kv_heads, head_dim;
  float scale;
  bool causal = true;
  int64_t window = 0;
};
struct ActivationOp {
  enum class Kind { silu, gelu, gelu_tanh, relu, tanh } kind = Kind::silu;
  ValueId in, out;
};
struct AddOp {
  ValueId a, b, out;
};
struct MulOp {
  ValueId a, b, out;
};
struct SliceOp {
  ValueId in, out;
  int64_t first;
};  ///< features first … first + width(out): GPT-2's fused q|k|v
struct PoolOp {
  Pooling kind;
  ValueId in, out;
};  ///< out has one row per sequence

using Op =
    std::variant<EmbedOp, LinearOp, NormOp, RopeOp, AttentionOp, ActivationOp, AddOp, MulOp, SliceOp, PoolOp>;

struct Graph {
  std::vector<Weight> weights;
  std::vector<int64_t> widths;  ///< features of each value
  std::vector<Op> ops;
  /// ops[block_begin[i] … block_begin[i+1]) is transformer block i; what comes before is the embedding, after
  /// it the final norm and the head. layers + 1 entries.
  std::vector<int> block_begin;
  ValueId logits =
      -1;  ///< tokens × vocab, or sequences × labels with a classification head; -1 if there is none
  ValueId hidden = -1;  ///< tokens × width after the final norm
  ValueId pooled = -1;  ///< sequences × width, where the architecture pools

  [[nodiscard]] WeightId find_weight(std::string_view name) const;
};

// ---------------------------------------------------------------- checkpoint

class GgufMetadata;  // lissom/gguf.h

/// Everything that `compress`, `run`, `eval` and `convert` need of a model, from a Hugging Face folder or a
/// GGUF.
struct Checkpoint {
  std::filesystem::path path;
  Config config;
  Graph graph;
  /// Canonical tensors; those that the checkpoint leaves out (a tied output) are absent.
  std::shared_ptr<const TensorSource> tensors;
  /// tokenizer.* and general.* as GGUF metadata, whichever side it came from; of a GGUF, all its keys.
  std::shared_ptr<const GgufMetadata> metadata;
  bool from_gguf = false;
};

struct OpenOptions {
  bool need_tokenizer = true;
  std::string revision = {};  ///< of a model on the hub: branch, tag or commit; empty: main
};
/// Opens a folder, a .gguf file, or `org/name` of the Hugging Face hub, which is downloaded into its cache
/// where it is not there yet (docs/hub.md); progress counts the bytes under "download".
[[nodiscard]] Result<Checkpoint> open_checkpoint(const std::string& model, const OpenOptions& options = {},
                                                 const Progress& progress = {});

/// All metadata that llama.cpp needs to load this model from a GGUF: general.*, the architecture's keys,
/// tokenizer.*. A writer adds general.file_type and general.quantization_version.
[[nodiscard]] GgufMetadata gguf_header(const Checkpoint& checkpoint);

struct ConvertOptions {
  std::string type = "keep";          ///< "keep", "F32", "F16" or "BF16", of matrices and embeddings
  uint64_t shard_bytes = 5000000000;  ///< of each safetensors file
};
/// Writes the model in the other format, a tensor at a time: a GGUF where `out` ends with .gguf, else a Hugging
/// Face folder (quantized tensors are decoded; "keep" then means F32 for them). `out` must not exist as a
/// folder with files.
[[nodiscard]] Result<void> convert(const Checkpoint& checkpoint, const std::filesystem::path& out,
                                   const ConvertOptions& options, const Progress& progress);

}  // namespace lissom
