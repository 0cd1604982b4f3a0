// Any bytes as a safetensors file: an error or a checkpoint whose every tensor can be read to its last byte.
#include <cstdint>
#include <cstdlib>
#include <span>

#include "format/safetensors.h"

namespace {
volatile unsigned char sink;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto file =
      lissom::SafetensorsFile::open_memory(std::as_bytes(std::span(data, size)), "fuzz.safetensors");
  if (!file) {
    if (file.error().message.find("fuzz.safetensors") != 0) std::abort();
    return 0;
  }
  uint64_t total = 0;
  for (size_t i = 0; i < (*file)->tensors().size(); ++i) {
    const auto view = (*file)->read(i);
    if (!view || view->data.size() != view->info.bytes) std::abort();
    if (!view->data.empty()) sink = static_cast<unsigned char>(view->data.front() ^ view->data.back());
    if ((*file)->find(view->info.name) != static_cast<int64_t>(i)) std::abort();
    total += view->info.bytes;
    (*file)->release(i);
  }
  if (total > size) std::abort();  // tensors do not overlap
  return 0;
}
