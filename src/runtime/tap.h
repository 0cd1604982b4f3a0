#pragma once
// A look at what linears read.

#include <cstdint>
#include <functional>
#include <string>

namespace lissom::runtime {

/// Sees the input of every linear as it runs, once per label: label, rows × cols, F32. Of a mixture it sees
/// each expert's own inputs, whose labels end with "#" and the expert's number.
using ActivationTap = std::function<void(const std::string& label, const float* x, int64_t rows, int64_t cols)>;

}  // namespace lissom::runtime
