// RoPE's parameters between config.json, GGUF and Config::rope.

#include <cmath>
#include <numbers>

#include "base/text.h"
#include "model/arch.h"
#include "model/fields.h"

namespace lissom {

namespace {

Result<std::vector<float>> read_divisors(const JsonFields& s, const char* key, int dim) {
  const std::string what = "config.json: field '" + std::string(key) + "'";
  if (!s.has(key)) return bad_input(what + " is missing");
  const Json& list = s.json()[key];
  if (!list.is_array() || list.size() != static_cast<size_t>(dim / 2))
    return bad_input(what + " must be a list of " + std::to_string(dim / 2) + " numbers");
  std::vector<float> divisors;
  for (const Json& item : list) {
    const double value = item.is_number() ? item.get<double>() : 0.0;
    if (!(value > 0 && value < 1e30)) return bad_input(what + " must hold positive numbers");
    divisors.push_back(static_cast<float>(value));
  }
  return divisors;
}

Result<void> read_scaling(const JsonFields& s, const std::string& type, Rope& rope) {
  if (type == "linear") {
    rope.scaling = RopeScaling::linear;
  } else if (type == "llama3") {
    rope.scaling = RopeScaling::llama3;
    LISSOM_TRY(rope.low_freq_factor, s.positive_or("low_freq_factor", 1.0));
    LISSOM_TRY(rope.high_freq_factor, s.positive_or("high_freq_factor", 4.0));
    if (rope.high_freq_factor <= rope.low_freq_factor)
      return bad_input("config.json: field 'high_freq_factor' must be larger than 'low_freq_factor'");
  } else if (type == "yarn") {
    rope.scaling = RopeScaling::yarn;
    for (const char* key : {"mscale", "mscale_all_dim", "truncate"})
      if (s.has(key))
        return unsupported("config.json: field '" + std::string(key) + "' of yarn is not supported");
    if (s.has("attention_factor")) {
      LISSOM_TRY(rope.attention_factor, s.positive_or("attention_factor", 1.0));
    }
    LISSOM_TRY(rope.beta_fast, s.positive_or("beta_fast", 32.0));
    LISSOM_TRY(rope.beta_slow, s.positive_or("beta_slow", 1.0));
  } else if (type == "longrope" || type == "su") {
    rope.scaling = RopeScaling::longrope;
    LISSOM_TRY(rope.short_divisor, read_divisors(s, "short_factor", rope.dim));
    LISSOM_TRY(rope.long_divisor, read_divisors(s, "long_factor", rope.dim));
    const double derived = rope.factor > 1.0F && rope.original_context > 1
                               ? std::sqrt(1.0 + std::log(double{rope.factor}) /
                                                     std::log(static_cast<double>(rope.original_context)))
                               : 1.0;
    LISSOM_TRY(rope.attention_factor, s.positive_or("attention_factor", derived));
  } else {
    return unsupported("config.json: unknown RoPE scaling " + in_quotes(type) +
                       "; known: default, linear, llama3, yarn, longrope");
  }
  return {};
}

}  // namespace

Result<Rope> read_hf_rope_object(const JsonFields& outer, const Json& parameters, float default_theta,
                                 const Config& config, float default_partial) {
  if (!parameters.is_object()) return bad_input("config.json: field 'rope_parameters' must be an object");
  const JsonFields s(parameters);
  Rope rope;
  LISSOM_TRY(const float outer_theta, outer.positive_or("rope_theta", default_theta));
  LISSOM_TRY(rope.base, s.positive_or("rope_theta", outer_theta));
  LISSOM_TRY(const float outer_partial,
             outer.positive_or("partial_rotary_factor", default_partial > 0 ? default_partial : 1.0F));
  LISSOM_TRY(const float partial, s.positive_or("partial_rotary_factor", outer_partial));
  if (partial > 1.0F || (partial != 1.0F && default_partial == 0))
    return unsupported("config.json: field 'partial_rotary_factor' of " + std::to_string(partial) +
                       " is not supported here");
  rope.dim = static_cast<int>(static_cast<double>(config.head_dim) * static_cast<double>(partial));
  if (rope.dim < 2 || rope.dim % 2 != 0)
    return bad_input("config.json: field 'partial_rotary_factor' leaves " + std::to_string(rope.dim) +
                     " dimensions of a head to rotate; they must be even");
  LISSOM_TRY(const std::string old_type, s.string_or("type", "default"));
  LISSOM_TRY(const std::string type, s.string_or("rope_type", old_type));
  if (type == "default") return rope;
  LISSOM_TRY(rope.original_context,
             outer.integer_or("original_max_position_embeddings", config.context, kContext));
  LISSOM_TRY(rope.original_context,
             s.integer_or("original_max_position_embeddings", rope.original_context, kContext));
  const double ratio = static_cast<double>(config.context) / static_cast<double>(rope.original_context);
  LISSOM_TRY(rope.factor, s.positive_or("factor", type == "longrope" || type == "su" ? ratio : 1.0));
  LISSOM_CHECK(read_scaling(s, type, rope));
  return rope;
}

Result<void> read_hf_rope(const JsonFields& fields, float default_theta, Config& config,
                          float default_partial) {
  const Json empty = Json::object();
  const Json& parameters = fields.has("rope_parameters") ? fields.json()["rope_parameters"]
                           : fields.has("rope_scaling")  ? fields.json()["rope_scaling"]
                                                         : empty;
  LISSOM_TRY(config.rope, read_hf_rope_object(fields, parameters, default_theta, config, default_partial));
  return {};
}

Result<void> read_gguf_rope(const GgufFields& fields, Config& config) {
  Rope& rope = config.rope;
  LISSOM_TRY(rope.base, fields.positive_or("rope.freq_base", 10000.0));
  LISSOM_TRY(const int64_t dim,
             fields.integer_or("rope.dimension_count", config.head_dim, Bounds{2, kWidth.high}));
  if (dim > config.head_dim || dim % 2 != 0)
    return bad_input("key 'rope.dimension_count' is " + std::to_string(dim) + ", but a head has " +
                     std::to_string(config.head_dim) + " dimensions");
  rope.dim = static_cast<int>(dim);
  const std::string type = fields.string_or("rope.scaling.type", "none");
  LISSOM_TRY(rope.original_context,
             fields.integer_or("rope.scaling.original_context_length", config.context, kContext));
  if (type == "none") {
    // longrope has no type of its own: it is where the tensors of its divisors are, see checkpoint.cpp.
    LISSOM_TRY(rope.attention_factor, fields.positive_or("rope.scaling.attn_factor", 1.0));
    rope.factor = static_cast<float>(config.context) / static_cast<float>(rope.original_context);
    return {};
  }
  LISSOM_TRY(rope.factor, fields.positive_or("rope.scaling.factor", 1.0));
  if (type == "linear") {
    rope.scaling = RopeScaling::linear;
  } else if (type == "yarn") {
    rope.scaling = RopeScaling::yarn;
    if (fields.has("rope.scaling.attn_factor")) {
      LISSOM_TRY(rope.attention_factor, fields.positive("rope.scaling.attn_factor"));
      // llama.cpp multiplies this by 0.1·ln(factor) + 1; Config holds the whole.
      rope.attention_factor *= 0.1F * std::log(rope.factor) + 1.0F;
    }
    LISSOM_TRY(rope.beta_fast, fields.positive_or("rope.scaling.yarn_beta_fast", 32.0));
    LISSOM_TRY(rope.beta_slow, fields.positive_or("rope.scaling.yarn_beta_slow", 1.0));
  } else {
    return unsupported("key 'rope.scaling.type': unknown scaling " + in_quotes(type));
  }
  return {};
}

void write_gguf_rope(const Config& config, GgufMetadata& metadata) {
  const Rope& rope = config.rope;
  const std::string p = config.arch + ".rope.";
  metadata.set(p + "dimension_count", static_cast<uint32_t>(rope.dim));
  metadata.set(p + "freq_base", rope.base);
  if (rope.scaling == RopeScaling::longrope) {
    // The divisors are tensors. llama.cpp chooses between them by the original context, and takes the whole of
    // the factor on cosine and sine from here.
    metadata.set(p + "scaling.original_context_length", static_cast<uint32_t>(rope.original_context));
    metadata.set(p + "scaling.attn_factor", rope.attention_factor);
    return;
  }
  if (rope.scaling != RopeScaling::linear && rope.scaling != RopeScaling::yarn) return;
  metadata.set(p + "scaling.type", std::string(rope.scaling == RopeScaling::linear ? "linear" : "yarn"));
  metadata.set(p + "scaling.factor", rope.factor);
  metadata.set(p + "scaling.original_context_length", static_cast<uint32_t>(rope.original_context));
  if (rope.scaling != RopeScaling::yarn) return;
  if (rope.attention_factor > 0)
    metadata.set(p + "scaling.attn_factor", rope.attention_factor / (0.1F * std::log(rope.factor) + 1.0F));
  metadata.set(p + "scaling.yarn_beta_fast", rope.beta_fast);
  metadata.set(p + "scaling.yarn_beta_slow", rope.beta_slow);
}

Json hf_rope(const Rope& rope, bool partial, int64_t head_dim) {
  Json json = {{"rope_theta", rope.base}, {"rope_type", "default"}};
  if (partial) json["partial_rotary_factor"] = static_cast<double>(rope.dim) / static_cast<double>(head_dim);
  if (rope.scaling == RopeScaling::none) return json;
  json["factor"] = rope.factor;
  json["original_max_position_embeddings"] = rope.original_context;
  if (rope.scaling == RopeScaling::linear) {
    json["rope_type"] = "linear";
  } else if (rope.scaling == RopeScaling::llama3) {
    json["rope_type"] = "llama3";
    json["low_freq_factor"] = rope.low_freq_factor;
    json["high_freq_factor"] = rope.high_freq_factor;
  } else if (rope.scaling == RopeScaling::longrope) {
    json["rope_type"] = "longrope";
    json["short_factor"] = rope.short_divisor;
    json["long_factor"] = rope.long_divisor;
    json["attention_factor"] = rope.attention_factor;
  } else {
    json["rope_type"] = "yarn";
    json["beta_fast"] = rope.beta_fast;
    json["beta_slow"] = rope.beta_slow;
    if (rope.attention_factor > 0) json["attention_factor"] = rope.attention_factor;
  }
  return json;
}

Json hf_rope(const Config& config) {
  return hf_rope(config.rope, config.rope.dim != config.head_dim, config.head_dim);
}

std::vector<float> rope_constant(std::string_view name, const Rope& rope) {
  if (rope.scaling == RopeScaling::llama3 && name == kRopeFreqs) return llama3_divisors(rope);
  if (rope.scaling != RopeScaling::longrope) return {};
  return name == kRopeLong ? rope.long_divisor : name == kRopeShort ? rope.short_divisor : std::vector<float>();
}

std::vector<float> llama3_divisors(const Rope& rope) {
  // Wavelengths below context/high keep their frequency, those above context/low are divided by `factor`, and
  // between the two the frequency is interpolated (Llama 3.1's model card; transformers'
  // _compute_llama3_parameters).
  std::vector<float> divisors(static_cast<size_t>(rope.dim / 2));
  const double context = static_cast<double>(rope.original_context);
  for (size_t i = 0; i < divisors.size(); ++i) {
    const double frequency = std::pow(static_cast<double>(rope.base), -2.0 * static_cast<double>(i) / rope.dim);
    const double wavelength = 2 * std::numbers::pi / frequency;
    if (wavelength < context / rope.high_freq_factor) {
      divisors[i] = 1.0F;
    } else if (wavelength > context / rope.low_freq_factor) {
      divisors[i] = rope.factor;
    } else {
      const double smooth = (context / wavelength - rope.low_freq_factor) /
                            (double{rope.high_freq_factor} - rope.low_freq_factor);
      divisors[i] = static_cast<float>(1.0 / ((1.0 - smooth) / rope.factor + smooth));
    }
  }
  return divisors;
}

}  // namespace lissom
