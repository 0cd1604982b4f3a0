#pragma once
// The one product that algorithms over second moments are made of, for the best instruction set of this
// machine, and the sums of XᵀX that are made with it.

#include <cstdint>
#include <vector>

#include "base/cpu.h"
#include "base/threads.h"

namespace lissom {

/// c[i][j] += Σ_k a[k·a_stride + i] · b[k·b_stride + j] for 8 rows and 32 columns of c, summed in F32 in the
/// order of k.
using ProductTile = void (*)(int64_t k, const float* a, int64_t a_stride, const float* b, int64_t b_stride,
                             float* c, int64_t c_stride);
inline constexpr int64_t kTileRows = 8, kTileCols = 32;
[[nodiscard]] ProductTile product_tile(Target target);
[[nodiscard]] ProductTile active_product_tile();

/// A square matrix in F32 whose rows are padded with zeros to a multiple of kTileCols.
struct SquareMatrix {
  explicit SquareMatrix(int64_t size = 0)
      : n(size),
        stride((size + kTileCols - 1) / kTileCols * kTileCols),
        values(static_cast<size_t>(stride * stride)) {}
  [[nodiscard]] float* row(int64_t i) { return values.data() + i * stride; }
  [[nodiscard]] const float* row(int64_t i) const { return values.data() + i * stride; }
  int64_t n = 0, stride = 0;
  std::vector<float> values;  ///< stride × stride
};

/// out += xᵀ·x over rows that count `weight` each (null: 1), in the upper triangle of tiles alone. x: rows ×
/// out.n. `packed` is scratch.
void add_gram(ThreadPool& pool, const float* x, const float* weight, int64_t rows, SquareMatrix& out,
              std::vector<float>& packed);
/// Copies the upper triangle into the lower one.
void mirror(SquareMatrix& m);

/// out[r] = e_r · m · e_rᵀ for each row e_r of `e` (rows × m.n); m is symmetric.
void quadratic_forms(ThreadPool& pool, const SquareMatrix& m, const float* e, int64_t rows, double* out);

}  // namespace lissom
