#pragma once
// Tables and figures for people.

#include <cstdint>
#include <string>
#include <vector>

namespace lissom::cli {

/// Columns as wide as their widest cell, two spaces apart. Width counts code points, so "Δ" and "±" align.
class Table {
 public:
  enum class Align { left, right };
  struct Column {
    std::string title;
    Align align = Align::left;
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  /// One cell for each column; absent ones stay empty.
  void row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  /// With a line under the titles; each line ends in '\n' and none in spaces. Without titles where all are
  /// empty.
  [[nodiscard]] std::string str() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

/// "98.4 MB", in powers of 1000.
[[nodiscard]] std::string human_bytes(uint64_t bytes);
/// "134.5 M", in powers of 1000.
[[nodiscard]] std::string human_count(uint64_t count);
/// "1m 23s", "4.2 s".
[[nodiscard]] std::string human_seconds(double seconds);

}  // namespace lissom::cli
