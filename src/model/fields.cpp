#include "model/fields.h"

#include <cmath>
#include <limits>

#include "base/text.h"

namespace lissom {
namespace {

std::string field(std::string_view key) {
  return "config.json: field " + in_quotes(key);
}

Result<int64_t> bounded(const std::string& what, int64_t value, Bounds bounds) {
  if (value < bounds.low || value > bounds.high)
    return bad_input(what + " is " + std::to_string(value) + ", expected " + std::to_string(bounds.low) +
                     " to " + std::to_string(bounds.high));
  return value;
}

Result<float> positive_number(const std::string& what, double value) {
  if (!std::isfinite(value) || value <= 0 || value > std::numeric_limits<float>::max())
    return bad_input(what + " must be a positive number");
  return static_cast<float>(value);
}

}  // namespace

bool JsonFields::has(std::string_view key) const {
  const auto it = config_.find(key);
  return it != config_.end() && !it->is_null();
}

Result<int64_t> JsonFields::integer(std::string_view key, Bounds bounds) const {
  if (!has(key)) return bad_input(field(key) + " is missing");
  const Json& v = config_[std::string(key)];
  if (!v.is_number_integer()) return bad_input(field(key) + " must be an integer");
  if (v.is_number_unsigned() && v.get<uint64_t>() > uint64_t{std::numeric_limits<int64_t>::max()})
    return bad_input(field(key) + " is too large");
  return bounded(field(key), v.get<int64_t>(), bounds);
}

Result<int64_t> JsonFields::integer_or(std::string_view key, int64_t fallback, Bounds bounds) const {
  return has(key) ? integer(key, bounds) : Result<int64_t>(fallback);
}

Result<float> JsonFields::positive_or(std::string_view key, double fallback) const {
  if (!has(key)) return static_cast<float>(fallback);
  const Json& v = config_[std::string(key)];
  if (!v.is_number()) return bad_input(field(key) + " must be a number");
  return positive_number(field(key), v.get<double>());
}

Result<bool> JsonFields::boolean_or(std::string_view key, bool fallback) const {
  if (!has(key)) return fallback;
  const Json& v = config_[std::string(key)];
  if (!v.is_boolean()) return bad_input(field(key) + " must be true or false");
  return v.get<bool>();
}

Result<std::string> JsonFields::string_or(std::string_view key, std::string fallback) const {
  if (!has(key)) return fallback;
  const Json& v = config_[std::string(key)];
  if (!v.is_string()) return bad_input(field(key) + " must be a string");
  return v.get<std::string>();
}

std::string GgufFields::full(std::string_view key) const {
  return prefix_ + "." + std::string(key);
}

bool GgufFields::has(std::string_view key) const {
  return metadata_.find(full(key)) != nullptr;
}

Result<int64_t> GgufFields::integer(std::string_view key, Bounds bounds) const {
  LISSOM_TRY(const int64_t value, metadata_.integer(full(key)));
  return bounded("key '" + full(key) + "'", value, bounds);
}

Result<int64_t> GgufFields::integer_or(std::string_view key, int64_t fallback, Bounds bounds) const {
  return has(key) ? integer(key, bounds) : Result<int64_t>(fallback);
}

Result<float> GgufFields::positive(std::string_view key) const {
  LISSOM_TRY(const double value, metadata_.number(full(key)));
  return positive_number("key '" + full(key) + "'", value);
}

Result<float> GgufFields::positive_or(std::string_view key, double fallback) const {
  return has(key) ? positive(key) : Result<float>(static_cast<float>(fallback));
}

Result<bool> GgufFields::boolean_or(std::string_view key, bool fallback) const {
  return has(key) ? metadata_.boolean(full(key)) : Result<bool>(fallback);
}

std::string GgufFields::string_or(std::string_view key, std::string fallback) const {
  return metadata_.string_or(full(key), std::move(fallback));
}

namespace {

Result<void> read_labels(const Json& id2label, Config& config) {
  if (!id2label.is_object()) return bad_input(field("id2label") + " must be an object");
  if (id2label.size() > 100000) return bad_input(field("id2label") + " has too many labels");
  config.labels.resize(id2label.size());
  for (size_t i = 0; i < id2label.size(); ++i) {
    const auto it = id2label.find(std::to_string(i));
    if (it == id2label.end() || !it->is_string())
      return bad_input(field("id2label") + " has no text for label " + std::to_string(i));
    config.labels[i] = it->get<std::string>();
  }
  return {};
}

}  // namespace

Result<void> read_common_hf(const JsonFields& fields, Config& config) {
  constexpr Bounds kId{-1, 1 << 26};
  LISSOM_TRY(config.bos, fields.integer_or("bos_token_id", -1, kId));
  LISSOM_TRY(config.pad, fields.integer_or("pad_token_id", -1, kId));
  if (fields.has("eos_token_id")) {
    const Json& eos = fields.json()["eos_token_id"];
    for (const Json& id : eos.is_array() ? eos : Json::array({eos})) {
      if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > (1 << 26))
        return bad_input(field("eos_token_id") + " must be a token id or a list of them");
      config.eos.push_back(id.get<int64_t>());
    }
  }
  if (config.hf_arch.ends_with("ForSequenceClassification")) {
    if (fields.has("id2label")) {
      LISSOM_CHECK(read_labels(fields.json()["id2label"], config));
    } else {
      LISSOM_TRY(const int64_t n, fields.integer_or("num_labels", 2, Bounds{1, 100000}));
      for (int64_t i = 0; i < n; ++i) config.labels.push_back("LABEL_" + std::to_string(i));
    }
    if (config.labels.empty()) return bad_input(field("id2label") + " is empty");
  }
  return {};
}

