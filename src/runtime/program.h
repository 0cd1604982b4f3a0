#pragma once
// A graph lowered to what a session executes: values placed in shared buffers, linears of the same input as one
// product, and everything that works on rows alone gathered into runs that one pass over the rows performs.

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "lissom/model.h"
#include "lissom/result.h"

namespace lissom::runtime {

/// Where a value lies: row r at slot[r·stride + offset]. A slice is a view into the value that it is cut from.
struct View {
  int slot = -1;
  int64_t offset = 0, width = 0, stride = 0;
};

// Steps on single rows: no row of the output depends on another row of the input.
struct EmbedRow {
  EmbedOp::Index index;
  WeightId table;
  View out;
  float scale;
};
struct NormRow {
  NormOp::Kind kind;
  View in, out;
  WeightId weight, bias;
  float eps;
  int64_t group;  ///< divides width
};
struct RopeRow {
  View in, out;
  int64_t heads, head_dim;
  bool local;
};
struct StoreRow {  ///< k and v of a row into the cache of its sequence
  View k, v;
  int64_t layer, kv_heads, head_dim;
};
struct ActivateRow {
  ActivationOp::Kind kind;
  View in, out;
};
struct SoftcapRow {
  View in, out;
  float cap;
};
enum class Pairwise { add, mul, silu_mul };  ///< silu_mul: silu(a)·b
struct PairRow {
  Pairwise kind;
  View a, b, out;
};
using RowOp = std::variant<EmbedRow, NormRow, RopeRow, StoreRow, ActivateRow, SoftcapRow, PairRow>;

// Steps of a program.
struct Rows {
  std::vector<RowOp> ops;
};
struct Product {
  struct Term {
    WeightId weight, bias;
    View out;
  };
  View in;
  std::vector<Term> terms;
  std::string label;
  bool first_of_label = true;
  bool makes_keys_or_values = false;  ///< as Attend's labels have it
};
struct Attend {
  View q, out;
  int64_t layer, heads, kv_heads, head_dim;
  float scale;
  bool causal;
  int64_t window;
  float softcap;
  std::string keys_label, values_label;  ///< of the linears' inputs that make them; empty: see attended.h
};
struct RelativeAttend {  ///< a RelativeAttentionOp whose values are placed
  View q, k, v, out;
  const RelativeAttentionOp* op;  ///< of the graph that was lowered
};
struct Mixture {  ///< a MoeOp whose values are placed
  View in, router, out;
  const MoeOp* op;  ///< of the graph that was lowered
};
/// From here on only some rows matter: those of these slots are moved to the front.
struct Compact {
  std::vector<View> live;
};
struct Pool {  ///< from here on there is one row per sequence
  Pooling kind;
  View in, out;
};
using Step = std::variant<Rows, Product, Attend, RelativeAttend, Mixture, Compact, Pool>;

struct Slot {
  int64_t width = 0;
  bool late = false;  ///< used only after Compact: wanted rows are all it holds
};

struct Program {
  std::vector<Slot> slots;
  std::vector<Step> steps;
  View logits, hidden, pooled;  ///< slot -1: the graph has none
  bool has_cache = false;       ///< causal: keys and values outlive a run
  int64_t kv_width = 0;         ///< kv_heads · head_dim, the same in every layer
  int64_t kv_layers = 0, kv_heads = 0, head_dim = 0;
  bool uses_rope = false, uses_local_rope = false, uses_token_types = false;
  WeightId position_table = -1;
};

/// When a decoder drops the rows that are not wanted: before its last attention, or, so that calibration sees
/// every row of every block, before its head.
enum class CompactAt { last_attention, head };

/// Fails on a graph whose widths do not fit each other. The program refers to ops of the graph.
[[nodiscard]] Result<Program> lower(const Graph& graph, CompactAt compact);

}  // namespace lissom::runtime
