#pragma once
// DeBERTa's attention over content and relative position apart (RelativeAttentionOp).

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "base/threads.h"
#include "lissom/model.h"
#include "runtime/batch.h"
#include "runtime/model.h"

namespace lissom::runtime {

/// The bucket of a distance between query and key, 0 … 2·buckets-1, as transformers' make_log_bucket_position.
[[nodiscard]] int64_t relative_bucket(int64_t distance, int64_t buckets, int64_t max_distance);

class RelativeAttention {
 public:
  struct Values {
    const float *q, *k, *v;  ///< rows × width, without gaps
    float* out;
  };
  void run(const LoadedModel& model, const RelativeAttentionOp& op, std::span<const Segment> segments,
           const Values& values, ThreadPool& pool);

 private:
  /// The table's rows, projected as queries and as keys: [head][head_dim][2·buckets].
  struct Projected {
    std::vector<float> queries, keys;
  };
  const Projected& projected(const LoadedModel& model, const RelativeAttentionOp& op, ThreadPool& pool);
  std::map<const RelativeAttentionOp*, Projected> projected_;
  std::vector<std::byte> scratch_;
};

}  // namespace lissom::runtime
