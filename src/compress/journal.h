#pragma once
// What a compression has finished, so that a later run goes on from there. JSON lines: the first says what the
// run is (a later run that is another starts anew), each further one a tensor whose bytes are on the disk. A
// line counts only when it is whole: a kill may cut the last one off.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "lissom/result.h"

namespace lissom {

struct JournalEntry {
  std::string tensor;
  uint64_t bytes = 0;
  uint64_t checksum = 0;  ///< of the encoded bytes (compress/checksum.h)
  double relative_error = 0, weighted_relative_error = 0;
  bool has_importance = false;
  /// piece_digests() of the source's tensor, where the source's digest is not known before all is read.
  std::string source = {};
  std::string note = {};  ///< what the algorithm has to say of it
};

class Journal {
 public:
  /// `run`: one line of JSON that names everything the output's bytes depend on. Entries of an earlier run are
  /// kept when its line is the same. Refused while another process has the journal open.
  [[nodiscard]] static Result<std::unique_ptr<Journal>> open(const std::filesystem::path& path,
                                                             const std::string& run);
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  [[nodiscard]] const std::vector<JournalEntry>& entries() const { return entries_; }
  /// Forgets all but the first `count` entries.
  [[nodiscard]] Result<void> keep(size_t count);
  /// Adds entries and makes them durable. What they speak of must be on the disk before.
  [[nodiscard]] Result<void> append(const std::vector<JournalEntry>& entries);
  /// Deletes the file: the work is done, or given up.
  void remove();

 private:
  Journal() = default;
  [[nodiscard]] Result<void> write_at(uint64_t offset, const std::string& text);

  std::filesystem::path path_;
  int fd_ = -1;
  std::vector<JournalEntry> entries_;
  std::vector<uint64_t> ends_;  ///< ends_[i]: bytes up to the end of the first i entries' lines
};

}  // namespace lissom
