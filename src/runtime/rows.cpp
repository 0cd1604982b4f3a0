#include "runtime/rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace lissom::runtime {
namespace {

struct Row {
  const RowContext& c;
  int64_t r;

  [[nodiscard]] size_t index() const { return static_cast<size_t>(r); }
  [[nodiscard]] float* at(const View& v) const {
    return c.buffers[static_cast<size_t>(v.slot)].data() + r * v.stride + v.offset;
  }
  [[nodiscard]] Target target() const { return c.model.target_; }

  void operator()(const EmbedRow& o) const {
    const auto& ids = o.index == EmbedOp::Index::token      ? c.rows.tokens
                      : o.index == EmbedOp::Index::position ? c.rows.positions
                                                            : c.rows.types;
    float* out = at(o.out);
    c.model.embed(o.table, ids[index()], out);
    if (o.scale == 1.0F) return;
    for (int64_t i = 0; i < o.out.width; ++i) out[i] *= o.scale;
  }
  void operator()(const NormRow& o) const {
    const float* weight = c.model.vector(o.weight);
    const float* bias = c.model.vector(o.bias);
    for (int64_t k = 0; k < o.in.width; k += o.group) {
      if (o.kind == NormOp::Kind::rms) {
        kernels::rms_norm(target(), at(o.in) + k, weight, o.eps, o.group, at(o.out) + k);
      } else {
        kernels::layer_norm(target(), at(o.in) + k, weight, bias, o.eps, o.group, at(o.out) + k);
      }
    }
  }
  void operator()(const RopeRow& o) const {
    float* out = at(o.out);
    if (at(o.in) != out) std::memcpy(out, at(o.in), static_cast<size_t>(o.out.width) * sizeof(float));
    const Rope& rope = o.local ? *c.model.config_.rope_local : c.model.config_.rope;
    const RopeTable& table = o.local ? c.rope_local : c.rope;
    const int64_t position = c.rows.positions[index()];
    kernels::rope(target(), out, o.heads, o.head_dim, rope.dim, rope.pairing == RopePairing::interleaved,
                  table.cos(position), table.sin(position));
  }
  void operator()(const StoreRow& o) const {
    const Cache& cache = *c.cache;
    const int32_t sequence = c.rows.sequences[index()];
    const bool causal = c.model.program_.has_cache;
    const int64_t layer = causal ? o.layer : 0;
    const int64_t cell = causal ? c.rows.positions[index()] : c.rows.offsets[index()];
    std::byte* keys = cache.keys(layer, sequence) + cell * cache.head_bytes();
    std::byte* values = cache.values(layer, sequence) + cell * cache.head_bytes();
    for (int64_t h = 0; h < o.kv_heads; ++h) {
      kernels::cache_store(target(), cache.type(), at(o.k) + h * o.head_dim, o.head_dim,
                           keys + h * cache.head_stride());
      kernels::cache_store(target(), cache.type(), at(o.v) + h * o.head_dim, o.head_dim,
                           values + h * cache.head_stride());
    }
  }
  void operator()(const ActivateRow& o) const {
    const float* x = at(o.in);
    float* y = at(o.out);
    const int64_t n = o.in.width;
    using Kind = ActivationOp::Kind;
    if (o.kind == Kind::silu) return kernels::silu(target(), x, n, y);
    if (o.kind == Kind::gelu) return kernels::gelu(target(), x, n, y);
    if (o.kind == Kind::gelu_tanh) return kernels::gelu_tanh(target(), x, n, y);
    for (int64_t k = 0; k < n; ++k) y[k] = o.kind == Kind::relu ? std::max(x[k], 0.0F) : std::tanh(x[k]);
  }
  void operator()(const SoftcapRow& o) const {
    const float* x = at(o.in);
    float* y = at(o.out);
    for (int64_t k = 0; k < o.in.width; ++k) y[k] = o.cap * std::tanh(x[k] / o.cap);
  }
  void operator()(const PairRow& o) const {
    if (o.kind == Pairwise::add) return kernels::add(target(), at(o.a), at(o.b), o.out.width, at(o.out));
    if (o.kind == Pairwise::mul) return kernels::mul(target(), at(o.a), at(o.b), o.out.width, at(o.out));
    kernels::silu_mul(target(), at(o.a), at(o.b), o.out.width, at(o.out));
  }
};

}  // namespace

void run_row(const RowContext& context, std::span<const RowOp> ops, int64_t row) {
  const Row r{context, row};
  for (const RowOp& op : ops) std::visit(r, op);
}

}  // namespace lissom::runtime
