// instruction_counts: how many instructions each hot kernel takes on a small fixed shape, for each target of
// this machine. A line each: "TARGET KERNEL SHAPE COUNT". The kernels run in a child that its parent lets go
// one instruction at a time (ptrace), so that any instruction set counts, also those that valgrind does not
// know, and no speed, no cache and no other program disturbs. The scalar target is left out: it calls the C
// library's own choice of functions.
//   instruction_counts [KERNEL …]     those whose names begin so

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "kernels/pack.h"
#include "kernels/table.h"
#include "support/random.h"

namespace {

using namespace lissom;
using namespace lissom::kernels;

struct Case {
  std::string name, shape;
  std::function<void()> run;
};

std::vector<float> random_floats(int64_t n) {
  testing::Random random(static_cast<uint64_t>(n));
  std::vector<float> values(static_cast<size_t>(n));
  for (float& v : values) v = random.uniform();
  return values;
}

/// The kernels of one target, and what they read and write.
class Cases {
 public:
  explicit Cases(Target target) : target_(target), table_(kernel_table(target)) {
    for (const char* codec :
         {"Q4_0",  "Q4_1",   "Q5_0",   "Q5_1",  "Q8_0",    "Q2_K",  "Q3_K",   "Q4_K",    "Q5_K",
          "Q6_K",  "IQ4_NL", "IQ4_XS", "IQ3_S", "IQ3_XXS", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M",
          "IQ1_S", "TQ1_0",  "TQ2_0",  "MXFP4", "NVFP4",   "F32",   "F16",    "BF16"}) {
      for (const int64_t tokens : {12, 1}) product(codec, tokens);
    }
    widenings();
    rows();
    attentions();
  }
  [[nodiscard]] const std::vector<Case>& all() const { return cases_; }

 private:
  static constexpr int64_t kColumns = 256, kRows = 2 * kPanelRows;

  float* floats(int64_t n) {
    floats_.push_back(std::make_unique<std::vector<float>>(random_floats(n)));
    return floats_.back()->data();
  }
  std::byte* bytes(int64_t n) {
    bytes_.push_back(std::make_unique<std::vector<std::byte>>(static_cast<size_t>(n)));
    return bytes_.back()->data();
  }

  /// `tokens` tokens as the kernels read them, tile after tile.
  PreparedInput prepared(Input kind, int64_t tokens, const float* x) {
    PreparedInput in;
    in.m = tokens;
    in.cols = kColumns;
    in.tile = table_.tile;
    in.x = x;
    auto* int8 = reinterpret_cast<uint8_t*>(bytes((tokens + table_.tile) * kColumns / 32 * kInt8GroupBytes));
    auto* bf16 = reinterpret_cast<uint16_t*>(bytes((tokens + table_.tile) * kColumns * 2));
    float* f32 = floats((tokens + table_.tile) * kColumns);
    for (int64_t t = 0; t < tokens; t += table_.tile) {
      const int64_t count = std::min<int64_t>(table_.tile, tokens - t);
      if (kind == Input::int8)
        table_.prepare_int8(x + t * kColumns, kColumns, count, int8 + t * kColumns / 32 * kInt8GroupBytes);
      if (kind == Input::bf16) table_.prepare_bf16(x + t * kColumns, kColumns, count, bf16 + t * kColumns);
    }
    in.int8 = int8;
    in.bf16 = bf16;
    in.f32 = f32;
    return in;
  }

  void product(const std::string& name, int64_t tokens) {
    const Codec& codec = *find_codec(name);
    const Shape shape{kRows, kColumns};
    std::vector<std::byte> encoded(codec.components(shape)[0].bytes);
    const std::span<std::byte> parts[] = {encoded};
    codec.encode(shape, random_floats(shape.elements()), {}, parts);
    ThreadPool pool(1);
    matrices_.push_back(
        std::move(*PackedMatrix::pack(target_, codec, kRows, kColumns, encoded, nullptr, pool)));
    const PackedMatrix& matrix = *matrices_.back();
    const PreparedInput in = prepared(matrix.input(tokens), tokens, floats(tokens * kColumns));
    float* y = floats(tokens * kRows);
    cases_.push_back({"product_" + name,
                      std::to_string(kRows) + "x" + std::to_string(kColumns) + "x" + std::to_string(tokens),
                      [&matrix, in, y] { matrix.run_panels(0, 2, in, nullptr, y, matrix.rows(), nullptr); }});
  }

