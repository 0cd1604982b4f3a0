#include "kernels/probe.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/table.h"

namespace lissom::kernels {
namespace {

TEST(Probe, FindsALimitOfEachKind) {
  for (const Target target : supported_targets()) {
    for (const int threads : {1, 3}) {
      ThreadPool pool(threads);
      const auto limits = probe_machine(target, pool, {.seconds = 0.01, .buffer_bytes = 4 << 20});
      ASSERT_TRUE(limits) << limits.error().message;
      for (const double limit :
           {limits->read_bytes_per_second, limits->int8_ops_per_second, limits->f32_ops_per_second}) {
        EXPECT_TRUE(std::isfinite(limit)) << target_name(target);
        EXPECT_GT(limit, 0) << target_name(target);
      }
      // BF16 has a limit where there are kernels for it.
      EXPECT_EQ(limits->bf16_ops_per_second > 0, kernel_table(target).bf16_dot != nullptr)
          << target_name(target);
    }
  }
}

TEST(Probe, SaysWhereThereIsNoRoom) {
  ThreadPool pool(1);
  const auto limits = probe_machine(Target::scalar, pool, {.seconds = 0.01, .buffer_bytes = int64_t{1} << 60});
  ASSERT_FALSE(limits);
  EXPECT_NE(limits.error().message.find("probe"), std::string::npos);
}

}  // namespace
}  // namespace lissom::kernels
