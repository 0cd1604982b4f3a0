// Micro-benchmarks of the kernels (google-benchmark), at the shapes of a model 1024 wide: products of each
// type, attention, norms, activations. Each reports items per second (tokens), the operations (TOPS of integer,
// TFLOPS of float weights) and bytes that it gets through, and its share of what the machine does, which is
// probed first with as many threads.
//   kernels_bench [--threads=1,2] [google-benchmark's options]
// One thread is timed by its own clock, which other programs disturb less; repeat (--benchmark_repetitions) and
// take the best. bench/roofline.py makes tables of the JSON.

#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <map>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/probe.h"
#include "kernels/table.h"

namespace {

using namespace lissom;
using namespace lissom::kernels;

constexpr int64_t kWidth = 1024, kKvWidth = 256, kHeadDim = 64, kFf = 3072, kPrompt = 512, kCached = 4096;
constexpr int64_t kHeads = kWidth / kHeadDim, kKvHeads = kKvWidth / kHeadDim;
constexpr int64_t kLayers =
    12;  ///< so that weights and cache of a token come from memory, as a real model's do

double now(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

std::vector<float> normal_floats(int64_t n) {
  std::mt19937 rng(1);
  std::normal_distribution<float> normal(0.0F, 0.5F);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& x : values) x = normal(rng);
  return values;
}

/// A number of threads, and what the machine does with them.
struct Machine {
  std::unique_ptr<ThreadPool> pool;
  MachineLimits limits;
};

struct Suite {
  Target target = Target::scalar;
  std::vector<Machine> machines;
};
Suite suite;

/// Times body() until google-benchmark has enough.
template <class Body>
void measure(benchmark::State& state, const Machine& machine, Body body) {
  const clockid_t clock = machine.pool->size() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC;
  body();  // takes its memory
  for ([[maybe_unused]] auto _ : state) {
    const double begin = now(clock);
    body();
    state.SetIterationTime(now(clock) - begin);
  }
}

/// The rate of what an iteration does `amount` of, in units of `unit`.
void rate(benchmark::State& state, const char* name, double amount, double unit) {
  state.counters[name] =
      benchmark::Counter(amount * static_cast<double>(state.iterations()) / unit, benchmark::Counter::kIsRate);
}

struct Layer {
  std::unique_ptr<PackedMatrix> q, k, v, o, gate, up, down;
};

/// The products of the latest type asked for, rows all the same: speed does not depend on values.
const std::vector<Layer>& layers_of(const Codec& codec) {
  static std::vector<Layer> layers;
  static const Codec* held = nullptr;
  if (held == &codec) return layers;
  layers.clear();
  held = &codec;
  const auto matrix = [&](int64_t rows, int64_t cols) {
    const Shape one{1, cols};
    std::vector<std::byte> row(codec.components(one)[0].bytes), all;
    const std::span<std::byte> parts[] = {row};
    codec.encode(one, normal_floats(cols), {}, parts);
    for (int64_t r = 0; r < rows; ++r) all.insert(all.end(), row.begin(), row.end());
    return std::move(
        *PackedMatrix::pack(suite.target, codec, rows, cols, all, nullptr, *suite.machines.back().pool));
  };
  for (int64_t i = 0; i < kLayers; ++i)
    layers.push_back({matrix(kWidth, kWidth), matrix(kKvWidth, kWidth), matrix(kKvWidth, kWidth),
                      matrix(kWidth, kWidth), matrix(kFf, kWidth), matrix(kFf, kWidth), matrix(kWidth, kFf)});
  return layers;
}

/// All products of one layer for a prompt, of all layers for one token.
void product(benchmark::State& state, const Machine& machine, const Codec& codec, int64_t m) {
  const std::vector<Layer>& layers = layers_of(codec);
  const size_t used = m == 1 ? layers.size() : 1;
  const std::vector<float> x = normal_floats(m * kFf);
  std::vector<float> y[3];
  for (auto& out : y) out.resize(static_cast<size_t>(m * kFf));
  std::vector<std::byte> scratch;
  const auto run = [&](std::vector<const PackedMatrix*> weights) {
    std::vector<MatmulTerm> terms;
    for (const PackedMatrix* w : weights) terms.push_back({w, nullptr, y[terms.size()].data()});
    matmul(suite.target, *machine.pool, terms, x.data(), m, scratch);
  };
  measure(state, machine, [&] {
    for (size_t i = 0; i < used; ++i) {
      const Layer& l = layers[i];
      run({l.q.get(), l.k.get(), l.v.get()});
      run({l.o.get()});
      run({l.gate.get(), l.up.get()});
      run({l.down.get()});
    }
  });
  double ops = 0, bytes = 0;
  for (size_t i = 0; i < used; ++i) {
    const Layer& l = layers[i];
    for (const auto* w : {&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down}) {
      ops += 2.0 * static_cast<double>((*w)->rows() * (*w)->cols() * m);
      bytes += static_cast<double>((*w)->bytes());
    }
  }
  const Input input = layers[0].q->input(m);
  const MachineLimits& limits = machine.limits;
  state.SetItemsProcessed(state.iterations() * m);
  rate(state, input == Input::int8 ? "TOPS" : "TFLOPS", ops, 1e12);
  rate(state, "of_peak", ops,
       input == Input::int8   ? limits.int8_ops_per_second
       : input == Input::bf16 ? limits.bf16_ops_per_second
                              : limits.f32_ops_per_second);
  state.SetLabel(input == Input::int8 ? "int8_tops" : input == Input::bf16 ? "bf16_tflops" : "f32_tflops");
  if (m > 1) return;
  rate(state, "GB/s", bytes, 1e9);
  rate(state, "of_bandwidth", bytes, limits.read_bytes_per_second);
}

/// A prompt of kPrompt tokens in one layer, or one token after kCached others in all layers.
void attend(benchmark::State& state, const Machine& machine, CacheType type, bool prompt) {
  const int64_t queries = prompt ? kPrompt : 1, cached = prompt ? kPrompt : kCached,
                layers = prompt ? 1 : kLayers;
  const int64_t row = kKvHeads * cache_row_bytes(type, kHeadDim);
  const std::vector<float> q = normal_floats(queries * kWidth);
  std::vector<float> out(q.size());
  std::vector<std::byte> keys(static_cast<size_t>(layers * cached * row)), values;
  for (int64_t i = 0; i < layers * cached * kKvHeads; ++i)
    cache_store(suite.target, type, q.data() + i % 8 * kHeadDim, kHeadDim,
                keys.data() + i * cache_row_bytes(type, kHeadDim));
  values = keys;
  std::vector<int32_t> positions;
  for (int64_t i = 0; i < queries; ++i) positions.push_back(static_cast<int32_t>(cached - queries + i));
  AttentionArgs args{};
  args.q = q.data();
  args.out = out.data();
  args.q_stride = args.out_stride = kWidth;
  args.queries = queries;
  args.positions = positions.data();
  args.cached = cached;
  args.head_stride = cached * cache_row_bytes(type, kHeadDim);
  args.heads = kHeads;
  args.kv_heads = kKvHeads;
  args.head_dim = kHeadDim;
  args.scale = 0.125F;
  args.causal = true;
  args.cache = type;
  args.rounded = true;
  std::vector<std::byte> scratch;
  measure(state, machine, [&] {
    for (int64_t i = 0; i < layers; ++i) {
      args.keys = keys.data() + i * cached * row;
      args.values = values.data() + i * cached * row;
      attention(suite.target, *machine.pool, args, scratch);
    }
  });
  int64_t seen = 0;  // pairs of a query and a key
  for (const int32_t p : positions) seen += p + 1;
  const double ops = 4.0 * static_cast<double>(layers * kHeads * kHeadDim * seen);
  state.SetItemsProcessed(state.iterations() * queries);
  rate(state, "TFLOPS", ops, 1e12);
  const bool bf16 = prompt && kernel_table(suite.target).bf16_attention != nullptr;
  rate(state, "of_peak", ops, bf16 ? machine.limits.bf16_ops_per_second : machine.limits.f32_ops_per_second);
  state.SetLabel(bf16 ? "bf16_tflops" : "f32_tflops");
  if (prompt) return;
  const auto bytes = static_cast<double>(2 * layers * cached * row);
  rate(state, "GB/s", bytes, 1e9);
  rate(state, "of_bandwidth", bytes, machine.limits.read_bytes_per_second);
}

/// A pass over kPrompt rows of `width` values: `floats` of them read or written for each.
struct RowKernel {
  const char* name;
  int64_t width, floats;
  void (*run)(const float* x, const float* weight, int64_t n, float* y);
};
const RowKernel kRowKernels[] = {
    {"rms_norm", kWidth, 2,
     [](const float* x, const float* w, int64_t n, float* y) { rms_norm(suite.target, x, w, 1e-5F, n, y); }},
    {"layer_norm", kWidth, 2,
     [](const float* x, const float* w, int64_t n, float* y) {
       layer_norm(suite.target, x, w, w, 1e-5F, n, y);
     }},
    {"silu", kFf, 2, [](const float* x, const float*, int64_t n, float* y) { silu(suite.target, x, n, y); }},
    {"silu_mul", kFf, 3,
     [](const float* x, const float*, int64_t n, float* y) { silu_mul(suite.target, x, y, n, y); }},
    {"gelu", kFf, 2, [](const float* x, const float*, int64_t n, float* y) { gelu(suite.target, x, n, y); }},
    {"gelu_tanh", kFf, 2,
     [](const float* x, const float*, int64_t n, float* y) { gelu_tanh(suite.target, x, n, y); }},
    {"add", kWidth, 3,
     [](const float* x, const float*, int64_t n, float* y) { add(suite.target, x, y, n, y); }},
};

void row_kernel(benchmark::State& state, const Machine& machine, const RowKernel& kernel) {
  const std::vector<float> x = normal_floats(kPrompt * kernel.width), weight = normal_floats(kernel.width);
  std::vector<float> y(x.size());
  measure(state, machine, [&] {
    machine.pool->parallel_for(kPrompt, 16, [&](int64_t begin, int64_t end, int) {
      for (int64_t r = begin; r < end; ++r)
        kernel.run(x.data() + r * kernel.width, weight.data(), kernel.width, y.data() + r * kernel.width);
    });
  });
  state.SetItemsProcessed(state.iterations() * kPrompt);
  rate(state, "GB/s", static_cast<double>(kPrompt * kernel.width * kernel.floats * 4), 1e9);
}

/// Activations as the kernels of integer codes (or of BF16) want them.
void prepare(benchmark::State& state, const Machine& machine, bool bf16) {
  const KernelTable& table = kernel_table(suite.target);
  const std::vector<float> x = normal_floats(kPrompt * kWidth);
  const int64_t tile = table.tile, tiles = kPrompt / tile, tile_bytes = tile * kWidth * 2;
  std::vector<uint8_t> out(static_cast<size_t>(tiles * tile_bytes));
  measure(state, machine, [&] {
    machine.pool->parallel_for(tiles, 4, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const float* from = x.data() + i * tile * kWidth;
        uint8_t* to = out.data() + i * tile_bytes;
        if (bf16)
          table.prepare_bf16(from, kWidth, tile, reinterpret_cast<uint16_t*>(to));
        else
          table.prepare_int8(from, kWidth, tile, to);
      }
    });
  });
  state.SetItemsProcessed(state.iterations() * tiles * tile);
  rate(state, "GB/s", static_cast<double>(tiles * tile * kWidth * 4), 1e9);
}