  /// Panels that are made wider for many tokens, and the product by wide ones: of a type of super-blocks, and
  /// of one without.
  void widenings() {
    const PreparedInput in = prepared(Input::int8, 12, floats(12 * kColumns));
    float* y = floats(12 * kRows);
    const int64_t tiles = (12 + table_.tile - 1) / table_.tile;
    for (size_t i = 0; i < block_packers().size(); ++i) {
      const BlockPacker& packer = block_packers()[i];
      const Widening& to = table_.widening[i];
      if (to.widen == nullptr) continue;
      auto* panel = reinterpret_cast<uint8_t*>(bytes(packer.panel_bytes(kColumns)));
      auto* wide = reinterpret_cast<uint8_t*>(bytes(2 * to.bytes(kColumns)));
      const std::string name = packer.codec;
      cases_.push_back({"widen_" + name, "16x256", [=] { to.widen(panel, kColumns, wide); }});
      if (name != "Q6_K" && name != "NVFP4") continue;
      cases_.push_back({"product_widened_" + name, "32x256x12",
                        [=] { to.run(wide, in, 0, tiles, kRows, nullptr, y, kRows); }});
    }
  }

  void rows() {
    constexpr int64_t n = 512;
    float *x = floats(n), *w = floats(n), *b = floats(n), *y = floats(n);
    const auto add_case = [&](const char* name, std::function<void()> run) {
      cases_.push_back({name, std::to_string(n), std::move(run)});
    };
    const KernelTable& t = table_;
    add_case("rms_norm", [=, &t] { t.rms_norm(x, w, 1e-5F, n, y); });
    add_case("layer_norm", [=, &t] { t.layer_norm(x, w, b, 1e-5F, n, y); });
    add_case("silu_mul", [=, &t] { t.silu_mul(x, w, n, y); });
    add_case("gelu", [=, &t] { t.gelu(x, n, y); });
    add_case("gelu_tanh", [=, &t] { t.gelu_tanh(x, n, y); });
    add_case("add", [=, &t] { t.add(x, w, n, y); });
    add_case("rope", [=, &t] { t.rope(y, n / 64, 64, 64, false, w, b); });
    std::byte* row = bytes(n * 4);
    add_case("cache_store_f16", [=, &t] { t.cache_store(CacheType::f16, x, n, row); });
    add_case("cache_store_q8_0", [=, &t] { t.cache_store(CacheType::q8_0, x, n, row); });
    const int64_t tile = t.tile;
    float* many = floats(tile * kColumns);
    auto* out = reinterpret_cast<uint8_t*>(bytes(tile * kColumns * 4));
    const std::string shape = std::to_string(tile) + "x" + std::to_string(kColumns);
    cases_.push_back({"quantize_activations", shape, [=, &t] { t.prepare_int8(many, kColumns, tile, out); }});
    if (t.prepare_bf16 != nullptr)
      cases_.push_back({"round_activations_bf16", shape,
                        [=, &t] { t.prepare_bf16(many, kColumns, tile, reinterpret_cast<uint16_t*>(out)); }});
  }

  /// Two heads of 64 that share keys; a prompt of 12 tokens after 52 others, and one token after 127.
  void attentions() {
    constexpr int64_t heads = 2, dim = 64, most = 128;
    for (const CacheType type : {CacheType::f16, CacheType::q8_0}) {
      const std::string name = type == CacheType::f16 ? "attention_f16" : "attention_q8_0";
      const int64_t row = cache_row_bytes(type, dim);
      std::byte *keys = bytes(most * row), *values = bytes(most * row);
      for (int64_t i = 0; i < most; ++i) {
        table_.cache_store(type, floats(dim), dim, keys + i * row);
        table_.cache_store(type, floats(dim), dim, values + i * row);
      }
      for (const auto& [first, queries] : {std::pair<int64_t, int64_t>(52, 12), {127, 1}}) {
        positions_.push_back(std::make_unique<std::vector<int32_t>>());
        for (int64_t i = 0; i < queries; ++i) positions_.back()->push_back(static_cast<int32_t>(first + i));
        AttentionArgs a{};
        a.q = floats(queries * heads * dim);
        a.out = floats(queries * heads * dim);
        a.q_stride = a.out_stride = heads * dim;
        a.queries = queries;
        a.positions = positions_.back()->data();
        a.keys = keys;
        a.values = values;
        a.cached = first + queries;
        a.head_stride = most * row;
        a.heads = heads;
        a.kv_heads = 1;
        a.head_dim = dim;
        a.scale = 0.125F;
        a.causal = true;
        a.cache = type;
        const std::string shape = std::to_string(queries) + "x" + std::to_string(a.cached);
        cases_.push_back({name, shape, [this, a] { attention(target_, pool_, a, scratch_); }});
        a.rounded = true;
        if (table_.bf16_attention != nullptr && queries > 1)
          cases_.push_back({name + "_rounded", shape, [this, a] { attention(target_, pool_, a, scratch_); }});
      }
    }
  }

