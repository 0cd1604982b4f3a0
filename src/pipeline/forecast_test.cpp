#include "pipeline/forecast.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "compress/header.h"
#include "compress/testing.h"
#include "pipeline/machine.h"
#include "pipeline/measure.h"

namespace lissom {
namespace {

using ::testing::HasSubstr;

class ForecastTest : public ::testing::Test {
 protected:
  ForecastTest()
      : checkpoint_(open_checkpoint(std::string(LISSOM_SOURCE_DIR) + "/tests/golden/llama").value()) {
    job_.context = 32;
    job_.threads = 1;
  }
  [[nodiscard]] std::vector<Forecast> of(const std::vector<std::string>& names, bool measure = false,
                                         int64_t context = 64) const {
    std::vector<Scheme> schemes;
    schemes.reserve(names.size());
    for (const std::string& name : names) schemes.push_back(builtin_scheme(name).value());
    return forecast(checkpoint_, job_, schemes, context, effort_, measure, {}).value();
  }
  Checkpoint checkpoint_;
  CompressJob job_;
  EffortPlan effort_;
};

TEST_F(ForecastTest, OrdersSchemesBySize) {
  const auto all = of({"F32", "Q8_0", "Q4_0"});
  ASSERT_EQ(all.size(), 3U);
  for (size_t i = 1; i < all.size(); ++i) {
    EXPECT_LT(all[i].file_bytes, all[i - 1].file_bytes);
    EXPECT_LT(all[i].bits_per_weight, all[i - 1].bits_per_weight);
  }
  EXPECT_LT(all[2].run_memory - all[2].process_memory, all[0].run_memory - all[0].process_memory);
  EXPECT_FALSE(all[0].times);
}

TEST_F(ForecastTest, KnowsWhatAStageCosts) {
  const auto compress = [](const Forecast& f) { return f.compress_memory - f.process_memory; };
  const auto run = [](const Forecast& f) { return f.run_memory - f.process_memory; };
  const Forecast whole = of({"Q8_0"}).front();
  job_.verify = false;
  job_.data_free = true;
  const Forecast bare = of({"Q8_0"}).front();
  EXPECT_GE(compress(whole), compress(bare));
  EXPECT_GE(whole.compress_memory, whole.evaluate_memory);
  EXPECT_GT(run(of({"Q8_0"}, false, 64).front()), run(of({"Q8_0"}, false, 16).front()));
}

/// An engine that takes no time.
class IdleEngine final : public testing::FakeEngine {
 public:
  class Idle final : public Distiller {
   public:
    void set(WeightId, std::span<const float>) override {}
    Result<double> pass(std::span<const int32_t>, int64_t) override { return 0.0; }
    std::span<const float> take_gradient(WeightId) override { return {}; }
  };
  [[nodiscard]] Result<std::unique_ptr<Distiller>> distiller(const Checkpoint&,
                                                             const EngineOptions&) const override {
    return std::make_unique<Idle>();
  }
};

TEST_F(ForecastTest, LearningIsAStageWithItsMemory) {
  job_.calib = "some text";
  const Forecast without = of({"Q4_0"}, true).front();
  EXPECT_EQ(without.times->learn, 0);
  EXPECT_EQ(without.times->feed_back, 0);
  effort_.feeds_back = true;
  effort_.learning = Learning{std::make_shared<IdleEngine>(), 100 * kLearningWindow, uint64_t{7} << 30};
  const Forecast with = of({"Q4_0"}, true).front();
  EXPECT_GE(with.times->learn, 90 * with.times->encode) << "each step encodes all weights";
  EXPECT_GT(with.times->feed_back, with.times->encode) << "learning begins with it";
  EXPECT_EQ(of({"Q8_0"}, true).front().times->feed_back, 0) << "which loses too little";
  EXPECT_GE(with.compress_memory, with.process_memory + effort_.learning->memory);
  EXPECT_GT(with.compress_memory - without.compress_memory, uint64_t{6} << 30);
  EXPECT_GT(with.times->compress(), with.times->learn);
}

TEST_F(ForecastTest, MeasuresEveryStage) {
  const Forecast f = of({"Q4_0"}, true).front();
  ASSERT_TRUE(f.times);
  EXPECT_GT(f.times->encode, 0);
  EXPECT_GT(f.times->digest, 0);
  EXPECT_GT(f.times->sample, 0);
  EXPECT_GT(f.times->evaluate, 0);
  EXPECT_GT(f.times->prompt_tokens_per_second, 0);
  EXPECT_GT(f.times->generate_tokens_per_second, 0);
  job_.data_free = true;
  job_.verify = false;
  const Forecast bare = of({"Q4_0"}, true).front();
  EXPECT_EQ(bare.times->sample, 0);
  EXPECT_EQ(bare.times->calibrate, 0);
  EXPECT_EQ(bare.times->evaluate, 0);
}

TEST_F(ForecastTest, ForecastsEncoders) {
  checkpoint_ = open_checkpoint(std::string(LISSOM_SOURCE_DIR) + "/tests/golden/bert").value();
  const Forecast f = of({"Q8_0"}, true).front();
  EXPECT_EQ(f.evaluate_memory, 0U);
  EXPECT_GT(f.run_memory, 0U);
  EXPECT_EQ(f.times->generate_tokens_per_second, 0);
}

TEST_F(ForecastTest, RefusesWhatCannotFinish) {
  Forecast f;
  f.scheme = "Q4_0";
  f.file_bytes = 2'000'000'000;
  f.compress_memory = 3'000'000'000;
  EXPECT_TRUE(check_room(f, "out.gguf", 4'000'000'000, 2'000'000'000));
  EXPECT_TRUE(check_room(f, "out.gguf", 0, 0)) << "unknown is no reason to refuse";
  const auto disk = check_room(f, "out.gguf", 4'000'000'000, 1'999'999'999);
  ASSERT_FALSE(disk);
  EXPECT_THAT(disk.error().message, HasSubstr("out.gguf"));
  const auto memory = check_room(f, "out.gguf", 2'999'999'999, 2'000'000'000);
  ASSERT_FALSE(memory);
  EXPECT_THAT(memory.error().message, HasSubstr("3.00 GB of memory"));
}

TEST(Machine, TellsMemoryAndDisk) {
  EXPECT_GT(available_memory(), uint64_t{1} << 20U);
  EXPECT_GT(resident_memory(), uint64_t{1} << 20U);
  EXPECT_GT(free_disk("/tmp/no/such/folder/x.gguf"), 0U);
}

TEST(Measure, RefusesUnknownTypes) {
  EXPECT_FALSE(measure_encoding("Q4_0", "Q99", 256, false, 1));
  EXPECT_FALSE(measure_encoding("Q99", "Q4_0", 256, false, 1));
}

}  // namespace
}  // namespace lissom
