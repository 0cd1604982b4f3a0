#include "model/canonical_source.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <unordered_map>

#include "base/text.h"
#include "lissom/codec.h"
#include "model/fields.h"

namespace lissom {
namespace {

struct Entry {
  std::vector<size_t> parts;  ///< indices in the source; empty where `made` is the tensor
  Weight weight;
  std::shared_ptr<std::vector<float>> made;
};

/// Whether values change, and with them the type.
bool changes_values(const Weight& w) {
  return w.transform == HfTransform::add_one || !w.factors.empty();
}

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

  Result<void> expect(std::span<const size_t> indices) const override {
    std::vector<size_t> parts;
    for (const size_t index : indices)
      parts.insert(parts.end(), entries_[index].parts.begin(), entries_[index].parts.end());
    return source_->expect(parts);
  }
  bool ready(size_t index) const override {
    return std::ranges::all_of(entries_[index].parts, [this](size_t part) { return source_->ready(part); });
  }

  Result<TensorView> read(size_t index) const override {
    const Entry& entry = entries_[index];
    const TensorInfo& info = infos_[index];
    if (entry.made) return TensorView{info, std::as_bytes(std::span<const float>(*entry.made)), entry.made};
    const Weight& w = entry.weight;
    if (changes_values(w)) return computed(index);
    LISSOM_TRY(TensorView first, source_->read(entry.parts[0]));
    if (w.transform == HfTransform::none) {
      first.info = info;
      return first;
    }
    const int64_t element = static_cast<int64_t>(info.bytes) / info.shape.elements();
    if (w.transform == HfTransform::drop_rows) {
      const int64_t skip = w.first_row * element * (info.shape.elements() / info.shape[0]);
      return TensorView{info, first.data.subspan(static_cast<size_t>(skip)), first.keep};
    }
    auto owned = std::make_shared<std::vector<std::byte>>(info.bytes);
    if (w.transform == HfTransform::concat_rows) {
      size_t at = 0;
      for (size_t part : entry.parts) {
        LISSOM_TRY(const TensorView view, source_->read(part));
        std::copy(view.data.begin(), view.data.end(), owned->begin() + static_cast<std::ptrdiff_t>(at));
        at += view.data.size();
        if (part != entry.parts[0]) source_->release(part);
      }
    } else {
      transform_bytes(w.transform, info.shape, w.heads, true, element, first.data.data(), owned->data());
    }
    return TensorView{info, {owned->data(), owned->size()}, owned};
  }

 private:
  /// A tensor whose values change, in F32.
  Result<TensorView> computed(size_t index) const {
    const Entry& entry = entries_[index];
    const Weight& w = entry.weight;
    auto values = std::make_shared<std::vector<float>>();
    for (size_t p = 0; p < entry.parts.size(); ++p) {
      LISSOM_TRY(const TensorView view, source_->read(entry.parts[p]));
      const Codec* codec = find_codec(view.info.type);
      if (codec == nullptr)
        return unsupported(origin() + ": tensor " + in_quotes(view.info.name) + " has type " + view.info.type +
                           ", which is not one of floating-point weights that are known here");
      const size_t at = values->size();
      values->resize(at + static_cast<size_t>(view.info.shape.elements()));
      const std::span<const std::byte> bytes[] = {view.data};
      codec->decode_rows(view.info.shape, bytes, 0, view.info.shape.rows(), values->data() + at);
      const float factor = w.factors.empty() ? 1.0F : w.factors[p], add = w.factors.empty() ? 1.0F : 0.0F;
      for (size_t i = at; i < values->size(); ++i) (*values)[i] = (*values)[i] * factor + add;
    }
    return TensorView{infos_[index], std::as_bytes(std::span<const float>(*values)), values};
  }

