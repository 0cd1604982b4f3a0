// A line of JSON as quantization_config, and what follows as a safetensors file: an error that names the file,
// or layers whose every weight can be decoded.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string_view>

#include "format/quantized_source.h"
#include "format/safetensors.h"

namespace {
volatile unsigned char sink;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace lissom;
  const auto* end = static_cast<const uint8_t*>(std::memchr(data, '\n', size));
  if (end == nullptr) return 0;
  const auto line = static_cast<size_t>(end - data);
  const auto config = parse_json({reinterpret_cast<const char*>(data), line}, "config.json");
  if (!config) return 0;
  // As aligned as a mapped file.
  const std::vector<uint8_t> bytes(end + 1, data + size);
  const auto file = SafetensorsFile::open_memory(std::as_bytes(std::span(bytes)), "fuzz.safetensors");
  if (!file) return 0;
  const auto view = dequantized_view(*file, *config);
  if (!view) {
    if (view.error().message.find("config.json") == std::string::npos &&
        view.error().message.find("fuzz.safetensors") != 0)
      std::abort();
    return 0;
  }
  for (size_t i = 0; i < (*view)->tensors().size(); ++i) {
    const TensorInfo info = (*view)->tensors()[i];
    if ((*view)->find(info.name) < 0) std::abort();
    const auto read = (*view)->read(i);
    if (!read && read.error().message.find("fuzz.safetensors") != 0) std::abort();
    if (!read) continue;
    if (read->data.size() != info.bytes || info.bytes > 16 * 4 * size) std::abort();
    if (!read->data.empty()) sink = static_cast<unsigned char>(read->data.front() ^ read->data.back());
    (*view)->release(i);
  }
  return 0;
}
