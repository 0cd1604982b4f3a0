#pragma once
// A checkpoint's tensors, from numbers.

#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "lissom/codec.h"
#include "lissom/tensor.h"

namespace lissom::testing {

/// Tensors that lie in memory.
class MemorySource : public TensorSource {
 public:
  void add(const std::string& name, const Shape& shape, const std::vector<float>& weights,
           const std::string& type = "F32") {
    const BlockCodec* codec = find_block_codec(type);
    TensorInfo info{name, type, shape, codec->components(shape).front().bytes};
    std::vector<std::byte> bytes(info.bytes);
    const std::span<std::byte> part(bytes);
    codec->encode(shape, weights, {}, {&part, 1});
    if (type == "F32") std::memcpy(bytes.data(), weights.data(), bytes.size());  // NaN and all
    infos_.push_back(info);
    bytes_.push_back(std::move(bytes));
  }
  [[nodiscard]] std::span<const TensorInfo> tensors() const override { return infos_; }
  [[nodiscard]] Result<TensorView> read(size_t index) const override {
    return TensorView{infos_[index], bytes_[index], {}};
  }
  void release(size_t) const override {}
  [[nodiscard]] std::string origin() const override { return "memory"; }

 private:
  std::vector<TensorInfo> infos_;
  std::vector<std::vector<std::byte>> bytes_;
};

}  // namespace lissom::testing
