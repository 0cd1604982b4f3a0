#include "compress/algorithms/fold/rotation.h"

#include <algorithm>
#include <cassert>
#include <cmath>

namespace lissom {
namespace {

constexpr int64_t kWidth = 64;  // columns that are turned at a time

uint64_t splitmix(uint64_t& state) {
  uint64_t z = state += 0x9e3779b97f4a7c15U;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

/// Rows of nearly Gaussian values (sums of four uniform ones), made orthonormal by Gram and Schmidt, twice.
std::vector<float> random_orthogonal(int64_t n, uint64_t& state) {
  const auto size = static_cast<size_t>(n);
  std::vector<std::vector<double>> rows;
  while (rows.size() < size) {
    std::vector<double> row(size);
    for (double& v : row) {
      const uint64_t z = splitmix(state);
      v = static_cast<double>((z & 0xffffU) + ((z >> 16) & 0xffffU) + ((z >> 32) & 0xffffU) + (z >> 48)) -
          131070.0;
    }
    for (int pass = 0; pass < 2; ++pass)
      for (const std::vector<double>& other : rows) {
        double dot = 0;
        for (size_t i = 0; i < size; ++i) dot += row[i] * other[i];
        for (size_t i = 0; i < size; ++i) row[i] -= dot * other[i];
      }
    double square = 0;
    for (const double v : row) square += v * v;
    if (!(square > 1.0)) continue;  // of a scale of 1e5: it lay in the others' span
    for (double& v : row) v /= std::sqrt(square);
    rows.push_back(std::move(row));
  }
  std::vector<float> out;
  for (const std::vector<double>& row : rows)
    for (const double v : row) out.push_back(static_cast<float>(v));
  return out;
}

}  // namespace

Rotation::Rotation(int64_t n, uint64_t seed) : n_(n), power_(1), rest_(n) {
  assert(n > 0);
  while (rest_ % 2 == 0) {
    rest_ /= 2;
    power_ *= 2;
  }
  uint64_t state = seed;
  const auto factor = static_cast<float>(1.0 / std::sqrt(static_cast<double>(power_)));
  for (int64_t i = 0; i < n; ++i) signs_.push_back((splitmix(state) >> 63) != 0 ? factor : -factor);
  if (rest_ > 1) q_ = random_orthogonal(rest_, state);
}

void Rotation::turn(float* first, int64_t stride, int64_t width, std::vector<float>& scratch) const {
  for (int64_t i = 0; i < n_; ++i)
    for (int64_t w = 0; w < width; ++w) first[i * stride + w] *= signs_[static_cast<size_t>(i)];
  for (int64_t half = rest_; half < n_; half *= 2)  // index = hadamard · rest + q
    for (int64_t begin = 0; begin < n_; begin += 2 * half)
      for (int64_t i = begin; i < begin + half; ++i) {
        float *a = first + i * stride, *b = a + half * stride;
        for (int64_t w = 0; w < width; ++w) {
          const float sum = a[w] + b[w], difference = a[w] - b[w];
          a[w] = sum;
          b[w] = difference;
        }
      }
  if (rest_ == 1) return;
  scratch.resize(static_cast<size_t>(rest_ * width));
  for (int64_t begin = 0; begin < n_; begin += rest_) {
    std::fill(scratch.begin(), scratch.end(), 0.0F);
    for (int64_t i = 0; i < rest_; ++i)
      for (int64_t j = 0; j < rest_; ++j) {
        const float q = q_[static_cast<size_t>(i * rest_ + j)];
        for (int64_t w = 0; w < width; ++w)
          scratch[static_cast<size_t>(j * width + w)] += first[(begin + i) * stride + w] * q;
      }
    for (int64_t j = 0; j < rest_; ++j)
      std::copy_n(scratch.data() + j * width, width, first + (begin + j) * stride);
  }
}

void Rotation::turn_columns(float* values, int64_t rows, int64_t cols) const {
  std::vector<float> scratch;
  for (int64_t i = 0; i + n_ <= rows * cols; i += n_) turn(values + i, 1, 1, scratch);
}

void Rotation::turn_rows(float* values, int64_t rows, int64_t cols) const {
  std::vector<float> scratch;
  for (int64_t r = 0; r + n_ <= rows; r += n_)
    for (int64_t c = 0; c < cols; c += kWidth)
      turn(values + r * cols + c, cols, std::min(kWidth, cols - c), scratch);
}

}  // namespace lissom
