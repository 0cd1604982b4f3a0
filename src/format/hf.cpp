#include "format/hf.h"

#include <algorithm>
#include <system_error>
#include <vector>

#include "base/file.h"
#include "format/pack.h"
#include "format/safetensors.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}
bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

/// "…-00002-of-00003.gguf": a file of a split model that is not its first.
bool is_later_split(const std::string& name) {
  constexpr std::string_view kPattern = "-ddddd-of-ddddd.gguf";
  if (name.size() < kPattern.size()) return false;
  const std::string_view tail = std::string_view(name).substr(name.size() - kPattern.size());
  for (size_t i = 0; i < tail.size(); ++i) {
    const bool digit = tail[i] >= '0' && tail[i] <= '9';
    if (kPattern[i] == 'd' ? !digit : tail[i] != kPattern[i]) return false;
  }
  return tail.substr(1, 5) != "00001";
}

std::vector<fs::path> find_files(const fs::path& folder, const std::vector<std::string_view>& extensions) {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string extension = it->path().extension().string();
    if (std::ranges::find(extensions, extension) != extensions.end() && is_file(it->path()))
      found.push_back(it->path());
  }
  std::ranges::sort(found);
  return found;
}

std::string name_list(const std::vector<fs::path>& paths) {
  std::string text;
  for (const fs::path& p : paths) text += (text.empty() ? "" : ", ") + p.filename().string();
  return text;
}

Result<ModelPath> resolve_folder(const fs::path& folder) {
  if (is_file(folder / "config.json")) return ModelPath{ModelKind::hf_folder, folder};
  std::vector<fs::path> ggufs = find_files(folder, {".gguf"});
  std::erase_if(ggufs, [](const fs::path& p) { return is_later_split(p.filename().string()); });
  if (ggufs.size() == 1) return ModelPath{ModelKind::gguf, ggufs.front()};
  if (ggufs.size() > 1)
    return bad_input(folder.string() + ": holds several GGUF files (" + name_list(ggufs) +
                     "); name one of them");
  return bad_input(folder.string() + ": holds neither config.json (a Hugging Face model) nor a .gguf file");
}

}  // namespace

Result<ModelPath> resolve_model(const std::string& model) {
  if (model.empty()) return bad_input("the model's path is empty");
  const fs::path path(model);
  if (is_folder(path)) return resolve_folder(path);
  if (is_file(path)) {
    const std::string extension = path.extension().string();
    if (extension == ".gguf") return ModelPath{ModelKind::gguf, path};
    const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
    // Without a configuration beside it only a pack can be meant, also where it is broken.
    if (extension == ".safetensors" && (is_pack(path) || !is_file(folder / "config.json")))
      return ModelPath{ModelKind::pack, path};
    if (extension == ".safetensors" || path.filename() == "config.json") return resolve_folder(folder);
    if (extension == ".bin" || extension == ".pth" || extension == ".pt") {
      const auto refused = open_hf_weights(folder);
      if (!refused) return tl::unexpected(refused.error());
    }
    return unsupported(model + ": is neither a .gguf file, a pack nor a Hugging Face folder");
  }
  return bad_input(model + ": no such file or folder");
}

Result<std::shared_ptr<const TensorSource>> open_hf_weights(const fs::path& folder) {
  for (const char* name : {"model.safetensors.index.json", "model.safetensors"})
    if (is_file(folder / name)) {
      LISSOM_TRY(auto file, SafetensorsFile::open(folder / name));
      return std::shared_ptr<const TensorSource>(std::move(file));
    }
  const std::vector<fs::path> safetensors = find_files(folder, {".safetensors"});
  if (safetensors.size() == 1) {
    LISSOM_TRY(auto file, SafetensorsFile::open(safetensors.front()));
    return std::shared_ptr<const TensorSource>(std::move(file));
  }
  if (safetensors.size() > 1)
    return bad_input(folder.string() + ": holds " + std::to_string(safetensors.size()) +
                     " .safetensors files but neither model.safetensors nor model.safetensors.index.json");
  const std::vector<fs::path> pickles = find_files(folder, {".bin", ".pth", ".pt"});
  if (!pickles.empty())
    return unsupported(folder.string() + ": its weights are pickled (" + name_list(pickles) +
                       "). Opening a pickle can run any code, so it is never done here. Convert once, where "
                       "you trust the file: "
                       "python -c \"from transformers import AutoModelForCausalLM as M; M.from_pretrained('" +
                       folder.string() + "').save_pretrained('OUT')\" (or the Auto class that fits the model)");
  return bad_input(folder.string() + ": holds no model.safetensors and no model.safetensors.index.json");
}

}  // namespace lissom
