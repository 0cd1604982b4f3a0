#pragma once
// The files that tests/golden/make_golden.py made: tiny models, and what transformers says to some tokens.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "format/json.h"

namespace lissom::testing_support {

struct Golden {
  std::string what;
  std::vector<std::vector<int32_t>> ids, types;
  size_t step = 1;  ///< every step-th feature of a row is kept
  std::vector<float> expected;
};

inline const std::filesystem::path kFolder = std::filesystem::path(LISSOM_SOURCE_DIR) / "tests/golden";

inline std::vector<std::string> golden_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder))
    if (std::filesystem::exists(entry.path() / "expected.json"))
      names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

inline Golden load_golden(const std::string& name) {
  const Json json = *read_json(kFolder / name / "expected.json");
  Golden g{json["what"], json["sequences"], json["types"], json["step"], {}};
  const std::string bytes = *read_file(kFolder / name / "expected.bin", 1 << 20);
  g.expected.resize(bytes.size() / sizeof(float));
  std::memcpy(g.expected.data(), bytes.data(), bytes.size());
  return g;
}

inline std::vector<float> kept(std::span<const float> rows, size_t width, size_t step) {
  std::vector<float> out;
  for (size_t r = 0; r < rows.size(); r += width)
    for (size_t i = 0; i < width; i += step) out.push_back(rows[r + i]);
  return out;
}

inline double relative_error(std::span<const float> a, std::span<const float> b) {
  double difference = 0, largest = 0;
  for (size_t i = 0; i < b.size(); ++i) {
    difference = std::max(difference, std::abs(double{a[i]} - b[i]));
    largest = std::max(largest, std::abs(double{b[i]}));
  }
  return difference / largest;
}

}  // namespace lissom::testing_support
