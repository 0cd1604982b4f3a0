#include "runtime/model.h"

#include <algorithm>
#include <cstring>
#include <new>

#include "base/half.h"
#include "runtime/rope.h"

namespace lissom {
namespace runtime {
namespace {

std::vector<std::byte> bf16_of_f32(std::span<const std::byte> f32, ThreadPool& pool) {
  std::vector<std::byte> bf16(f32.size() / 2);
  const auto count = static_cast<int64_t>(f32.size() / sizeof(float));
  pool.parallel_for(count, int64_t{1} << 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      float value;
      std::memcpy(&value, f32.data() + i * 4, 4);
      const uint16_t rounded = float_to_bf16(value);
      std::memcpy(bf16.data() + i * 2, &rounded, 2);
    }
  });
  return bf16;
}

struct Loader {
  const LoadedModel& model;
  const TensorSource& source;
  ThreadPool& pool;

  Result<void> load(const Weight& weight, const Needs& needs, HeldWeight& held) const {
    const int64_t index = source.find(weight.name);
    if (index < 0) {
      // An optional bias may be absent; what is multiplied or looked up may not.
      if (weight.optional && needs.vector) return {};
      return bad_input("tensor '" + weight.name + "' is missing");
    }
    LISSOM_TRY(TensorView view, source.read(static_cast<size_t>(index)));
    const auto result = hold(weight, needs, std::move(view), held);
    if (!result) return tl::unexpected(result.error().within("tensor '" + weight.name + "'"));
    // A packed copy of a table's matrix, and vectors, leave nothing that still reads the file.
    const bool repacked = held.experts.empty() || held.experts[0]->repacked();
    if (held.table == nullptr && repacked && (held.matrix == nullptr || held.matrix->repacked()))
      source.release(static_cast<size_t>(index));
    return {};
  }

  Result<void> hold(const Weight& weight, const Needs& needs, TensorView view, HeldWeight& held) const {
    const TensorInfo& info = view.info;
    if (!(info.shape == weight.shape))
      return bad_input("shape " + info.shape.str() + ", expected " + weight.shape.str());
    const Codec* codec = find_codec(info.type);
    if (codec == nullptr) return unsupported("type '" + info.type + "' is not a codec of this build");
    LISSOM_TRY(Parts parts, parts_of(*codec, info.shape, view.data));
    if (needs.vector) {
      held.vector.resize(static_cast<size_t>(info.shape.elements()));
      codec->decode_rows(info.shape, parts, 0, info.shape.rows(), held.vector.data());
    }
    if (needs.matrix || needs.experts) {
      LISSOM_CHECK(pack(needs, view, *codec, held));
    } else if (needs.table) {
      held.table = std::make_unique<Table>(Table{codec, std::move(view), std::move(parts)});
    }
    return {};
  }

  /// Experts lie one after the other: each is packed on its own, where a codec's bytes can be cut by rows.
  Result<void> pack(const Needs& needs, const TensorView& view, const Codec& codec, HeldWeight& held) const {
    const auto precision = model.options_.exact ? kernels::Precision::exact : kernels::Precision::fast;
    const Codec& held_as = held_codec(codec, model.options_);
    const bool rounds = &held_as != &codec;
    const std::vector<std::byte> rounded = rounds ? bf16_of_f32(view.data, pool) : std::vector<std::byte>();
    const std::span<const std::byte> bytes = rounds ? std::span(rounded) : view.data;
    const Shape& shape = view.info.shape;
    if (needs.matrix) {
      LISSOM_TRY(held.matrix, kernels::PackedMatrix::pack(model.target_, held_as, shape[0], shape[1], bytes,
                                                          view.keep, pool, precision));
      return {};
    }
    held.experts.resize(static_cast<size_t>(shape[0]));
    if (dynamic_cast<const BlockCodec*>(&codec) == nullptr) {
      for (size_t e = 0; e < held.experts.size(); ++e) {
        LISSOM_TRY(held.experts[e],
                   kernels::PackedMatrix::part(model.target_, codec, shape, static_cast<int64_t>(e) * shape[1],
                                               shape[1], bytes, view.keep, precision));
      }
      return {};
    }
    const size_t each = bytes.size() / held.experts.size();
    for (size_t e = 0; e < held.experts.size(); ++e) {
      LISSOM_TRY(held.experts[e],
                 kernels::PackedMatrix::pack(model.target_, held_as, shape[1], shape[2],
                                             bytes.subspan(e * each, each), view.keep, pool, precision));
    }
    return {};
  }
};

/// What a session will make of it, so that a model that cannot run does not load.
Result<void> check_rope(const Rope& rope, int64_t head_dim) {
  for (const int64_t positions : {int64_t{0}, int64_t{INT32_MAX}})
    LISSOM_CHECK(rope_frequencies(rope, positions));
  if (rope.dim > head_dim)
    return bad_input("RoPE rotates " + std::to_string(rope.dim) + " dimensions of heads of " +
                     std::to_string(head_dim));
  return {};
}

Result<std::shared_ptr<Model>> load_checked(const Checkpoint& checkpoint, const RuntimeOptions& options) {
  LISSOM_TRY(auto model, LoadedModel::make(checkpoint, options, CompactAt::last_attention));
  ThreadPool pool(options.threads);
  LISSOM_CHECK(model->hold(needs_of(model->program_.steps, model->graph_.weights.size()), pool));
  return model;
}

}  // namespace

