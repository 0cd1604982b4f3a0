#pragma once
// Checkpoint in, pack out (format/pack.h): whole tensors through any codec, whatever its components.

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lissom/compress.h"

namespace lissom {

enum class PlanFor { gguf, pack };
/// make_plan() for one of the two: a pack takes every codec.
[[nodiscard]] Result<Plan> make_plan_for(const Checkpoint& checkpoint, const Scheme& scheme,
                                         bool has_importance, PlanFor target);

/// schemes/pack/: presets of packs' own, which hide those of the same name for GGUF.
[[nodiscard]] std::vector<std::string> pack_scheme_names();
/// One of these, a built-in scheme of GGUF's codecs, or a path of a YAML file.
[[nodiscard]] Result<Scheme> find_pack_scheme(const std::string& name_or_path);

/// Second moments of the inputs of linears, by the tensor's name: XᵀX over all tokens, cols × cols, symmetric.
/// Linears of one input share one matrix.
using Hessians = std::map<std::string, std::shared_ptr<const std::vector<float>>>;

struct PackOptions {
  Scheme scheme;
  std::optional<Importance> importance = {};
  Hessians hessians = {};
  int threads = 0;                 ///< 0: the number of physical cores; the bytes do not depend on it
  std::string source_digest = {};  ///< where the caller has it; else computed
  /// Tensors are encoded side by side as long as they have no more weights than this together.
  int64_t step_weights = 32 << 20;
};
/// Which tensors' Hessians encoding with this plan would use; `feedback`: those that error feedback takes too.
[[nodiscard]] std::vector<std::string> wanted_hessians(const Plan& plan, bool feedback);

/// Writes the pack `out`, a few tensors at a time, under another name until it is whole. Codecs that choose by
/// the weights (an adaptive rank) choose before anything is written, so that the plan in the result has what
/// was chosen. Errors as compress_to_gguf() has them.
[[nodiscard]] Result<CompressResult> compress_to_pack(const Checkpoint& checkpoint,
                                                      const std::filesystem::path& out,
                                                      const PackOptions& options, const Progress& progress);

/// Bytes of the file that the plan would make; of codecs that choose by the weights at most.
[[nodiscard]] Result<uint64_t> planned_pack_bytes(const Checkpoint& checkpoint, const Scheme& scheme,
                                                  const Plan& plan);

}  // namespace lissom
