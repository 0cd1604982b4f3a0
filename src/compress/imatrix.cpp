// llama.cpp's importance matrix. GGUF form: general.type = "imatrix", imatrix.datasets, imatrix.chunk_count,
// imatrix.chunk_size; for each tensor two F32 tensors, "NAME.in_sum2" [matrices, columns] with Σx² and
// "NAME.counts" [matrices, 1] with the number of rows summed. The older form (.dat), little-endian: i32
// entries, then for each i32 length, name, i32 calls, i32 values, f32 values = mean · calls; then optionally
// i32 chunks, i32 length, dataset.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/file.h"
#include "base/text.h"
#include "lissom/compress.h"
#include "lissom/gguf.h"

namespace lissom {
namespace {

constexpr std::string_view kSums = ".in_sum2", kCounts = ".counts";

Result<std::vector<float>> floats(const GgufFile& file, size_t index) {
  const TensorInfo& info = file.tensors()[index];
  if (info.type != "F32") return bad_input(file.origin() + ": " + in_quotes(info.name) + " is not F32");
  LISSOM_TRY(const TensorView view, file.read(index));
  std::vector<float> values(view.data.size() / sizeof(float));
  if (!values.empty()) std::memcpy(values.data(), view.data.data(), values.size() * sizeof(float));
  return values;
}

/// Σx² and counts of each matrix: several are the experts of a mixture.
Result<void> add_entry(Importance& importance, const std::string& origin, const std::string& name,
                       const std::vector<float>& sums, const std::vector<float>& counts) {
  if (counts.empty() || sums.empty() || sums.size() % counts.size() != 0)
    return bad_input(origin + ": " + in_quotes(name) + ": " + std::to_string(sums.size()) + " sums for " +
                     std::to_string(counts.size()) + " counts");
  double rows = 0;
  for (const float count : counts) {
    if (!std::isfinite(count) || count < 0 || count > 1e15F)
      return bad_input(origin + ": " + in_quotes(name) + ": a count is not a number of rows");
    rows += static_cast<double>(count);
  }
  if (!std::ranges::all_of(sums, [](float sum) { return std::isfinite(sum) && sum >= 0; }))
    return bad_input(origin + ": " + in_quotes(name) + ": a sum of squares is negative or not finite");
  if (rows < 1) return {};
  Importance::Entry& entry = importance.entries[name];
  entry.tokens = std::llround(rows);
  entry.sum_square = sums;
  if (counts.size() > 1)
    for (const float count : counts) entry.expert_tokens.push_back(std::llround(static_cast<double>(count)));
  return {};
}

Result<Importance> from_gguf(const GgufFile& file) {
  Importance importance;
  const GgufMetadata& metadata = file.metadata();
  const std::string type = metadata.string_or("general.type", "");
  if (type != "imatrix")
    return bad_input(file.origin() + ": general.type is " + in_quotes(type) +
                     ", not 'imatrix': not an importance matrix");
  if (const auto* names = metadata.array<std::string>("imatrix.datasets"); names != nullptr)
    importance.datasets = *names;
  importance.chunks = metadata.integer_or("imatrix.chunk_count", 0);
  importance.chunk_size = metadata.integer_or("imatrix.chunk_size", 0);
  importance.skipped_chunks = metadata.integer_or("lissom.imatrix.skipped_chunks", 0);
  std::map<std::string, size_t> counts_of;
  const auto tensors = file.tensors();
  for (size_t i = 0; i < tensors.size(); ++i)
    if (std::string_view name = tensors[i].name; name.ends_with(kCounts))
      counts_of[std::string(name.substr(0, name.size() - kCounts.size()))] = i;
  for (size_t i = 0; i < tensors.size(); ++i) {
    if (!tensors[i].name.ends_with(kSums)) continue;
    const std::string name = tensors[i].name.substr(0, tensors[i].name.size() - kSums.size());
    const auto counts_index = counts_of.find(name);
    if (counts_index == counts_of.end())
      return bad_input(file.origin() + ": " + in_quotes(name) + " has .in_sum2 but no .counts");
    LISSOM_TRY(const std::vector<float> sums, floats(file, i));
    LISSOM_TRY(const std::vector<float> counts, floats(file, counts_index->second));
    LISSOM_CHECK(add_entry(importance, file.origin(), name, sums, counts));
  }
  if (importance.entries.empty()) return bad_input(file.origin() + ": no statistics in it");
  return importance;
}

/// Takes values off the front of a mapped file, never past its end.
struct Cursor {
  std::span<const std::byte> left;
  bool broken = false;

