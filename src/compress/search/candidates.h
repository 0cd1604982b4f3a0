#pragma once
// What each tensor could be stored as, and what each form would do to its weights.

#include <cstdint>
#include <string>
#include <vector>

#include "base/threads.h"
#include "compress/source.h"
#include "lissom/codec.h"
#include "lissom/compress.h"

namespace lissom::search {

struct Candidate {
  std::string codec;
  uint64_t bytes = 0;  ///< in the file, padding included
  double error = 0;    ///< Σ importance·(w-ŵ)² / Σ importance·w², of a sample of rows
  /// Another one has no more bytes and no more error.
  bool dominated = false;
};

/// A matrix that the search decides on.
struct SearchTensor {
  size_t index = 0;  ///< in the checkpoint and in the plan
  std::string name;
  Shape shape;
  /// By bytes, then by error. The last one that is not dominated is what the source has, unchanged.
  std::vector<Candidate> candidates;
  size_t reference = 0;  ///< the candidate that sensitivities are measured with: of about 4.5 bits

  [[nodiscard]] const Candidate* find(std::string_view codec) const;
};

/// The codecs that may be chosen: GGUF's, but for those whose grids (ternary, 4-bit floats) are made for models
/// trained to them.
[[nodiscard]] const std::vector<std::string>& candidate_codecs();

/// All matrices of the checkpoint that are not kept as F32, with every codec that divides their columns, has
/// the statistics that llama-quantize wants for it, and takes no more bytes than the source does. Errors: a
/// tensor with NaN or Inf; one that no codec holds.
[[nodiscard]] Result<std::vector<SearchTensor>> find_candidates(const Checkpoint& checkpoint,
                                                                const Means& means, ThreadPool& pool);

/// The scheme that gives each tensor the codec named beside it; others (norms) are kept whatever it says.
/// `picks`: for each tensor the index of its candidate.
[[nodiscard]] Scheme scheme_of(const std::vector<SearchTensor>& tensors, const std::vector<size_t>& picks,
                               const std::string& name, const std::string& description);
/// The same as YAML, which parse_scheme() reads back as this scheme.
[[nodiscard]] std::string scheme_yaml(const Scheme& scheme);

/// Tensors that are measured together: the same kind in a stretch of neighbouring blocks; others alone.
struct Group {
  std::string name;             ///< "attn_q.weight, blocks 0-5", "token_embd.weight"
  std::vector<size_t> tensors;  ///< of the list of search tensors
};
/// At most `stretches` groups of each kind.
[[nodiscard]] std::vector<Group> groups_of(const std::vector<SearchTensor>& tensors, int64_t layers,
                                           int64_t stretches);

}  // namespace lissom::search
