#include "model/canonical_source.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <unordered_map>

#include "base/text.h"
#include "model/fields.h"

namespace lissom {
namespace {

struct Entry {
  std::vector<size_t> parts;  ///< indices in the source; empty where `made` is the tensor
  HfTransform transform = HfTransform::none;
  int64_t heads = 0;
  std::shared_ptr<std::vector<float>> made;
};

class CanonicalSource : public TensorSource {
 public:
  CanonicalSource(std::shared_ptr<const TensorSource> source, std::vector<TensorInfo> infos,
                  std::vector<Entry> entries)
      : source_(std::move(source)), infos_(std::move(infos)), entries_(std::move(entries)) {
    for (size_t i = 0; i < infos_.size(); ++i) index_[infos_[i].name] = static_cast<int64_t>(i);
  }

  std::span<const TensorInfo> tensors() const override { return infos_; }
  std::string origin() const override { return source_->origin(); }
  int64_t find(std::string_view name) const override {
    const auto it = index_.find(std::string(name));
    return it == index_.end() ? -1 : it->second;
  }
  void release(size_t index) const override {
    for (size_t part : entries_[index].parts) source_->release(part);
  }

  Result<TensorView> read(size_t index) const override {
    const Entry& entry = entries_[index];
    const TensorInfo& info = infos_[index];
    if (entry.made) return TensorView{info, std::as_bytes(std::span<const float>(*entry.made)), entry.made};
    LISSOM_TRY(TensorView first, source_->read(entry.parts[0]));
    if (entry.transform == HfTransform::none) {
      first.info = info;
      return first;
    }
    auto owned = std::make_shared<std::vector<std::byte>>(info.bytes);
    if (entry.transform == HfTransform::concat_rows) {
      size_t at = 0;
      for (size_t part : entry.parts) {
        LISSOM_TRY(const TensorView view, source_->read(part));
        std::copy(view.data.begin(), view.data.end(), owned->begin() + static_cast<std::ptrdiff_t>(at));
        at += view.data.size();
      }
    } else {
      const int64_t element = static_cast<int64_t>(info.bytes) / info.shape.elements();
      transform_bytes(entry.transform, info.shape, entry.heads, true, element, first.data.data(),
                      owned->data());
    }
    return TensorView{info, {owned->data(), owned->size()}, owned};
  }

 private:
  std::shared_ptr<const TensorSource> source_;
  std::vector<TensorInfo> infos_;
  std::vector<Entry> entries_;
  std::unordered_map<std::string, int64_t> index_;
};

/// Buffers that old checkpoints carry and no graph reads.
bool is_buffer(std::string_view name) {
  for (std::string_view suffix :
       {".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq", "embeddings.position_ids"})
    if (name.ends_with(suffix)) return true;
  // Pre-training heads of BERT, which neither embeddings nor a classifier run.
  return name.starts_with("cls.predictions.") || name.starts_with("cls.seq_relationship.");
}

class NameIndex {
 public:
  NameIndex(const TensorSource& source, const Architecture& arch) : prefixes_(arch.hf_prefixes) {
    const auto list = source.tensors();
    for (size_t i = 0; i < list.size(); ++i) index_[list[i].name] = i;
    prefixes_.emplace_back("");
  }
  [[nodiscard]] const size_t* find(const std::string& name) const {
    for (std::string_view prefix : prefixes_) {
      const std::string full = std::string(prefix) + name;
      if (const auto it = index_.find(full); it != index_.end()) return &it->second;
      // TensorFlow's names for a layer norm's weight and bias, in old BERT checkpoints.
      for (const auto& [modern, old] : {std::pair{".weight", ".gamma"}, std::pair{".bias", ".beta"}}) {
        if (!full.ends_with(std::string("LayerNorm") + modern)) continue;
        const auto it = index_.find(full.substr(0, full.size() - std::strlen(modern)) + old);
        if (it != index_.end()) return &it->second;
      }
    }
    return nullptr;
  }