  int32_t integer() {
    int32_t value = 0;
    copy(&value, sizeof value);
    return value;
  }
  void copy(void* to, size_t bytes) {
    broken = broken || bytes > left.size();
    if (broken) return;
    if (bytes > 0) std::memcpy(to, left.data(), bytes);
    left = left.subspan(bytes);
  }
  std::string text(int32_t length) {
    broken = broken || length < 0 || static_cast<size_t>(length) > left.size();
    if (broken) return {};
    std::string out(static_cast<size_t>(length), '\0');
    copy(out.data(), out.size());
    return out;
  }
};

Result<Importance> from_legacy(const MappedFile& file) {
  const std::string origin = file.path().string();
  const auto refused = [&](const char* what) {
    return bad_input(origin + ": neither a GGUF nor llama.cpp's older importance matrix: " + what);
  };
  Cursor cursor{file.bytes()};
  const int32_t entries = cursor.integer();
  if (cursor.broken || entries < 1) return refused("no entries");
  Importance importance;
  for (int32_t e = 0; e < entries; ++e) {
    const std::string name = cursor.text(cursor.integer());
    const int32_t calls = cursor.integer();
    const int32_t count = cursor.integer();
    if (cursor.broken || name.empty() || calls < 1 || count < 1 ||
        static_cast<size_t>(count) > cursor.left.size() / sizeof(float))
      return refused("an entry is cut off");
    std::vector<float> sums(static_cast<size_t>(count));
    cursor.copy(sums.data(), sums.size() * sizeof(float));
    LISSOM_CHECK(add_entry(importance, origin, name, sums, {static_cast<float>(calls)}));
  }
  if (const int32_t chunks = cursor.integer(); !cursor.broken) {
    importance.chunks = std::max(chunks, 0);
    if (std::string dataset = cursor.text(cursor.integer()); !cursor.broken && !dataset.empty())
      importance.datasets.push_back(std::move(dataset));
  }
  return importance;
}

}  // namespace

std::vector<float> Importance::Entry::mean_square() const {
  std::vector<float> mean(sum_square.size());
  const auto divide = [&](size_t first, size_t last, int64_t rows) {
    for (size_t i = first; i < last; ++i)
      mean[i] = static_cast<float>(static_cast<double>(sum_square[i]) /
                                   static_cast<double>(std::max<int64_t>(rows, 1)));
  };
  if (expert_tokens.empty()) {
    divide(0, mean.size(), tokens);
    return mean;
  }
  const size_t cols = sum_square.size() / expert_tokens.size();
  std::vector<double> all(cols);
  for (size_t i = 0; i < sum_square.size(); ++i) all[i % cols] += static_cast<double>(sum_square[i]);
  for (size_t e = 0; e < expert_tokens.size(); ++e) {
    if (expert_tokens[e] >= kEnoughTokens) {
      divide(e * cols, (e + 1) * cols, expert_tokens[e]);
      continue;
    }
    for (size_t c = 0; c < cols; ++c)
      mean[e * cols + c] = static_cast<float>(all[c] / static_cast<double>(std::max<int64_t>(tokens, 1)));
  }
  return mean;
}

Result<Importance> read_imatrix(const std::filesystem::path& path) {
  LISSOM_TRY(const auto mapped, MappedFile::open(path));
  const auto bytes = mapped->bytes();
  if (bytes.size() < 4 || std::memcmp(bytes.data(), "GGUF", 4) != 0) return from_legacy(*mapped);
  LISSOM_TRY(const auto file, GgufFile::open(path));
  return from_gguf(*file);
}

Result<void> write_imatrix(const Importance& importance, const std::filesystem::path& path) {
  GgufMetadata metadata;
  metadata.set("general.type", std::string("imatrix"));
  auto datasets = std::make_shared<GgufArray>();
  datasets->items = importance.datasets;
  metadata.set("imatrix.datasets", std::move(datasets));
  metadata.set("imatrix.chunk_count", static_cast<uint32_t>(importance.chunks));
  metadata.set("imatrix.chunk_size", static_cast<uint32_t>(importance.chunk_size));
  if (importance.skipped_chunks > 0)
    metadata.set("lissom.imatrix.skipped_chunks", static_cast<uint32_t>(importance.skipped_chunks));

  std::vector<TensorInfo> directory;
  for (const auto& [name, entry] : importance.entries) {
    const auto matrices = static_cast<int64_t>(std::max<size_t>(entry.expert_tokens.size(), 1));
    const int64_t cols = static_cast<int64_t>(entry.sum_square.size()) / matrices;
    directory.push_back(
        {name + std::string(kSums), "F32", Shape{matrices, cols}, entry.sum_square.size() * sizeof(float)});
    directory.push_back({name + std::string(kCounts), "F32", Shape{matrices, 1},
                         static_cast<uint64_t>(matrices) * sizeof(float)});
  }
  LISSOM_TRY(const auto writer, GgufWriter::create(path, metadata, directory, {}));
  for (const auto& [name, entry] : importance.entries) {
    std::vector<float> counts(entry.expert_tokens.begin(), entry.expert_tokens.end());
    if (counts.empty()) counts.push_back(static_cast<float>(entry.tokens));
    LISSOM_CHECK(writer->append(std::as_bytes(std::span(entry.sum_square))));
    LISSOM_CHECK(writer->append(std::as_bytes(std::span(counts))));
  }
  return writer->finish();
}

}  // namespace lissom
