#include "compress/pack.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "base/file.h"
#include "codec/parts.h"
#include "compress/testing.h"
#include "format/pack.h"
#include "lissom/codec.h"
#include "support/temp_folder.h"

namespace lissom {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

Scheme scheme_of(const std::string& rules) {
  const auto scheme = parse_scheme("name: test\ndefault: Q8_0\ntensors:\n" + rules, "test.yaml");
  EXPECT_TRUE(scheme) << scheme.error().message;
  return *scheme;
}

std::vector<float> values(const TensorSource& source, const std::string& name) {
  const auto view = source.read(static_cast<size_t>(source.find(name)));
  EXPECT_TRUE(view);
  const Codec& codec = *find_codec(view->info.type);
  std::vector<float> out(static_cast<size_t>(view->info.shape.elements()));
  codec.decode_rows(view->info.shape, *parts_of(codec, view->info.shape, view->data), 0,
                    view->info.shape.rows(), out.data());
  return out;
}

/// What counts where all of 64 inputs are alike: Σ over rows of the squared sum of their errors.
double error_of_sums(const TensorSource& source, const TensorSource& pack, const std::string& name) {
  const auto w = values(source, name), v = values(pack, name);
  double sum = 0;
  for (size_t r = 0; r < 64; ++r) {
    double row = 0;
    for (size_t c = 0; c < 64; ++c) row += double{w[r * 64 + c]} - double{v[r * 64 + c]};
    sum += row * row;
  }
  return sum;
}

TEST(CompressToPack, WritesWhatThePlanSays) {
  const testing::TempFolder folder;
  const auto out = folder.path() / "a.safetensors";
  const Checkpoint checkpoint = testing::tiny_llama({.width = 256});
  const PackOptions options{.scheme = scheme_of("  - {match: attn_k, codec: 'svd_int8_v1:r16'}\n"
                                                "  - {match: ffn_down, codec: Q4_K}\n"
                                                "  - {match: ffn_up, codec: BF16}\n"),
                            .threads = 2};
  const auto result = compress_to_pack(checkpoint, out, options, {});
  ASSERT_TRUE(result) << result.error().message;
  const auto pack = PackFile::open(out);
  ASSERT_TRUE(pack) << pack.error().message;
  ASSERT_EQ((*pack)->tensors().size(), result->plan.entries.size());
  uint64_t bytes = 0, weights = 0;
  for (size_t i = 0; i < result->plan.entries.size(); ++i) {
    const TensorInfo& info = (*pack)->tensors()[i];
    EXPECT_EQ(info.name, result->plan.entries[i].tensor);
    EXPECT_EQ(info.type, result->plan.entries[i].codec);
    EXPECT_EQ(info.bytes, result->tensors[i].bytes_after);
    bytes += info.bytes;
    weights += static_cast<uint64_t>(info.shape.elements());
    const auto w = values(*checkpoint.tensors, info.name), v = values(**pack, info.name);
    double error = 0, power = 0;
    for (size_t k = 0; k < w.size(); ++k) {
      error += std::pow(double{w[k]} - double{v[k]}, 2);
      power += double{w[k]} * double{w[k]};
    }
    EXPECT_NEAR(result->tensors[i].relative_error, std::sqrt(error / power), 1e-6) << info.name;
  }
  EXPECT_EQ(result->bytes_after, bytes);
  EXPECT_DOUBLE_EQ(result->plan.bits_per_weight,
                   8.0 * static_cast<double>(bytes) / static_cast<double>(weights));
  EXPECT_EQ(result->file_bytes, std::filesystem::file_size(out));
  EXPECT_EQ(*planned_pack_bytes(checkpoint, options.scheme, result->plan), result->file_bytes);
  EXPECT_EQ(*(*pack)->metadata().string("general.architecture"), "llama");
  EXPECT_EQ(*(*pack)->metadata().string("lissom.source_digest"), result->source_digest);

  // Neither threads nor the tensors at work decide a byte.
  const auto again = folder.path() / "b.safetensors";
  PackOptions others = options;
  others.threads = 1;
  others.step_weights = 1;
  ASSERT_TRUE(compress_to_pack(checkpoint, again, others, {}));
  EXPECT_EQ(*read_file(out, 1 << 24), *read_file(again, 1 << 24));
}

TEST(CompressToPack, BlocksAreThoseOfAGguf) {
  const testing::TempFolder folder;
  const Checkpoint checkpoint = testing::tiny_llama({.width = 256});
  ASSERT_TRUE(
      compress_to_pack(checkpoint, folder.path() / "a.safetensors", {.scheme = *builtin_scheme("Q4_K_M")}, {}));
  CompressOptions options;
  options.scheme = *builtin_scheme("Q4_K_M");
  ASSERT_TRUE(compress_to_gguf(checkpoint, folder.path() / "a.gguf", options, {}));
  const auto pack = PackFile::open(folder.path() / "a.safetensors");
  const auto gguf = GgufFile::open(folder.path() / "a.gguf");
  for (size_t i = 0; i < (*gguf)->tensors().size(); ++i) {
    const auto a = (*pack)->read(i), b = (*gguf)->read(i);
    ASSERT_TRUE(std::ranges::equal(a->data, b->data)) << b->info.name;
  }
}

TEST(CompressToPack, AdaptiveRanksAreInThePlan) {
  const testing::TempFolder folder;
  const Checkpoint checkpoint = testing::tiny_llama({.width = 64});
  const auto result =
      compress_to_pack(checkpoint, folder.path() / "a.safetensors",
                       {.scheme = scheme_of("  - {match: 'attn_(q|k)', codec: 'svd_int8_v1:e0.5'}\n")}, {});
  ASSERT_TRUE(result) << result.error().message;
  int chosen = 0;
  for (const PlanEntry& entry : result->plan.entries) {
    if (entry.tensor.find("attn_q.") == std::string::npos) continue;
    ++chosen;
    EXPECT_THAT(entry.codec, StartsWith("svd_int8_v1:r"));
    EXPECT_THAT(entry.reason, HasSubstr("svd_int8_v1:e0.5 chose"));
    EXPECT_EQ(entry.bytes, stored_bytes(*find_codec(entry.codec), entry.shape));
  }
  EXPECT_EQ(chosen, 2);
}

TEST(CompressToPack, UsesTheSecondMomentsOfInputs) {
  const testing::TempFolder folder;
  const Checkpoint checkpoint = testing::tiny_llama({.width = 64});
  // Inputs that are all alike: only their direction matters.
  auto h = std::make_shared<std::vector<float>>(64 * 64, 1.0F);
  const Scheme scheme = scheme_of("  - {match: 'attn_q', codec: 'svd_int8_v1:r1'}\n");
  const auto loss = [&](const Hessians& hessians) {
    const auto out = folder.path() / "a.safetensors";
    EXPECT_TRUE(compress_to_pack(checkpoint, out, {.scheme = scheme, .hessians = hessians}, {}));
    const auto pack = PackFile::open(out);
    return error_of_sums(*checkpoint.tensors, **pack, "blk.0.attn_q.weight");
  };
  const double plain = loss({}), whitened = loss({{"blk.0.attn_q.weight", h}});
  EXPECT_LT(whitened, plain / 20);
}

TEST(CompressToPack, ErrorsAreHandedOnWhereHessiansAreGiven) {
  const testing::TempFolder folder;
  const Checkpoint checkpoint = testing::tiny_llama({.width = 64});
  auto h = std::make_shared<std::vector<float>>(64 * 64, 1.0F);  // inputs that are nearly alike
  for (size_t i = 0; i < 64; ++i) (*h)[i * 65] = 1.05F;
  const Scheme scheme = scheme_of(
      "  - {match: 'blk.0.attn_q', codec: lissom_3_v1}\n  - {match: 'blk.0.attn_k', codec: Q4_0}\n"
      "  - {match: 'blk.1.attn_q', codec: lissom_3_v1}\n");
  const auto plan = make_plan_for(checkpoint, scheme, false, PlanFor::pack);
  ASSERT_TRUE(plan);
  EXPECT_THAT(wanted_hessians(*plan, false), ::testing::IsEmpty());
  EXPECT_THAT(
      wanted_hessians(*plan, true),
      ::testing::UnorderedElementsAre("blk.0.attn_q.weight", "blk.0.attn_k.weight", "blk.1.attn_q.weight"));
  const auto out = folder.path() / "a.safetensors";
  const auto result = compress_to_pack(
      checkpoint, out, {.scheme = scheme, .hessians = {{"blk.0.attn_q.weight", h}, {"blk.0.attn_k.weight", h}}},
      {});
  ASSERT_TRUE(result) << result.error().message;
  for (const TensorReport& t : result->tensors)
    EXPECT_EQ(t.fed_back, t.tensor == "blk.0.attn_q.weight" || t.tensor == "blk.0.attn_k.weight") << t.tensor;
  const auto pack = PackFile::open(out);
  ASSERT_TRUE(pack);
  const auto of = [&](const std::string& name) { return error_of_sums(*checkpoint.tensors, **pack, name); };
  EXPECT_LT(of("blk.0.attn_q.weight"), of("blk.1.attn_q.weight") / 5);
}

TEST(CompressToPack, RefusesWhatItShould) {
  const testing::TempFolder folder;
  Checkpoint checkpoint = testing::tiny_llama({.width = 64});
  const PackOptions options{.scheme = scheme_of("  - {match: attn_k, codec: 'svd_int8_v1:r16'}\n")};
  EXPECT_FALSE(compress_to_pack(checkpoint, folder.path(), options, {}));
  auto broken = std::make_shared<testing::MemorySource>();
  for (const TensorInfo& info : checkpoint.tensors->tensors()) {
    auto w = values(*checkpoint.tensors, info.name);
    if (info.name == "blk.1.attn_k.weight") w[70] = NAN;
    broken->add(info.name, info.shape, w);
  }
  checkpoint.tensors = broken;
  const auto result = compress_to_pack(checkpoint, folder.path() / "a.safetensors", options, {});
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("'blk.1.attn_k.weight' holds NaN or Inf"));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  // What only packs hold is refused for a GGUF.
  const auto plan = make_plan(checkpoint, options.scheme, false);
  ASSERT_FALSE(plan);
  EXPECT_THAT(plan.error().message, HasSubstr("--format pack"));
}

TEST(PackSchemes, AreAllSound) {
  for (const std::string& name : pack_scheme_names()) {
    const auto scheme = find_pack_scheme(name);
    EXPECT_TRUE(scheme) << scheme.error().message;
    EXPECT_EQ(scheme->name, name);
    EXPECT_FALSE(scheme->description.empty());
  }
  EXPECT_TRUE(find_pack_scheme("Q4_0"));
  EXPECT_FALSE(find_pack_scheme("no such"));
}

}  // namespace
}  // namespace lissom
