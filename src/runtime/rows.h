#pragma once
// The steps that work on one row at a time.

#include <cstdint>
#include <span>
#include <vector>

#include "runtime/batch.h"
#include "runtime/buffer.h"
#include "runtime/cache.h"
#include "runtime/model.h"
#include "runtime/program.h"
#include "runtime/rope.h"

namespace lissom::runtime {

struct RowContext {
  const LoadedModel& model;
  const RowSet& rows;
  const RopeTable &rope, &rope_local;
  const Cache* cache;  ///< null: no attention
  const std::vector<Buffer>& buffers;
};
/// All of `ops` on row `row`, which stays in the nearest cache. Rows may be run at the same time.
void run_row(const RowContext& context, std::span<const RowOp> ops, int64_t row);

}  // namespace lissom::runtime
