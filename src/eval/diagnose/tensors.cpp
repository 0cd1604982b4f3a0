#include <algorithm>
#include <charconv>
#include <cmath>

#include "codec/parts.h"
#include "eval/diagnose/parts.h"
#include "lissom/codec.h"

namespace lissom {
namespace {

constexpr int64_t kSlabFloats = 1 << 18;  ///< decoded at once by a thread, of each of the two

/// Sums of one row.
struct Sums {
  double error = 0, base = 0, model = 0, product = 0;
  int64_t not_finite = 0;

  void add(const Sums& other) {
    error += other.error;
    base += other.base;
    model += other.model;
    product += other.product;
    not_finite += other.not_finite;
  }
  [[nodiscard]] double relative_error() const {
    if (base > 0) return std::sqrt(error / base);
    return error > 0 ? 1.0 : 0.0;
  }
};

Sums row_sums(const float* w, const float* v, int64_t n) {
  Sums s;
  for (int64_t i = 0; i < n; ++i) {
    const double a = double{w[i]}, b = double{v[i]};
    if (!std::isfinite(b)) {
      ++s.not_finite;
      continue;
    }
    s.error += (b - a) * (b - a);
    s.base += a * a;
    s.model += b * b;
    s.product += a * b;
  }
  return s;
}

struct Decoded {
  TensorView view;
  const Codec* codec = nullptr;
  Parts parts;
  void rows(int64_t first, int64_t count, float* out) const {
    codec->decode_rows(view.info.shape, parts, first, count, out);
  }
};

Result<Decoded> open_tensor(const TensorSource& source, size_t index, const Weight& weight) {
  const auto where = source.origin() + ": tensor '" + weight.name + "'";
  auto view = source.read(index);
  if (!view) return tl::unexpected(view.error().within(where));
  const TensorInfo& info = view->info;
  if (!(info.shape == weight.shape))
    return bad_input(where + ": shape " + info.shape.str() + ", expected " + weight.shape.str());
  const Codec* codec = find_codec(info.type);
  if (codec == nullptr) return unsupported(where + ": type '" + info.type + "' is not a codec of this build");
  auto parts = parts_of(*codec, info.shape, view->data);
  if (!parts) return tl::unexpected(parts.error().within(where));
  return Decoded{*std::move(view), codec, *std::move(parts)};
}

/// Sums of every row, which do not depend on the number of threads.
std::vector<Sums> sums_of(const Decoded& base, const Decoded& model, ThreadPool& pool) {
  const Shape& shape = base.view.info.shape;
  const int64_t rows = shape.rows(), cols = shape.cols();
  std::vector<Sums> sums(static_cast<size_t>(rows));
  const int64_t grain = std::clamp<int64_t>(kSlabFloats / std::max<int64_t>(cols, 1), 1, 256);
  pool.parallel_for(rows, grain, [&](int64_t begin, int64_t end, int) {
    std::vector<float> w(static_cast<size_t>(grain * cols)), v(w);
    for (int64_t first = begin; first < end; first += grain) {
      const int64_t count = std::min(grain, end - first);
      base.rows(first, count, w.data());
      model.rows(first, count, v.data());
      for (int64_t r = 0; r < count; ++r)
        sums[static_cast<size_t>(first + r)] = row_sums(w.data() + r * cols, v.data() + r * cols, cols);
    }
  });
  return sums;
}

void fill(const std::vector<Sums>& rows, TensorDifference& d) {
  Sums all;
  for (const Sums& s : rows) all.add(s);
  d.not_finite = all.not_finite;
  d.relative_error = all.relative_error();
  const bool both = all.base > 0 && all.model > 0;
  d.cosine = both ? all.product / std::sqrt(all.base * all.model) : all.base > 0 || all.model > 0 ? 0.0 : 1.0;
  d.norm_ratio = all.base > 0 ? std::sqrt(all.model / all.base) : 1.0;
  if (d.shape.rank() != 3) return;
  const auto each = static_cast<size_t>(d.shape[1]);
  for (int64_t e = 0; e < d.shape[0]; ++e) {
    Sums expert;
    for (size_t r = 0; r < each; ++r) expert.add(rows[static_cast<size_t>(e) * each + r]);
    if (d.worst_expert >= 0 && expert.relative_error() <= d.expert_error) continue;
    d.worst_expert = e;
    d.expert_error = expert.relative_error();
  }
}

}  // namespace

int64_t block_of(std::string_view tensor) {
  if (tensor.starts_with("output") || tensor.starts_with("cls")) return kHead;
  if (!tensor.starts_with("blk.")) return kEmbeddings;
  int64_t block = kEmbeddings;
  std::from_chars(tensor.data() + 4, tensor.data() + tensor.size(), block);
  return block;
}

std::string_view role_of(std::string_view tensor) {
  const size_t dot = tensor.starts_with("blk.") ? tensor.find('.', 4) : std::string_view::npos;
  return dot == std::string_view::npos ? tensor : tensor.substr(dot + 1);
}

std::string part_name(int64_t block) {
  if (block == kEmbeddings) return "embeddings";
  return block == kHead ? "head" : "block " + std::to_string(block);
}

Result<void> compare_tensors(const Checkpoint& base, const Checkpoint& model, ThreadPool& pool,
                             const Progress& progress, Diagnosis& found) {
  const auto count = static_cast<int64_t>(base.graph.weights.size());
  for (int64_t i = 0; i < count; ++i) {
    if (progress.stop_requested()) {
      found.interrupted = true;
      return {};
    }
    const Weight& weight = base.graph.weights[static_cast<size_t>(i)];
    const int64_t there = base.tensors->find(weight.name), here = model.tensors->find(weight.name);
    if (there < 0 || here < 0) continue;
    LISSOM_TRY(const Decoded w, open_tensor(*base.tensors, static_cast<size_t>(there), weight));
    LISSOM_TRY(const Decoded v, open_tensor(*model.tensors, static_cast<size_t>(here), weight));
    TensorDifference d;
    d.name = weight.name;
    d.codec = v.view.info.type;
    d.base_codec = w.view.info.type;
    d.shape = weight.shape;
    d.block = block_of(weight.name);
    d.bits = 8 * static_cast<double>(v.view.data.size()) / static_cast<double>(weight.shape.elements());
    fill(sums_of(w, v, pool), d);
    base.tensors->release(static_cast<size_t>(there));
    model.tensors->release(static_cast<size_t>(here));
    progress.report("tensors", i + 1, count, d.name);
    found.tensors.push_back(std::move(d));
  }
  return {};
}

}  // namespace lissom