 private:
  std::unordered_map<std::string, size_t> index_;
  std::vector<std::string_view> prefixes_;
};

/// The shape that Hugging Face stores for a canonical one.
Shape hf_shape(const Weight& w) {
  if (w.transform == HfTransform::transpose && w.shape.rank() == 2) return {w.shape[1], w.shape[0]};
  return w.shape;
}

Result<void> check_shape(const std::string& origin, const TensorInfo& found, const Shape& expected) {
  if (found.shape == expected) return {};
  return bad_input(origin + ": tensor " + in_quotes(found.name) + " has shape " + found.shape.str() +
                   ", expected " + expected.str() + " from the configuration");
}

}  // namespace

Result<std::shared_ptr<const TensorSource>> canonical_view(std::shared_ptr<const TensorSource> source,
                                                           const Graph& graph, const Architecture& arch,
                                                           const Config& config) {
  const NameIndex names(*source, arch);
  const auto list = source->tensors();
  std::vector<bool> used(list.size(), false);
  std::vector<TensorInfo> infos;
  std::vector<Entry> entries;
  for (const Weight& w : graph.weights) {
    if (w.name == kRopeFreqs) {
      if (config.rope.scaling != RopeScaling::llama3) continue;
      Entry entry;
      entry.made = std::make_shared<std::vector<float>>(llama3_divisors(config.rope));
      infos.push_back({w.name, "F32", w.shape, entry.made->size() * sizeof(float)});
      entries.push_back(std::move(entry));
      continue;
    }
    Entry entry{{}, w.transform, w.heads, nullptr};
    TensorInfo info{w.name, "", w.shape, 0};
    for (const std::string& hf : w.hf) {
      const size_t* found = names.find(hf);
      if (found == nullptr) break;
      used[*found] = true;
      entry.parts.push_back(*found);
      info.type = list[*found].type;
      info.bytes += list[*found].bytes;
      if (w.transform != HfTransform::concat_rows)
        LISSOM_CHECK(check_shape(source->origin(), list[*found], hf_shape(w)));
    }
    if (entry.parts.size() < w.hf.size()) {
      if (w.optional) continue;
      return bad_input(source->origin() + ": tensor " + in_quotes(w.hf[entry.parts.size()]) +
                       " is missing (with any of the architecture's prefixes)");
    }
    infos.push_back(std::move(info));
    entries.push_back(std::move(entry));
  }
  for (size_t i = 0; i < list.size(); ++i) {
    if (used[i] || is_buffer(list[i].name) || (config.tied_embeddings && list[i].name == "lm_head.weight"))
      continue;
    return bad_input(source->origin() + ": tensor " + in_quotes(list[i].name) + " " + list[i].shape.str() +
                     " has no place in architecture '" + std::string(arch.name) +
                     "'; leaving it out would change the model");
  }
  return std::make_shared<CanonicalSource>(std::move(source), std::move(infos), std::move(entries));
}

void transform_bytes(HfTransform transform, const Shape& shape, int64_t heads, bool forward,
                     int64_t element_bytes, const std::byte* in, std::byte* out) {
  const auto copy = [&](int64_t to, int64_t from, int64_t bytes) {
    std::memcpy(out + to * bytes, in + from * bytes, static_cast<size_t>(bytes));
  };
  if (transform == HfTransform::transpose) {
    const int64_t rows = shape[0], cols = shape[1];
    // Blocked, so that both sides stay in cache.
    constexpr int64_t kBlock = 32;
    for (int64_t r0 = 0; r0 < rows; r0 += kBlock)
      for (int64_t c0 = 0; c0 < cols; c0 += kBlock)
        for (int64_t r = r0; r < std::min(rows, r0 + kBlock); ++r)
          for (int64_t c = c0; c < std::min(cols, c0 + kBlock); ++c)
            copy(r * cols + c, c * rows + r, element_bytes);
    return;
  }
  // permute_rope: row (head, half, i) ↔ row (head, i, half).
  const int64_t rows = shape[0], half = rows / heads / 2;
  const int64_t row_bytes = element_bytes * (shape.rank() == 1 ? 1 : shape.cols());
  for (int64_t h = 0; h < heads; ++h)
    for (int64_t i = 0; i < half; ++i)
      for (int64_t s = 0; s < 2; ++s) {
        const int64_t hf = (h * 2 + s) * half + i, canonical = (h * half + i) * 2 + s;
        forward ? copy(canonical, hf, row_bytes) : copy(hf, canonical, row_bytes);
      }
}

Result<void> check_tensors(const TensorSource& source, const Graph& graph) {
  std::set<std::string_view> known;
  for (const Weight& w : graph.weights) {
    known.insert(w.name);
    const int64_t at = source.find(w.name);
    if (at < 0) {
      if (w.optional) continue;
      return bad_input(source.origin() + ": tensor " + in_quotes(w.name) + " is missing");
    }
    LISSOM_CHECK(check_shape(source.origin(), source.tensors()[static_cast<size_t>(at)], w.shape));
  }
  for (const TensorInfo& t : source.tensors())
    if (!known.contains(t.name))
      return bad_input(source.origin() + ": tensor " + in_quotes(t.name) +
                       " has no place in this architecture");
  return {};
}

}  // namespace lissom
