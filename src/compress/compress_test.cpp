#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>
#include <thread>

#include "base/file.h"
#include "compress/checksum.h"
#include "compress/digest.h"
#include "compress/header.h"
#include "compress/journal.h"
#include "compress/sha256_pair.h"
#include "compress/testing.h"
#include "lissom/codec.h"
#include "lissom/compress.h"

namespace lissom {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

class Compress : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = fs::temp_directory_path() / ("lissom_compress_" + std::to_string(::getpid()));
    fs::create_directories(dir_);
    out_ = dir_ / "out.gguf";
  }
  void TearDown() override { fs::remove_all(dir_); }

  static CompressOptions options(const std::string& scheme, int threads = 2) {
    CompressOptions o;
    o.scheme = *builtin_scheme(scheme);
    o.threads = threads;
    o.step_weights = 20000;
    return o;
  }
  static std::string bytes_of(const fs::path& path) {
    const auto text = read_file(path, 1U << 30);
    EXPECT_TRUE(text) << text.error().message;
    return text.value_or("");
  }
  std::vector<std::string> files() const {
    std::vector<std::string> names;
    for (const auto& file : fs::directory_iterator(dir_)) names.push_back(file.path().filename().string());
    std::ranges::sort(names);
    return names;
  }
  fs::path dir_, out_;
};

TEST_F(Compress, WritesWhatThePlanSays) {
  const Checkpoint checkpoint = testing::tiny_llama({.width = 256});
  const auto result = compress_to_gguf(checkpoint, out_, options("Q4_K_M"), {});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(files(), std::vector<std::string>{"out.gguf"});
  const auto file = GgufFile::open(out_);
  ASSERT_TRUE(file) << file.error().message;
  const auto tensors = (*file)->tensors();
  ASSERT_EQ(tensors.size(), result->plan.entries.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_EQ(tensors[i].name, result->plan.entries[i].tensor);
    EXPECT_EQ(tensors[i].type, result->plan.entries[i].codec);
    EXPECT_EQ(tensors[i].bytes, result->plan.entries[i].bytes);
  }
  const GgufMetadata& m = (*file)->metadata();
  EXPECT_EQ(*m.string("general.name"), "tiny");
  EXPECT_EQ(*m.string("general.architecture"), "llama");
  EXPECT_EQ(*m.integer("general.quantization_version"), 2);
  EXPECT_EQ(*m.integer("general.file_type"), 15);
  EXPECT_EQ(*m.string("lissom.scheme"), "Q4_K_M");
  EXPECT_EQ(*m.string("lissom.source_digest"), result->source_digest);
  EXPECT_TRUE(m.find("lissom.version") != nullptr);
  EXPECT_EQ(result->file_bytes, fs::file_size(out_));
  const auto planned = planned_file_bytes(checkpoint, options("Q4_K_M").scheme, result->plan);
  EXPECT_EQ(*planned, fs::file_size(out_));
}

TEST_F(Compress, ReportsTheErrorOfEachTensor) {
  const Checkpoint checkpoint = testing::tiny_llama({.width = 256});
  const auto result = compress_to_gguf(checkpoint, out_, options("Q4_0"), {});
  ASSERT_TRUE(result);
  const auto file = GgufFile::open(out_);
  for (size_t i = 0; i < result->tensors.size(); ++i) {
    const TensorReport& report = result->tensors[i];
    const auto before = checkpoint.tensors->read(i), after = (*file)->read(i);
    const int64_t n = report.shape.elements();
    std::vector<float> decoded(static_cast<size_t>(n));
    const BlockCodec* codec = find_block_codec(report.codec);
    codec->decode_blocks(after->data.data(), n / codec->block_weights(), decoded.data());
    double error = 0, power = 0;
    for (int64_t k = 0; k < n; ++k) {
      const double w = static_cast<double>(reinterpret_cast<const float*>(before->data.data())[k]);
      const double d = w - static_cast<double>(decoded[static_cast<size_t>(k)]);
      error += d * d;
      power += w * w;
    }
    EXPECT_NEAR(report.relative_error, std::sqrt(error / power), 1e-6) << report.tensor;
    EXPECT_EQ(report.relative_error == 0, report.codec == "F32") << report.tensor;
    EXPECT_FALSE(report.has_importance);
  }
}

