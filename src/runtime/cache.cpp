#include "runtime/cache.h"

#include <string>

namespace lissom::runtime {

kernels::CacheType cache_type(bool causal, const RuntimeOptions& options) {
  if (!causal || options.exact) return kernels::CacheType::f32;
  return options.cache == CacheType::q8_0 ? kernels::CacheType::q8_0 : kernels::CacheType::f16;
}

Result<Cache> Cache::make(const Dims& dims, kernels::CacheType type) {
  Cache c;
  c.dims_ = dims;
  c.type_ = type;
  c.head_bytes_ = kernels::cache_row_bytes(type, dims.head_dim);
  int64_t bytes = 1;
  for (const int64_t n : {dims.layers, dims.sequences, dims.positions, dims.kv_heads, c.head_bytes_}) {
    if (n < 0 || __builtin_mul_overflow(bytes, n, &bytes) || bytes > (int64_t{1} << 46))
      return bad_input("a cache of " + std::to_string(dims.positions) + " positions is too large");
  }
  const auto take = [&] { return static_cast<std::byte*>(std::calloc(static_cast<size_t>(bytes) + 64, 1)); };
  c.keys_.reset(take());
  c.values_.reset(take());
  if (c.keys_ == nullptr || c.values_ == nullptr)
    return io_error("out of memory: a cache of " + std::to_string(dims.positions) + " positions needs " +
                    std::to_string(2 * bytes) + " bytes");
  return c;
}

}  // namespace lissom::runtime
