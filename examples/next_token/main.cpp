// Prints the five most likely next tokens of a text.   usage: next_token MODEL TEXT

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>
#include <string>
#include <vector>

#include <lissom/model.h>
#include <lissom/runtime.h>
#include <lissom/tokenizer.h>

static lissom::Result<void> next_token(const std::string& path, const std::string& text) {
  LISSOM_TRY(const lissom::Checkpoint checkpoint, lissom::open_checkpoint(path));
  LISSOM_TRY(const auto tokenizer, lissom::Tokenizer::from_gguf(*checkpoint.metadata, path));
  LISSOM_TRY(auto model, lissom::Model::load(checkpoint, {}));
  const std::vector<int32_t> ids = tokenizer->encode(text, /*add_special=*/true).ids;
  LISSOM_TRY(auto session, lissom::Session::create(model, static_cast<int64_t>(ids.size())));

  std::vector<uint8_t> wanted(ids.size(), 0);
  wanted.back() = 1;
  lissom::Batch batch;
  batch.tokens = ids;
  batch.wanted = wanted;
  LISSOM_TRY(const std::span<const float> logits, session->run(batch));

  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const size_t shown = std::min<size_t>(5, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(shown), order.end(),
                    [&](int32_t a, int32_t b) { return logits[size_t(a)] > logits[size_t(b)]; });
  const float top = logits[size_t(order[0])];
  double sum = 0;
  for (float x : logits) sum += std::exp(double(x - top));
  for (size_t i = 0; i < shown; ++i) {
    const int32_t id = order[i];
    std::printf("%6.3f  %s\n", std::exp(double(logits[size_t(id)] - top)) / sum,
                tokenizer->token_bytes(id).c_str());
  }
  return {};
}

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: next_token MODEL TEXT\n");
    return 2;
  }
  if (const auto done = next_token(argv[1], argv[2]); !done) {
    std::fprintf(stderr, "next_token: %s\n", done.error().message.c_str());
    return 2;
  }
  return 0;
}
