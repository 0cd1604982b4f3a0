// Writes what a model says of the windows of a text, for tests and benchmarks that judge logits themselves.
// usage: window_logits MODEL TEXT CTX CHUNKS THREADS fast|exact OUT
// OUT: per window CTX int32 input tokens, then one row of F32 logits for each position CTX/2 … CTX-2.

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "data/text.h"
#include "data/windows.h"
#include "lissom/gguf.h"
#include "lissom/runtime.h"

namespace lissom {
namespace {

struct Arguments {
  std::string model, text, out;
  int64_t context, chunks;
  RuntimeOptions runtime;
};

Result<void> run(const Arguments& a) {
  LISSOM_TRY(const std::string text, read_text(a.text));
  LISSOM_TRY(const Checkpoint checkpoint, open_checkpoint(a.model));
  LISSOM_TRY(const auto tokenizer, Tokenizer::from_gguf(*checkpoint.metadata, a.model));
  LISSOM_TRY(const Windows windows, cut_windows(*tokenizer, text, a.context, a.chunks));
  LISSOM_TRY(const auto model, Model::load(checkpoint, a.runtime));
  LISSOM_TRY(const auto session, Session::create(model, a.context));
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> out(std::fopen(a.out.c_str(), "wb"), std::fclose);
  if (!out) return io_error("cannot write " + a.out);
  std::vector<int32_t> input(static_cast<size_t>(a.context));
  std::vector<uint8_t> wanted(input.size(), 0);
  for (int64_t p = windows.first_scored(); p < a.context - 1; ++p) wanted[static_cast<size_t>(p)] = 1;
  for (int64_t w = 0; w < windows.count; ++w) {
    windows.input(w, input);
    session->clear();
    LISSOM_TRY(const auto logits, session->run({.tokens = input, .wanted = wanted}));
    const bool written = std::fwrite(input.data(), sizeof(int32_t), input.size(), out.get()) == input.size() &&
                         std::fwrite(logits.data(), sizeof(float), logits.size(), out.get()) == logits.size();
    if (!written) return io_error("cannot write " + a.out);
  }
  return {};
}

}  // namespace
}  // namespace lissom

int main(int argc, char** argv) {
  if (argc != 8) {
    std::fprintf(stderr, "usage: window_logits MODEL TEXT CTX CHUNKS THREADS fast|exact OUT\n");
    return 2;
  }
  lissom::Arguments a{argv[1], argv[2], argv[7], std::atoll(argv[3]), std::atoll(argv[4]), {}};
  a.runtime.threads = std::atoi(argv[5]);
  a.runtime.exact = std::string(argv[6]) == "exact";
  const auto done = lissom::run(a);
  if (!done) std::fprintf(stderr, "%s\n", done.error().message.c_str());
  return done ? 0 : 2;
}
