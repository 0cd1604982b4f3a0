// Distillation with an engine whose loss is a plain sum of squares, so that no test here needs LibTorch.

#include "compress/distill.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>

#include "base/file.h"
#include "compress/testing.h"
#include "lissom/codec.h"
#include "lissom/gguf.h"
#include "support/temp_folder.h"

namespace lissom {
namespace {

using testing::TempFolder;

/// Loss: half the squared distance of the student's weights to targets that lie beside the teacher's.
class Squares final : public Distiller {
 public:
  Squares(const Checkpoint& teacher, const std::vector<int64_t>& broken,
          std::vector<std::vector<int32_t>>& read)
      : broken_(broken), read_(read) {
    for (const Weight& w : teacher.graph.weights) {
      const int64_t index = teacher.tensors->find(w.name);
      std::vector<float>& target = target_.emplace_back();
      if (index < 0) continue;
      const TensorView view = *teacher.tensors->read(static_cast<size_t>(index));
      target.resize(static_cast<size_t>(view.info.shape.elements()));
      const std::span<const std::byte> parts[] = {view.data};
      find_codec(view.info.type)->decode_rows(view.info.shape, parts, 0, view.info.shape.rows(), target.data());
      for (float& v : target) v += 0.02F;
    }
    student_.resize(target_.size());
  }
  void set(WeightId weight, std::span<const float> values) override {
    student_[static_cast<size_t>(weight)].assign(values.begin(), values.end());
  }
  Result<double> pass(std::span<const int32_t> tokens, int64_t) override {
    read_.emplace_back(tokens.begin(), tokens.end());
    if (std::ranges::find(broken_, static_cast<int64_t>(read_.size()) - 1) != broken_.end()) return NAN;
    double loss = 0;
    for (size_t w = 0; w < student_.size(); ++w)
      for (size_t i = 0; i < student_[w].size(); ++i) {
        const double d = double{student_[w][i]} - double{target_[w][i]};
        loss += d * d / 2;
      }
    return loss;
  }
  std::span<const float> take_gradient(WeightId weight) override {
    const auto w = static_cast<size_t>(weight);
    gradient_.clear();
    for (size_t i = 0; i < student_[w].size(); ++i) gradient_.push_back(student_[w][i] - target_[w][i]);
    return gradient_;
  }

 private:
  std::vector<std::vector<float>> target_, student_;
  std::vector<float> gradient_;
  const std::vector<int64_t>& broken_;
  std::vector<std::vector<int32_t>>& read_;
};

class SquaresEngine final : public testing::FakeEngine {
 public:
  [[nodiscard]] Result<std::unique_ptr<Distiller>> distiller(const Checkpoint& teacher,
                                                             const EngineOptions&) const override {
    return std::make_unique<Squares>(teacher, broken, read);
  }
  std::vector<int64_t> broken;  ///< passes without a finite loss
  mutable std::vector<std::vector<int32_t>> read;
};

std::vector<std::byte> bytes_of(const TensorSource& source, const std::string& name) {
  const std::span<const std::byte> data = source.read(static_cast<size_t>(source.find(name)))->data;
  return {data.begin(), data.end()};
}

struct DistillTest : ::testing::Test {
  DistillTest() {
    for (const TensorInfo& info : checkpoint.tensors->tensors()) {
      Weight& weight = checkpoint.graph.weights.emplace_back();
      weight.name = info.name;
      weight.shape = info.shape;
    }
    for (int32_t i = 0; i < 96; ++i) text.tokens.push_back(i);
    text.length = 8;
    options.tokens = 8 * 2 * 20;
    options.rate = 0.02;
    options.windows_a_step = 2;
    options.seed = 3;
    options.threads = 2;
    options.key = "one";
  }
  Plan plan(const std::string& scheme) const {
    return *make_plan(checkpoint, *parse_scheme("{name: s, default: " + scheme + "}", "test"), false);
  }
  Result<Distillation> run(const std::string& scheme, const Progress& progress = {}) {
    return distill(checkpoint, plan(scheme), std::nullopt, engine, text, start, folder / "state", options,
                   progress);
  }
  const TensorSource* start = nullptr;
  std::string state() const { return *read_file(folder / "state", 1 << 26); }