TEST_F(Compress, TheErrorOfALargeTensorIsThatOfItsSample) {
  std::shared_ptr<testing::MemorySource> source;
  const Checkpoint checkpoint = testing::tiny_llama({}, &source);
  const Shape shape{1001, 256};
  const auto weights = testing::gaussian(shape.elements(), 3);
  source->add("blk.0.extra.weight", shape, weights);
  const auto result = compress_to_gguf(checkpoint, out_, options("Q4_0"), {});
  ASSERT_TRUE(result);
  const BlockCodec* codec = find_block_codec("Q4_0");
  const auto file = GgufFile::open(out_);
  const auto bytes = (*file)->read(result->tensors.size() - 1);
  std::vector<float> decoded(weights.size());
  codec->decode_blocks(bytes->data.data(), shape.elements() / codec->block_weights(), decoded.data());
  double error = 0, power = 0;
  for (size_t k = 0; k < weights.size(); ++k) {
    const auto w = static_cast<double>(weights[k]), d = w - static_cast<double>(decoded[k]);
    error += d * d;
    power += w * w;
  }
  EXPECT_NEAR(result->tensors.back().relative_error / std::sqrt(error / power), 1.0, 0.01);
}

TEST_F(Compress, ImportanceMovesTheError) {
  const Checkpoint checkpoint = testing::tiny_llama({.width = 64});
  CompressOptions with = options("Q4_0");
  Importance importance;
  std::vector<float> sums(64, 1e-4F);
  sums[7] = 1.0F;
  importance.entries["blk.0.attn_q.weight"] = {sums, 10};
  with.importance = importance;
  const auto plain = compress_to_gguf(checkpoint, dir_ / "plain.gguf", options("Q4_0"), {});
  const auto weighted = compress_to_gguf(checkpoint, out_, with, {});
  ASSERT_TRUE(plain && weighted);
  const auto q = [](const CompressResult& r) {
    return *std::ranges::find(r.tensors, "blk.0.attn_q.weight", &TensorReport::tensor);
  };
  EXPECT_TRUE(q(*weighted).has_importance);
  EXPECT_GT(q(*weighted).relative_error, q(*plain).relative_error);
  EXPECT_LT(q(*weighted).weighted_relative_error, 0.5 * q(*plain).relative_error);

  with.importance->entries["blk.0.attn_q.weight"].sum_square.pop_back();
  const auto wrong = compress_to_gguf(checkpoint, out_, with, {});
  ASSERT_FALSE(wrong);
  EXPECT_THAT(wrong.error().message,
              AllOf(HasSubstr("blk.0.attn_q.weight"), HasSubstr("63 values"), HasSubstr("64")));
}

TEST_F(Compress, EachExpertIsWeighedByWhatItSaw) {
  const int64_t experts = 3, rows = 8, cols = 64;
  std::shared_ptr<testing::MemorySource> source;
  const Checkpoint checkpoint = testing::tiny_llama({.width = cols}, &source);
  const auto weights = testing::gaussian(experts * rows * cols, 77);
  source->add("blk.0.ffn_gate_exps.weight", Shape{experts, rows, cols}, weights);
  CompressOptions o = options("Q4_0");
  o.step_weights = 5 * cols;  // slabs end within experts
  o.importance.emplace();
  Importance::Entry& entry = o.importance->entries["blk.0.ffn_gate_exps.weight"];
  for (int64_t i = 0; i < experts * cols; ++i) entry.sum_square.push_back(static_cast<float>(1 + i * i % 97));
  entry.expert_tokens = {100, 100, 100};
  entry.tokens = 300;
  ASSERT_TRUE(compress_to_gguf(checkpoint, out_, o, {}));
  const auto file = *GgufFile::open(out_);
  const auto view = *file->read(static_cast<size_t>(file->find("blk.0.ffn_gate_exps.weight")));
  const auto mean = entry.mean_square();
  std::vector<std::byte> want;
  for (int64_t e = 0; e < experts; ++e) {
    const auto n = static_cast<size_t>(rows * cols), at = static_cast<size_t>(e) * n;
    const auto part =
        encode_checked(*find_codec("Q4_0"), "expert", Shape{rows, cols}, std::span(weights).subspan(at, n),
                       std::span(mean).subspan(static_cast<size_t>(e * cols), size_t{cols}));
    want.insert(want.end(), (*part)[0].begin(), (*part)[0].end());
  }
  EXPECT_TRUE(std::ranges::equal(view.data, want));
}

