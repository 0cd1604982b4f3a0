#pragma once
// A blob on its way into the cache: appended to ETAG.incomplete, hashed as it comes, renamed when it is whole.

#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "lissom/progress.h"
#include "lissom/result.h"

namespace lissom::hub {

/// SHA-256 where `etag` has 64 digits, else git's SHA-1 of a blob of `size` bytes.
class BlobDigest {
 public:
  BlobDigest(const std::string& etag, uint64_t size);
  ~BlobDigest();
  BlobDigest(const BlobDigest&) = delete;
  BlobDigest& operator=(const BlobDigest&) = delete;
  void update(std::span<const std::byte> data);
  [[nodiscard]] std::string finish();  ///< lower-case hexadecimal

 private:
  struct State;
  std::unique_ptr<State> state_;
};

class IncompleteBlob {
 public:
  /// Takes up what an earlier run left, which is read for its hash; a cancelled Progress ends that.
  [[nodiscard]] static Result<std::unique_ptr<IncompleteBlob>> open(const std::filesystem::path& blob,
                                                                    const std::string& etag, uint64_t size,
                                                                    const Progress& progress);
  ~IncompleteBlob();
  IncompleteBlob(const IncompleteBlob&) = delete;
  IncompleteBlob& operator=(const IncompleteBlob&) = delete;

  [[nodiscard]] uint64_t position() const { return position_; }
  /// Refuses more than the announced size.
  [[nodiscard]] Result<void> append(std::span<const std::byte> data);
  [[nodiscard]] Result<void> restart();  ///< at the beginning, with nothing
  /// Synced and under its name; false where the checksum is wrong, and then restarted.
  [[nodiscard]] Result<bool> finish();

 private:
  IncompleteBlob() = default;
  [[nodiscard]] Result<void> take_up(const Progress& progress);
  [[nodiscard]] tl::unexpected<Error> fail() const;

  std::filesystem::path path_, blob_;
  std::string etag_;
  uint64_t size_ = 0, position_ = 0;
  int fd_ = -1;
  std::unique_ptr<BlobDigest> digest_;
};

}  // namespace lissom::hub
