#include "compress/algorithms/products.h"

#include <algorithm>

namespace lissom {

namespace kernels {
namespace scalar_target {
void product_tile(int64_t k, const float* a, int64_t a_stride, const float* b, int64_t b_stride, float* c,
                  int64_t c_stride);
}
namespace avx2_target {
void product_tile(int64_t k, const float* a, int64_t a_stride, const float* b, int64_t b_stride, float* c,
                  int64_t c_stride);
}
namespace avx512_target {
void product_tile(int64_t k, const float* a, int64_t a_stride, const float* b, int64_t b_stride, float* c,
                  int64_t c_stride);
}
namespace neon_target {
void product_tile(int64_t k, const float* a, int64_t a_stride, const float* b, int64_t b_stride, float* c,
                  int64_t c_stride);
}
}  // namespace kernels

ProductTile product_tile([[maybe_unused]] Target target) {
#if defined(__x86_64__)
  if (target == Target::avx512) return kernels::avx512_target::product_tile;
  if (target == Target::avx2) return kernels::avx2_target::product_tile;
#elif defined(__aarch64__)
  if (target != Target::scalar) return kernels::neon_target::product_tile;
#endif
  return kernels::scalar_target::product_tile;
}

ProductTile active_product_tile() {
  static const ProductTile active = product_tile(active_target().value_or(supported_targets().front()));
  return active;
}

void add_gram(ThreadPool& pool, const float* x, const float* weight, int64_t rows, SquareMatrix& out,
              std::vector<float>& packed) {
  const int64_t n = out.n, panels = out.stride / kTileCols;
  // Panels of 32 columns, each [row][32], so that a product reads two short streams. The left one carries the
  // weight.
  const int64_t panel = rows * kTileCols, copies = weight != nullptr ? 2 : 1;
  packed.assign(static_cast<size_t>(copies * panels * panel), 0.0F);
  float* right = packed.data();
  float* left = weight != nullptr ? right + panels * panel : right;
  pool.parallel_for(panels, 1, [&](int64_t first, int64_t last, int) {
    for (int64_t p = first; p < last; ++p)
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < std::min(kTileCols, n - p * kTileCols); ++c) {
          const float v = x[r * n + p * kTileCols + c];
          right[p * panel + r * kTileCols + c] = v;
          if (weight != nullptr) left[p * panel + r * kTileCols + c] = v * weight[r];
        }
  });
  const ProductTile tile = active_product_tile();
  pool.parallel_for(panels * (panels + 1) / 2, 1, [&](int64_t first, int64_t last, int) {
    for (int64_t pair = first; pair < last; ++pair) {
      int64_t i = 0, before = 0;  // pairs (i, j ≥ i) in the order of i
      while (pair - before >= panels - i) before += panels - i++;
      const int64_t j = i + pair - before;
      for (int64_t s = 0; s < kTileCols; s += kTileRows)
        tile(rows, left + i * panel + s, kTileCols, right + j * panel, kTileCols,
             out.row(i * kTileCols + s) + j * kTileCols, out.stride);
    }
  });
}

void mirror(SquareMatrix& m) {
  for (int64_t i = 0; i < m.n; ++i)
    for (int64_t j = 0; j < i; ++j) m.row(i)[j] = m.row(j)[i];
}

void quadratic_forms(ThreadPool& pool, const SquareMatrix& m, const float* e, int64_t rows, double* out) {
  const ProductTile tile = active_product_tile();
  const int64_t n = m.n, tiles = (rows + kTileRows - 1) / kTileRows;
  pool.parallel_for(tiles, 1, [&](int64_t first, int64_t last, int) {
    std::vector<float> turned(static_cast<size_t>(n * kTileRows));
    for (int64_t t = first; t < last; ++t) {
      const int64_t r0 = t * kTileRows, count = std::min(kTileRows, rows - r0);
      std::fill(turned.begin(), turned.end(), 0.0F);
      for (int64_t r = 0; r < count; ++r)
        for (int64_t c = 0; c < n; ++c) turned[static_cast<size_t>(c * kTileRows + r)] = e[(r0 + r) * n + c];
      double sums[kTileRows] = {};
      for (int64_t p = 0; p < m.stride; p += kTileCols) {
        float part[kTileRows * kTileCols] = {};
        tile(n, turned.data(), kTileRows, m.values.data() + p, m.stride, part, kTileCols);
        for (int64_t r = 0; r < count; ++r)
          for (int64_t c = 0; c < std::min(kTileCols, n - p); ++c)
            sums[r] +=
                static_cast<double>(part[r * kTileCols + c]) * static_cast<double>(e[(r0 + r) * n + p + c]);
      }
      std::copy_n(sums, count, out + r0);
    }
  });
}

}  // namespace lissom
