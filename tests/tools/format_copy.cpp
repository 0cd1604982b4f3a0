// format_copy IN OUT: reads a GGUF or safetensors file (or index) and writes it again through our writer, in
// small chunks. The peers' readers then say whether the copy equals the original.
#include <algorithm>
#include <cstdio>
#include <string>

#include "format/safetensors.h"
#include "lissom/gguf.h"

namespace {

template <class Writer>
lissom::Result<void> copy_tensors(const lissom::TensorSource& in, const std::vector<lissom::TensorInfo>& order,
                                  Writer& writer) {
  for (const lissom::TensorInfo& info : order) {
    LISSOM_TRY(const auto view, in.read(static_cast<size_t>(in.find(info.name))));
    for (size_t at = 0; at < view.data.size(); at += 1000)
      LISSOM_CHECK(writer.append(view.data.subspan(at, std::min<size_t>(1000, view.data.size() - at))));
    in.release(static_cast<size_t>(in.find(info.name)));
  }
  return writer.finish();
}

lissom::Result<void> copy(const std::string& from, const std::string& to) {
  if (from.ends_with(".gguf")) {
    LISSOM_TRY(const auto in, lissom::GgufFile::open(from));
    const std::vector<lissom::TensorInfo> order(in->tensors().begin(), in->tensors().end());
    lissom::GgufWriter::Options options;
    options.alignment = static_cast<uint32_t>(in->metadata().integer_or("general.alignment", 32));
    LISSOM_TRY(const auto writer, lissom::GgufWriter::create(to, in->metadata(), order, options));
    return copy_tensors(*in, order, *writer);
  }
  LISSOM_TRY(const auto in, lissom::SafetensorsFile::open(from));
  std::vector<lissom::TensorInfo> order(in->tensors().begin(), in->tensors().end());
  lissom::sort_for_safetensors(order);
  LISSOM_TRY(const auto writer, lissom::SafetensorsWriter::create(to, order, in->metadata()));
  return copy_tensors(*in, order, *writer);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const auto done = copy(argv[1], argv[2]);
  if (done) return 0;
  std::fprintf(stderr, "%s\n", done.error().message.c_str());
  return 2;
}
