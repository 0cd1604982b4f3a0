#include "compress/algorithms/error_feedback/error_feedback.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <numeric>

#include "base/file.h"
#include "compress/testing.h"
#include "lissom/gguf.h"
#include "support/memory_source.h"
#include "support/toy_tokenizer.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;

const std::string kText = [] {
  std::string text;
  for (int i = 0; i < 40; ++i) text += "the quick brown fox number " + std::to_string(i * 7919) + " jumps; ";
  return text;
}();

class ErrorFeedback : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(::testing::TempDir()) / ::testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    checkpoint_ =
        open_checkpoint(std::string(LISSOM_SOURCE_DIR) + "/tests/golden/llama", {.need_tokenizer = false})
            .value();
    plan_ = make_plan(checkpoint_, scheme(), true).value();
    options_.calibration.context = 64;
    options_.calibration.runtime.threads = 1;
    options_.threads = 1;
    options_.key = "test";
  }
  void TearDown() override { fs::remove_all(folder_); }

  static Scheme scheme() {
    return parse_scheme(
               "name: test\ndefault: F32\ntensors:\n"
               "  - {match: 'blk.*(attn_q|attn_output|ffn_up|ffn_down)', codec: Q4_0}\n",
               "test")
        .value();
  }
  Result<FeedbackResult> run(const fs::path& state, const Progress& progress = {}) {
    return error_feedback(checkpoint_, plan_, {}, testing::ToyTokenizer(false), kText, state, options_,
                          progress);
  }
  static std::string bytes_of(const fs::path& path) { return read_file(path, 1U << 30).value(); }

  fs::path folder_;
  Checkpoint checkpoint_;
  Plan plan_;
  FeedbackOptions options_;
};

TEST_F(ErrorFeedback, GivesBytesThatTheCompressionTakes) {
  const fs::path state = folder_ / "state";
  const FeedbackResult done = run(state).value();
  EXPECT_EQ(done.tensors.size(), 8U);
  EXPECT_EQ(done.skipped_chunks, 0);
  for (const FeedbackTensor& tensor : done.tensors) {
    EXPECT_LT(tensor.validation_ratio, 1.0) << tensor.tensor;
    EXPECT_GT(tensor.validation_ratio, 0.0) << tensor.tensor;
    EXPECT_GT(tensor.relative_error, 0.01) << tensor.tensor;
  }
  CompressOptions options;
  options.scheme = scheme();
  options.learned = GgufFile::open(state).value();
  options.algorithm = "error-feedback";
  options.threads = 1;
  ASSERT_TRUE(compress_to_gguf(checkpoint_, folder_ / "out.gguf", options, {}));
  const auto out = GgufFile::open(folder_ / "out.gguf").value();
  for (const FeedbackTensor& tensor : done.tensors) {
    const auto view = [&](const TensorSource& source) {
      return source.read(static_cast<size_t>(source.find(tensor.tensor))).value();
    };
    const TensorView written = view(*out), rounded = view(*options.learned);
    EXPECT_TRUE(std::ranges::equal(written.data, rounded.data)) << tensor.tensor;
    EXPECT_EQ(written.info.type, "Q4_0");
  }
  remove_feedback_state(state);
  EXPECT_FALSE(fs::exists(state));
  EXPECT_FALSE(fs::exists(state.string() + ".journal"));
}

TEST_F(ErrorFeedback, AStoppedRunGoesOnToTheSameBytes) {
  ASSERT_TRUE(run(folder_ / "whole"));
  const std::string expected = bytes_of(folder_ / "whole");
  const fs::path state = folder_ / "state";
  int64_t tensors = 0, passes = 0;
  Progress progress;
  progress.step = [&](std::string_view stage, int64_t done, int64_t, std::string_view) {
    if (stage == "calibrate") ++passes;
    if (stage == "error feedback") tensors = done;
  };
  progress.cancelled = [&] { return tensors == 3; };
  const auto stopped = run(state, progress);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().kind, ErrorKind::cancelled);
  EXPECT_FALSE(fs::exists(state));
  options_.threads = 2;  // nor do the bytes depend on that
  const FeedbackResult done = run(state).value();
  EXPECT_GE(done.resumed_tensors, 3);
  EXPECT_LT(done.resumed_tensors, 8);
  EXPECT_EQ(bytes_of(state), expected);
  passes = 0;
  progress.cancelled = {};
  EXPECT_EQ(run(state, progress).value().resumed_tensors, 8);
  EXPECT_EQ(passes, 0) << "nothing is left to do";
  options_.key = "another";
  EXPECT_EQ(run(state).value().resumed_tensors, 0);
}

