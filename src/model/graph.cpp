#include <type_traits>

#include "lissom/model.h"

namespace lissom {

std::vector<ValueId> inputs_of(const Op& op) {
  return std::visit(
      [](const auto& o) -> std::vector<ValueId> {
        using T = std::decay_t<decltype(o)>;
        if constexpr (std::is_same_v<T, EmbedOp>)
          return {};
        else if constexpr (std::is_same_v<T, AttentionOp> || std::is_same_v<T, RelativeAttentionOp>)
          return {o.q, o.k, o.v};
        else if constexpr (std::is_same_v<T, AddOp> || std::is_same_v<T, MulOp>)
          return {o.a, o.b};
        else if constexpr (std::is_same_v<T, MoeOp>)
          return {o.in, o.router};
        else
          return {o.in};
      },
      op);
}

ValueId output_of(const Op& op) {
  return std::visit([](const auto& o) { return o.out; }, op);
}

std::vector<WeightId> weights_of(const Op& op) {
  std::vector<WeightId> weights = std::visit(
      [](const auto& o) -> std::vector<WeightId> {
        using T = std::decay_t<decltype(o)>;
        if constexpr (std::is_same_v<T, EmbedOp>)
          return {o.table};
        else if constexpr (std::is_same_v<T, LinearOp> || std::is_same_v<T, NormOp>)
          return {o.weight, o.bias};
        else if constexpr (std::is_same_v<T, RelativeAttentionOp>)
          return {o.positions.table, o.positions.norm, o.positions.bias, o.q_weight,
                  o.q_bias,          o.k_weight,       o.k_bias};
        else if constexpr (std::is_same_v<T, MoeOp>)
          return {o.gate, o.up, o.down, o.score_bias};
        else
          return {};
      },
      op);
  std::erase_if(weights, [](WeightId id) { return id < 0; });
  return weights;
}

}  // namespace lissom