  Target target_;
  const KernelTable& table_;
  ThreadPool pool_{1};
  std::vector<Case> cases_;
  std::vector<std::unique_ptr<std::vector<float>>> floats_;
  std::vector<std::unique_ptr<std::vector<std::byte>>> bytes_;
  std::vector<std::unique_ptr<std::vector<int32_t>>> positions_;
  std::vector<std::unique_ptr<PackedMatrix>> matrices_;
  std::vector<std::byte> scratch_;
};

constexpr int kBegin = SIGUSR1, kEnd = SIGUSR2;
constexpr int kNoTracing = 3;  ///< exit code

/// The child: each case once to warm up (memory, tables, late binding), then between the two signals.
[[noreturn]] void run_traced(const std::vector<Case>& cases) {
  ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
  raise(SIGSTOP);
  for (const Case& c : cases) {
    c.run();
    raise(kBegin);
    c.run();
    raise(kEnd);
  }
  _exit(0);
}

/// Lets the child go to the next kBegin, and counts its instructions to kEnd. -1: it did something else.
int64_t count_next(pid_t child) {
  int status = 0;
  const auto wait_for = [&](int signal) {
    return waitpid(child, &status, 0) == child && WIFSTOPPED(status) && WSTOPSIG(status) == signal;
  };
  ptrace(PTRACE_CONT, child, nullptr, nullptr);
  if (!wait_for(kBegin)) return -1;
  for (int64_t count = 0;; ++count) {
    if (ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr) != 0) return -1;
    if (!wait_for(SIGTRAP)) return WIFSTOPPED(status) && WSTOPSIG(status) == kEnd ? count : -1;
  }
}

/// Empty when the system does not let one process trace another, or a kernel failed.
std::vector<int64_t> count(std::vector<Case> cases) {
  cases.insert(cases.begin(), {"", "", [] {}});  // what the signals themselves take
  const pid_t child = fork();
  if (child == 0) run_traced(cases);
  int status = 0;
  std::vector<int64_t> counts;
  if (child < 0 || waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) return counts;
  for (size_t i = 0; i < cases.size(); ++i) {
    const int64_t n = count_next(child);
    if (n < 0) return {};
    counts.push_back(i == 0 ? n : n - counts[0]);
  }
  ptrace(PTRACE_CONT, child, nullptr, nullptr);
  waitpid(child, &status, 0);
  counts.erase(counts.begin());
  return counts;
}

}  // namespace

int main(int argc, char** argv) {
#if defined(__clang__)
  std::printf("%s\n", __VERSION__);
#else
  std::printf("GCC %s\n", __VERSION__);
#endif
  for (const Target target : supported_targets()) {
    if (target == Target::scalar) continue;
    const Cases all(target);
    std::vector<Case> wanted;
    for (const Case& c : all.all()) {
      bool named = argc == 1;
      for (int i = 1; i < argc; ++i) named |= c.name.starts_with(argv[i]);
      if (named) wanted.push_back(c);
    }
    const std::vector<int64_t> counts = count(wanted);
    if (counts.size() != wanted.size()) {
      std::fprintf(stderr, "instruction_counts: this system does not let a process go step by step (ptrace)\n");
      return kNoTracing;
    }
    const std::string with_bf16 = kernel_table(target).prepare_bf16 != nullptr ? "+bf16" : "";
    for (size_t i = 0; i < wanted.size(); ++i)
      std::printf("%s %s %s %lld\n", (std::string(target_name(target)) + with_bf16).c_str(),
                  wanted[i].name.c_str(), wanted[i].shape.c_str(), static_cast<long long>(counts[i]));
  }
}
