#pragma once
// What a search has measured, so that a killed one goes on without measuring again. JSON lines: the first says
// what the search is (another one starts anew), each further one a measurement: a name and some numbers. A line
// counts only when it is whole. Numbers are written so that they read back as the same bits, and the search
// decides by them alone: it comes to the same plan.

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lissom/result.h"

namespace lissom::search {

class Memo {
 public:
  /// `run`: one line of JSON that names all that measurements depend on. Refused while another process has the
  /// file open.
  [[nodiscard]] static Result<std::unique_ptr<Memo>> open(const std::filesystem::path& path,
                                                          const std::string& run);
  ~Memo();
  Memo(const Memo&) = delete;
  Memo& operator=(const Memo&) = delete;

  /// Null where there is none of that name. Valid until the memo goes.
  [[nodiscard]] const std::vector<double>* find(const std::string& name) const;
  /// Finite values; durable when it returns.
  [[nodiscard]] Result<void> add(const std::string& name, const std::vector<double>& values);
  [[nodiscard]] size_t size() const { return values_.size(); }
  /// Deletes the file: what it was for is done.
  void remove();

 private:
  Memo() = default;
  [[nodiscard]] Result<void> append(const std::string& line);

  std::filesystem::path path_;
  int fd_ = -1;
  uint64_t end_ = 0;
  std::map<std::string, std::vector<double>> values_;
};

}  // namespace lissom::search
