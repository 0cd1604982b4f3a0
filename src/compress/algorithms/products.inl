// Included between kernels/simd/<target>.h and kernels/simd/end.h.

/// kTile tells how many registers there are.
constexpr int64_t kRowsAtOnce = kTile >= 12 ? 8 : 4, kVectors = kTile >= 12 ? 2 : 1;

inline void product_part(int64_t k, const float* a, int64_t a_stride, const float* b, int64_t b_stride,
                         float* c, int64_t c_stride) {
  F sum[kRowsAtOnce][kVectors];
  for (int64_t i = 0; i < kRowsAtOnce; ++i)
    for (int64_t v = 0; v < kVectors; ++v) sum[i][v] = load(c + i * c_stride + 16 * v);
  for (int64_t t = 0; t < k; ++t, a += a_stride, b += b_stride) {
    F right[kVectors];
    for (int64_t v = 0; v < kVectors; ++v) right[v] = load(b + 16 * v);
    for (int64_t i = 0; i < kRowsAtOnce; ++i) {
      const F left = set(a[i]);
      for (int64_t v = 0; v < kVectors; ++v) sum[i][v] = fma(left, right[v], sum[i][v]);
    }
  }
  for (int64_t i = 0; i < kRowsAtOnce; ++i)
    for (int64_t v = 0; v < kVectors; ++v) store(c + i * c_stride + 16 * v, sum[i][v]);
}

}  // namespace

void product_tile(int64_t k, const float* a, int64_t a_stride, const float* b, int64_t b_stride, float* c,
                  int64_t c_stride) {
  for (int64_t i = 0; i < 8; i += kRowsAtOnce)
    for (int64_t j = 0; j < 32; j += 16 * kVectors)
      product_part(k, a + i, a_stride, b + j, b_stride, c + i * c_stride + j, c_stride);
}

namespace {
