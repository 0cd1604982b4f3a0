#pragma once
// GGUF version 3, as ggml's docs/gguf.md specifies it and llama.cpp's loader accepts it.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "lissom/result.h"
#include "lissom/tensor.h"

namespace lissom {

struct GgufArray;
/// A metadata value: all thirteen types of the format.
using GgufValue = std::variant<uint8_t, int8_t, uint16_t, int16_t, uint32_t, int32_t, float, bool, std::string,
                               std::shared_ptr<GgufArray>, uint64_t, int64_t, double>;
/// A homogeneous array. Large vocabularies are the reason for one vector per type.
struct GgufArray {
  std::variant<std::vector<uint8_t>, std::vector<int8_t>, std::vector<uint16_t>, std::vector<int16_t>,
               std::vector<uint32_t>, std::vector<int32_t>, std::vector<float>, std::vector<bool>,
               std::vector<std::string>, std::vector<std::shared_ptr<GgufArray>>, std::vector<uint64_t>,
               std::vector<int64_t>, std::vector<double>>
      items;
};

/// Key → value in file order. Getters convert between integer widths and say which key is absent or of a wrong
/// type.
class GgufMetadata {
 public:
  void set(std::string key, GgufValue value);  ///< replaces, keeping the position
  void erase(std::string_view key);
  /// set() for a key that is known to be new: reading a file of n keys takes n steps.
  void append(std::string key, GgufValue value) { entries_.emplace_back(std::move(key), std::move(value)); }
  [[nodiscard]] const GgufValue* find(std::string_view key) const;
  [[nodiscard]] const std::vector<std::pair<std::string, GgufValue>>& entries() const { return entries_; }

  [[nodiscard]] Result<int64_t> integer(std::string_view key) const;
  [[nodiscard]] Result<double> number(std::string_view key) const;
  [[nodiscard]] Result<bool> boolean(std::string_view key) const;
  [[nodiscard]] Result<std::string> string(std::string_view key) const;
  [[nodiscard]] int64_t integer_or(std::string_view key, int64_t fallback) const;
  [[nodiscard]] double number_or(std::string_view key, double fallback) const;
  [[nodiscard]] bool boolean_or(std::string_view key, bool fallback) const;
  [[nodiscard]] std::string string_or(std::string_view key, std::string fallback) const;
  /// Null when absent or not an array of T.
  template <class T>
  [[nodiscard]] const std::vector<T>* array(std::string_view key) const {
    const GgufValue* v = find(key);
    if (v == nullptr) return nullptr;
    const auto* a = std::get_if<std::shared_ptr<GgufArray>>(v);
    return a == nullptr ? nullptr : std::get_if<std::vector<T>>(&(*a)->items);
  }
  template <class T>
  void set_array(std::string key, std::vector<T> items) {
    set(std::move(key), std::make_shared<GgufArray>(GgufArray{std::move(items)}));
  }

 private:
  std::vector<std::pair<std::string, GgufValue>> entries_;
};

/// An open GGUF: metadata parsed, tensors mapped. Split files (…-00001-of-00003.gguf) open as one.
class GgufFile : public TensorSource {
 public:
  /// Of a split model, `path` is the first file; the keys split.* are then left out of metadata().
  [[nodiscard]] static Result<std::shared_ptr<GgufFile>> open(const std::filesystem::path& path);
  /// A whole GGUF that lies in memory and outlives the result; `name` stands for the path in messages.
  [[nodiscard]] static Result<std::shared_ptr<GgufFile>> open_memory(std::span<const std::byte> bytes,
                                                                     const std::string& name);
  [[nodiscard]] virtual const GgufMetadata& metadata() const = 0;
  [[nodiscard]] virtual const std::vector<std::filesystem::path>& files() const = 0;
};

/// Writes a GGUF as its tensors come, in the order announced, holding nothing but its header in memory. Writes
/// to `path`.partial; finish() syncs and renames. Destroyed before finish(), it leaves nothing behind, unless
/// Options::keep_partial is set: then a later writer of the same metadata and directory goes on after
/// resume_tensors. The directory is checked before anything is written: names are unique, valid UTF-8 and
/// shorter than 64 bytes, types are ggml's, rank ≤ 4, columns divide by the block, and `bytes` is what type and
/// shape make it (0: filled in).
class GgufWriter {
 public:
  struct Options {
    uint32_t alignment = 32;    ///< a power of two ≥ 8; written as general.alignment unless it is 32
    bool keep_partial = false;  ///< leave `path`.partial on destruction, for a resume
    size_t resume_tensors = 0;  ///< the first n tensors of the directory are already in `path`.partial
    /// What rewrite_header() may have been given for that file before it was interrupted.
    const GgufMetadata* rewritten = nullptr;
  };
  [[nodiscard]] static Result<std::unique_ptr<GgufWriter>> create(const std::filesystem::path& path,
                                                                  const GgufMetadata& metadata,
                                                                  const std::vector<TensorInfo>& directory,
                                                                  const Options& options);
  virtual ~GgufWriter() = default;
  /// How many tensors append() must not be given again: Options::resume_tensors, or 0 where `path`.partial was
  /// absent, shorter than that, or had another header, and the file begins anew.
  [[nodiscard]] virtual size_t resumed_tensors() const = 0;
  /// Appends to the current tensor; the next one begins when it has all its bytes.
  [[nodiscard]] virtual Result<void> append(std::span<const std::byte> data) = 0;
  /// Makes all that was appended durable (fdatasync), so that a journal may say so.
  [[nodiscard]] virtual Result<void> flush() = 0;
  /// After all tensors: writes the header once more, with values that were not known before. It must take as
  /// many bytes as the first.
  [[nodiscard]] virtual Result<void> rewrite_header(const GgufMetadata& metadata) = 0;
  [[nodiscard]] virtual Result<void> finish() = 0;
};

}  // namespace lissom
