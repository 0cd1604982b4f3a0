#include "format/gguf_types.h"

#include <algorithm>
#include <array>
#include <limits>
#include <string>

namespace lissom {
namespace {

// Block sizes as ggml-common.h lays the blocks out.
constexpr auto kTypes = std::to_array<GgmlType>({
    {0, "F32", 1, 4},          {1, "F16", 1, 2},          {2, "Q4_0", 32, 18},       {3, "Q4_1", 32, 20},
    {4, "Q4_2", 16, 0},        {5, "Q4_3", 16, 0},        {6, "Q5_0", 32, 22},       {7, "Q5_1", 32, 24},
    {8, "Q8_0", 32, 34},       {9, "Q8_1", 32, 36},       {10, "Q2_K", 256, 84},     {11, "Q3_K", 256, 110},
    {12, "Q4_K", 256, 144},    {13, "Q5_K", 256, 176},    {14, "Q6_K", 256, 210},    {15, "Q8_K", 256, 292},
    {16, "IQ2_XXS", 256, 66},  {17, "IQ2_XS", 256, 74},   {18, "IQ3_XXS", 256, 98},  {19, "IQ1_S", 256, 50},
    {20, "IQ4_NL", 32, 18},    {21, "IQ3_S", 256, 110},   {22, "IQ2_S", 256, 82},    {23, "IQ4_XS", 256, 136},
    {24, "I8", 1, 1},          {25, "I16", 1, 2},         {26, "I32", 1, 4},         {27, "I64", 1, 8},
    {28, "F64", 1, 8},         {29, "IQ1_M", 256, 56},    {30, "BF16", 1, 2},        {31, "Q4_0_4_4", 32, 0},
    {32, "Q4_0_4_8", 32, 0},   {33, "Q4_0_8_8", 32, 0},   {34, "TQ1_0", 256, 54},    {35, "TQ2_0", 256, 66},
    {36, "IQ4_NL_4_4", 32, 0}, {37, "IQ4_NL_4_8", 32, 0}, {38, "IQ4_NL_8_8", 32, 0}, {39, "MXFP4", 32, 17},
    {40, "NVFP4", 64, 36},     {41, "Q1_0", 128, 18},     {42, "Q2_0", 64, 18},
});

}  // namespace

const GgmlType* find_ggml_type(uint32_t number) {
  const auto it = std::ranges::find(kTypes, number, &GgmlType::number);
  return it == kTypes.end() ? nullptr : &*it;
}

const GgmlType* find_ggml_type(std::string_view name) {
  const auto it = std::ranges::find(kTypes, name, &GgmlType::name);
  return it == kTypes.end() || it->block_bytes == 0 ? nullptr : &*it;
}

Result<uint64_t> ggml_bytes(const GgmlType& type, const Shape& shape) {
  int64_t weights = 1;
  for (const int64_t d : shape.dims()) {
    if (d <= 0) return bad_input("shape " + shape.str() + " has a dimension that is not positive");
    if (__builtin_mul_overflow(weights, d, &weights)) return bad_input("shape " + shape.str() + " overflows");
  }
  if (shape.cols() % type.block_weights != 0)
    return bad_input("shape " + shape.str() + ": " + std::string(type.name) +
                     " needs columns in multiples of " + std::to_string(type.block_weights));
  int64_t bytes = 0;
  if (__builtin_mul_overflow(weights / type.block_weights, static_cast<int64_t>(type.block_bytes), &bytes))
    return bad_input("shape " + shape.str() + " overflows");
  return static_cast<uint64_t>(bytes);
}

}  // namespace lissom
