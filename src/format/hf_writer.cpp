#include "format/hf_writer.h"

#include <cstdio>
#include <unordered_map>

#include "base/file.h"
#include "format/json.h"
#include "format/safetensors.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;

struct Shard {
  std::string file;
  std::vector<TensorInfo> directory;
  std::unordered_map<std::string, size_t> place;  // in the file's order
  size_t left = 0;
  std::unique_ptr<SafetensorsWriter> writer;
};

class Writer : public HfWeightsWriter {
 public:
  Writer(fs::path folder, std::map<std::string, std::string> metadata)
      : folder_(std::move(folder)), metadata_(std::move(metadata)) {}

  void plan(const std::vector<TensorInfo>& directory, uint64_t shard_bytes) {
    uint64_t filled = 0;
    shards_.resize(1);
    for (const TensorInfo& info : directory) {
      if (filled > 0 && filled + info.bytes > shard_bytes) {
        shards_.emplace_back();
        filled = 0;
      }
      filled += info.bytes;
      total_ += info.bytes;
      order_.emplace_back(shards_.size() - 1, info.name);
      shards_.back().directory.push_back(info);
    }
    for (size_t s = 0; s < shards_.size(); ++s) {
      Shard& shard = shards_[s];
      char name[64];
      std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", s + 1, shards_.size());
      shard.file = shards_.size() == 1 ? "model.safetensors" : name;
      shard.left = shard.directory.size();
      sort_for_safetensors(shard.directory);
      for (size_t i = 0; i < shard.directory.size(); ++i) shard.place.emplace(shard.directory[i].name, i);
    }
  }

  Result<void> append(std::span<const std::byte> data) override {
    if (next_ == order_.size()) return bad_input(folder_.string() + ": more tensors than were announced");
    const auto& [s, name] = order_[next_++];
    Shard& shard = shards_[s];
    if (!shard.writer) {
      LISSOM_TRY(shard.writer, SafetensorsWriter::create(folder_ / shard.file, shard.directory, metadata_));
    }
    LISSOM_CHECK(shard.writer->put(shard.place.at(name), data));
    if (--shard.left > 0) return {};
    LISSOM_CHECK(shard.writer->finish());
    shard.writer.reset();
    return {};
  }

  Result<void> finish() override {
    if (next_ != order_.size())
      return bad_input(folder_.string() + ": lacks " + std::to_string(order_.size() - next_) + " tensors");
    if (shards_.size() == 1) return {};
    Json index = {{"metadata", {{"total_size", total_}}}, {"weight_map", Json::object()}};
    for (const auto& [s, name] : order_) index["weight_map"][name] = shards_[s].file;
    return write_file(folder_ / "model.safetensors.index.json", index.dump(2) + "\n");
  }

 private:
  fs::path folder_;
  std::map<std::string, std::string> metadata_;
  std::vector<Shard> shards_;
  std::vector<std::pair<size_t, std::string>> order_;
  size_t next_ = 0;
  uint64_t total_ = 0;
};

}  // namespace

Result<std::unique_ptr<HfWeightsWriter>> HfWeightsWriter::create(
    const fs::path& folder, const std::vector<TensorInfo>& directory,
    const std::map<std::string, std::string>& metadata, uint64_t shard_bytes) {
  if (directory.empty()) return bad_input(folder.string() + ": there are no tensors to write");
  auto writer = std::make_unique<Writer>(folder, metadata);
  writer->plan(directory, shard_bytes);
  return writer;
}

Result<void> write_whole_folder(const fs::path& out,
                                const std::function<Result<void>(const fs::path& folder)>& fill) {
  std::error_code error;
  if (fs::exists(out, error) && !fs::is_empty(out, error))
    return bad_input(out.string() + ": exists and is not empty; name a new folder");
  fs::path target = fs::absolute(out).lexically_normal();
  if (!target.has_filename()) target = target.parent_path();
  const fs::path partial = target.string() + ".partial";
  fs::remove_all(partial, error);
  fs::create_directories(partial, error);
  if (error) return io_error(partial.string() + ": " + error.message());
  auto done = fill(partial);
  if (done) {
    fs::remove(target, error);
    fs::rename(partial, target, error);
    if (error) done = io_error(target.string() + ": " + error.message());
  }
  if (!done) fs::remove_all(partial, error);
  return done;
}

}  // namespace lissom