  std::shared_ptr<const TensorSource> source_;
  std::vector<TensorInfo> infos_;
  std::vector<Entry> entries_;
  std::unordered_map<std::string, int64_t> index_;
};

/// Buffers that old checkpoints carry and no graph reads.
bool is_buffer(std::string_view name) {
  for (std::string_view suffix :
       {".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq",
        "embeddings.position_ids", "embeddings.token_type_ids"})
    if (name.ends_with(suffix)) return true;
  // Pre-training heads of BERT, which neither embeddings nor a classifier run.
  return name.starts_with("lm_predictions.") || name.starts_with("mask_predictions.") ||
         name.starts_with("cls.predictions.") || name.starts_with("cls.seq_relationship.");
}

/// A copy of the token embedding, which a tied output is.
bool is_tied_output(std::string_view name) {
  return name == "lm_head.weight" || name == "embed_out.weight";
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

Result<void> check_shape(const std::string& origin, const TensorInfo& found, const Shape& expected) {
  if (found.shape == expected) return {};
  return bad_input(origin + ": tensor " + in_quotes(found.name) + " has shape " + found.shape.str() +
                   ", expected " + expected.str() + " from the configuration");
}

uint64_t hf_rows(const Weight& w) {
  return static_cast<uint64_t>(hf_tensors(w)[0].shape[0]);
}

/// The source's tensors of which a weight is made. False where an optional one is absent.
Result<bool> find_parts(const TensorSource& source, const NameIndex& names, const Weight& w,
                        std::vector<size_t>& parts) {
  const auto list = source.tensors();
  for (const HfTensor& part : hf_tensors(w)) {
    const size_t* found = names.find(part.name);
    if (found == nullptr) {
      if (w.optional) return false;
      return bad_input(source.origin() + ": tensor " + in_quotes(part.name) +
                       " is missing (with any of the architecture's prefixes)");
    }
    LISSOM_CHECK(check_shape(source.origin(), list[*found], part.shape));
    if (!parts.empty() && list[*found].type != list[parts[0]].type)
      return unsupported(source.origin() + ": tensors " + in_quotes(list[parts[0]].name) + " and " +
                         in_quotes(list[*found].name) + " make one, but have different types");
    parts.push_back(*found);
  }
  return true;
}

}  // namespace

std::vector<HfTensor> hf_tensors(const Weight& w) {
  std::vector<HfTensor> tensors;
  for (const std::string& name : w.hf) tensors.push_back({name, w.shape});
  if (w.transform == HfTransform::transpose && w.shape.rank() == 2) tensors[0].shape = {w.shape[1], w.shape[0]};
  if (w.transform == HfTransform::drop_rows) tensors[0].shape = {w.shape[0] + w.first_row, w.shape[1]};
  if (w.transform == HfTransform::concat_rows) {
    // Equal parts; those of a 3-D weight are its matrices.
    const auto n = static_cast<int64_t>(w.hf.size());
    for (HfTensor& t : tensors)
      t.shape = w.shape.rank() == 3   ? Shape{w.shape[1], w.shape[2]}
                : w.shape.rank() == 2 ? Shape{w.shape[0] / n, w.shape[1]}
                                      : Shape{w.shape[0] / n};
  }
  return tensors;
}

std::vector<float> hf_values(const Weight& w, size_t part, std::span<const float> canonical) {
  const Shape shape = hf_tensors(w)[part].shape;
  const auto n = static_cast<size_t>(shape.elements());
  std::vector<float> out(n);
  switch (w.transform) {
    case HfTransform::transpose:
    case HfTransform::permute_rope:
    case HfTransform::heads_qkv:
      transform_bytes(w.transform, shape, w.heads, false, sizeof(float), std::as_bytes(canonical).data(),
                      std::as_writable_bytes(std::span(out)).data());
      break;
    case HfTransform::concat_rows: {
      const float factor = w.factors.empty() ? 1.0F : w.factors[part];
      for (size_t i = 0; i < n; ++i) out[i] = canonical[part * n + i] / factor;
      break;
    }
    case HfTransform::add_one:
      for (size_t i = 0; i < n; ++i) out[i] = canonical[i] - 1.0F;
      break;
    case HfTransform::drop_rows:
      std::ranges::copy(canonical, out.begin() + w.first_row * shape[1]);
      break;
    case HfTransform::none:
    case HfTransform::zeros:
      std::ranges::copy(canonical, out.begin());
      break;
  }
  return out;
}

Result<std::shared_ptr<const TensorSource>> canonical_view(std::shared_ptr<const TensorSource> source,
                                                           const Graph& graph, const Architecture& arch,
                                                           const Config& config) {
  const NameIndex names(*source, arch);
  const auto list = source->tensors();
  std::vector<bool> used(list.size(), false);
  std::vector<TensorInfo> infos;
  std::vector<Entry> entries;
  for (const Weight& w : graph.weights) {
    Entry entry{{}, w, nullptr};
    if (w.role == WeightRole::constant || w.transform == HfTransform::zeros) {
      std::vector<float> values = w.role == WeightRole::constant
                                      ? rope_constant(w.name, config.rope)
                                      : std::vector<float>(static_cast<size_t>(w.shape.elements()));
      if (values.empty()) continue;
      entry.made = std::make_shared<std::vector<float>>(std::move(values));
      infos.push_back({w.name, "F32", w.shape, entry.made->size() * sizeof(float)});
      entries.push_back(std::move(entry));
      continue;
    }
    LISSOM_TRY(const bool found, find_parts(*source, names, w, entry.parts));
    if (!found) continue;
    TensorInfo info{w.name, list[entry.parts[0]].type, w.shape, 0};
    for (size_t part : entry.parts) {
      used[part] = true;
      info.bytes += list[part].bytes;
    }
    if (w.transform == HfTransform::drop_rows) info.bytes = info.bytes / hf_rows(w) * uint64_t(w.shape[0]);
    if (changes_values(w)) {
      info.type = "F32";
      info.bytes = static_cast<uint64_t>(w.shape.elements()) * sizeof(float);
    }
    infos.push_back(std::move(info));
    entries.push_back(std::move(entry));
  }
  for (size_t i = 0; i < list.size(); ++i) {
    if (used[i] || is_buffer(list[i].name) || (config.tied_embeddings && is_tied_output(list[i].name)))
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
  // permute_rope: row (head, half, i) ↔ row (head, i, half). heads_qkv: row (head, which, i) ↔ (which, head,
  // i).
  const bool qkv = transform == HfTransform::heads_qkv;
  const int64_t rows = shape[0], parts = qkv ? 3 : 2, length = rows / heads / parts;
  const int64_t row_bytes = element_bytes * (shape.rank() == 1 ? 1 : shape.cols());
  for (int64_t h = 0; h < heads; ++h)
    for (int64_t s = 0; s < parts; ++s)
      for (int64_t i = 0; i < length; ++i) {
        const int64_t hf = (h * parts + s) * length + i;
        const int64_t canonical = qkv ? (s * heads + h) * length + i : (h * length + i) * parts + s;
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
