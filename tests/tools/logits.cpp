// Runs token ids through a model and writes what comes out, for tests that hold lissom to other engines.
// usage: logits < REQUEST      REQUEST is JSON: {"model", "out", "sequences": [[id…]…], and optionally "types":
// [[…]…], "exact", "threads", "cache": "f16"|"q8_0", "chunk": tokens of each sequence run at a time (0: all),
// "what": "logits"|"hidden"|"pooled", "context": positions of each sequence (0: what the longest needs)}. out:
// F32, sequence after sequence.

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "base/file.h"
#include "lissom/model.h"
#include "lissom/runtime.h"

using namespace lissom;

namespace {

using Sequences = std::vector<std::vector<int32_t>>;

std::span<const float> output_of(Session& session, std::span<const float> result, const std::string& what) {
  return what == "hidden" ? session.hidden() : what == "pooled" ? session.pooled() : result;
}

/// Runs tokens [begin, end) of every sequence as one batch and appends each one's rows to its own output.
Result<void> run_chunk(Session& session, const Sequences& ids, const Sequences& types, size_t begin, size_t end,
                       const std::string& what, std::vector<std::vector<float>>& out) {
  std::vector<int32_t> tokens, token_types, sequences;
  for (size_t s = 0; s < ids.size(); ++s)
    for (size_t i = begin; i < std::min(end, ids[s].size()); ++i) {
      tokens.push_back(ids[s][i]);
      sequences.push_back(static_cast<int32_t>(s));
      if (!types.empty()) token_types.push_back(types[s][i]);
    }
  Batch batch;
  batch.tokens = tokens;
  batch.sequences = sequences;
  batch.token_types = token_types;
  LISSOM_TRY(const auto result, session.run(batch));
  const auto rows = output_of(session, result, what);
  // Either a row for each token, or one for each sequence.
  const bool per_sequence =
      what == "pooled" || rows.size() % tokens.size() != 0 || (session.pooled().size() > 0 && what == "logits");
  const size_t n = per_sequence ? ids.size() : tokens.size(), width = rows.size() / n;
  for (size_t r = 0; r < n; ++r) {
    auto& to = out[per_sequence ? r : static_cast<size_t>(sequences[r])];
    to.insert(to.end(), rows.begin() + static_cast<std::ptrdiff_t>(r * width),
              rows.begin() + static_cast<std::ptrdiff_t>((r + 1) * width));
  }
  return {};
}

Result<void> answer(const nlohmann::json& request) {
  OpenOptions open;
  open.need_tokenizer = false;
  LISSOM_TRY(const Checkpoint checkpoint, open_checkpoint(request["model"].get<std::string>(), open));
  RuntimeOptions options;
  options.threads = request.value("threads", 1);
  options.exact = request.value("exact", false);
  options.cache = request.value("cache", "f16") == "q8_0" ? CacheType::q8_0 : CacheType::f16;
  LISSOM_TRY(auto model, Model::load(checkpoint, options));
  const auto ids = request["sequences"].get<Sequences>();
  const auto types = request.value("types", Sequences{});
  size_t longest = 0;
  for (const auto& s : ids) longest = std::max(longest, s.size());
  const auto n = static_cast<int64_t>(ids.size());
  const auto context = std::max(static_cast<int64_t>(longest), request.value("context", int64_t{0}));
  LISSOM_TRY(auto session, Session::create(model, context * n, n));
  const size_t chunk = request.value("chunk", size_t{0}) == 0 ? longest : request["chunk"].get<size_t>();
  std::vector<std::vector<float>> out(ids.size());
  for (size_t begin = 0; begin < longest; begin += chunk)
    LISSOM_CHECK(run_chunk(*session, ids, types, begin, begin + chunk, request.value("what", "logits"), out));
  std::ofstream file(request["out"].get<std::string>(), std::ios::binary);
  for (const auto& o : out)
    file.write(reinterpret_cast<const char*>(o.data()), static_cast<std::streamsize>(o.size() * sizeof(float)));
  return file ? Result<void>{} : io_error("cannot write the output");
}

}  // namespace

int main() {
  const std::string text{std::istreambuf_iterator<char>(std::cin), {}};
  if (const auto done = answer(nlohmann::json::parse(text)); !done) {
    std::fprintf(stderr, "logits: %s\n", done.error().message.c_str());
    return 2;
  }
  return 0;
}
