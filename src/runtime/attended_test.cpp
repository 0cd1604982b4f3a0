#include "runtime/attended.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>

#include "runtime/observe.h"
#include "runtime/testing.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;
using runtime::Observer;
using runtime::testing::random_tokens;

constexpr int64_t kContext = 24;
constexpr double kTolerance = 1e-4;

struct Seen {
  std::vector<float> x;
  int64_t rows = 0, cols = 0;
  [[nodiscard]] const float* row(int64_t r) const { return x.data() + r * cols; }
};

/// What a tap sees of one chunk in exact arithmetic.
std::map<std::string, Seen> observe(const Checkpoint& checkpoint, bool through_attention) {
  const auto observer = Observer::create(checkpoint, {.threads = 2, .exact = true}, kContext).value();
  if (through_attention) observer->look_through_attention();
  const auto tokens = random_tokens(kContext, checkpoint.config.vocab, 1);
  Batch batch;
  batch.tokens = tokens;
  std::map<std::string, Seen> seen;
  const auto tap = [&](const std::string& label, const float* x, int64_t rows, int64_t cols) {
    EXPECT_TRUE(seen.emplace(label, Seen{{x, x + rows * cols}, rows, cols}).second) << label;
  };
  const auto done = observer->run(std::span(&batch, 1), tap, [](size_t) -> Result<bool> { return true; });
  EXPECT_TRUE(done) << done.error().message;
  return seen;
}

std::vector<float> values_of(const Checkpoint& checkpoint, WeightId id) {
  const std::string& name = checkpoint.graph.weights[static_cast<size_t>(id)].name;
  const auto view = checkpoint.tensors->read(static_cast<size_t>(checkpoint.tensors->find(name))).value();
  std::vector<float> out(static_cast<size_t>(view.info.shape.elements()));
  const std::span<const std::byte> parts[] = {view.data};
  find_codec(view.info.type)->decode_rows(view.info.shape, parts, 0, view.info.shape.rows(), out.data());
  return out;
}

/// Of one row of a linear, in double.
double product(const std::vector<float>& weight, const std::vector<float>& bias, int64_t row, const float* x,
               int64_t cols) {
  double sum = bias.empty() ? 0 : double{bias[static_cast<size_t>(row)]};
  for (int64_t c = 0; c < cols; ++c) sum += double{weight[static_cast<size_t>(row * cols + c)]} * double{x[c]};
  return sum;
}

class AttendedOf : public ::testing::TestWithParam<std::string> {};

TEST_P(AttendedOf, ValuesOfAttendedInputsAreWhatAttentionGives) {
  const Checkpoint checkpoint =
      open_checkpoint((fs::path(LISSOM_SOURCE_DIR) / "tests/golden" / GetParam()).string(),
                      {.need_tokenizer = false})
          .value();
  const auto seen = observe(checkpoint, true);
  int64_t compared = 0;
  for (const Op& op : checkpoint.graph.ops) {
    const auto* attention = std::get_if<AttentionOp>(&op);
    if (attention == nullptr) continue;
    const LinearOp* values = runtime::linear_of_values(checkpoint.graph, *attention);
    const LinearOp* reader = nullptr;
    for (const Op& other : checkpoint.graph.ops)
      if (const auto* linear = std::get_if<LinearOp>(&other); linear != nullptr && linear->in == attention->out)
        reader = linear;
    if (values == nullptr || reader == nullptr) continue;
    const std::string label = runtime::counted_label(checkpoint.graph, *values);
    ASSERT_TRUE(seen.contains(label)) << label;
    const Seen &attended = seen.at(label), &out = seen.at(reader->input_label);
    const std::vector<float> weight = values_of(checkpoint, values->weight);
    const std::vector<float> bias =
        values->bias < 0 ? std::vector<float>() : values_of(checkpoint, values->bias);
    const int64_t heads = attention->heads, size = attention->head_dim, every = std::min(heads, out.rows);
    double least = HUGE_VAL;  // over where the queries that are looked at may begin
    for (int64_t begin = 0; begin < every; ++begin) {
      if ((out.rows - begin + every - 1) / every * heads != attended.rows) continue;
      double worst = 0;
      for (int64_t r = 0; r < attended.rows; ++r) {
        const int64_t head = r % heads, query = begin + r / heads * every;
        const int64_t first = head / (heads / attention->kv_heads) * size;
        for (int64_t d = 0; d < size; ++d)
          worst = std::max(worst, std::fabs(product(weight, bias, first + d, attended.row(r), attended.cols) -
                                            double{out.row(query)[head * size + d]}));
      }
      least = std::min(least, worst);
    }
    EXPECT_LT(least, kTolerance) << label;
    ++compared;
  }
  EXPECT_EQ(compared, checkpoint.config.layers);
}