Result<std::string> activation_of(const JsonFields& fields, std::string_view key, std::string_view fallback) {
  LISSOM_TRY(const std::string name, fields.string_or(key, std::string(fallback)));
  if (name == "silu" || name == "swish") return std::string("silu");
  if (name == "gelu" || name == "relu") return name;
  if (name == "gelu_new" || name == "gelu_pytorch_tanh" || name == "gelu_tanh") return std::string("gelu_tanh");
  return unsupported(field(key) + ": unknown activation " + in_quotes(name) +
                     "; known: silu, gelu, gelu_new, gelu_pytorch_tanh, relu");
}

std::string hf_activation(const Config& config) {
  return config.activation == "gelu_tanh" ? "gelu_pytorch_tanh" : config.activation;
}

Result<void> read_gguf_experts(const GgufFields& f, Config& c) {
  Experts& e = c.experts;
  LISSOM_TRY(e.count, f.integer("expert_count", Bounds{0, kExperts.high}));
  if (e.count == 0) return {};
  LISSOM_TRY(e.used, f.integer("expert_used_count", Bounds{1, e.count}));
  LISSOM_TRY(e.ff, f.integer_or("expert_feed_forward_length", c.ff, kFeedForward));
  LISSOM_TRY(const int64_t shared, f.integer_or("expert_shared_count", 0, Bounds{0, 1024}));
  e.shared_ff = shared * e.ff;
  LISSOM_TRY(e.dense_first, f.integer_or("leading_dense_block_count", 0, Bounds{0, c.layers}));
  LISSOM_TRY(const int64_t function, f.integer_or("expert_gating_func", 1, Bounds{1, 2}));
  e.score = function == 2 ? Experts::Score::sigmoid : Experts::Score::softmax;
  LISSOM_TRY(e.normalize, f.boolean_or("expert_weights_norm", false));
  LISSOM_TRY(e.scale, f.positive_or("expert_weights_scale", 1.0));
  LISSOM_TRY(e.groups, f.integer_or("expert_group_count", 1, Bounds{1, e.count}));
  LISSOM_TRY(e.groups_used, f.integer_or("expert_group_used_count", 1, Bounds{1, e.groups}));
  return {};
}

void write_gguf_experts(const Config& c, GgufMetadata& metadata) {
  metadata.set(c.arch + ".expert_count", static_cast<uint32_t>(c.experts.count));
  metadata.set(c.arch + ".expert_used_count", static_cast<uint32_t>(c.experts.used));
}

}  // namespace lissom
