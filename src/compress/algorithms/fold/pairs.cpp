#include "compress/algorithms/fold/pairs.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "compress/algorithms/fold/uses.h"

namespace lissom {
namespace {

/// Weights that make a value's features, one row each.
struct Rows {
  WeightId weight = -1, bias = -1;
  int64_t first = 0;
};

class Finder {
 public:
  explicit Finder(const Checkpoint& checkpoint) : graph_(checkpoint.graph), uses_(checkpoint) {}

  FoldPairs run() {
    FoldPairs found;
    std::set<ValueId> seen;
    for (const Op& op : graph_.ops) {
      const auto* linear = std::get_if<LinearOp>(&op);
      if (linear == nullptr || !seen.insert(linear->in).second) continue;
      FoldPair pair;
      pair.label = linear->input_label;
      const std::string why = describe(linear->in, pair);
      if (why.empty())
        found.pairs.push_back(std::move(pair));
      else
        found.left.push_back({pair.label + ": " + why, pair.through});
    }
    return found;
  }

 private:
  /// Fills `pair`, or says why there is none.
  std::string describe(ValueId value, FoldPair& pair) {
    pair.channels = graph_.widths[static_cast<size_t>(value)];
    if (value == graph_.hidden || value == graph_.pooled) return "it is a result of the model";
    for (const size_t reader : uses_.readers(value)) {
      const Op& op = graph_.ops[reader];
      if (const auto* linear = std::get_if<LinearOp>(&op)) {
        pair.consumers.push_back(linear->weight);
      } else if (const auto* moe = std::get_if<MoeOp>(&op); moe != nullptr && moe->in == value) {
        pair.consumers.push_back(moe->gate);
        pair.consumers.push_back(moe->up);
      } else {
        return "more than linears read it";
      }
    }
    if (std::string why = describe_producer(value, pair); !why.empty()) return why;
    for (const FoldPair::Part& part : pair.producers)
      if (std::string why = uses_.obstacle(part.weight); !why.empty()) return why;
    for (const WeightId weight : pair.consumers)
      if (std::string why = uses_.obstacle(weight); !why.empty()) return why;
    return "";
  }

  std::string describe_producer(ValueId value, FoldPair& pair) {
    const Op* op = uses_.maker(value);
    if (op == nullptr) return "nothing makes it";
    if (const auto* norm = std::get_if<NormOp>(op)) {
      if (norm->group > 0 || norm->weight < 0) return "its norm has no weight for each feature";
      pair.producers.push_back({norm->weight, 0});
      if (uses_.present(norm->bias)) pair.producers.push_back({norm->bias, 0});
      return "";
    }
    std::optional<Rows> rows;
    if (const auto* attention = std::get_if<AttentionOp>(op)) {
      pair.through = FoldPair::Through::attention;
      pair.head_dim = attention->head_dim;
      pair.shared_heads = attention->heads / attention->kv_heads;
      pair.channels = attention->kv_heads * attention->head_dim;
      rows = rows_of(attention->v);
    } else if (const auto* relative = std::get_if<RelativeAttentionOp>(op)) {
      pair.through = FoldPair::Through::attention;
      pair.head_dim = relative->head_dim;
      rows = rows_of(relative->v);
    } else if (const auto* product = std::get_if<MulOp>(op)) {
      pair.through = FoldPair::Through::product;
      rows = rows_of(product->b);
      if (!rows) rows = rows_of(product->a);
    } else if (const auto* activation = std::get_if<ActivationOp>(op);
               activation != nullptr && activation->kind == ActivationOp::Kind::relu) {
      pair.through = FoldPair::Through::product;  // ReLU(s·x) = s·ReLU(x)
      rows = rows_of(activation->in);
    }
    if (!rows) return "what makes it is not linear in a weight's rows";
    pair.producers.push_back({rows->weight, rows->first});
    if (uses_.present(rows->bias)) pair.producers.push_back({rows->bias, rows->first});
    return "";
  }

  /// The rows behind a value that only one op reads, through a slice that shares them with no other.
  std::optional<Rows> rows_of(ValueId value) {
    if (uses_.readers(value).size() != 1) return {};
    const Op* op = uses_.maker(value);
    if (op == nullptr) return {};
    if (const auto* linear = std::get_if<LinearOp>(op)) return Rows{linear->weight, linear->bias, 0};
    const auto* slice = std::get_if<SliceOp>(op);
    if (slice == nullptr) return {};
    const Op* whole = uses_.maker(slice->in);
    const auto* linear = whole == nullptr ? nullptr : std::get_if<LinearOp>(whole);
    if (linear == nullptr) return {};
    const auto end_of = [&](const SliceOp& s) { return s.first + graph_.widths[static_cast<size_t>(s.out)]; };
    for (const size_t reader : uses_.readers(slice->in)) {
      const auto* other = std::get_if<SliceOp>(&graph_.ops[reader]);
      if (other == nullptr) return {};
      if (other != slice && other->first < end_of(*slice) && slice->first < end_of(*other)) return {};
    }
    return Rows{linear->weight, linear->bias, slice->first};
  }

