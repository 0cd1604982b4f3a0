// Speed of the kernels at a model's shapes, without a model: one layer's products, attention and norms,
// repeated, over enough weights that they come from memory as a real model's do.
//   kernels_bench [threads] [codec …]

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <random>
#include <string>
#include <vector>

#include "kernels/kernels.h"

namespace {

using namespace lissom;
using namespace lissom::kernels;

constexpr int64_t kWidth = 576, kHeads = 9, kKvHeads = 3, kHeadDim = 64, kFf = 1536, kLayers = 30,
                  kVocab = 49152;

bool cpu_clock = false;  ///< one thread: its CPU time, which a busy machine disturbs less

double now() {
  timespec t;
  clock_gettime(cpu_clock ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

struct Layer {
  std::unique_ptr<PackedMatrix> q, k, v, o, gate, up, down;
};

struct Bench {
  Target target;
  ThreadPool& pool;
  std::vector<Layer> layers;
  std::unique_ptr<PackedMatrix> head;
  std::vector<std::byte> keys, values, scratch, attention_scratch;
  double matmul_seconds = 0, attention_seconds = 0;

  std::unique_ptr<PackedMatrix> random_matrix(const Codec& wanted, int64_t rows, int64_t cols) const {
    const Codec& codec = cols % wanted.column_multiple() == 0 ? wanted : *find_codec("Q8_0");
    std::mt19937 rng(1);
    std::normal_distribution<float> normal(0.0F, 0.05F);
    std::vector<float> row(static_cast<size_t>(cols));
    for (float& x : row) x = normal(rng);
    const size_t row_bytes = codec.components(Shape{1, cols})[0].bytes;
    std::vector<std::byte> one(row_bytes), all;
    const std::span<std::byte> parts[] = {one};
    codec.encode(Shape{1, cols}, row, {}, parts);
    for (int64_t r = 0; r < rows; ++r) all.insert(all.end(), one.begin(), one.end());
    return std::move(*PackedMatrix::pack(target, codec, rows, cols, all, nullptr, pool));
  }

  void build(const Codec& codec) {
    for (int64_t i = 0; i < kLayers; ++i) {
      layers.push_back({random_matrix(codec, kWidth, kWidth), random_matrix(codec, kKvHeads * kHeadDim, kWidth),
                        random_matrix(codec, kKvHeads * kHeadDim, kWidth), random_matrix(codec, kWidth, kWidth),
                        random_matrix(codec, kFf, kWidth), random_matrix(codec, kFf, kWidth),
                        random_matrix(codec, kWidth, kFf)});
    }
    head = random_matrix(codec, kVocab, kWidth);
    const auto cache = static_cast<size_t>(1024 * kKvHeads * cache_row_bytes(CacheType::f16, kHeadDim));
    keys.assign(cache, std::byte{1});
    values.assign(cache, std::byte{1});
  }

  void product(std::vector<MatmulTerm> terms, const float* x, int64_t m) {
    const double t = now();
    matmul(target, pool, terms, x, m, scratch);
    matmul_seconds += now() - t;
  }

  /// Tokens first … first+m-1 through all layers.
  void run(int64_t first, int64_t m) {
    const auto size = static_cast<size_t>(m);
    std::vector<float> x(size * kWidth, 0.5F), q(size * kWidth), k(size * 192), v(size * 192), a(size * kWidth);
    std::vector<float> gate(size * kFf), up(size * kFf), logits(kVocab), weight(kWidth, 1.0F);
    std::vector<int32_t> positions;
    for (int64_t i = 0; i < m; ++i) positions.push_back(static_cast<int32_t>(first + i));
    const auto norm = [&] {
      pool.parallel_for(m, 16, [&](int64_t b, int64_t e, int) {
        for (int64_t i = b; i < e; ++i) {
          rms_norm(target, x.data() + i * kWidth, weight.data(), 1e-5F, kWidth, a.data() + i * kWidth);
        }
      });
    };
    for (const Layer& l : layers) {
      norm();
      product({{l.q.get(), nullptr, q.data()}, {l.k.get(), nullptr, k.data()}, {l.v.get(), nullptr, v.data()}},
              a.data(), m);
      const double t = now();
      attention(target, pool,
                {q.data(), a.data(), kWidth, kWidth, m, positions.data(), keys.data(), values.data(), first + m,
                 kHeads, kKvHeads, kHeadDim, 0.125F, true, 0, CacheType::f16},
                attention_scratch);
      attention_seconds += now() - t;
      product({{l.o.get(), nullptr, x.data()}}, a.data(), m);
      norm();
      product({{l.gate.get(), nullptr, gate.data()}, {l.up.get(), nullptr, up.data()}}, a.data(), m);
      pool.parallel_for(m, 16, [&](int64_t b, int64_t e, int) {
        silu_mul(target, gate.data() + b * kFf, up.data() + b * kFf, (e - b) * kFf, gate.data() + b * kFf);
      });
      product({{l.down.get(), nullptr, x.data()}}, gate.data(), m);
    }
    product({{head.get(), nullptr, logits.data()}}, x.data(), 1);
  }
};

void measure(Target target, ThreadPool& pool, const Codec& codec) {
  Bench bench{target, pool, {}, {}, {}, {}, {}, {}};
  bench.build(codec);
  bench.run(0, 64);
  double prompt = 1e9, generate = 1e9, prompt_matmul = 0, prompt_attention = 0;
  for (int repeat = 0; repeat < 5; ++repeat) {
    bench.matmul_seconds = bench.attention_seconds = 0;
    double t = now();
    bench.run(0, 512);
    t = now() - t;
    if (t < prompt) {
      prompt = t;
      prompt_matmul = bench.matmul_seconds;
      prompt_attention = bench.attention_seconds;
    }
    t = now();
    for (int i = 0; i < 16; ++i) bench.run(i, 1);
    generate = std::min(generate, (now() - t) / 16);
  }
  std::printf(
      "%-7s %d threads: prompt %6.0f tokens/s (products %.0f ms, attention %.0f ms), generation %5.1f "
      "tokens/s\n",
      std::string(codec.name()).c_str(), pool.size(), 512 / prompt, prompt_matmul * 1e3, prompt_attention * 1e3,
      1 / generate);
}

}  // namespace

int main(int argc, char** argv) {
  const auto target = active_target();
  if (!target) {
    std::fprintf(stderr, "%s\n", target.error().message.c_str());
    return 2;
  }
  ThreadPool pool(argc > 1 ? std::atoi(argv[1]) : 0);
  cpu_clock = pool.size() == 1;
  std::vector<std::string> names(argv + std::min(argc, 2), argv + argc);
  if (names.empty()) names = {"Q8_0", "Q4_0", "Q4_1", "Q4_K", "Q6_K", "IQ4_NL", "F16", "BF16"};
  for (const std::string& name : names) {
    const Codec* codec = find_codec(name);
    if (codec != nullptr) measure(*target, pool, *codec);
  }
}