TEST_F(Compress, TheBytesDoNotDependOnThreads) {
  const Checkpoint checkpoint = testing::tiny_llama({.layers = 3, .width = 256, .ff = 768});
  ASSERT_TRUE(compress_to_gguf(checkpoint, dir_ / "1.gguf", options("Q3_K_M", 1), {}));
  ASSERT_TRUE(compress_to_gguf(checkpoint, dir_ / "3.gguf", options("Q3_K_M", 3), {}));
  EXPECT_EQ(bytes_of(dir_ / "1.gguf"), bytes_of(dir_ / "3.gguf"));
}

TEST_F(Compress, NaNIsRefusedByName) {
  std::shared_ptr<testing::MemorySource> source;
  const Checkpoint checkpoint = testing::tiny_llama({}, &source);
  auto weights = testing::gaussian(64 * 4, 9);
  weights[77] = std::numeric_limits<float>::quiet_NaN();
  source->add("blk.9.ffn_up.weight", Shape{4, 64}, weights);
  auto result = compress_to_gguf(checkpoint, out_, options("Q8_0"), {});
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, AllOf(HasSubstr("blk.9.ffn_up.weight"), HasSubstr("NaN")));
  EXPECT_EQ(files(), std::vector<std::string>{});
}

TEST_F(Compress, TooLargeForF16IsRefusedByName) {
  std::shared_ptr<testing::MemorySource> source;
  const Checkpoint checkpoint = testing::tiny_llama({}, &source);
  source->add("blk.9.ffn_up.weight", Shape{1, 64}, std::vector<float>(64, 1e6F));
  EXPECT_FALSE(compress_to_gguf(checkpoint, out_, options("F16"), {}));
  EXPECT_TRUE(compress_to_gguf(checkpoint, out_, options("BF16"), {}));
}

TEST_F(Compress, AQuantizedSourceIsSaidToBeOne) {
  const Checkpoint checkpoint = testing::tiny_llama({.width = 256, .type = "Q4_1"});
  std::string said;
  Progress progress;
  progress.log = [&](LogLevel level, std::string_view text) {
    if (level == LogLevel::warning) said += text;
  };
  const auto result = compress_to_gguf(checkpoint, out_, options("Q4_1"), progress);
  ASSERT_TRUE(result);
  EXPECT_THAT(said, AllOf(HasSubstr("already quantized"), HasSubstr("Q4_1"), HasSubstr("5.00 bits")));
  ASSERT_EQ(result->warnings.size(), 1U);
  // The same codec: copied, not encoded again.
  const auto file = GgufFile::open(out_);
  const auto before = checkpoint.tensors->read(2), after = (*file)->read(2);
  EXPECT_EQ(before->info.type, "Q4_1");
  EXPECT_TRUE(std::ranges::equal(before->data, after->data));
}

TEST_F(Compress, TheSourceIsNeverTheOutput) {
  Checkpoint checkpoint = testing::tiny_llama({});
  ASSERT_TRUE(compress_to_gguf(checkpoint, out_, options("F32"), {}));
  const std::string before = bytes_of(out_);
  checkpoint.path = out_;
  auto result = compress_to_gguf(checkpoint, dir_ / "." / "out.gguf", options("Q8_0"), {});
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("the output is the source"));
  checkpoint.path = dir_;
  EXPECT_FALSE(compress_to_gguf(checkpoint, out_, options("Q8_0"), {}));
  EXPECT_FALSE(compress_to_gguf(checkpoint, dir_, options("Q8_0"), {}));
  EXPECT_EQ(bytes_of(out_), before);
}

TEST_F(Compress, AnUnwritableFolderIsOneError) {
  const auto result =
      compress_to_gguf(testing::tiny_llama({}), dir_ / "absent" / "out.gguf", options("Q8_0"), {});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::io);
  EXPECT_THAT(result.error().message, HasSubstr("absent"));
}

/// Runs `work` in a process of its own, so that limits and kills stay there.
int in_child(const std::function<int()>& work) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(work());
  int status = 0;
  ::waitpid(child, &status, 0);
  return status;
}

