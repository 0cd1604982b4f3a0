// Attention with online softmax. Included after generic/ops.inl.

/// Keys first … last-1 that a query at `position` sees.
inline void visible(const AttentionArgs& a, int32_t position, int64_t& first, int64_t& last) {
  first = a.window > 0 && position - a.window + 1 > 0 ? position - a.window + 1 : 0;
  last = a.causal && position + 1 < a.cached ? position + 1 : a.cached;
}

void attention_rows(const AttentionArgs& a, int64_t kv_head, int64_t first_query, int64_t last_query,
                    float* scratch) {
  const int64_t dim = (a.head_dim + 31) / 32 * 32;
  const int64_t group = a.heads / a.kv_heads;
  const int64_t row_bytes = cache_row_bytes(a.cache, a.head_dim);
  float* key = scratch;
  float* acc = scratch + dim;
  for (int64_t i = first_query; i < last_query; ++i) {
    int64_t first = 0, last = 0;
    visible(a, a.positions[i], first, last);
    for (int64_t h = kv_head * group; h < (kv_head + 1) * group; ++h) {
      const float* q = a.q + i * a.q_stride + h * a.head_dim;
      float* out = a.out + i * a.out_stride + h * a.head_dim;
      float top = -INFINITY, total = 0.0F;
      for (int64_t d = 0; d < dim; d += 16) store(acc + d, set(0.0F));
      for (int64_t j = first; j < last; ++j) {
        const int64_t at = (j * a.kv_heads + kv_head) * row_bytes;
        cache_load_row(a.cache, a.keys + at, a.head_dim, key);
        F dots = set(0.0F);
        each16(a.head_dim, [&](int64_t d, int64_t k) { dots = fma(load_some(q + d, k), load(key + d), dots); });
        const float score = reduce_add(dots) * a.scale;
        const float old = top;
        top = score > top ? score : top;
        const float keep = std::exp(old - top), p = std::exp(score - top);
        total = total * keep + p;
        cache_load_row(a.cache, a.values + at, a.head_dim, key);
        for (int64_t d = 0; d < dim; d += 16)
          store(acc + d, fma(set(p), load(key + d), mul(load(acc + d), set(keep))));
      }
      const float inverse = total > 0.0F ? 1.0F / total : 0.0F;
      each16(a.head_dim,
             [&](int64_t d, int64_t k) { store_some(out + d, mul(load(acc + d), set(inverse)), k); });
    }
  }
}

}  // namespace

void fill_ops(KernelTable& table) {
  table.rms_norm = rms_norm;
  table.layer_norm = layer_norm;
  table.add = add_rows;
  table.mul = mul_rows;
  table.silu = silu_rows;
  table.silu_mul = silu_mul_rows;
  table.gelu = gelu_rows;
  table.gelu_tanh = gelu_tanh_rows;
  table.rope = rope_heads;
  table.cache_store = cache_store_row;
  table.attention = attention_rows;
}

namespace {
