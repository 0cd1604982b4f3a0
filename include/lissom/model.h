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

enum class RopeScaling { none, linear, llama3, yarn, longrope };
enum class RopePairing { interleaved, halves };  ///< (0,1),(2,3)… as canonical llama; or (i, i+d/2) as NeoX

struct Rope {
  float base = 10000.0F;
  int dim = 0;  ///< rotated dimensions of each head
  RopePairing pairing = RopePairing::halves;
  RopeScaling scaling = RopeScaling::none;
  float factor = 1.0F;
  float low_freq_factor = 1.0F, high_freq_factor = 4.0F;  ///< llama3
  float attention_factor = 0.0F;                          ///< yarn (0: 0.1·ln factor + 1), longrope
  float beta_fast = 32.0F, beta_slow = 1.0F;              ///< yarn
  int64_t original_context = 0;
  std::vector<float>
      inv_freq_divisor;  ///< per-pair divisors read from GGUF's rope_freqs.weight; then scaling is none
  /// longrope: per-pair divisors within the original context, and past it. A session whose sequences may hold
  /// more than that takes the long ones from the start, so that a cached key never has the other rotation.
  std::vector<float> short_divisor, long_divisor;
};

enum class Pooling { none, cls, mean, last };

/// A mixture of experts: what distinguishes the routers in use.
struct Experts {
  int64_t count = 0, used = 0, ff = 0;  ///< count 0: the model is dense
  /// softmax: over all experts; softmax_chosen: over the chosen ones; sigmoid: of each on its own.
  enum class Score { softmax, softmax_chosen, sigmoid } score = Score::softmax;
  bool normalize = false;  ///< the chosen experts' weights are divided by their sum
  float scale = 1.0F;      ///< and multiplied by this
  bool bias = false;       ///< a bias that is added to the scores only to choose (DeepSeek V3)
  /// The experts lie in groups of the same size, and only the best groups' experts may be chosen; a group is
  /// worth its best score, or the sum of its two best.
  int64_t groups = 1, groups_used = 1;
  bool group_by_two = false;
  bool weigh_input = false;  ///< weights multiply the experts' inputs, not their outputs (Llama 4)
  int64_t shared_ff = 0;     ///< width of the expert that every token passes; 0: none
  int64_t dense_first = 0;   ///< so many layers at the beginning have a plain MLP
};

/// One struct for every architecture; a field that an architecture lacks keeps its default.
struct Config {
  std::string arch;     ///< registry name = GGUF's general.architecture: "llama", "qwen2", "gpt2", "bert"
  std::string hf_arch;  ///< "LlamaForCausalLM", "BertForSequenceClassification", …
  std::string name;     ///< general.name
  int64_t vocab = 0, context = 0, width = 0, layers = 0, heads = 0, kv_heads = 0, head_dim = 0, ff = 0;
  float norm_eps = 1e-5F;
  Rope rope;
  std::optional<Rope> rope_local;  ///< of the layers with a window, where they have their own (Gemma 3)
  int64_t sliding_window = 0;      ///< keys seen by each query, itself included; 0: all
  std::vector<uint8_t> windowed;   ///< which layers have the window; empty: all
  float attention_scale = 0;       ///< factor of the scores; 0: 1/√head_dim
  float attention_softcap = 0, logit_softcap = 0;  ///< c: x becomes c·tanh(x/c); 0: none
  float embedding_scale = 1;                       ///< token embeddings are multiplied by this
  bool parallel_residual = false;                  ///< attention and MLP both read the block's input
  Experts experts;
  bool tied_embeddings = false;
  bool attention_bias = false, mlp_bias = false;
  std::string activation = "silu";  ///< "silu", "gelu" (erf), "gelu_tanh", "relu"
  bool causal = true;
  int64_t token_types = 0;      ///< bert
  int64_t embedding_width = 0;  ///< albert: columns of the embeddings; 0: width
  int64_t layer_groups = 0;     ///< albert: so many sets of weights serve all layers; 0: each has its own
  int64_t position_buckets = 0, max_distance = 0;  ///< deberta: see RelativePositions
  int64_t first_position = 0;  ///< rows of Hugging Face's table of positions that come before position 0
  Pooling pooling = Pooling::none;
  std::vector<std::string> labels;  ///< sequence classification: id → label; empty without a head
  int64_t bos = -1, pad = -1;
  std::vector<int64_t> eos;

  [[nodiscard]] bool is_windowed(int64_t layer) const {
    return sliding_window > 0 && (windowed.empty() || windowed[static_cast<size_t>(layer)] != 0);
  }
};

// ---------------------------------------------------------------- graph

enum class WeightRole { embedding, linear, norm, bias, position, constant };

/// How a canonical tensor is made from Hugging Face's.
enum class HfTransform {
  none,
  permute_rope,  ///< [heads, 2, d/2, in] → [heads, d/2, 2, in]; `heads` of the weight says how many
  transpose,     ///< GPT-2's Conv1D stores [in, out]
  concat_rows,   ///< several tensors, stacked along the first dimension; a 3-D weight: one for each expert
  heads_qkv,     ///< [heads, 3, d, in] → [3, heads, d, in]: GPT-NeoX's fused q|k|v
  add_one,       ///< Gemma's norms store w and multiply by 1 + w; canonical is F32
  zeros,         ///< Hugging Face has no such tensor, and it is zero; canonical is F32
  drop_rows,     ///< rows before Weight::first_row are never used: RoBERTa's positions begin at 2
};