Result<std::shared_ptr<LoadedModel>> LoadedModel::make(const Checkpoint& checkpoint,
                                                       const RuntimeOptions& options, CompactAt compact) {
  if (options.threads < 0 || options.threads > 1024)
    return bad_input("threads: " + std::to_string(options.threads) + " is not in 0 … 1024");
  if (checkpoint.tensors == nullptr) return bad_input("the checkpoint has no tensors");
  auto model = std::make_shared<LoadedModel>();
  model->config_ = checkpoint.config;
  model->graph_ = checkpoint.graph;
  model->options_ = options;
  model->source_ = checkpoint.tensors;
  LISSOM_TRY(model->target_, active_target());
  LISSOM_TRY(model->program_, lower(model->graph_, compact));
  if (model->program_.uses_rope) {
    LISSOM_CHECK(check_rope(model->config_.rope, model->program_.head_dim));
    if (model->program_.uses_local_rope) {
      if (!model->config_.rope_local) return bad_input("the graph wants a local RoPE, which is not configured");
      LISSOM_CHECK(check_rope(*model->config_.rope_local, model->program_.head_dim));
    }
  }
  model->weights_.resize(model->graph_.weights.size());
  model->held_.resize(model->graph_.weights.size());
  return model;
}

Result<void> LoadedModel::hold(std::span<const Needs> needs, ThreadPool& pool) {
  for (size_t i = 0; i < needs.size(); ++i) {
    if (!held_[i].any() || held_[i] == needs[i]) continue;
    weights_[i] = {};
    held_[i] = {};
    if (const int64_t index = source_->find(graph_.weights[i].name); index >= 0)
      source_->release(static_cast<size_t>(index));
  }
  const Loader loader{*this, *source_, pool};
  for (size_t i = 0; i < needs.size(); ++i) {
    if (!needs[i].any() || held_[i].any()) continue;
    held_[i] = needs[i];
    if (const auto r = loader.load(graph_.weights[i], needs[i], weights_[i]); !r)
      return tl::unexpected(r.error().within(source_->origin()));
  }
  return {};
}

void LoadedModel::release_tables() const {
  for (size_t i = 0; i < weights_.size(); ++i)
    if (weights_[i].table != nullptr)
      source_->release(static_cast<size_t>(source_->find(graph_.weights[i].name)));
}

void Table::row(int64_t index, float* out) const {
  codec->decode_rows(view.info.shape, parts, index, 1, out);
}

void LoadedModel::embed(WeightId table, int64_t row, float* out) const {
  const HeldWeight& held = weight(table);
  if (held.matrix != nullptr) {
    held.matrix->row(row, out);
  } else {
    held.table->row(row, out);
  }
}

uint64_t LoadedModel::weight_bytes() const {
  uint64_t bytes = 0;
  for (const HeldWeight& w : weights_) {
    if (w.matrix != nullptr) bytes += w.matrix->bytes();
    for (const auto& expert : w.experts) bytes += expert->bytes();
    if (w.table != nullptr) bytes += w.table->view.data.size();
    bytes += w.vector.size() * sizeof(float);
  }
  return bytes;
}

}  // namespace runtime

Result<std::shared_ptr<Model>> Model::load(const Checkpoint& checkpoint, const RuntimeOptions& options) {
  try {
    return runtime::load_checked(checkpoint, options);
  } catch (const std::bad_alloc&) {
    return io_error(checkpoint.path.string() + ": out of memory while loading the weights");
  }
}

}  // namespace lissom
