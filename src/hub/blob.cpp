#include "hub/blob.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <vector>

namespace lissom::hub {

namespace fs = std::filesystem;

struct BlobDigest::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  State() = default;
  ~State() { EVP_MD_CTX_free(context); }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
};

BlobDigest::BlobDigest(const std::string& etag, uint64_t size) : state_(std::make_unique<State>()) {
  const bool is_lfs = etag.size() == 64;
  EVP_DigestInit_ex(state_->context, is_lfs ? EVP_sha256() : EVP_sha1(), nullptr);
  if (is_lfs) return;
  const std::string header = "blob " + std::to_string(size);
  EVP_DigestUpdate(state_->context, header.c_str(), header.size() + 1);  // with its NUL
}
BlobDigest::~BlobDigest() = default;

void BlobDigest::update(std::span<const std::byte> data) {
  EVP_DigestUpdate(state_->context, data.data(), data.size());
}

std::string BlobDigest::finish() {
  constexpr char kHex[] = "0123456789abcdef";
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  EVP_DigestFinal_ex(state_->context, bytes, &length);
  std::string text;
  for (unsigned i = 0; i < length; ++i) text += {kHex[bytes[i] >> 4], kHex[bytes[i] & 15]};
  return text;
}

tl::unexpected<Error> IncompleteBlob::fail() const {
  return io_error(path_.string() + ": " + std::generic_category().message(errno));
}

Result<std::unique_ptr<IncompleteBlob>> IncompleteBlob::open(const fs::path& blob, const std::string& etag,
                                                             uint64_t size, const Progress& progress) {
  std::unique_ptr<IncompleteBlob> b(new IncompleteBlob());
  b->blob_ = blob;
  b->path_ = blob.string() + ".incomplete";
  b->etag_ = etag;
  b->size_ = size;
  b->fd_ = ::open(b->path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
  if (b->fd_ < 0) return b->fail();
  b->digest_ = std::make_unique<BlobDigest>(etag, size);
  struct stat status {};
  if (::fstat(b->fd_, &status) != 0) return b->fail();
  if (static_cast<uint64_t>(status.st_size) > size) LISSOM_CHECK(b->restart());
  LISSOM_CHECK(b->take_up(progress));
  return b;
}

IncompleteBlob::~IncompleteBlob() {
  if (fd_ < 0) return;
  struct stat status {};
  if (::fstat(fd_, &status) == 0 && status.st_size == 0) ::unlink(path_.c_str());
  ::close(fd_);
}

Result<void> IncompleteBlob::take_up(const Progress& progress) {
  std::vector<std::byte> buffer(1U << 20);
  while (true) {
    if (progress.stop_requested()) return tl::unexpected(Error{ErrorKind::cancelled, "stopped"});
    const ssize_t n = ::read(fd_, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail();
    if (n == 0) return {};
    digest_->update(std::span(buffer).first(static_cast<size_t>(n)));
    position_ += static_cast<uint64_t>(n);
  }
}

Result<void> IncompleteBlob::append(std::span<const std::byte> data) {
  if (data.size() > size_ - position_)
    return bad_input("the server sends more than the " + std::to_string(size_) + " bytes that it announced");
  digest_->update(data);
  while (!data.empty()) {
    const ssize_t n = ::write(fd_, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail();
    position_ += static_cast<uint64_t>(n);
    data = data.subspan(static_cast<size_t>(n));
  }
  return {};
}

Result<void> IncompleteBlob::restart() {
  if (::ftruncate(fd_, 0) != 0 || ::lseek(fd_, 0, SEEK_SET) != 0) return fail();
  position_ = 0;
  digest_ = std::make_unique<BlobDigest>(etag_, size_);
  return {};
}

Result<bool> IncompleteBlob::finish() {
  if (digest_->finish() != etag_) {
    LISSOM_CHECK(restart());
    return false;
  }
  if (::fsync(fd_) != 0) return fail();
  if (::rename(path_.c_str(), blob_.c_str()) != 0) return fail();
  ::close(fd_);
  fd_ = -1;
  return true;
}

}  // namespace lissom::hub
