// Norms, activations, RoPE and the KV cache. Included after generic/attention.inl.

inline F silu_of(F x) {
  return div(x, add(set(1.0F), exp(neg(x))));
}

/// x·Φ(x) with Φ(-|x|) = ½erfc(t), t = |x|/√2, and erfc(t) = 2^(t·h(t) - t²·log2(e)): accurate in relative terms
/// on the negative side too, where 1 + erf would cancel. h is a degree-10 fit of log2(erfcx(t))/t on [0, 6], in
/// u = t/3 - 1, relative error of the result below 3e-6 down to x = -4 and 1e-5 below that. N vectors step by
/// step: each is one long chain of operations.
template <int N>
inline void gelu(const float* x, float* y) {
  constexpr float kFit[] = {-0.827319443F,  0.389093161F,   -0.204713196F,     0.108530998F,
                            -0.0555734187F, 0.0264794715F,  -0.0123566706F,    0.00600228505F,
                            -0.000905352121F, -0.00197560783F, 0.00105533982F};
  F t[N], u[N], h[N];
  for (int i = 0; i < N; ++i) {
    t[i] = min(mul(abs(load(x + 16 * i)), set(0.70710678F)), set(6.0F));
    u[i] = fma(t[i], set(1.0F / 3.0F), set(-1.0F));
    h[i] = set(kFit[10]);
  }
  for (int k = 9; k >= 0; --k) {
    for (int i = 0; i < N; ++i) h[i] = fma(h[i], u[i], set(kFit[k]));
  }
  for (int i = 0; i < N; ++i) h[i] = exp2(fma(t[i], fma(t[i], set(-1.44269504F), h[i]), set(-1.0F)));
  for (int i = 0; i < N; ++i) {
    const F v = load(x + 16 * i), phi = where_less(v, set(0.0F), h[i], sub(set(1.0F), h[i]));
    store(y + 16 * i, mul(v, where_less(v, set(-8.4F), set(0.0F), phi)));  // beyond, below 1e-15
  }
}

inline F gelu_tanh_of(F x) {
  // ½(1 + tanh u) = 1/(1 + e^-2u)
  const F u2 = mul(mul(x, set(1.59576912F)), fma(mul(x, x), set(0.044715F), set(1.0F)));
  return div(x, add(set(1.0F), exp(neg(u2))));
}

inline float sum_of_squares(const float* x, float minus, int64_t n) {
  F acc[2] = {set(0.0F), set(0.0F)};
  const F m = set(minus);
  int64_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const F a = sub(load(x + i), m), b = sub(load(x + i + 16), m);
    acc[0] = fma(a, a, acc[0]);
    acc[1] = fma(b, b, acc[1]);
  }
  float tail = 0.0F;
  for (; i + 16 <= n; i += 16) {
    const F a = sub(load(x + i), m);
    acc[0] = fma(a, a, acc[0]);
  }
  for (; i < n; ++i) tail += (x[i] - minus) * (x[i] - minus);
  return reduce_add(add(acc[0], acc[1])) + tail;
}

void rms_norm(const float* x, const float* weight, float eps, int64_t n, float* y) {
  const F scale = set(1.0F / std::sqrt(sum_of_squares(x, 0.0F, n) / static_cast<float>(n) + eps));
  each16(n, [&](int64_t i, int64_t k) {
    const F v = mul(load_some(x + i, k), scale);
    store_some(y + i, weight == nullptr ? v : mul(v, load_some(weight + i, k)), k);
  });
}

void layer_norm(const float* x, const float* weight, const float* bias, float eps, int64_t n, float* y) {
  F acc = set(0.0F);
  each16(n, [&](int64_t i, int64_t k) { acc = add(acc, load_some(x + i, k)); });
  const float mean = reduce_add(acc) / static_cast<float>(n);
  const F scale = set(1.0F / std::sqrt(sum_of_squares(x, mean, n) / static_cast<float>(n) + eps));
  each16(n, [&](int64_t i, int64_t k) {
    F v = mul(sub(load_some(x + i, k), set(mean)), scale);
    if (weight != nullptr) v = mul(v, load_some(weight + i, k));
    if (bias != nullptr) v = add(v, load_some(bias + i, k));
    store_some(y + i, v, k);
  });
}

