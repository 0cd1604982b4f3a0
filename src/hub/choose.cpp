#include "hub/choose.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "base/text.h"
#include "format/json.h"

namespace lissom::hub {
namespace {

constexpr std::array<std::string_view, 18> kSmallFiles{"config.json",
                                                       "generation_config.json",
                                                       "tokenizer.json",
                                                       "tokenizer_config.json",
                                                       "tokenizer.model",
                                                       "special_tokens_map.json",
                                                       "added_tokens.json",
                                                       "vocab.json",
                                                       "vocab.txt",
                                                       "merges.txt",
                                                       "spiece.model",
                                                       "sentencepiece.bpe.model",
                                                       "spm.model",
                                                       "chat_template.jinja",
                                                       "chat_template.json",
                                                       "modules.json",
                                                       "1_Pooling/config.json",
                                                       "sentence_bert_config.json"};
constexpr std::string_view kIndex = "model.safetensors.index.json";
constexpr std::string_view kSingle = "model.safetensors";

/// "model-00002-of-00003.gguf" → "model", 2; a file that is not part of a split one is its own group, part 0.
struct Part {
  std::string group;
  int number = 0;
};
Part part_of(std::string_view path) {
  constexpr std::string_view kPattern = "-ddddd-of-ddddd.gguf";
  if (path.size() <= kPattern.size()) return {std::string(path), 0};
  const std::string_view tail = path.substr(path.size() - kPattern.size());
  int number = 0;
  for (size_t i = 0; i < tail.size(); ++i) {
    const bool digit = tail[i] >= '0' && tail[i] <= '9';
    if (kPattern[i] == 'd' ? !digit : tail[i] != kPattern[i]) return {std::string(path), 0};
    if (i >= 1 && i <= 5) number = number * 10 + (tail[i] - '0');
  }
  // The count belongs to the group: "-of-00003" and "-of-00004" are two models.
  return {std::string(path.substr(0, path.size() - kPattern.size())) + std::string(tail.substr(6)), number};
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}
bool is_letter_or_digit(char c) {
  return (lower(c) >= 'a' && lower(c) <= 'z') || (c >= '0' && c <= '9');
}

/// The tag as a word of its own, whatever the case: "Q4_K" is not in "Q4_K_M", and not in "IQ4_K".
bool holds_word(std::string_view name, std::string_view tag) {
  const auto equal = [](char a, char b) { return lower(a) == lower(b); };
  for (auto at = name.begin();; ++at) {
    at = std::search(at, name.end(), tag.begin(), tag.end(), equal);
    if (at == name.end()) return false;
    const auto end = at + static_cast<std::ptrdiff_t>(tag.size());
    const bool begins = at == name.begin() || !is_letter_or_digit(*(at - 1));
    const bool ends = end == name.end() || !(is_letter_or_digit(*end) || *end == '_');
    if (begins && ends) return true;
  }
}

std::string join(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < names.size() && i < 20; ++i) text += (i == 0 ? "" : ", ") + printable(names[i]);
  if (names.size() > 20) text += ", and " + std::to_string(names.size() - 20) + " more";
  return text;
}

std::vector<std::string> at_root(const Listing& listing, const std::vector<std::string_view>& extensions) {
  std::vector<std::string> found;
  for (const RepoFile& file : listing.files) {
    if (file.path.find('/') != std::string::npos) continue;
    if (std::ranges::any_of(extensions, [&](std::string_view e) { return file.path.ends_with(e); }))
      found.push_back(file.path);
  }
  std::ranges::sort(found);
  return found;
}

Result<Choice> choose_ggufs(const Listing& listing, const ModelId& id, const std::vector<std::string>& ggufs) {
  Choice choice;
  LISSOM_TRY(const std::vector<std::string> parts, choose_gguf(ggufs, id));
  for (const std::string& path : parts) choice.files.push_back(*listing.find(path));
  choice.gguf = parts.front();
  return choice;
}

Result<void> choose_safetensors(const Listing& listing, const ModelId& id, Choice& choice) {
  if (const RepoFile* index = listing.find(kIndex)) {
    choice.files.push_back(*index);
    choice.index = kIndex;
    return {};
  }
  const std::vector<std::string> all = at_root(listing, {".safetensors"});
  const RepoFile* single = listing.find(kSingle);
  if (single == nullptr && all.size() == 1) single = listing.find(all.front());
  if (single == nullptr)
    return bad_input(id.repo + ": holds several safetensors files (" + join(all) + ") but neither " +
                     std::string(kSingle) + " nor " + std::string(kIndex));
  choice.files.push_back(*single);
  return {};
}

tl::unexpected<Error> no_weights(const Listing& listing, const ModelId& id) {
  const std::vector<std::string> pickles = at_root(listing, {".bin", ".pth", ".pt", ".ckpt"});
  if (pickles.empty())
    return bad_input(id.repo + ": holds neither safetensors beside a config.json nor a GGUF");
  return unsupported(
      id.repo + ": its weights are pickled (" + join(pickles) +
      "). Opening a pickle can run any code, so they are not even downloaded. Where you trust them, convert "
      "once: python -c \"from transformers import AutoModelForCausalLM as M; M.from_pretrained('" +
      id.repo + "').save_pretrained('OUT')\" (or the Auto class that fits the model)");
}

}  // namespace