template <class Body>
void add_benchmark(const std::string& name, const Machine& machine, Body body) {
  const std::string full = fmt::format("{}/threads:{}", name, machine.pool->size());
  benchmark::RegisterBenchmark(full.c_str(),
                               [&machine, body](benchmark::State& state) { body(state, machine); })
      ->UseManualTime()
      ->Unit(benchmark::kMillisecond);
}

void add_benchmarks() {
  for (const char* name :
       {"Q4_0",  "Q4_1",   "Q5_0",   "Q5_1",  "Q8_0",    "Q2_K",  "Q3_K",   "Q4_K",    "Q5_K",
        "Q6_K",  "IQ4_NL", "IQ4_XS", "IQ3_S", "IQ3_XXS", "IQ2_S", "IQ2_XS", "IQ2_XXS", "IQ1_M",
        "IQ1_S", "TQ1_0",  "TQ2_0",  "MXFP4", "NVFP4",   "BF16",  "F16",    "F32"}) {
    const Codec& codec = *find_codec(name);
    for (const int64_t m : {kPrompt, int64_t{1}})
      for (const Machine& machine : suite.machines)
        add_benchmark(fmt::format("product/{}/{}", name, m == 1 ? "generate" : "prompt"), machine,
                      [&codec, m](benchmark::State& s, const Machine& with) { product(s, with, codec, m); });
  }
  for (const Machine& machine : suite.machines) {
    for (const CacheType type : {CacheType::f16, CacheType::q8_0})
      for (const bool prompt : {true, false})
        add_benchmark(fmt::format("attention/{}/{}", type == CacheType::f16 ? "f16" : "q8_0",
                                  prompt ? "prompt" : "generate"),
                      machine,
                      [=](benchmark::State& s, const Machine& with) { attend(s, with, type, prompt); });
    add_benchmark("quantize_activations", machine,
                  [](benchmark::State& s, const Machine& with) { prepare(s, with, false); });
    if (kernel_table(suite.target).prepare_bf16 != nullptr)
      add_benchmark("round_activations_bf16", machine,
                    [](benchmark::State& s, const Machine& with) { prepare(s, with, true); });
    for (const RowKernel& kernel : kRowKernels)
      add_benchmark(kernel.name, machine,
                    [&kernel](benchmark::State& s, const Machine& with) { row_kernel(s, with, kernel); });
  }
}

