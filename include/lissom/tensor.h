#pragma once
// What a tensor is while it lies in a file: a name, a type string, a shape and bytes. No arithmetic here.

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lissom/result.h"

namespace lissom {

/// Dimensions as PyTorch writes them: outermost first, rows × columns for a matrix. GGUF stores them reversed.
class Shape {
 public:
  static constexpr int kMaxRank = 8;
  Shape() = default;
  Shape(std::initializer_list<int64_t> dims);
  explicit Shape(std::span<const int64_t> dims);  ///< asserts rank ≤ kMaxRank; readers check before

  [[nodiscard]] int rank() const { return rank_; }
  [[nodiscard]] int64_t operator[](int i) const { return dims_[static_cast<size_t>(i)]; }
  [[nodiscard]] std::span<const int64_t> dims() const { return {dims_.data(), static_cast<size_t>(rank_)}; }
  [[nodiscard]] int64_t elements() const;  ///< product of all dimensions; 1 for a scalar
  [[nodiscard]] int64_t cols() const { return rank_ == 0 ? 1 : dims_[static_cast<size_t>(rank_ - 1)]; }
  [[nodiscard]] int64_t rows() const {
    return cols() == 0 ? 0 : elements() / cols();
  }                                       ///< all but the last dimension
  [[nodiscard]] std::string str() const;  ///< "[49152, 576]"
  bool operator==(const Shape& other) const;

 private:
  std::array<int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

/// One entry of a file's directory. `type` is a codec's name ("F32", "BF16", "Q4_K", …) or, for tensors that
/// hold no weights, a plain type ("I64", "I32", "U8", "BOOL").
struct TensorInfo {
  std::string name;
  std::string type;
  Shape shape;
  uint64_t bytes = 0;
};

/// A tensor's bytes, borrowed from its source (usually an mmap) or owned by `keep` when they had to be made.
/// Plain types are aligned to their element, so that F32 bytes may be read as floats.
struct TensorView {
  TensorInfo info;
  std::span<const std::byte> data;
  std::shared_ptr<const void> keep;
};

/// A checkpoint's tensors, read lazily. Implementations are safe to read from several threads.
class TensorSource {
 public:
  virtual ~TensorSource() = default;
  /// All tensors in the order in which they lie in the file(s). The span lives as long as the source.
  [[nodiscard]] virtual std::span<const TensorInfo> tensors() const = 0;
  /// The bytes of tensor `index` of tensors(). Costs no memory where the file is mapped.
  [[nodiscard]] virtual Result<TensorView> read(size_t index) const = 0;
  /// Says that these bytes are not needed again soon: a mapped source drops their pages.
  virtual void release(size_t index) const = 0;
  /// Says which tensors will be read, in this order, so that a source that fetches them can begin with the
  /// first and give up what is read; replaces what was said before. Errors: it cannot give them (too little
  /// disk).
  [[nodiscard]] virtual Result<void> expect(std::span<const size_t> indices) const;
  /// Whether read() would give it without waiting.
  [[nodiscard]] virtual bool ready(size_t index) const;
  /// For messages: the file or folder.
  [[nodiscard]] virtual std::string origin() const = 0;

  /// Index of a name in tensors(), or -1. Searches the list, unless an implementation has something faster.
  [[nodiscard]] virtual int64_t find(std::string_view name) const;
};

}  // namespace lissom
