#include "compress/digest.h"

#include <openssl/evp.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "compress/header.h"
#include "compress/sha256_pair.h"
#include "lissom/gguf.h"

namespace lissom {
namespace {

constexpr size_t kPiece = 4U << 20;

void add_integer(Sha256& hash, uint64_t value) {
  std::array<std::byte, 8> bytes;
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(value >> (8 * i));
  hash.update(bytes);
}

void add_text(Sha256& hash, std::string_view text) {
  add_integer(hash, text.size());
  hash.update(text);
}

void add_value(Sha256& hash, const GgufValue& value);

template <class T>
void add_item(Sha256& hash, const T& item) {
  if constexpr (std::is_same_v<T, std::string>) {
    add_text(hash, item);
  } else if constexpr (std::is_same_v<T, std::shared_ptr<GgufArray>>) {
    std::visit(
        [&](const auto& items) {
          add_integer(hash, items.size());
          for (const auto& i : items) add_item<typename std::decay_t<decltype(items)>::value_type>(hash, i);
        },
        item->items);
  } else {
    uint64_t bits = 0;
    std::memcpy(&bits, &item, sizeof item);
    add_integer(hash, bits);
  }
}

void add_value(Sha256& hash, const GgufValue& value) {
  add_integer(hash, value.index());
  std::visit([&](const auto& v) { add_item<std::decay_t<decltype(v)>>(hash, v); }, value);
}

}  // namespace

struct Sha256::State {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~State() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : state_(std::make_unique<State>()) {
  EVP_DigestInit_ex(state_->context, EVP_sha256(), nullptr);
}
Sha256::~Sha256() = default;

void Sha256::update(std::span<const std::byte> data) {
  EVP_DigestUpdate(state_->context, data.data(), data.size());
}
void Sha256::update(std::string_view text) {
  EVP_DigestUpdate(state_->context, text.data(), text.size());
}

std::array<std::byte, 32> Sha256::finish() {
  std::array<std::byte, 32> digest;
  EVP_DigestFinal_ex(state_->context, reinterpret_cast<unsigned char*>(digest.data()), nullptr);
  return digest;
}

std::string Sha256::finish_hex() {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (const std::byte b : finish()) {
    hex += kDigits[std::to_integer<unsigned>(b) >> 4];
    hex += kDigits[std::to_integer<unsigned>(b) & 15U];
  }
  return hex;
}

std::string sha256_hex(std::string_view text) {
  Sha256 hash;
  hash.update(text);
  return hash.finish_hex();
}

uint64_t piece_count(uint64_t bytes) {
  return (bytes + kPiece - 1) / kPiece;
}

std::vector<std::string> piece_digests(std::span<const std::span<const std::byte>> tensors, ThreadPool& pool) {
  struct Piece {
    size_t tensor, at;
    std::span<const std::byte> data;
  };
  std::vector<Piece> pieces;
  std::vector<std::string> digests;
  for (size_t t = 0; t < tensors.size(); ++t) {
    const auto data = tensors[t];
    for (size_t at = 0; at < data.size(); at += kPiece)
      pieces.push_back(
          {t, at / kPiece * sizeof(Sha256Digest), data.subspan(at, std::min(kPiece, data.size() - at))});
    digests.emplace_back(piece_count(data.size()) * sizeof(Sha256Digest), '\0');
  }
  if (pieces.empty()) return digests;
  // Two at a time, of like length.
  std::ranges::stable_sort(pieces,
                           [](const Piece& a, const Piece& b) { return a.data.size() > b.data.size(); });
  if (pieces.size() % 2 != 0) pieces.push_back(pieces.back());
  pool.parallel_for(static_cast<int64_t>(pieces.size() / 2), 1, [&](int64_t begin, int64_t end, int) {
    for (auto p = static_cast<size_t>(begin); p < static_cast<size_t>(end); ++p) {
      const auto pair = sha256_pair(pieces[2 * p].data, pieces[2 * p + 1].data);
      for (size_t i = 0; i < 2; ++i)
        std::memcpy(digests[pieces[2 * p + i].tensor].data() + pieces[2 * p + i].at, pair[i].data(),
                    sizeof(Sha256Digest));
    }
  });
  return digests;
}

Result<std::unique_ptr<CheckpointDigest>> CheckpointDigest::begin(const Checkpoint& checkpoint) {
  auto digest = std::make_unique<CheckpointDigest>();
  add_text(digest->top_, "lissom checkpoint 1");
  LISSOM_TRY(const GgufMetadata metadata, canonical_metadata(checkpoint));
  for (const auto& [key, value] : metadata.entries()) {
    add_text(digest->top_, key);
    add_value(digest->top_, value);
  }
  return digest;
}

void CheckpointDigest::add(const TensorInfo& info, std::string_view pieces) {
  add_text(top_, info.name);
  add_text(top_, info.type);
  add_text(top_, info.shape.str());
  top_.update(pieces);
}

std::string CheckpointDigest::finish() {
  return "sha256:" + top_.finish_hex();
}
std::string CheckpointDigest::placeholder() {
  return "sha256:" + std::string(64, '0');
}

Result<std::string> checkpoint_digest(const Checkpoint& checkpoint, ThreadPool& pool,
                                      const Progress& progress) {
  LISSOM_TRY(const auto digest, CheckpointDigest::begin(checkpoint));
  const TensorSource& source = *checkpoint.tensors;
  const auto list = source.tensors();
  uint64_t total = 0, done = 0;
  for (const TensorInfo& info : list) total += info.bytes;
  for (size_t first = 0; first < list.size();) {
    if (progress.stop_requested()) return tl::unexpected(Error{ErrorKind::cancelled, "stopped"});
    // Several tensors at a time: most are too small to keep all threads busy alone.
    std::vector<TensorView> views;
    std::vector<std::span<const std::byte>> data;
    uint64_t bytes = 0;
    for (size_t i = first; i < list.size() && (bytes == 0 || bytes + list[i].bytes <= kDigestBatch); ++i) {
      LISSOM_TRY(views.emplace_back(), source.read(i));
      data.push_back(views.back().data);
      bytes += list[i].bytes;
    }
    const std::vector<std::string> pieces = piece_digests(data, pool);
    for (size_t i = 0; i < views.size(); ++i) digest->add(list[first + i], pieces[i]);
    const size_t last = first + views.size();
    views.clear();
    for (; first < last; ++first) source.release(first);
    done += bytes;
    progress.report("digest", static_cast<int64_t>(done), static_cast<int64_t>(total), list[first - 1].name);
  }
  return digest->finish();
}

}  // namespace lissom
