// make_corpus FOLDER: writes the seeds of the fuzz targets for GGUF and safetensors, FOLDER/gguf and
// FOLDER/safetensors, from the files that the hostile tests use, and FOLDER/quantized, a small layer in each
// format. fuzz/corpus/ holds the result.
#include <cstdio>
#include <filesystem>

#include "base/file.h"
#include "format/quant_method.h"
#include "format/safetensors.h"
#include "hostile/gguf_cases.h"
#include "hostile/safetensors_cases.h"

namespace {

namespace fs = std::filesystem;
using lissom::hostile::Case;

bool write_seed(const fs::path& folder, const std::string& what, const std::string& bytes) {
  std::string name = what;
  for (char& c : name)
    if ((c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9')) c = '_';
  if (bytes.size() > 4096) return true;  // bombs are the tests' business: a fuzzer wants small seeds
  return lissom::write_file(folder / name, bytes).has_value();
}

bool write_all(const fs::path& folder, const std::string& valid,
               std::initializer_list<std::vector<Case>> lists) {
  fs::create_directories(folder);
  bool good = write_seed(folder, "valid", valid);
  for (const auto& list : lists)
    for (const Case& c : list) good = good && write_seed(folder, c.what, c.bytes);
  return good;
}

/// quantization_config in a line, then a layer of 32 × 32 in safetensors.
bool write_quantized(const fs::path& folder) {
  fs::create_directories(folder);
  bool good = true;
  for (const lissom::FolderFormat& format : lissom::folder_formats())
    for (const std::string& scheme : format.schemes) {
      if (scheme.find("-g128") != std::string::npos || scheme.find("-g64") != std::string::npos) continue;
      const auto writer = format.writer(scheme, lissom::GroupScale::f16);
      const auto layer = lissom::make_group_matrix(writer->spec(), 32, 32);
      std::vector<lissom::TensorInfo> parts = writer->parts(32, 32);
      for (lissom::TensorInfo& part : parts) part.name = "a" + part.name;
      const fs::path scratch = folder / "scratch";
      const auto file = lissom::SafetensorsWriter::create(scratch, parts, {});
      for (const auto& bytes : writer->pack(layer)) good = good && file && (*file)->append(bytes).has_value();
      good = good && (*file)->finish().has_value();
      const auto bytes = lissom::read_file(scratch, 1U << 20);
      fs::remove(scratch);
      good = good && bytes &&
             write_seed(folder, std::string(format.name) + "_" + scheme,
                        writer->config({{"a"}, {}}).dump() + "\n" + *bytes);
    }
  return good;
}

}  // namespace

int main(int argc, char** argv) {
  namespace h = lissom::hostile;
  if (argc != 2) return 2;
  const fs::path to(argv[1]);
  const bool good =
      write_all(to / "gguf", h::small_gguf(), {h::gguf_headers(), h::gguf_metadata(), h::gguf_tensors()}) &&
      write_all(to / "safetensors", h::small_safetensors(),
                {h::safetensors_headers(), h::safetensors_fields()}) &&
      write_quantized(to / "quantized");
  if (!good) std::fprintf(stderr, "cannot write to %s\n", argv[1]);
  return good ? 0 : 2;
}