Result<std::vector<std::string>> choose_gguf(const std::vector<std::string>& paths, const ModelId& id) {
  std::map<std::string, std::map<int, std::string>> groups;
  for (const std::string& path : paths) {
    if (!path.ends_with(".gguf")) continue;
    const Part part = part_of(path);
    const bool wanted = !id.file.empty()  ? part.group == part_of(id.file).group
                        : !id.tag.empty() ? holds_word(path, id.tag)
                                          : true;
    if (wanted) groups[part.group].emplace(part.number, path);
  }
  if (groups.size() == 1) {
    std::vector<std::string> parts;
    for (const auto& [number, path] : groups.begin()->second) parts.push_back(path);
    return parts;
  }
  std::vector<std::string> names;
  names.reserve(groups.size());
  for (const auto& [group, parts] : groups) names.push_back(parts.begin()->second);
  const std::string wanted = id.file.empty() ? id.tag : id.file;
  if (!names.empty())
    return bad_input(id.repo + ": holds several GGUF files" +
                     (wanted.empty() ? std::string() : " that fit " + in_quotes(wanted)) + " (" + join(names) +
                     "); name one of them as " + id.repo + "/" + names.front() + " or " + id.repo + ":Q4_K_M");
  std::vector<std::string> ggufs;
  for (const std::string& path : paths)
    if (path.ends_with(".gguf")) ggufs.push_back(path);
  return bad_input(id.repo + ": has no GGUF" + (wanted.empty() ? "" : " " + in_quotes(wanted)) +
                   (ggufs.empty() ? "" : "; it has " + join(ggufs)));
}

Result<Choice> choose_files(const Listing& listing, const ModelId& id, Need need) {
  std::vector<std::string> ggufs;
  for (const RepoFile& file : listing.files)
    if (file.path.ends_with(".gguf")) ggufs.push_back(file.path);
  if (!id.tag.empty() || !id.file.empty()) return choose_ggufs(listing, id, ggufs);
  const bool has_config = listing.find("config.json") != nullptr;
  const bool has_safetensors = !at_root(listing, {".safetensors"}).empty() || listing.find(kIndex) != nullptr;
  const bool is_folder = has_config && (has_safetensors || (need == Need::tokenizer && ggufs.empty()));
  if (!is_folder) {
    if (!ggufs.empty()) return choose_ggufs(listing, id, ggufs);
    return no_weights(listing, id);
  }
  Choice choice;
  for (const std::string_view name : kSmallFiles)
    if (const RepoFile* file = listing.find(name))
      choice.files.push_back(*file);
    else
      choice.absent.emplace_back(name);
  if (need != Need::tokenizer) LISSOM_CHECK(choose_safetensors(listing, id, choice));
  return choice;
}

Result<std::vector<std::string>> shard_names(std::string_view text, const std::string& origin) {
  LISSOM_TRY(const Json json, parse_json(text, origin));
  const auto map = json.is_object() ? json.find("weight_map") : json.end();
  if (!json.is_object() || map == json.end() || !map->is_object())
    return bad_input(origin + ": field 'weight_map' is no object");
  std::set<std::string> names;
  for (const auto& [tensor, shard] : map->items()) {
    if (!shard.is_string()) return bad_input(origin + ": field 'weight_map': a file's name is not a text");
    const auto& name = shard.get_ref<const std::string&>();
    if (!safe_repo_path(name) || name.find('/') != std::string::npos || !name.ends_with(".safetensors"))
      return bad_input(origin + ": field 'weight_map': " + in_quotes(name) +
                       " is no name of a safetensors file beside it");
    names.insert(name);
  }
  return std::vector<std::string>(names.begin(), names.end());
}

Result<std::vector<RepoFile>> shards_of_index(std::string_view json, const std::string& origin,
                                              const Listing& listing) {
  LISSOM_TRY(const std::vector<std::string> names, shard_names(json, origin));
  std::vector<RepoFile> shards;
  for (const std::string& name : names) {
    const RepoFile* file = listing.find(name);
    if (file == nullptr)
      return bad_input(origin + ": field 'weight_map' names " + in_quotes(name) +
                       ", which the repository does not hold");
    shards.push_back(*file);
  }
  return shards;
}

}  // namespace lissom::hub
