#pragma once
// The arithmetic of a forward pass, for the best instruction set of this machine. Knows codecs' block layouts,
// nothing of models. All activations are F32, row-major; weights are rows × cols, one row per output feature.
// No result depends on the number of threads. docs/kernels.md has the layouts and the reasons.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/cpu.h"
#include "base/threads.h"
#include "lissom/codec.h"
#include "lissom/result.h"

namespace lissom::kernels {

/// fast: the codec's kernel, which may round activations (to int8 for integer codes, to bf16 for BF16 prompts).
/// exact: weights decoded to F32, F32 products, sums in double: the yardstick for the fast kernels.
enum class Precision { fast, exact };

/// How a matrix wants its input; matmul prepares x once for each kind that its terms ask for.
enum class Input { f32, int8, bf16 };

struct PreparedInput;

/// A weight matrix in the layout that the target's kernel reads: the codec's own bytes (borrowed, mapped), or
/// repacked (owned; `keep` is let go). Codecs without a kernel run by decoding panels to F32, as does
/// Precision::exact.
class PackedMatrix {
 public:
  virtual ~PackedMatrix() = default;
  /// bytes: rows × cols encoded by `codec`, its components as codec/parts.h lays them out; valid as long as the
  /// result unless repacked().
  /// `keep` is held while the bytes are borrowed. Fails when the sizes do not fit each other.
  [[nodiscard]] static Result<std::unique_ptr<PackedMatrix>> pack(
      Target target, const Codec& codec, int64_t rows, int64_t cols, std::span<const std::byte> bytes,
      std::shared_ptr<const void> keep, ThreadPool& pool, Precision precision = Precision::fast);
  /// Rows first … first+rows-1 of a tensor whose components cannot be cut (an expert of a 3-D tensor); bytes
  /// are the whole tensor's. Runs by decoding panels.
  [[nodiscard]] static Result<std::unique_ptr<PackedMatrix>> part(Target target, const Codec& codec,
                                                                  const Shape& whole, int64_t first,
                                                                  int64_t rows,
                                                                  std::span<const std::byte> bytes,
                                                                  std::shared_ptr<const void> keep,
                                                                  Precision precision = Precision::fast);
  /// bytes() of what pack() would make of a matrix of this shape.
  [[nodiscard]] static uint64_t packed_bytes(const Codec& codec, int64_t rows, int64_t cols,
                                             Precision precision = Precision::fast);
  [[nodiscard]] virtual int64_t rows() const = 0;
  [[nodiscard]] virtual int64_t cols() const = 0;
  [[nodiscard]] virtual bool repacked() const = 0;
  [[nodiscard]] virtual uint64_t bytes() const = 0;
  /// Decodes one row to F32, from whatever layout it has, bit-equal to the codec's decode: a token embedding.
  virtual void row(int64_t index, float* out) const = 0;

  // For matmul():
  [[nodiscard]] virtual Input input(int64_t m) const = 0;
  /// Panels of 16 rows, first … last-1, of the product for all of x; y is m × y_stride, of which it writes
  /// rows() columns. scratch: panel_scratch() floats of this worker.
  virtual void run_panels(int64_t first, int64_t last, const PreparedInput& x, const float* bias, float* y,
                          int64_t y_stride, float* scratch) const = 0;
  [[nodiscard]] virtual int64_t panel_scratch() const { return 0; }
  /// A product of two small matrices, or null. Such a matrix has no panels: matmul() runs its factors.
  struct Factors {
    const PackedMatrix *right, *left;  ///< rank × cols, rows × rank
    std::span<const float> middle;     ///< what the rank values between them are multiplied by
  };
  [[nodiscard]] virtual const Factors* factors() const { return nullptr; }
  /// Rows first … first + matrix->rows() - 1 of this one.
  struct Share {
    const PackedMatrix* matrix;
    int64_t first;
  };
  /// Matrices that this one is made of, one below the other; mostly none. Such a matrix has no panels either.
  [[nodiscard]] virtual std::span<const Share> shares() const { return {}; }
};

/// One product of a group that reads the same input.
struct MatmulTerm {
  const PackedMatrix* weights;
  const float* bias;  ///< rows values, or null
  float* y;           ///< m × y_stride
  /// More than rows() where these are some columns of a wider y; 0: rows().
  int64_t y_stride = 0;
};
/// y = x·Wᵀ + bias for every term; x is m × cols, all terms have the same cols. Quantizes x once for the whole
/// group where the kernels want int8. `scratch` is reused between calls and grows as needed.
void matmul(Target target, ThreadPool& pool, std::span<const MatmulTerm> terms, const float* x, int64_t m,
            std::vector<std::byte>& scratch);

void rms_norm(Target target, const float* x, const float* weight, float eps, int64_t n, float* y);
void layer_norm(Target target, const float* x, const float* weight, const float* bias, float eps, int64_t n,
                float* y);
void add(Target target, const float* a, const float* b, int64_t n, float* y);
void mul(Target target, const float* a, const float* b, int64_t n, float* y);
void silu(Target target, const float* x, int64_t n, float* y);
void silu_mul(Target target, const float* gate, const float* up, int64_t n, float* y);  ///< silu(gate)·up
void gelu(Target target, const float* x, int64_t n, float* y);                          ///< with erf
void gelu_tanh(Target target, const float* x, int64_t n, float* y);
/// Rotates `heads` heads of `head_dim` in place; cos and sin hold dim/2 values for this position.
void rope(Target target, float* x, int64_t heads, int64_t head_dim, int64_t dim, bool interleaved,
          const float* cos, const float* sin);

enum class CacheType { f32, f16, q8_0 };
/// Bytes of one cached head vector. q8_0 pads head_dim to a multiple of 32.
[[nodiscard]] int64_t cache_row_bytes(CacheType type, int64_t head_dim);
void cache_store(Target target, CacheType type, const float* x, int64_t head_dim, std::byte* row);

/// Online-softmax attention of some query rows of one sequence over its cache.
struct AttentionArgs {
  const float* q;  ///< query i, head h at q + i·q_stride + h·head_dim
  float* out;      ///< laid out like q, with out_stride
  int64_t q_stride, out_stride;
  int64_t queries;
  const int32_t*
      positions;  ///< of each query; key j is seen when j ≤ position (causal) and j > position - window
  const std::byte *keys, *values;  ///< [kv head][position] rows of cache_row_bytes
  int64_t head_stride;             ///< bytes from a kv head to the next
  int64_t cached;                  ///< positions in the cache
  int64_t heads, kv_heads, head_dim;
  float scale;
  bool causal;
  int64_t window;  ///< 0: all
  CacheType cache;
  float softcap = 0;  ///< c > 0: scores s become c·tanh(s/c) before the softmax
  /// Queries were made with rounding: four of them or more may be multiplied as BF16, where the CPU can.
  bool rounded = false;
};
/// A query that sees no key gets zeros.
void attention(Target target, ThreadPool& pool, const AttentionArgs& args, std::vector<std::byte>& scratch);

}  // namespace lissom::kernels
