// Any bytes as what a hub and a user say: a listing with its choice of files, a safetensors index, the name of
// a model, headers, redirects. What is accepted must be safe as part of a path.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "hub/choose.h"
#include "hub/listing.h"
#include "hub/model_id.h"

namespace {

using namespace lissom::hub;

void check_listing(const std::string& text) {
  const auto listing = parse_listing(text, "listing");
  if (!listing) {
    if (listing.error().message.empty()) std::abort();
    return;
  }
  if (!is_commit(listing->commit)) std::abort();
  for (const RepoFile& file : listing->files) {
    if (!safe_repo_path(file.path) || file.path.find("/../") != std::string::npos) std::abort();
    if (file.etag.find_first_not_of("0123456789abcdef") != std::string::npos) std::abort();
  }
  for (const char* id : {"o/n", "o/n:q4_k", "o/n/a.gguf"})
    for (const Need need : {Need::model, Need::tokenizer}) {
      const auto choice = choose_files(*listing, *parse_model_id(id), need);
      if (choice && !choice->gguf.empty() && listing->find(choice->gguf) == nullptr) std::abort();
    }
}

void check_names(const std::string& text) {
  if (const auto id = parse_model_id(text)) {
    if (id->repo.find("..") != std::string::npos || id->repo.find("--") != std::string::npos) std::abort();
    if (!id->file.empty() && !safe_repo_path(id->file)) std::abort();
    if (!id->revision.empty() && !check_revision(id->revision)) std::abort();
  }
  if (const auto names = shard_names(text, "index"))
    for (const std::string& name : *names)
      if (name.find('/') != std::string::npos) std::abort();
  if (const auto target = redirect_target("https://hub/x", text))
    if (!origin_of(*target).starts_with("https://")) std::abort();
  RepoFile file{"f", 0, ""};
  Response response;
  const size_t half = text.size() / 2;
  response.first = {{"etag", text.substr(0, half)}, {"content-length", text.substr(half)}};
  if (complete_from_headers(file, response) && file.etag.size() != 40 && file.etag.size() != 64) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  check_listing(text);
  check_names(text);
  return 0;
}
