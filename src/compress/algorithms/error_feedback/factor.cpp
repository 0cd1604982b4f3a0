#include "compress/algorithms/error_feedback/factor.h"

#include <algorithm>
#include <cmath>

namespace lissom {
namespace {

/// A pivot that has lost all but the last digits of the diagonal's value is noise.
constexpr float kLeastPivot = 1e-6F;

/// Cholesky of the 32 rows from p on in the transposed layout: row k holds column k of L.
bool factorise_panel(SquareMatrix& l, int64_t p, int64_t end, const std::vector<float>& least) {
  for (int64_t c = p; c < end; ++c) {
    float* row = l.row(c);
    if (!(row[c] > least[static_cast<size_t>(c)])) return false;
    const float by = 1.0F / std::sqrt(row[c]);
    for (int64_t i = c; i < l.n; ++i) row[i] *= by;
    for (int64_t c2 = c + 1; c2 < end; ++c2) {
      float* to = l.row(c2);
      const float f = row[c2];
      for (int64_t i = c2; i < l.n; ++i) to[i] -= f * row[i];
    }
  }
  return true;
}

}  // namespace

bool factorise(ThreadPool& pool, const SquareMatrix& h, float damping, Factor& out) {
  // Cholesky's L of the matrix with its columns in reverse order is A·√D in reverse order.
  const int64_t n = h.n;
  SquareMatrix l(n);
  std::vector<float> least(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = i; j < n; ++j) l.row(i)[j] = h.row(n - 1 - i)[n - 1 - j];
    l.row(i)[i] += damping;
    least[static_cast<size_t>(i)] = kLeastPivot * l.row(i)[i];
  }
  const ProductTile tile = active_product_tile();
  for (int64_t p = 0; p < n; p += kTileCols) {
    const int64_t end = std::min(p + kTileCols, n), panels = (l.stride - p) / kTileCols;
    pool.parallel_for(p > 0 ? panels : 0, 1, [&](int64_t first, int64_t last, int) {
      for (int64_t q = first; q < last; ++q) {
        const int64_t i0 = p + q * kTileCols;
        for (int64_t c0 = p; c0 < end; c0 += kTileRows) {
          float part[kTileRows * kTileCols] = {};
          tile(p, l.values.data() + c0, l.stride, l.values.data() + i0, l.stride, part, kTileCols);
          for (int64_t c = c0; c < std::min(c0 + kTileRows, end); ++c)
            for (int64_t i = 0; i < std::min(kTileCols, n - i0); ++i)
              l.row(c)[i0 + i] -= part[(c - c0) * kTileCols + i];
        }
      }
    });
    if (!factorise_panel(l, p, end, least)) return false;
  }
  out.a = SquareMatrix(n);
  out.d.resize(static_cast<size_t>(n));
  for (int64_t c = 0; c < n; ++c) {
    const float* column = l.row(n - 1 - c);
    const float diagonal = column[n - 1 - c];
    out.d[static_cast<size_t>(c)] = diagonal * diagonal;
    for (int64_t a = 0; a <= c; ++a) out.a.row(a)[c] = column[n - 1 - a] / diagonal;
  }
  return true;
}

bool factorise_part(const SquareMatrix& h, float damping, int64_t first, int64_t size, float* a, float* d) {
  std::vector<float> s(static_cast<size_t>(size * size));
  for (int64_t i = 0; i < size; ++i) std::copy_n(h.row(first + i) + first, size, s.data() + i * size);
  std::fill_n(a, size * size, 0.0F);
  for (int64_t c = size - 1; c >= 0; --c) {
    const float* column = s.data() + c * size;  // the rest is symmetric
    const float whole = h.row(first + c)[first + c] + damping;
    const float pivot = column[c] + damping;
    if (!(pivot > kLeastPivot * whole)) return false;
    d[c] = pivot;
    for (int64_t i = 0; i < c; ++i) a[i * size + c] = column[i] / pivot;
    a[c * size + c] = 1;
    for (int64_t i = 0; i < c; ++i) {
      const float f = a[i * size + c];
      float* to = s.data() + i * size;
      for (int64_t j = 0; j < c; ++j) to[j] -= f * column[j];
    }
  }
  return true;
}

}  // namespace lissom
