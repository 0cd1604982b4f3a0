#include <algorithm>

#include "kernels/table.h"

namespace lissom::kernels {

void rms_norm(Target target, const float* x, const float* weight, float eps, int64_t n, float* y) {
  kernel_table(target).rms_norm(x, weight, eps, n, y);
}
void layer_norm(Target target, const float* x, const float* weight, const float* bias, float eps, int64_t n,
                float* y) {
  kernel_table(target).layer_norm(x, weight, bias, eps, n, y);
}
void add(Target target, const float* a, const float* b, int64_t n, float* y) {
  kernel_table(target).add(a, b, n, y);
}
void mul(Target target, const float* a, const float* b, int64_t n, float* y) {
  kernel_table(target).mul(a, b, n, y);
}
void silu(Target target, const float* x, int64_t n, float* y) {
  kernel_table(target).silu(x, n, y);
}
void silu_mul(Target target, const float* gate, const float* up, int64_t n, float* y) {
  kernel_table(target).silu_mul(gate, up, n, y);
}
void gelu(Target target, const float* x, int64_t n, float* y) {
  kernel_table(target).gelu(x, n, y);
}
void gelu_tanh(Target target, const float* x, int64_t n, float* y) {
  kernel_table(target).gelu_tanh(x, n, y);
}
void rope(Target target, float* x, int64_t heads, int64_t head_dim, int64_t dim, bool interleaved,
          const float* cos, const float* sin) {
  kernel_table(target).rope(x, heads, head_dim, dim, interleaved, cos, sin);
}

int64_t cache_row_bytes(CacheType type, int64_t head_dim) {
  if (type == CacheType::f32) return head_dim * 4;
  if (type == CacheType::f16) return head_dim * 2;
  return (head_dim + 31) / 32 * 34;
}
void cache_store(Target target, CacheType type, const float* x, int64_t head_dim, std::byte* row) {
  kernel_table(target).cache_store(type, x, head_dim, row);
}

void attention(Target target, ThreadPool& pool, const AttentionArgs& args, std::vector<std::byte>& scratch) {
  const KernelTable& table = kernel_table(target);
  const int64_t floats = ((args.head_dim + 31) / 32 * 32 * 2 + 15) / 16 * 16;
  const auto need = static_cast<size_t>(floats * 4 * pool.size());
  if (scratch.size() < need) scratch.resize(need);
  auto* base = reinterpret_cast<float*>(scratch.data());
  pool.parallel_for(args.kv_heads * args.queries, 8, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t i = begin; i < end; ++i) {
      table.attention(args, i / args.queries, i % args.queries, i % args.queries + 1, base + floats * worker);
    }
  });
}

}  // namespace lissom::kernels