struct Weight {
  std::string name;  ///< canonical (GGUF)
  Shape shape;
  WeightRole role = WeightRole::linear;
  std::vector<std::string> hf;  ///< name(s) in the Hugging Face checkpoint, without the arch's optional prefix
  HfTransform transform = HfTransform::none;
  int64_t heads = 0;
  bool optional = false;  ///< absent in some checkpoints of the architecture (a tied output, a pooler)
  /// concat_rows: what each part is multiplied by; empty: nothing. Where there are factors canonical is F32.
  std::vector<float> factors = {};
  int64_t first_row = 0;  ///< drop_rows
};

using ValueId = int;   ///< an activation: tokens × Graph::widths[id], F32
using WeightId = int;  ///< index into Graph::weights; -1: none

struct EmbedOp {
  enum class Index { token, position, token_type } index = Index::token;
  WeightId table;
  ValueId out;
  float scale = 1;
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
  int64_t heads, head_dim;
  bool local = false;  ///< parameters are Config::rope, or Config::rope_local
};
struct AttentionOp {
  ValueId q, k, v, out;
  int64_t layer;  ///< which KV cache slot
  int64_t heads, kv_heads, head_dim;
  float scale;
  bool causal = true;
  int64_t window = 0;
  float softcap = 0;  ///< c: scores become c·tanh(score/c); 0: none
};
/// Relative positions of DeBERTa v2 and v3 (He et al. 2021). The distance i-j between a query and a key falls
/// into one of 2·buckets: each for itself up to buckets/2, then ever wider ones up to max_distance.
struct RelativePositions {
  WeightId table = -1;            ///< 2·buckets × width
  WeightId norm = -1, bias = -1;  ///< of the layer norm that the table passes
  float eps = 1e-7F;
  int64_t buckets = 0, max_distance = 0;
};
/// Attention of an encoder over content and position apart. With b the bucket of i-j, and with the table's rows
/// projected by the weights of q and of k:
/// score(i, j) = (q_i·k_j + q_i·(K table)_b + k_j·(Q table)_b) / √(3·head_dim)
struct RelativeAttentionOp {
  ValueId q, k, v, out;
  int64_t heads, head_dim;
  WeightId q_weight, q_bias, k_weight, k_bias;
  RelativePositions positions;
};
struct ActivationOp {
  enum class Kind { silu, gelu, gelu_tanh, relu, tanh } kind = Kind::silu;
  ValueId in, out;
};
struct SoftcapOp {
  ValueId in, out;
  float cap;  ///< out = cap·tanh(in/cap)
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
/// A mixture of experts (Shazeer et al. 2017). Each row passes the experts that its router logits choose:
/// out = Σ weight·down·(activation(gate·x) ∘ up·x), the sum in the order of the experts. Weights are 3-D:
/// [experts, ff, width], down [experts, width, ff].
struct MoeOp {
  ValueId in, router, out;  ///< router: rows × experts, the logits
  WeightId gate, up, down;
  WeightId score_bias = -1;  ///< Experts::bias
  Experts experts = {};
  ActivationOp::Kind activation = ActivationOp::Kind::silu;
  /// Of the inputs of gate and up, and of down; an expert's own have "#" and its number behind.
  std::string input_label = {}, hidden_label = {};
};
struct PoolOp {
  Pooling kind;
  ValueId in, out;
};  ///< out has one row per sequence

using Op = std::variant<EmbedOp, LinearOp, NormOp, RopeOp, AttentionOp, RelativeAttentionOp, ActivationOp,
                        SoftcapOp, AddOp, MulOp, SliceOp, MoeOp, PoolOp>;

/// The values that an op reads, and the one that it makes.
[[nodiscard]] std::vector<ValueId> inputs_of(const Op& op);
[[nodiscard]] ValueId output_of(const Op& op);
/// The weights that an op names, optional ones that a checkpoint may lack included.
[[nodiscard]] std::vector<WeightId> weights_of(const Op& op);

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
namespace hub {
class Shards;  // hub/shards.h
}

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
  std::shared_ptr<hub::Shards> shards;  ///< OpenOptions::stream: what fetches the weights while they are read
};

struct OpenOptions {
  bool need_tokenizer = true;
  std::string revision = {};  ///< of a model on the hub: branch, tag or commit; empty: main
  /// Safetensors on the hub are not downloaded here, but when they are first read: Checkpoint::shards.
  bool stream = false;
  uint64_t disk = 0;  ///< with `stream`: refuses a model that comes whole and has more bytes; 0: no limit
};
/// Opens a folder, a .gguf file, or `org/name` of the Hugging Face hub, which is downloaded into its cache
/// where it is not there yet (docs/hub.md); progress counts the bytes under "download".
[[nodiscard]] Result<Checkpoint> open_checkpoint(const std::string& model, const OpenOptions& options = {},
                                                 const Progress& progress = {});

/// All metadata that llama.cpp needs to load this model from a GGUF: general.*, the architecture's keys,
/// tokenizer.*. A writer adds general.file_type and general.quantization_version. Fails where the model has no
/// exact form in GGUF, and says why.
[[nodiscard]] Result<GgufMetadata> gguf_header(const Checkpoint& checkpoint);

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
