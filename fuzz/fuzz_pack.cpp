// Any bytes as a pack: an error that names the file, or tensors that all decode.
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "codec/parts.h"
#include "format/pack.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto pack = lissom::PackFile::open_memory(std::as_bytes(std::span(data, size)), "fuzz.safetensors");
  if (!pack) {
    if (pack.error().message.find("fuzz.safetensors") != 0) std::abort();
    return 0;
  }
  for (size_t i = 0; i < (*pack)->tensors().size(); ++i) {
    const auto view = (*pack)->read(i);
    if (!view) std::abort();
    const lissom::Codec& codec = *lissom::find_codec(view->info.type);
    const auto parts = lissom::parts_of(codec, view->info.shape, view->data);
    if (!parts) continue;
    std::vector<float> row(static_cast<size_t>(view->info.shape.cols()));
    codec.decode_rows(view->info.shape, *parts, view->info.shape.rows() - 1, 1, row.data());
    (*pack)->release(i);
  }
  return 0;
}
