#include <algorithm>
#include <memory>

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

namespace {

constexpr int64_t kTaskRows = 192;   ///< rows of a task; enough that loading a block of keys costs little
constexpr int64_t kChunkKeys = 256;  ///< keys of a task where queries are few

}  // namespace

void attention(Target target, ThreadPool& pool, const AttentionArgs& args, std::vector<std::byte>& scratch) {
  const KernelTable& table = kernel_table(target);
  const int64_t group = args.heads / args.kv_heads, dim = (args.head_dim + 31) / 32 * 32;
  const int64_t queries = std::min(std::max<int64_t>(1, kTaskRows / group), args.queries);
  const int64_t blocks = (args.queries + queries - 1) / queries;
  // Few queries over many keys leave threads idle unless the keys are split. The split depends on the shape
  // alone.
  const bool split = blocks == 1 && queries * group <= 24 && args.cached > kChunkKeys;
  const int64_t chunks = split ? (args.cached + kChunkKeys - 1) / kChunkKeys : 1;

  const int64_t rows = queries * group, padded = (rows + 11) / 12 * 12;
  const int64_t floats = 2 * dim * kKeyBlock + 16 * dim + 12 * kKeyBlock + padded * (2 * dim + 2) + 128;
  const int64_t worker = (floats + 15) / 16 * 16;
  // As with BF16 weights, a few tokens are not worth a rounding.
  const bool bf16 = table.bf16_attention != nullptr && args.rounded && args.queries >= 4;
  const int64_t stride = rows * (dim + 16);  // one chunk of one kv head
  constexpr size_t kAlign = 64;              // vectors across two cache lines take twice as long
  const auto need =
      static_cast<size_t>((worker * pool.size() + (split ? stride * chunks * args.kv_heads : 0)) * 4) + kAlign;
  if (scratch.size() < need) scratch.resize(need);
  void* start = scratch.data();
  size_t room = scratch.size();
  auto* partial = static_cast<float*>(std::align(kAlign, need - kAlign, start, room));
  float* workers = split ? partial + stride * chunks * args.kv_heads : partial;

  // Later queries see more keys, so the longest tasks go first.
  pool.parallel_for(args.kv_heads * blocks * chunks, 1, [&](int64_t begin, int64_t end, int w) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t kv = i % args.kv_heads, block = blocks - 1 - i / args.kv_heads % blocks;
      const int64_t chunk = i / args.kv_heads / blocks;
      const AttentionTask task{kv,
                               block * queries,
                               std::min(args.queries, (block + 1) * queries),
                               chunk * kChunkKeys,
                               split ? std::min(args.cached, (chunk + 1) * kChunkKeys) : args.cached,
                               split ? partial + (kv * chunks + chunk) * stride : nullptr};
      (bf16 ? table.bf16_attention : table.attention)(args, task, workers + worker * w);
    }
  });
  if (!split) return;
  for (int64_t kv = 0; kv < args.kv_heads; ++kv) {
    for (int64_t r = 0; r < rows; ++r) {
      table.attention_merge(partial + kv * chunks * stride + r * (dim + 16), chunks, stride, args.head_dim,
                            args.out + r / group * args.out_stride + (kv * group + r % group) * args.head_dim);
    }
  }
}

}  // namespace lissom::kernels
