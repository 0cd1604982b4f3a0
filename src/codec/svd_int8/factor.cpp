// The one source that includes Eigen.

#include "codec/svd_int8/factor.h"

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <mutex>

namespace lissom {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Vector = Eigen::VectorXd;
using Floats = Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>;

/// Inputs that the statistics never saw may come all the same: this share of the mean second moment is added
/// to each.
constexpr double kDamping = 1e-4;
constexpr int64_t kRowsAtOnce = 1024;

/// Blocks of products must not depend on the machine: they decide the order of sums.
void fix_blocking() {
  static std::once_flag once;
  std::call_once(once, [] { Eigen::setCpuCacheSizes(32 << 10, 512 << 10, 2 << 20); });
}

}  // namespace

struct RankFactorization::Parts {
  std::span<const float> w;
  int64_t rows = 0, cols = 0;
  bool by_rows = false;          ///< the eigenproblem is that of W·H·Wᵀ; else of Cᵀ·Wᵀ·W·C
  Matrix gram;                   ///< Wᵀ·W, where not by_rows
  Matrix factor;                 ///< C, lower triangular, where H is a matrix
  Vector diagonal;               ///< or the square roots of H's diagonal; both empty: H is I
  Matrix vectors;                ///< of the eigenproblem, in columns, smallest first
  std::vector<double> energies;  ///< largest first

  [[nodiscard]] Floats matrix() const { return {w.data(), rows, cols}; }

  void read(const InputStatistics& s) {
    if (!s.hessian.empty()) {
      Matrix h = Floats(s.hessian.data(), cols, cols).cast<double>();
      const double mean = h.trace() / static_cast<double>(cols);
      if (!(mean > 0) || !std::isfinite(mean)) return;
      h.diagonal().array() += kDamping * mean;
      const Eigen::LLT<Matrix> cholesky(h);
      if (cholesky.info() == Eigen::Success) {
        factor = cholesky.matrixL();
        return;
      }
      diagonal = h.diagonal().array().sqrt();
    } else if (!s.importance.empty()) {
      diagonal = Eigen::Map<const Eigen::VectorXf>(s.importance.data(), cols).cast<double>();
      const double mean = diagonal.mean();
      if (!(mean > 0) || !std::isfinite(mean)) {
        diagonal.resize(0);
        return;
      }
      diagonal = (diagonal.array() + kDamping * mean).sqrt();
    }
  }

  /// x·C, for rows x.
  [[nodiscard]] Matrix whitened(const Matrix& x) const {
    if (factor.size() > 0) return x * factor;
    if (diagonal.size() > 0) return x * diagonal.asDiagonal();
    return x;
  }
  /// C·x.
  [[nodiscard]] Matrix unwhitened(const Matrix& x) const {
    if (factor.size() > 0) return factor * x;
    if (diagonal.size() > 0) return diagonal.asDiagonal() * x;
    return x;
  }

  void solve() {
    Matrix problem;
    if (by_rows) {
      const Matrix whole = whitened(matrix().cast<double>());
      problem.noalias() = whole * whole.transpose();
    } else {
      gram = Matrix::Zero(cols, cols);
      for (int64_t r = 0; r < rows; r += kRowsAtOnce) {
        const Matrix some = matrix().middleRows(r, std::min(kRowsAtOnce, rows - r)).cast<double>();
        gram.noalias() += some.transpose() * some;
      }
      const Matrix right = whitened(gram);
      problem = unwhitened_transposed(right);
    }
    const Eigen::SelfAdjointEigenSolver<Matrix> solver(problem);
    vectors = solver.eigenvectors();
    const auto n = solver.eigenvalues().size();
    for (Eigen::Index k = n - 1; k >= 0; --k) energies.push_back(std::max(0.0, solver.eigenvalues()[k]));
  }
  /// Cᵀ·x.
  [[nodiscard]] Matrix unwhitened_transposed(const Matrix& x) const {
    if (factor.size() > 0) return factor.transpose() * x;
    if (diagonal.size() > 0) return diagonal.asDiagonal() * x;
    return x;
  }

  [[nodiscard]] RankFactors cut(int64_t rank) const {
    RankFactors out;
    out.rank = rank;
    out.left.resize(static_cast<size_t>(rows * rank));
    out.right.resize(static_cast<size_t>(rank * cols));
    const Matrix first = vectors.rightCols(rank).rowwise().reverse();
    Matrix right;
    if (by_rows) {
      right = first.transpose() * matrix().cast<double>();
    } else {
      right = unwhitened_transposed(gram).transpose() * first;  // cols × rank
      right.transposeInPlace();
      for (int64_t k = 0; k < rank; ++k) {
        const double energy = energies[static_cast<size_t>(k)];
        right.row(k) *= energy > 1e-14 * energies[0] ? 1 / energy : 0.0;
      }
    }
    const Matrix basis = by_rows ? first : unwhitened(first);
    for (int64_t r = 0; r < rows; r += kRowsAtOnce) {
      const int64_t n = std::min(kRowsAtOnce, rows - r);
      const Matrix some =
          by_rows ? Matrix(basis.middleRows(r, n)) : Matrix(matrix().middleRows(r, n).cast<double>() * basis);
      for (int64_t i = 0; i < n; ++i)
        for (int64_t k = 0; k < rank; ++k)
          out.left[static_cast<size_t>((r + i) * rank + k)] = static_cast<float>(some(i, k));
    }
    balance(right, out);
    return out;
  }

  void balance(const Matrix& right, RankFactors& out) const {
    const int64_t rank = out.rank;
    for (int64_t k = 0; k < rank; ++k) {
      double square = 0;
      for (int64_t i = 0; i < rows; ++i) {
        const double v = double{out.left[static_cast<size_t>(i * rank + k)]};
        square += v * v;
      }
      const double of_left = std::sqrt(square), of_right = right.row(k).norm();
      const bool empty = !(of_left > 0) || !(of_right > 0);
      const double ratio = empty ? 0.0 : std::sqrt(of_right / of_left);
      for (int64_t i = 0; i < rows; ++i) {
        float& v = out.left[static_cast<size_t>(i * rank + k)];
        v = static_cast<float>(double{v} * ratio);
      }
      for (int64_t c = 0; c < cols; ++c)
        out.right[static_cast<size_t>(k * cols + c)] = empty ? 0.0F : static_cast<float>(right(k, c) / ratio);
    }
  }
};

RankFactorization::RankFactorization(std::span<const float> w, int64_t rows, int64_t cols,
                                     const InputStatistics& statistics)
    : parts_(std::make_unique<Parts>()) {
  fix_blocking();
  parts_->w = w;
  parts_->rows = rows;
  parts_->cols = cols;
  parts_->by_rows = rows <= cols;
  parts_->read(statistics);
  parts_->solve();
}

RankFactorization::~RankFactorization() = default;

std::span<const double> RankFactorization::energies() const {
  return parts_->energies;
}

std::vector<double> RankFactorization::products(std::span<const float> right, int64_t rank) const {
  const Matrix seen = parts_->whitened(Floats(right.data(), rank, parts_->cols).cast<double>());
  std::vector<double> out(static_cast<size_t>(rank * rank));
  Eigen::Map<Matrix>(out.data(), rank, rank).noalias() = seen * seen.transpose();
  return out;
}

RankFactors RankFactorization::factors(int64_t rank) const {
  return parts_->cut(rank);
}

}  // namespace lissom