void add_rows(const float* a, const float* b, int64_t n, float* y) {
  each16(n, [&](int64_t i, int64_t k) { store_some(y + i, add(load_some(a + i, k), load_some(b + i, k)), k); });
}
void mul_rows(const float* a, const float* b, int64_t n, float* y) {
  each16(n, [&](int64_t i, int64_t k) { store_some(y + i, mul(load_some(a + i, k), load_some(b + i, k)), k); });
}
void silu_rows(const float* x, int64_t n, float* y) {
  each16(n, [&](int64_t i, int64_t k) { store_some(y + i, silu_of(load_some(x + i, k)), k); });
}
void silu_mul_rows(const float* gate, const float* up, int64_t n, float* y) {
  each16(n, [&](int64_t i, int64_t k) {
    store_some(y + i, mul(silu_of(load_some(gate + i, k)), load_some(up + i, k)), k);
  });
}
void gelu_rows(const float* x, int64_t n, float* y) {
  int64_t i = 0;
  for (; i + 64 <= n; i += 64) gelu<4>(x + i, y + i);
  for (; i + 16 <= n; i += 16) gelu<1>(x + i, y + i);
  if (i == n) return;
  float rest[16] = {};
  std::memcpy(rest, x + i, static_cast<size_t>(n - i) * 4);
  gelu<1>(rest, rest);
  std::memcpy(y + i, rest, static_cast<size_t>(n - i) * 4);
}
void gelu_tanh_rows(const float* x, int64_t n, float* y) {
  each16(n, [&](int64_t i, int64_t k) { store_some(y + i, gelu_tanh_of(load_some(x + i, k)), k); });
}

void rope_heads(float* x, int64_t heads, int64_t head_dim, int64_t dim, bool interleaved, const float* cos,
                const float* sin) {
  const int64_t half = dim / 2;
  for (int64_t h = 0; h < heads; ++h, x += head_dim) {
    if (interleaved) {
      for (int64_t i = 0; i < half; ++i) {
        const float a = x[2 * i], b = x[2 * i + 1];
        x[2 * i] = a * cos[i] - b * sin[i];
        x[2 * i + 1] = a * sin[i] + b * cos[i];
      }
    } else {
      each16(half, [&](int64_t i, int64_t k) {
        const F a = load_some(x + i, k), b = load_some(x + half + i, k);
        const F c = load_some(cos + i, k), s = load_some(sin + i, k);
        store_some(x + i, sub(mul(a, c), mul(b, s)), k);
        store_some(x + half + i, add(mul(a, s), mul(b, c)), k);
      });
    }
  }
}

void cache_store_row(CacheType type, const float* x, int64_t head_dim, std::byte* row) {
  if (type == CacheType::f32) {
    std::memcpy(row, x, static_cast<size_t>(head_dim) * 4);
  } else if (type == CacheType::f16) {
    auto* out = reinterpret_cast<uint16_t*>(row);
    int64_t i = 0;
    for (; i + 16 <= head_dim; i += 16) store_half(out + i, load(x + i));
    for (; i < head_dim; ++i) out[i] = float_to_half(x[i]);
  } else {
    // Blocks as Q8_0 has them: f16 scale, 32 int8.
    for (int64_t i = 0; i < head_dim; i += 32, row += 34) {
      float v[32] = {};
      std::memcpy(v, x + i, static_cast<size_t>(head_dim - i < 32 ? head_dim - i : 32) * 4);
      const float largest = reduce_max(max(abs(load(v)), abs(load(v + 16))));
      const uint16_t d = float_to_half(largest / 127.0F);
      const float inverse = largest == 0.0F ? 0.0F : 127.0F / largest;
      std::memcpy(row, &d, 2);
      store_s8(reinterpret_cast<int8_t*>(row) + 2, mul(load(v), set(inverse)));
      store_s8(reinterpret_cast<int8_t*>(row) + 18, mul(load(v + 16), set(inverse)));
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
  table.attention = attention_task<F32Products>;
  table.attention_merge = attention_merge;
}

namespace {
