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

}  // namespace lissom