/// Takes --threads=… out of the arguments.
std::vector<int> thread_counts(int& argc, char** argv) {
  std::vector<int> counts;
  const std::string flag = "--threads=";
  for (int i = 1; i < argc; ++i) {
    if (!std::string(argv[i]).starts_with(flag)) continue;
    std::stringstream list(argv[i] + flag.size());
    for (std::string one; std::getline(list, one, ',');) counts.push_back(std::max(1, std::atoi(one.c_str())));
    std::copy(argv + i + 1, argv + argc, argv + i);
    --argc;
    break;
  }
  if (counts.empty()) {
    counts.push_back(1);
    if (physical_cores() > 1) counts.push_back(physical_cores());
  }
  return counts;
}

/// What the tables are shares of: into the JSON too.
bool probe(int threads) {
  Machine machine{std::make_unique<ThreadPool>(threads), {}};
  const auto limits = probe_machine(suite.target, *machine.pool);
  if (!limits) {
    std::fprintf(stderr, "%s\n", limits.error().message.c_str());
    return false;
  }
  machine.limits = *limits;
  const auto context = [&](const char* name, double value) {
    benchmark::AddCustomContext(fmt::format("{}/threads:{}", name, threads), fmt::format("{:.4g}", value));
  };
  context("read_gb_per_second", limits->read_bytes_per_second * 1e-9);
  context("int8_tops", limits->int8_ops_per_second * 1e-12);
  context("bf16_tflops", limits->bf16_ops_per_second * 1e-12);
  context("f32_tflops", limits->f32_ops_per_second * 1e-12);
  suite.machines.push_back(std::move(machine));
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  const auto target = active_target();
  if (!target) {
    std::fprintf(stderr, "%s\n", target.error().message.c_str());
    return 2;
  }
  suite.target = *target;
  const std::vector<int> threads = thread_counts(argc, argv);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  for (const int n : threads)
    if (!probe(n)) return 2;
  benchmark::AddCustomContext("target", std::string(target_name(*target)));
  add_benchmarks();
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