  Checkpoint checkpoint = testing::tiny_llama({.layers = 1, .width = 256});
  SquaresEngine engine;
  DistillText text;
  DistillOptions options;
  TempFolder folder;
};

TEST_F(DistillTest, LearnsThroughEveryKindOfCodec) {
  for (const char* codec : {"Q4_0", "Q4_1", "Q8_0", "IQ4_NL", "Q2_K", "IQ2_S", "BF16"}) {
    options.key = codec;
    const auto done = run(codec);
    ASSERT_TRUE(done) << done.error().message;
    EXPECT_EQ(done->steps, 20);
    EXPECT_EQ(done->tokens, options.tokens);
    EXPECT_LT(done->last_kld, 0.8 * done->first_kld) << codec;
  }
}

TEST_F(DistillTest, WhatWasLearnedIsWhatTheFileHolds) {
  ASSERT_TRUE(run("Q4_0"));
  const auto learned = *GgufFile::open(folder / "state");
  CompressOptions writing;
  writing.scheme = *parse_scheme("{name: s, default: Q4_0}", "test");
  writing.learned = learned;
  writing.algorithm = "squares";
  const auto result = compress_to_gguf(checkpoint, folder / "out.gguf", writing, {});
  ASSERT_TRUE(result) << result.error().message;
  const auto file = *GgufFile::open(folder / "out.gguf");
  for (const PlanEntry& entry : result->plan.entries)
    EXPECT_EQ(bytes_of(*learned, entry.tensor), bytes_of(*file, entry.tensor)) << entry.tensor;
}

TEST_F(DistillTest, OfFewBitsOnlyCodesChange) {
  ASSERT_TRUE(run("Q4_0"));
  const auto learned = *GgufFile::open(folder / "state");
  const BlockCodec& q4 = *find_block_codec("Q4_0");
  int64_t moved = 0;
  for (const TensorInfo& info : learned->tensors()) {
    if (info.shape.rank() < 2) continue;
    const auto source = bytes_of(*checkpoint.tensors, info.name), after = bytes_of(*learned, info.name);
    std::vector<std::byte> before(after.size());
    const auto blocks = static_cast<int64_t>(before.size()) / q4.block_bytes();
    q4.encode_blocks(reinterpret_cast<const float*>(source.data()), nullptr, blocks, blocks, before.data());
    for (size_t i = 0; i < before.size(); ++i) {
      if (i % static_cast<size_t>(q4.block_bytes()) < 2)
        ASSERT_EQ(before[i], after[i]) << info.name << ": a scale";
      else
        moved += before[i] != after[i] ? 1 : 0;
    }
  }
  EXPECT_GT(moved, 1000);
}

TEST_F(DistillTest, BeginsWithTheGridAndTheLatentsThatItIsGiven) {
  const TensorInfo given = *std::ranges::find_if(checkpoint.tensors->tensors(),
                                                 [](const TensorInfo& info) { return info.shape.rank() == 2; });
  // The grid is that of weights twice as large, so that no search would choose it for these latents.
  std::vector<float> latents = testing::gaussian(given.shape.elements(), 77), wide = latents;
  for (float& w : wide) w *= 2;
  const BlockCodec& q4 = *find_block_codec("Q4_0");
  testing::MemorySource begin;
  begin.add(given.name, given.shape, wide, "Q4_0");
  begin.add(latent_name(given.name), given.shape, latents);
  start = &begin;
  options.rate = 0;
  ASSERT_TRUE(run("Q4_0"));
  const auto learned = *GgufFile::open(folder / "state");
  std::vector<std::byte> bytes = bytes_of(begin, given.name);
  BlockGrid grid;
  std::vector<int8_t> codes(32);
  for (int64_t b = 0; b < given.shape.elements() / 32; ++b) {
    std::byte* block = bytes.data() + b * q4.block_bytes();
    q4.unpack(block, grid, codes.data());
    q4.round(grid, 0, 32, latents.data() + b * 32, nullptr, codes.data());
    q4.pack(grid, codes.data(), block);
  }
  EXPECT_EQ(bytes_of(*learned, given.name), bytes);
}

TEST_F(DistillTest, SaysWhatBecameOfTheWeights) {
  options.rate = 0;
  const auto done = run("Q4_0");
  ASSERT_TRUE(done);
  ASSERT_FALSE(done->tensors.empty());
  for (const DistilledTensor& tensor : done->tensors) {
    EXPECT_NEAR(tensor.relative_error, 0.0775, 0.002) << tensor.tensor;  // of Gaussian weights
    EXPECT_EQ(tensor.relative_error, tensor.weighted_relative_error);
  }
}

TEST_F(DistillTest, AStoppedRunGoesOnToTheSameBytes) {
  ASSERT_TRUE(run("Q4_0"));
  const std::string whole = state();
  std::filesystem::remove(folder / "state");
  for (const int64_t stop_at : {1, 7}) {
    int64_t steps = 0;
    Progress progress;
    progress.step = [&](std::string_view, int64_t, int64_t, std::string_view) { ++steps; };
    progress.cancelled = [&] { return steps >= stop_at; };
    const auto stopped = run("Q4_0", progress);
    ASSERT_FALSE(stopped);
    EXPECT_EQ(stopped.error().kind, ErrorKind::cancelled);
  }
  const auto done = run("Q4_0");
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_GE(done->resumed_steps, 8);
  EXPECT_EQ(state(), whole);
  engine.read.clear();
  EXPECT_EQ(run("Q4_0")->resumed_steps, 20);
  EXPECT_TRUE(engine.read.empty());  // nothing is done twice
}

TEST_F(DistillTest, AStateOfAnotherJobOrADamagedOneBeginsAnew) {
  ASSERT_TRUE(run("Q4_0"));
  const std::string whole = state();
  options.key = "two";
  EXPECT_EQ(run("Q4_0")->resumed_steps, 0);
  options.key = "one";
  const std::string header = whole.substr(0, 100);
  for (const std::string& bad : {std::string("junk"), header, whole.substr(0, whole.size() / 2)}) {
    std::ofstream(folder / "state", std::ios::binary | std::ios::trunc) << bad;
    const auto done = run("Q4_0");
    ASSERT_TRUE(done) << done.error().message;
    EXPECT_EQ(done->resumed_steps, 0);
    EXPECT_EQ(state(), whole);
  }
}

TEST_F(DistillTest, TheNumberOfThreadsChangesNothingHere) {
  ASSERT_TRUE(run("Q4_K"));
  const std::string two = state();
  std::filesystem::remove(folder / "state");
  options.threads = 1;
  ASSERT_TRUE(run("Q4_K"));
  EXPECT_EQ(state(), two);
}

TEST_F(DistillTest, EveryWindowIsReadBeforeOneComesAgain) {
  ASSERT_TRUE(run("Q4_0"));
  std::map<int32_t, int> seen;
  const auto judged = static_cast<size_t>(std::min<int64_t>(6, text.windows()));  // read before the first step
  for (size_t step = 0; step < 6; ++step)                                         // 12 windows, two a step
    for (size_t i = 0; i < 16; i += 8) ++seen[engine.read.at(judged + step).at(i)];
  EXPECT_EQ(seen.size(), 12U);
}

TEST_F(DistillTest, WhatIsNoBetterIsNotKept) {
  options.rate = 0;
  ASSERT_TRUE(run("Q4_0"));
  const std::string begun = (folder / "state").string() + ".begun";
  std::filesystem::rename(folder / "state", begun);
  options.rate = 0.02;
  const auto better = run("Q4_0");
  ASSERT_TRUE(better);
  EXPECT_LT(better->learned_kld, 0.8 * better->begun_kld);
  std::filesystem::remove(folder / "state");
  options.rate = 50;
  const auto worse = run("Q4_0");
  ASSERT_TRUE(worse);
  EXPECT_GT(worse->learned_kld, worse->begun_kld);
  EXPECT_EQ(worse->begun_kld, better->begun_kld);
  const auto kept = *GgufFile::open(folder / "state"), first = *GgufFile::open(begun);
  for (const TensorInfo& info : first->tensors())
    EXPECT_EQ(bytes_of(*kept, info.name), bytes_of(*first, info.name)) << info.name;
  EXPECT_EQ(run("Q4_0")->learned_kld, worse->learned_kld) << "a finished run remembers";
}

TEST_F(DistillTest, StepsWithoutAFiniteLossAreCounted) {
  const int64_t judged = std::min<int64_t>(6, text.windows());  // read before the first step
  engine.broken = {judged, judged + 4};
  const auto done = run("Q4_0");
  ASSERT_TRUE(done);
  EXPECT_EQ(done->skipped, 2);
  for (int64_t i = 0; i < 20 + judged; ++i)
    engine.broken.push_back(static_cast<int64_t>(engine.read.size()) + i);
  options.key = "all broken";
  const auto none = run("Q4_0");
  ASSERT_FALSE(none);
  EXPECT_NE(none.error().message.find("no step had a finite"), std::string::npos);
}

TEST_F(DistillTest, CopiedTensorsAreLeftAlone) {
  ASSERT_TRUE(run("F32"));
  const auto learned = *GgufFile::open(folder / "state");
  for (const TensorInfo& info : learned->tensors()) EXPECT_EQ(info.shape.rank(), 1) << info.name;
}

TEST_F(DistillTest, RefusesATextShorterThanAWindow) {
  text.tokens.resize(5);
  const auto done = run("Q4_0");
  ASSERT_FALSE(done);
  EXPECT_NE(done.error().message.find("5 tokens"), std::string::npos);
}

TEST_F(DistillTest, LearnedValuesMustFitTheModel) {
  const std::vector<float> few(8);
  {
    const std::string name = checkpoint.tensors->tensors()[0].name;
    const auto writer = *GgufWriter::create(folder / "state", {}, {{name, "F32", Shape{8}, 32}}, {});
    ASSERT_TRUE(writer->append(std::as_bytes(std::span(few))));
    ASSERT_TRUE(writer->finish());
  }
  CompressOptions writing;
  writing.scheme = *parse_scheme("{name: s, default: Q4_0}", "test");
  writing.learned = *GgufFile::open(folder / "state");
  const auto result = compress_to_gguf(checkpoint, folder / "out.gguf", writing, {});
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message.find("expected F32"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(folder / "out.gguf"));
}

}  // namespace
}  // namespace lissom