  const Graph& graph_;
  Uses uses_;
};

/// Follows the values that the embeddings are added up in.
class StreamFinder {
 public:
  explicit StreamFinder(const Checkpoint& checkpoint) : checkpoint_(checkpoint), uses_(checkpoint) {}

  Result<ResidualStream> run() {
    const Graph& graph = checkpoint_.graph;
    stream_.width = checkpoint_.config.width;
    if (graph.logits < 0 || graph.pooled >= 0) return refused("the model is no plain decoder");
    for (const Op& op : graph.ops) {
      if (const auto* embed = std::get_if<EmbedOp>(&op)) {
        LISSOM_CHECK(use(embed->table));
        stream_.tables.push_back(embed->table);
        in_stream_.insert(embed->out);
        continue;
      }
      LISSOM_CHECK(follow(op));
    }
    if (stream_.writers.empty()) return refused("nothing is added to the embeddings");
    return std::move(stream_);
  }

 private:
  static tl::unexpected<Error> refused(const std::string& why) {
    return unsupported("--fold residual: " + why);
  }
  [[nodiscard]] const std::string& name(WeightId id) const {
    return checkpoint_.graph.weights[static_cast<size_t>(id)].name;
  }
  Result<void> use(WeightId id) {
    if (std::string why = uses_.obstacle(id); !why.empty()) {
      const bool head = name(id) == "token_embd.weight" && checkpoint_.config.tied_embeddings;
      return refused(head ? "the token embeddings are also the head, which would need the last norm's weights "
                            "folded in; two matrices would make the file larger"
                          : why);
    }
    return {};
  }
  Result<void> follow(const Op& op) {
    const auto* add = std::get_if<AddOp>(&op);
    const auto* norm = std::get_if<NormOp>(&op);
    const std::vector<ValueId> inputs = inputs_of(op);
    if (std::ranges::none_of(inputs, [&](ValueId v) { return in_stream_.contains(v); })) return {};
    if (add != nullptr) {
      for (const ValueId side : {add->a, add->b})
        if (!in_stream_.contains(side)) LISSOM_CHECK(write(side));
      in_stream_.insert(add->out);
      return {};
    }
    if (norm == nullptr) return refused("more than norms and sums read the stream");
    if (norm->kind != NormOp::Kind::rms)
      return refused("its LayerNorm takes the mean, which no rotation keeps");
    if (norm->group > 0 || norm->weight < 0 || norm->bias >= 0)
      return refused("a norm of the stream is no plain RMSNorm");
    LISSOM_CHECK(use(norm->weight));
    for (const size_t reader : uses_.readers(norm->out)) {
      const Op& next = checkpoint_.graph.ops[reader];
      if (const auto* linear = std::get_if<LinearOp>(&next)) {
        LISSOM_CHECK(read(linear->weight, norm->weight));
      } else if (const auto* moe = std::get_if<MoeOp>(&next); moe != nullptr && moe->in == norm->out) {
        LISSOM_CHECK(read(moe->gate, norm->weight));
        LISSOM_CHECK(read(moe->up, norm->weight));
      } else {
        return refused("more than linears read " + name(norm->weight));
      }
    }
    return {};
  }
  Result<void> read(WeightId weight, WeightId norm) {
    LISSOM_CHECK(use(weight));
    stream_.readers.push_back({weight, norm});
    return {};
  }
  Result<void> write(ValueId value) {
    const Op* op = uses_.maker(value);
    if (op == nullptr || uses_.readers(value).size() != 1)
      return refused("what is added is read elsewhere too");
    if (const auto* linear = std::get_if<LinearOp>(op)) {
      LISSOM_CHECK(use(linear->weight));
      stream_.writers.push_back(linear->weight);
      if (!uses_.present(linear->bias)) return {};
      LISSOM_CHECK(use(linear->bias));
      stream_.biases.push_back(linear->bias);
      return {};
    }
    if (const auto* moe = std::get_if<MoeOp>(op)) {
      LISSOM_CHECK(use(moe->down));
      stream_.writers.push_back(moe->down);
      return {};
    }
    if (const auto* sum = std::get_if<AddOp>(op)) {  // of a mixture and the expert that every token passes
      LISSOM_CHECK(write(sum->a));
      return write(sum->b);
    }
    return refused("what is added to the stream comes through a norm, whose weights no rotation keeps");
  }

  const Checkpoint& checkpoint_;
  Uses uses_;
  ResidualStream stream_;
  std::set<ValueId> in_stream_;
};

}  // namespace

FoldPairs find_fold_pairs(const Checkpoint& checkpoint) {
  return Finder(checkpoint).run();
}

Result<ResidualStream> find_residual_stream(const Checkpoint& checkpoint) {
  return StreamFinder(checkpoint).run();
}

}  // namespace lissom
