#pragma once
// What a job will need before it starts: memory and disk from shapes and types alone, time from a short
// measurement of this machine. docs/check.md has the model behind the figures.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lissom/compress.h"
#include "lissom/progress.h"
#include "lissom/result.h"
#include "pipeline/compress_job.h"
#include "pipeline/learning.h"

namespace lissom {

struct ForecastTimes {
  /// Seconds of compress, stage by stage.
  double digest = 0, sample = 0, calibrate = 0, feed_back = 0, learn = 0, encode = 0, evaluate = 0;
  double prompt_tokens_per_second = 0, generate_tokens_per_second = 0;  ///< of `run` with the result
  [[nodiscard]] double compress() const {
    return digest + sample + calibrate + feed_back + learn + encode + evaluate;
  }
};

/// Of one target. Memory is the largest resident set of the process, bytes.
struct Forecast {
  std::string scheme, description;
  double bits_per_weight = 0;
  uint64_t file_bytes = 0;
  uint64_t process_memory = 0;  ///< resident when asked: part of each of the next three
  uint64_t compress_memory =
      0;  ///< the whole job: statistics, learning, encoding and, unless it is left out, evaluation
  uint64_t evaluate_memory = 0;  ///< `eval FILE --against SOURCE`
  uint64_t run_memory = 0;       ///< `run FILE` at the context that was asked for
  std::optional<ForecastTimes> times;
};

/// One for each scheme. `run_context`: positions that `run` keeps. effort: what plan_effort() says.
/// measure: takes about two seconds for the times of the source and of each scheme; without it there are none.
/// Nothing of the weights is read.
[[nodiscard]] Result<std::vector<Forecast>> forecast(const Checkpoint& checkpoint, const CompressJob& job,
                                                     const std::vector<Scheme>& schemes, int64_t run_context,
                                                     const EffortPlan& effort, bool measure,
                                                     const Progress& progress);

/// An error where the job cannot finish: more memory than there is, or a file larger than the free disk space
/// where `out` lies. Names what is needed, what is there and what would help.
[[nodiscard]] Result<void> check_room(const Forecast& forecast, const std::filesystem::path& out,
                                      uint64_t available_memory, uint64_t free_disk);

}  // namespace lissom
