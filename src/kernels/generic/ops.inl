// Norms, activations, RoPE and the KV cache. Included after generic/attention.inl.

inline F silu_of(F x) {
  return div(x, add(set(1.0F), exp(neg(x))));
}

/// x·Φ(x) with Φ(-|x|) = ½erfc(t), t = |x|/√2, and erfc(t) = exp(t·h(t) - t²): accurate in relative terms on
/// the negative side too, where 1 + erf would cancel. h is a degree-12 fit of ln(erfcx(t))/t on [0, 6], in u =
/// t/3 - 1.
inline F gelu_of(F x) {
  const F t = min(mul(abs(x), set(0.70710678F)), set(6.0F));
  constexpr float kFit[] = {-0.57345438F,    0.269700885F,     -0.141882822F,  0.0751695931F,   -0.0386437997F,
                            0.0187947042F,   -0.00823414046F,  0.00285451231F, -0.00080141949F, 0.000274444232F,
                            0.000395412324F, -0.000734641915F, 0.000301446213F};
  const F u = fma(t, set(1.0F / 3.0F), set(-1.0F));
  F h = set(kFit[12]);
  for (int i = 11; i >= 0; --i) h = fma(h, u, set(kFit[i]));
  const F square = mul(t, t);
  const F lost = fma(t, t, neg(square));
  const F tail = mul(set(0.5F), exp(sub(fma(t, h, neg(square)), lost)));
  const F phi = where_less(x, set(0.0F), tail, sub(set(1.0F), tail));
  return mul(x, where_less(x, set(-8.4F), set(0.0F), phi));  // beyond, below 1e-15
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
  each16(n, [&](int64_t i, int64_t k) { store_some(y + i, gelu_of(load_some(x + i, k)), k); });
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