/// Lets each token of a text count as much as its place, and outputs that lie side by side go together.
class Rising final : public testing::FakeEngine {
 public:
  [[nodiscard]] Result<std::unique_ptr<TokenFisher>> token_fisher(const Checkpoint& checkpoint,
                                                                  const EngineOptions&) const override {
    class Reader final : public TokenFisher {
     public:
      explicit Reader(const Checkpoint& checkpoint) : checkpoint_(checkpoint) {}
      Result<ByWeight> pass(std::span<const int32_t> tokens, uint64_t, Moments* moments) override {
        for (auto& [weight, sum] : *moments) {
          const auto rows =
              static_cast<size_t>(checkpoint_.graph.weights[static_cast<size_t>(weight)].shape.rows());
          for (size_t r = 0; r < rows; ++r) {
            sum[r * rows + r] += 2;
            if (r > 0) sum[r * rows + r - 1] += 0.9F;
            if (r > 0) sum[(r - 1) * rows + r] += 0.9F;
          }
        }
        std::vector<float> places(tokens.size());
        std::iota(places.begin(), places.end(), 0.0F);
        ByWeight found;
        for (const Op& op : checkpoint_.graph.ops)
          if (const auto* linear = std::get_if<LinearOp>(&op)) found[linear->weight] = places;
        return found;
      }

     private:
      const Checkpoint& checkpoint_;
    };
    return std::make_unique<Reader>(checkpoint);
  }
};

TEST_F(ErrorFeedback, TokensCountAsTheEngineSays) {
  ASSERT_TRUE(run(folder_ / "alike"));
  const Rising engine;
  options_.engine = &engine;
  const FeedbackResult done = run(folder_ / "weighed").value();
  for (const FeedbackTensor& tensor : done.tensors) EXPECT_LT(tensor.validation_ratio, 1.0) << tensor.tensor;
  EXPECT_NE(bytes_of(folder_ / "weighed"), bytes_of(folder_ / "alike"));
  EXPECT_EQ(run(folder_ / "alike").value().resumed_tensors, 0)
      << "those of a run without the engine are others";
}

TEST_F(ErrorFeedback, RowsAreCoupledWhereOutputsAreNotMoreThanInputs) {
  const Rising engine;
  options_.engine = &engine;
  const FeedbackResult done = run(folder_ / "coupled").value();
  int coupled = 0, alone = 0;
  for (const FeedbackTensor& tensor : done.tensors) {
    const auto index = checkpoint_.tensors->find(tensor.tensor);
    const Shape& shape = checkpoint_.tensors->tensors()[static_cast<size_t>(index)].shape;
    const bool expected = shape.rows() <= shape.cols();
    EXPECT_EQ(tensor.note.find("rows coupled") != std::string::npos, expected) << tensor.tensor << tensor.note;
    ++(expected ? coupled : alone);
  }
  EXPECT_GT(coupled, 0);
  EXPECT_GT(alone, 0);
}

TEST_F(ErrorFeedback, AChunkThatIsNotFiniteIsLeftOut) {
  auto source = std::make_shared<testing::MemorySource>();
  const auto tensors = checkpoint_.tensors->tensors();
  for (size_t i = 0; i < tensors.size(); ++i) {
    std::vector<float> values(static_cast<size_t>(tensors[i].shape.elements()));
    const TensorView view = checkpoint_.tensors->read(i).value();
    const std::span<const std::byte> parts[] = {view.data};
    find_codec(tensors[i].type)
        ->decode_rows(tensors[i].shape, parts, 0, tensors[i].shape.rows(), values.data());
    if (tensors[i].name == "token_embd.weight")
      values[static_cast<size_t>('5' * checkpoint_.config.width)] = std::numeric_limits<float>::quiet_NaN();
    source->add(tensors[i].name, tensors[i].shape, values);
  }
  checkpoint_.tensors = source;
  const FeedbackResult done = run(folder_ / "state").value();
  EXPECT_GT(done.skipped_chunks, 0);
  EXPECT_GT(done.chunks, 0);
  for (const FeedbackTensor& tensor : done.tensors) EXPECT_TRUE(tensor.validation_ratio <= 1) << tensor.tensor;
}

}  // namespace
}  // namespace lissom
