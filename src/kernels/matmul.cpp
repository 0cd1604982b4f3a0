#include <algorithm>
#include <cassert>
#include <memory>

#include "kernels/pack.h"
#include "kernels/table.h"

namespace lissom::kernels {

namespace {

constexpr int64_t kAlign = 64;
constexpr int64_t aligned(int64_t bytes) {
  return (bytes + kAlign - 1) / kAlign * kAlign;
}

/// [tile][column][T] of tokens first … first+count-1.
void prepare_f32(const float* x, int64_t cols, int64_t count, float* out) {
  const int64_t T = padded_tile(count);
  if (T == 1) {
    std::copy(x, x + cols, out);
    return;
  }
  if (count < T) std::fill(out, out + T * cols, 0.0F);
  for (int64_t t = 0; t < count; ++t) {
    for (int64_t k = 0; k < cols; ++k) out[k * T + t] = x[t * cols + k];
  }
}

/// Those of a stacked matrix in its place.
void add_terms(const MatmulTerm& term, std::vector<MatmulTerm>& terms) {
  if (term.weights->shares().empty()) terms.push_back(term);
  const int64_t stride = term.y_stride > 0 ? term.y_stride : term.weights->rows();
  for (const PackedMatrix::Share& share : term.weights->shares())
    add_terms(
        {share.matrix, term.bias == nullptr ? nullptr : term.bias + share.first, term.y + share.first, stride},
        terms);
}

/// Terms that all have panels.
void multiply(Target target, ThreadPool& pool, std::span<const MatmulTerm> terms, const float* x, int64_t m,
              std::vector<std::byte>& scratch) {
  const KernelTable& table = kernel_table(target);
  const int64_t cols = terms[0].weights->cols();
  const int64_t tile = table.tile, tiles = (m + tile - 1) / tile;
  const int64_t tokens = (tiles - 1) * tile + padded_tile(m - (tiles - 1) * tile);
  bool want_int8 = false, want_f32 = false, want_bf16 = false;
  int64_t worker_floats = 0, panels = 0;
  for (const MatmulTerm& t : terms) {
    assert(t.weights->cols() == cols);
    want_int8 |= t.weights->input(m) == Input::int8;
    want_f32 |= t.weights->input(m) == Input::f32;
    want_bf16 |= t.weights->input(m) == Input::bf16;
    worker_floats = std::max(worker_floats, t.weights->panel_scratch());
    panels += (t.weights->rows() + kPanelRows - 1) / kPanelRows;
  }

  const int64_t int8_bytes = want_int8 ? aligned(tokens * (cols / 32) * kInt8GroupBytes) : 0;
  const int64_t f32_bytes = want_f32 ? aligned(tokens * cols * 4) : 0;
  const int64_t pairs = (cols + 1) / 2, bf16_bytes = want_bf16 ? aligned(tokens * pairs * 4) : 0;
  const int64_t worker_bytes = aligned(worker_floats * 4);
  const int64_t need = kAlign + int8_bytes + f32_bytes + bf16_bytes + worker_bytes * pool.size();
  if (static_cast<int64_t>(scratch.size()) < need) scratch.resize(static_cast<size_t>(need));
  void* start = scratch.data();
  size_t room = scratch.size();
  auto* base = static_cast<std::byte*>(std::align(kAlign, static_cast<size_t>(need - kAlign), start, room));
  auto* int8 = reinterpret_cast<uint8_t*>(base);
  auto* f32 = reinterpret_cast<float*>(base + int8_bytes);
  auto* bf16 = reinterpret_cast<uint16_t*>(base + int8_bytes + f32_bytes);
  std::byte* workers = base + int8_bytes + f32_bytes + bf16_bytes;

  pool.parallel_for(tiles, 4, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i * tile, count = std::min(tile, m - first);
      if (want_int8)
        table.prepare_int8(x + first * cols, cols, count, int8 + first * (cols / 32) * kInt8GroupBytes);
      if (want_bf16) table.prepare_bf16(x + first * cols, cols, count, bf16 + first * pairs * 2);
      if (want_f32) prepare_f32(x + first * cols, cols, count, f32 + first * cols);
    }
  });

  PreparedInput in;
  in.m = m;
  in.cols = cols;
  in.tile = tile;
  in.x = x;
  in.int8 = int8;
  in.f32 = f32;
  in.bf16 = bf16;
  const int64_t grain =
      std::max<int64_t>(1, panels / (pool.size() * 16)) * 2;  // kernels take two panels at once
  pool.parallel_for(panels, grain, [&](int64_t begin, int64_t end, int worker) {
    auto* own = reinterpret_cast<float*>(workers + worker_bytes * worker);
    int64_t offset = 0;  // panels of the terms before
    for (const MatmulTerm& t : terms) {
      const int64_t own_panels = (t.weights->rows() + kPanelRows - 1) / kPanelRows;
      const int64_t b = std::max(begin - offset, int64_t{0}), e = std::min(end - offset, own_panels);
      const int64_t stride = t.y_stride > 0 ? t.y_stride : t.weights->rows();
      if (b < e) t.weights->run_panels(b, e, in, t.bias, t.y, stride, own);
      offset += own_panels;
    }
  });
}

}  // namespace

void matmul(Target target, ThreadPool& pool, std::span<const MatmulTerm> terms, const float* x, int64_t m,
            std::vector<std::byte>& scratch) {
  if (m <= 0 || terms.empty()) return;
  const auto is_stacked = [](const MatmulTerm& t) { return !t.weights->shares().empty(); };
  const auto is_product = [](const MatmulTerm& t) { return t.weights->factors() != nullptr; };
  if (std::ranges::any_of(terms, is_stacked)) {
    std::vector<MatmulTerm> all;
    for (const MatmulTerm& t : terms) add_terms(t, all);
    return matmul(target, pool, all, x, m, scratch);
  }
  if (std::ranges::none_of(terms, is_product)) return multiply(target, pool, terms, x, m, scratch);
  // The right factors read x beside the other terms; then each left factor what its right one has made.
  std::vector<MatmulTerm> first(terms.begin(), terms.end());
  std::vector<std::vector<float>> between;
  for (MatmulTerm& t : first) {
    const auto* factors = t.weights->factors();
    if (factors == nullptr) continue;
    auto& z = between.emplace_back(static_cast<size_t>(m * factors->right->rows()));
    t = {factors->right, nullptr, z.data()};
  }
  multiply(target, pool, first, x, m, scratch);
  size_t next = 0;
  for (const MatmulTerm& t : terms) {
    const auto* factors = t.weights->factors();
    if (factors == nullptr) continue;
    std::vector<float>& z = between[next++];
    const size_t rank = factors->middle.size();
    for (size_t i = 0; i < z.size(); ++i) z[i] *= factors->middle[i % rank];
    const MatmulTerm last[] = {{factors->left, t.bias, t.y, t.y_stride}};
    multiply(target, pool, last, z.data(), m, scratch);
  }
}

}  // namespace lissom::kernels
