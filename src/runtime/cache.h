#pragma once
// Keys and values of the positions that each sequence has seen.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "kernels/kernels.h"
#include "lissom/result.h"
#include "lissom/runtime.h"

namespace lissom::runtime {

/// How a cache holds its values: as the options say where it outlives a run (`causal`), else exactly.
[[nodiscard]] kernels::CacheType cache_type(bool causal, const RuntimeOptions& options);

/// [layer][sequence][kv head][position], keys and values apart: attention reads a head's positions as one
/// stream. Zeroed memory is asked of the system at once, but costs nothing until a position is used.
class Cache {
 public:
  struct Dims {
    int64_t layers = 0, sequences = 0, positions = 0, kv_heads = 0, head_dim = 0;
  };
  [[nodiscard]] static Result<Cache> make(const Dims& dims, kernels::CacheType type);
  [[nodiscard]] std::byte* keys(int64_t layer, int64_t sequence) const {
    return keys_.get() + offset(layer, sequence);
  }
  [[nodiscard]] std::byte* values(int64_t layer, int64_t sequence) const {
    return values_.get() + offset(layer, sequence);
  }
  /// Bytes from a kv head to the next.
  [[nodiscard]] int64_t head_stride() const { return dims_.positions * head_bytes_; }
  /// Bytes of one head's position.
  [[nodiscard]] int64_t head_bytes() const { return head_bytes_; }
  [[nodiscard]] kernels::CacheType type() const { return type_; }

 private:
  struct Free {
    void operator()(std::byte* p) const { std::free(p); }
  };
  [[nodiscard]] int64_t offset(int64_t layer, int64_t sequence) const {
    return (layer * dims_.sequences + sequence) * dims_.kv_heads * head_stride();
  }
  Dims dims_;
  kernels::CacheType type_ = kernels::CacheType::f16;
  int64_t head_bytes_ = 0;
  std::unique_ptr<std::byte[], Free> keys_, values_;
};

}  // namespace lissom::runtime