TEST_F(Compress, AFullDiskLeavesNothingBehind) {
  const Checkpoint checkpoint = testing::tiny_llama({.layers = 4, .width = 256, .ff = 512});
  for (const rlim_t limit : {rlim_t{100}, rlim_t{3000}, rlim_t{100000}, rlim_t{1000000}}) {
    const int status = in_child([&] {
      ::signal(SIGXFSZ, SIG_IGN);
      const rlimit bound{limit, limit};
      ::setrlimit(RLIMIT_FSIZE, &bound);
      const auto result = compress_to_gguf(checkpoint, out_, options("Q8_0"), {});
      return !result && result.error().kind == ErrorKind::io ? 7 : 1;
    });
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 7) << limit;
    EXPECT_EQ(files(), std::vector<std::string>{}) << limit;
  }
}

TEST_F(Compress, StoppedItGoesOnToTheSameBytes) {
  const Checkpoint checkpoint = testing::tiny_llama({.layers = 6, .width = 256, .ff = 512});
  const auto whole = compress_to_gguf(checkpoint, dir_ / "whole.gguf", options("Q4_0"), {});
  ASSERT_TRUE(whole);
  Progress progress;
  int asked = 0;
  progress.cancelled = [&] { return ++asked > static_cast<int>(whole->tensors.size()) + 2; };
  const auto stopped = compress_to_gguf(checkpoint, out_, options("Q4_0"), progress);
  ASSERT_FALSE(stopped);
  EXPECT_EQ(stopped.error().kind, ErrorKind::cancelled);
  EXPECT_FALSE(fs::exists(out_));
  EXPECT_TRUE(fs::exists(dir_ / "out.gguf.journal"));
  const auto resumed = compress_to_gguf(checkpoint, out_, options("Q4_0"), {});
  ASSERT_TRUE(resumed) << resumed.error().message;
  EXPECT_GT(resumed->resumed_tensors, 0);
  EXPECT_LT(resumed->resumed_tensors, static_cast<int64_t>(resumed->tensors.size()));
  EXPECT_EQ(bytes_of(out_), bytes_of(dir_ / "whole.gguf"));
  for (size_t i = 0; i < whole->tensors.size(); ++i)
    EXPECT_EQ(resumed->tensors[i].relative_error, whole->tensors[i].relative_error);
  EXPECT_EQ(files(), (std::vector<std::string>{"out.gguf", "whole.gguf"}));
}

TEST_F(Compress, KilledAtAnyMomentItGoesOnToTheSameBytes) {
  const Checkpoint checkpoint = testing::tiny_llama({.layers = 6, .width = 256, .ff = 512});
  const auto begin = std::chrono::steady_clock::now();
  ASSERT_TRUE(compress_to_gguf(checkpoint, dir_ / "whole.gguf", options("Q4_0", 1), {}));
  const auto whole_time = std::chrono::steady_clock::now() - begin;
  const std::string whole = bytes_of(dir_ / "whole.gguf");
  std::mt19937 engine(5);
  int killed = 0;
  for (int round = 0; round < 12; ++round) {
    CompressOptions wanted = options("Q4_0", 1);
    if (round >= 6) wanted.source_identity = "test:1";
    const pid_t child = ::fork();
    if (child == 0) ::_exit(compress_to_gguf(checkpoint, out_, wanted, {}) ? 0 : 1);
    std::this_thread::sleep_for(whole_time * static_cast<double>(engine() % 1000) / 1000.0);
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    killed += WIFSIGNALED(status) ? 1 : 0;
    if (round % 3 != 2) continue;  // several kills on top of each other
    EXPECT_TRUE(!fs::exists(out_) || bytes_of(out_) == whole);
    const auto resumed = compress_to_gguf(checkpoint, out_, wanted, {});
    ASSERT_TRUE(resumed) << resumed.error().message;
    EXPECT_EQ(bytes_of(out_), whole);
    EXPECT_EQ(files(), (std::vector<std::string>{"out.gguf", "whole.gguf"}));
    fs::remove(out_);
  }
  EXPECT_GT(killed, 0);
}

