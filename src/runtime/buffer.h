#pragma once
// Memory of one slot: grows to the largest batch that was run, and is then reused.

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>

#include "lissom/result.h"

namespace lissom::runtime {

class Buffer {
 public:
  /// Room for rows × width floats; the content is lost when it grows.
  [[nodiscard]] Result<void> grow(int64_t rows, int64_t width) {
    int64_t floats = 0;
    if (__builtin_mul_overflow(rows, width, &floats) || floats > (int64_t{1} << 40))
      return bad_input("a batch of " + std::to_string(rows) + " rows is too large");
    if (floats <= floats_) return {};
    data_.reset();
    floats_ = 0;
    const auto bytes = (static_cast<size_t>(floats) * sizeof(float) + 63) / 64 * 64;
    data_.reset(static_cast<float*>(std::aligned_alloc(64, bytes)));
    if (data_ == nullptr) return io_error("out of memory: " + std::to_string(bytes) + " bytes of activations");
    floats_ = floats;
    return {};
  }
  [[nodiscard]] float* data() const { return data_.get(); }

 private:
  struct Free {
    void operator()(float* p) const { std::free(p); }
  };
  std::unique_ptr<float[], Free> data_;
  int64_t floats_ = 0;
};

}  // namespace lissom::runtime
