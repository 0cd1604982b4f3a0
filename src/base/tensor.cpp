#include "lissom/tensor.h"

#include <algorithm>
#include <cassert>

namespace lissom {

Shape::Shape(std::initializer_list<int64_t> dims)
    : Shape(std::span<const int64_t>(dims.begin(), dims.size())) {}

Shape::Shape(std::span<const int64_t> dims) : rank_(static_cast<int>(dims.size())) {
  assert(dims.size() <= kMaxRank);
  std::copy(dims.begin(), dims.end(), dims_.begin());
}

int64_t Shape::elements() const {
  int64_t n = 1;
  for (int64_t d : dims()) n *= d;
  return n;
}

std::string Shape::str() const {
  std::string s = "[";
  for (int i = 0; i < rank_; ++i) s += (i ? ", " : "") + std::to_string((*this)[i]);
  return s + "]";
}

bool Shape::operator==(const Shape& other) const {
  return std::ranges::equal(dims(), other.dims());
}

Result<void> TensorSource::expect(std::span<const size_t> /*indices*/) const {
  return {};
}

bool TensorSource::ready(size_t /*index*/) const {
  return true;
}

int64_t TensorSource::find(std::string_view name) const {
  const auto list = tensors();
  for (size_t i = 0; i < list.size(); ++i)
    if (list[i].name == name) return static_cast<int64_t>(i);
  return -1;
}

}  // namespace lissom