/// A source that is gone after some reads.
class BrokenSource : public TensorSource {
 public:
  BrokenSource(std::shared_ptr<const TensorSource> whole, int reads) : whole_(std::move(whole)), left_(reads) {}
  [[nodiscard]] std::span<const TensorInfo> tensors() const override { return whole_->tensors(); }
  [[nodiscard]] Result<TensorView> read(size_t index) const override {
    if (left_-- <= 0) return tl::unexpected(Error{ErrorKind::unavailable, "gone"});
    return whole_->read(index);
  }
  void release(size_t index) const override { whole_->release(index); }
  [[nodiscard]] bool ready(size_t index) const override { return index % 3 != 0; }
  [[nodiscard]] Result<void> expect(std::span<const size_t> indices) const override {
    expected = {indices.begin(), indices.end()};
    return {};
  }
  [[nodiscard]] std::string origin() const override { return "broken"; }
  mutable std::vector<size_t> expected;

 private:
  std::shared_ptr<const TensorSource> whole_;
  mutable int left_;
};

TEST_F(Compress, ASourceThatIsReadOnceGivesTheSameBytes) {
  Checkpoint checkpoint = testing::tiny_llama({.layers = 6, .width = 256, .ff = 512});
  const auto whole = compress_to_gguf(checkpoint, dir_ / "whole.gguf", options("Q4_0"), {});
  ASSERT_TRUE(whole);
  const auto tensors = checkpoint.tensors;
  CompressOptions once = options("Q4_0");
  once.source_identity = "test:1";
  for (const int reads : {0, 18, 39}) {
    checkpoint.tensors = std::make_shared<BrokenSource>(tensors, reads);
    const auto stopped = compress_to_gguf(checkpoint, out_, once, {});
    ASSERT_FALSE(stopped);
    EXPECT_EQ(stopped.error().kind, ErrorKind::unavailable);
    EXPECT_TRUE(fs::exists(dir_ / "out.gguf.journal"));
    const auto rest = std::make_shared<BrokenSource>(tensors, 1000);
    checkpoint.tensors = rest;
    const auto resumed = compress_to_gguf(checkpoint, out_, once, {});
    ASSERT_TRUE(resumed) << resumed.error().message;
    // All that was read before the source went is done: a slab ends where it would wait.
    EXPECT_EQ(resumed->resumed_tensors, reads);
    EXPECT_EQ(rest->expected.size(), tensors->tensors().size() - static_cast<size_t>(reads));
    EXPECT_EQ(resumed->source_digest, whole->source_digest);
    EXPECT_EQ(bytes_of(out_), bytes_of(dir_ / "whole.gguf"));
    EXPECT_EQ(files(), (std::vector<std::string>{"out.gguf", "whole.gguf"}));
    fs::remove(out_);
  }
}

