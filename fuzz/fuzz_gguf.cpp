// Any bytes as a GGUF: an error, or metadata and tensors that can be read to the last byte, and that our own
// writer, given the same, turns into a file that reads back equal.
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <span>
#include <string>

#include "lissom/gguf.h"

namespace {

volatile unsigned char sink;

bool same(const lissom::GgufValue& a, const lissom::GgufValue& b);

template <class T>
bool same_items(const std::vector<T>& a, const std::vector<T>& b) {
  if (a.size() != b.size()) return false;
  if constexpr (std::is_same_v<T, std::shared_ptr<lissom::GgufArray>>) {
    for (size_t i = 0; i < a.size(); ++i)
      if (!same(a[i], b[i])) return false;
    return true;
  } else if constexpr (std::is_floating_point_v<T>) {  // NaN equals itself here
    return a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
  } else {
    return a == b;
  }
}

bool same(const lissom::GgufValue& a, const lissom::GgufValue& b) {
  if (a.index() != b.index()) return false;
  return std::visit(
      [&]<class T>(const T& x) {
        const T& y = std::get<T>(b);
        if constexpr (std::is_same_v<T, std::shared_ptr<lissom::GgufArray>>) {
          if (x->items.index() != y->items.index()) return false;
          return std::visit([&]<class V>(const V& items) { return same_items(items, std::get<V>(y->items)); },
                            x->items);
        } else if constexpr (std::is_floating_point_v<T>) {
          return std::memcmp(&x, &y, sizeof(T)) == 0;
        } else {
          return x == y;
        }
      },
      a);
}

void expect(bool holds) {
  if (!holds) std::abort();
}

void rewrite(const lissom::GgufFile& file) {
  // Every file is synced, which only memory does fast.
  static const std::filesystem::path folder =
      std::filesystem::is_directory("/dev/shm") ? "/dev/shm" : std::filesystem::temp_directory_path();
  static const std::string path = folder / ("lissom-fuzz-" + std::to_string(::getpid()) + ".gguf");
  lissom::GgufWriter::Options options;
  options.alignment = static_cast<uint32_t>(file.metadata().integer_or("general.alignment", 32));
  if (options.alignment < 8 || options.alignment > 4096) return;
  const std::vector<lissom::TensorInfo> directory(file.tensors().begin(), file.tensors().end());
  auto writer = lissom::GgufWriter::create(path, file.metadata(), directory, options);
  expect(writer.has_value());
  for (size_t i = 0; i < directory.size(); ++i) expect((*writer)->append(file.read(i)->data).has_value());
  expect((*writer)->finish().has_value());
  const auto copy = lissom::GgufFile::open(path);
  std::filesystem::remove(path);
  expect(copy.has_value() && (*copy)->tensors().size() == directory.size());
  for (size_t i = 0; i < directory.size(); ++i) {
    const auto ours = (*copy)->read(i), theirs = file.read(i);
    expect(ours->info.name == theirs->info.name && ours->info.type == theirs->info.type &&
           ours->info.shape == theirs->info.shape && std::ranges::equal(ours->data, theirs->data));
  }
  for (const auto& [key, value] : file.metadata().entries()) {
    if (key == "general.alignment") continue;
    const lissom::GgufValue* found = (*copy)->metadata().find(key);
    expect(found != nullptr && same(*found, value));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file = lissom::GgufFile::open_memory(std::as_bytes(std::span(data, size)), "fuzz.gguf");
  if (!file) {
    expect(file.error().message.find("fuzz.gguf") == 0);
    return 0;
  }
  uint64_t total = 0;
  for (size_t i = 0; i < (*file)->tensors().size(); ++i) {
    const auto view = (*file)->read(i);
    expect(view.has_value() && view->data.size() == view->info.bytes);
    sink = static_cast<unsigned char>(view->data.front() ^ view->data.back());
    expect((*file)->find(view->info.name) == static_cast<int64_t>(i));
    total += view->info.bytes;
  }
  expect(total <= size);
  rewrite(**file);
  return 0;
}