TEST_P(AttendedOf, NobodySeesItUnasked) {
  const Checkpoint checkpoint =
      open_checkpoint((fs::path(LISSOM_SOURCE_DIR) / "tests/golden" / GetParam()).string(),
                      {.need_tokenizer = false})
          .value();
  for (const auto& [label, seen] : observe(checkpoint, false)) EXPECT_EQ(label.find('@'), label.npos) << label;
}

INSTANTIATE_TEST_SUITE_P(Architectures, AttendedOf,
                         ::testing::Values("llama", "llama_bias", "qwen3", "gemma2", "gemma3", "mistral",
                                           "mixtral", "starcoder2", "bert"));

TEST(Attended, OneMatrixOfQueriesKeysAndValuesIsSeenAsItIs) {
  const auto tiny = runtime::testing::tiny_model({.fused_qkv = true});
  for (const auto& [label, seen] : observe(tiny.checkpoint, true))
    EXPECT_EQ(label.find('@'), label.npos) << label;
}

TEST(Attended, KeysCountAsTheSoftmaxChangesWithThem) {
  const auto tiny = runtime::testing::tiny_model(
      {.causal = false, .layer_norm = true, .gated = false, .rope = false, .position_buckets = 0});
  const Graph& graph = tiny.checkpoint.graph;
  const auto seen = observe(tiny.checkpoint, true);
  const auto op =
      std::ranges::find_if(graph.ops, [](const Op& o) { return std::holds_alternative<AttentionOp>(o); });
  ASSERT_NE(op, graph.ops.end());
  const auto& attention = std::get<AttentionOp>(*op);
  const LinearOp *keys = runtime::linear_of_keys(graph, attention), *queries = nullptr;
  for (const Op& other : graph.ops)
    if (const auto* linear = std::get_if<LinearOp>(&other); linear != nullptr && linear->out == attention.q)
      queries = linear;
  ASSERT_NE(keys, nullptr);
  ASSERT_NE(queries, nullptr);
  const Seen &x = seen.at(keys->input_label), &weighed = seen.at(keys->input_label + "@keys");
  ASSERT_EQ(weighed.rows, kContext);
  const auto of = [&](const LinearOp& linear, int64_t row, int64_t token) {
    const std::vector<float> bias =
        linear.bias < 0 ? std::vector<float>() : values_of(tiny.checkpoint, linear.bias);
    return product(values_of(tiny.checkpoint, linear.weight), bias, row, x.row(token), x.cols);
  };
  const int64_t size = attention.head_dim, heads = attention.heads, group = heads / attention.kv_heads;
  std::vector<double> counts(kContext, 0);
  for (int64_t q = 0; q < kContext; q += heads)  // the first turn begins with the first query
    for (int64_t h = 0; h < heads; ++h) {
      std::vector<double> a(kContext);
      double sum = 0;
      for (int64_t t = 0; t < kContext; ++t) {
        double score = 0;
        for (int64_t d = 0; d < size; ++d)
          score += of(*queries, h * size + d, q) * of(*keys, h / group * size + d, t);
        sum += a[static_cast<size_t>(t)] = std::exp(score * double{attention.scale});
      }
      for (size_t t = 0; t < a.size(); ++t) counts[t] += std::pow(a[t] / sum * (1 - a[t] / sum), 2);
    }
  for (int64_t t = 0; t < kContext; ++t)
    for (int64_t c = 0; c < x.cols; ++c)
      EXPECT_NEAR(double{weighed.row(t)[c]}, double{x.row(t)[c]} * std::sqrt(counts[static_cast<size_t>(t)]),
                  kTolerance);
}

}  // namespace
}  // namespace lissom