TEST_F(Compress, DamageToThePartialFileIsNoticed) {
  const Checkpoint checkpoint = testing::tiny_llama({.layers = 6, .width = 256, .ff = 512});
  ASSERT_TRUE(compress_to_gguf(checkpoint, dir_ / "whole.gguf", options("Q4_0"), {}));
  const size_t tensors = checkpoint.tensors->tensors().size();
  for (const char* damage : {"flip", "cut", "remove", "journal", "options"}) {
    Progress progress;
    size_t asked = 0;
    progress.cancelled = [&] { return ++asked > tensors + 2; };
    ASSERT_FALSE(compress_to_gguf(checkpoint, out_, options("Q4_0"), progress));
    const fs::path partial = AtomicFile::partial_path(out_);
    const std::string what = damage;
    if (what == "flip") {
      std::fstream file(partial, std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(40000);
      file.put('\x5a');
    } else if (what == "cut") {
      fs::resize_file(partial, fs::file_size(partial) / 2);
    } else if (what == "remove") {
      fs::remove(partial);
    } else if (what == "journal") {
      fs::resize_file(dir_ / "out.gguf.journal", fs::file_size(dir_ / "out.gguf.journal") - 20);
    } else {
      ASSERT_TRUE(compress_to_gguf(checkpoint, out_, options("Q5_0"), {}));  // another run: begins anew
    }
    const auto result = compress_to_gguf(checkpoint, out_, options("Q4_0"), {});
    ASSERT_TRUE(result) << what << ": " << result.error().message;
    EXPECT_EQ(bytes_of(out_), bytes_of(dir_ / "whole.gguf")) << what;
    fs::remove(out_);
  }
}

TEST_F(Compress, OneJobAtATime) {
  const fs::path path = dir_ / "x.journal";
  const auto first = Journal::open(path, "run");
  ASSERT_TRUE(first);
  const auto second = Journal::open(path, "run");
  ASSERT_FALSE(second);
  EXPECT_THAT(second.error().message, HasSubstr("another process"));
}

TEST_F(Compress, TheJournalForgetsATornLine) {
  const fs::path path = dir_ / "x.journal";
  {
    const auto journal = Journal::open(path, "run");
    ASSERT_TRUE((*journal)->append({{"a", 1, 17, 0.25, 0, false}, {"b", 2, 18, 0.5, 0.75, true}}));
  }
  const auto text = bytes_of(path);
  for (size_t cut = 0; cut < text.size(); ++cut) {
    std::ofstream(path, std::ios::binary) << text.substr(0, cut);
    const auto journal = Journal::open(path, "run");
    ASSERT_TRUE(journal);
    const size_t kept = (*journal)->entries().size();
    EXPECT_LT(kept, 2U);
    ASSERT_TRUE((*journal)->append({{"c", 3, 19, 0.125, 0, false}}));
    EXPECT_EQ((*journal)->entries().size(), kept + 1);
  }
  {
    std::ofstream(path, std::ios::binary) << text << "{\"tensor\": \"c\", \"by";
    const auto journal = Journal::open(path, "run");
    ASSERT_EQ((*journal)->entries().size(), 2U);
    EXPECT_EQ((*journal)->entries()[1].weighted_relative_error, 0.75);
    EXPECT_TRUE((*journal)->entries()[1].has_importance);
  }
  EXPECT_EQ(bytes_of(path), text);
  const auto other = Journal::open(path, "another run");
  ASSERT_TRUE(other);
  EXPECT_EQ((*other)->entries().size(), 0U);
}

TEST(Checksum, IsTheStandardOneHoweverItIsFed) {
  const auto of = [](std::string_view text, size_t step) {
    Checksum checksum;
    for (; !text.empty(); text.remove_prefix(std::min(step, text.size())))
      checksum.update(std::as_bytes(std::span(text.substr(0, step))));
    return checksum.value();
  };
  EXPECT_EQ(of("", 1), 0xEF46DB3751D8E999U);
  EXPECT_EQ(of("a", 1), 0xD24EC4F1A98C6E5BU);
  EXPECT_EQ(of("abc", 3), 0x44BC2CF5AD770999U);
  std::string text;
  for (int i = 0; i < 300; ++i) text += static_cast<char>(i * 37);
  for (size_t n = 0; n < text.size(); ++n) {
    const std::string_view part = std::string_view(text).substr(0, n);
    for (const size_t step : {1U, 7U, 31U, 33U}) EXPECT_EQ(of(part, step), of(part, 1000)) << n;
    EXPECT_TRUE(n == 0 || of(part, 1000) != of(part.substr(1), 1000));
  }
}

TEST(Digest, APairGivesTheDigestOfEach) {
  std::vector<std::byte> data(1000);
  std::mt19937 engine(3);
  for (std::byte& b : data) b = static_cast<std::byte>(engine());
  const auto alone = [](std::span<const std::byte> piece) {
    Sha256 hash;
    hash.update(piece);
    return hash.finish();
  };
  for (const size_t other : {0U, 1U, 64U, 333U, 1000U}) {
    for (size_t n = 0; n <= 300; ++n) {
      const auto a = std::span(data).first(n), b = std::span(data).last(other);
      const auto digests = sha256_pair(a, b);
      ASSERT_EQ(digests[0], alone(a)) << n;
      ASSERT_EQ(digests[1], alone(b)) << n;
    }
  }
}

TEST(Digest, IsTheStandardOne) {
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Digest, SeesEveryPartOfACheckpoint) {
  ThreadPool one(1), three(3);
  const Checkpoint checkpoint = testing::tiny_llama({});
  const std::string digest = *checkpoint_digest(checkpoint, one, {});
  EXPECT_EQ(digest, *checkpoint_digest(testing::tiny_llama({}), three, {}));
  EXPECT_NE(digest, *checkpoint_digest(testing::tiny_llama({.type = "F16"}), one, {}));
  EXPECT_NE(digest, *checkpoint_digest(testing::tiny_llama({.tied = false}), one, {}));
  Checkpoint renamed = checkpoint;
  auto metadata = std::make_shared<GgufMetadata>(*checkpoint.metadata);
  metadata->set("general.name", std::string("another"));
  renamed.metadata = metadata;
  EXPECT_NE(digest, *checkpoint_digest(renamed, one, {}));
}

}  // namespace
}  // namespace lissom
