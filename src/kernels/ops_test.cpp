#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <random>

#include "kernels/kernels.h"

namespace lissom::kernels {
namespace {

std::vector<float> uniform(size_t n, uint32_t seed, float low, float high) {
  std::mt19937 rng(seed);
  std::uniform_real_distribution<float> dist(low, high);
  std::vector<float> v(n);
  for (float& x : v) x = dist(rng);
  return v;
}

void expect_near(const std::vector<float>& got, const std::vector<double>& want, double relative,
                 double absolute) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_LE(std::abs(static_cast<double>(got[i]) - want[i]), relative * std::abs(want[i]) + absolute)
        << "at " << i << ": " << got[i] << " for " << want[i];
  }
}

using Unary = void (*)(Target, const float*, int64_t, float*);
struct Activation {
  const char* name;
  Unary run;
  double (*want)(double);
};
const Activation kActivations[] = {
    {"silu", silu, [](double x) { return x / (1.0 + std::exp(-x)); }},
    {"gelu", gelu, [](double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); }},
    {"gelu_tanh", gelu_tanh,
     [](double x) {
       const double u = std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x);
       return x / (1.0 + std::exp(-2.0 * u));
     }},
};

TEST(Ops, ActivationsAgainstLibm) {
  const auto x = uniform(20011, 1, -6.0F, 12.0F);
  for (const Activation& a : kActivations) {
    std::vector<double> want;
    want.reserve(x.size());
    for (const float v : x) want.push_back(a.want(static_cast<double>(v)));
    std::vector<float> reference;
    for (const Target t : supported_targets()) {
      std::vector<float> y(x.size());
      a.run(t, x.data(), static_cast<int64_t>(x.size()), y.data());
      SCOPED_TRACE(a.name);
      // Far on the negative side the argument of the exponential, rounded to F32, sets the limit.
      expect_near(y, want, 3e-6, 1e-7);
      if (reference.empty()) reference = y;
      EXPECT_EQ(y, reference) << target_name(t);
    }
  }
}

TEST(Ops, ActivationsAtTheEnds) {
  const std::vector<float> x = {0.0F, -0.0F, 1e-30F, -1e-30F, 100.0F, -100.0F, 1e4F, -1e4F, 1e10F, -1e10F};
  for (const Activation& a : kActivations) {
    for (const Target t : supported_targets()) {
      std::vector<float> y(x.size());
      a.run(t, x.data(), static_cast<int64_t>(x.size()), y.data());
      for (size_t i = 0; i < x.size(); ++i) {
        const double want = x[i] > 0.0F ? static_cast<double>(x[i]) * (x[i] < 1.0F ? 0.5 : 1.0) : 0.0;
        EXPECT_NEAR(static_cast<double>(y[i]), want, 1e-6 * std::abs(want) + 1e-12) << a.name << " of " << x[i];
      }
    }
  }
}

TEST(Ops, NormsAndSums) {
  for (const int64_t n : {1, 5, 16, 31, 64, 577}) {
    const auto size = static_cast<size_t>(n);
    const auto x = uniform(size, 2, -3.0F, 4.0F), w = uniform(size, 3, 0.5F, 2.0F),
               b = uniform(size, 4, -1.0F, 1.0F);
    double square = 0.0, mean = 0.0, variance = 0.0;
    for (const float v : x) square += static_cast<double>(v) * static_cast<double>(v);
    for (const float v : x) mean += static_cast<double>(v) / static_cast<double>(n);
    for (const float v : x) variance += std::pow(static_cast<double>(v) - mean, 2) / static_cast<double>(n);
    std::vector<double> rms, layer, sum, prod, gated;
    for (size_t i = 0; i < size; ++i) {
      const auto xi = static_cast<double>(x[i]), wi = static_cast<double>(w[i]), bi = static_cast<double>(b[i]);
      rms.push_back(xi / std::sqrt(square / static_cast<double>(n) + 1e-5) * wi);
      layer.push_back((xi - mean) / std::sqrt(variance + 1e-5) * wi + bi);
      sum.push_back(xi + bi);
      prod.push_back(xi * bi);
      gated.push_back(xi / (1.0 + std::exp(-xi)) * bi);
    }
    std::vector<std::vector<float>> reference;
    for (const Target t : supported_targets()) {
      std::vector<std::vector<float>> y(5, std::vector<float>(size));
      rms_norm(t, x.data(), w.data(), 1e-5F, n, y[0].data());
      layer_norm(t, x.data(), w.data(), b.data(), 1e-5F, n, y[1].data());
      add(t, x.data(), b.data(), n, y[2].data());
      mul(t, x.data(), b.data(), n, y[3].data());
      silu_mul(t, x.data(), b.data(), n, y[4].data());
      expect_near(y[0], rms, 1e-6, 1e-6);
      expect_near(y[1], layer, 2e-6, 2e-6);
      expect_near(y[2], sum, 1e-7, 1e-7);
      expect_near(y[3], prod, 1e-7, 1e-7);
      expect_near(y[4], gated, 1e-6, 1e-7);
      if (reference.empty()) reference = y;
      EXPECT_EQ(y, reference) << target_name(t);
    }
  }
}

TEST(Ops, Rope) {
  for (const int64_t dim : {2, 32, 64, 80}) {
    const int64_t heads = 3, head_dim = 80;
    const auto x = uniform(static_cast<size_t>(heads * head_dim), 5, -1.0F, 1.0F);
    std::vector<float> cos, sin;
    for (int64_t i = 0; i < dim / 2; ++i) {
      cos.push_back(std::cos(0.37F * static_cast<float>(i)));
      sin.push_back(std::sin(0.37F * static_cast<float>(i)));
    }
    for (const bool interleaved : {false, true}) {
      std::vector<double> want(x.begin(), x.end());
      for (int64_t h = 0; h < heads; ++h) {
        for (int64_t i = 0; i < dim / 2; ++i) {
          const auto a = static_cast<size_t>(h * head_dim + (interleaved ? 2 * i : i));
          const auto b = static_cast<size_t>(h * head_dim + (interleaved ? 2 * i + 1 : i + dim / 2));
          const auto c = static_cast<double>(cos[static_cast<size_t>(i)]),
                     s = static_cast<double>(sin[static_cast<size_t>(i)]);
          want[a] = static_cast<double>(x[a]) * c - static_cast<double>(x[b]) * s;
          want[b] = static_cast<double>(x[a]) * s + static_cast<double>(x[b]) * c;
        }
      }
      for (const Target t : supported_targets()) {
        auto y = x;
        rope(t, y.data(), heads, head_dim, dim, interleaved, cos.data(), sin.data());
        expect_near(y, want, 1e-6, 1e-6);
      }
    }
  }
}

struct AttentionCase {
  int64_t queries, cached, heads, kv_heads, head_dim, window;
  bool causal;
  float softcap = 0.0F;
};

void check_attention(const AttentionCase& c, CacheType type, double tolerance, bool rounded = false) {
  const auto q_size = static_cast<size_t>(c.queries * c.heads * c.head_dim);
  const auto kv_size = static_cast<size_t>(c.cached * c.kv_heads * c.head_dim);
  const auto q = uniform(q_size, 6, -2.0F, 2.0F), k = uniform(kv_size, 7, -2.0F, 2.0F),
             v = uniform(kv_size, 8, -1.0F, 1.0F);
  std::vector<int32_t> positions;
  for (int64_t i = 0; i < c.queries; ++i) positions.push_back(static_cast<int32_t>(c.cached - c.queries + i));
  const float scale = 1.0F / std::sqrt(static_cast<float>(c.head_dim));

  std::vector<double> want(q_size);
  for (int64_t i = 0; i < c.queries; ++i) {
    for (int64_t h = 0; h < c.heads; ++h) {
      const int64_t kv = h / (c.heads / c.kv_heads);
      std::vector<double> p;
      double total = 0.0;
      for (int64_t j = 0; j < c.cached; ++j) {
        double dot = 0.0;
        for (int64_t d = 0; d < c.head_dim; ++d) {
          dot += static_cast<double>(q[static_cast<size_t>((i * c.heads + h) * c.head_dim + d)]) *
                 static_cast<double>(k[static_cast<size_t>((j * c.kv_heads + kv) * c.head_dim + d)]);
        }
        const int64_t position = positions[static_cast<size_t>(i)];
        const bool seen = (!c.causal || j <= position) && (c.window == 0 || j > position - c.window);
        double score = dot * static_cast<double>(scale);
        if (c.softcap > 0) score = double{c.softcap} * std::tanh(score / double{c.softcap});
        p.push_back(seen ? std::exp(score) : 0.0);
        total += p.back();
      }
      for (int64_t d = 0; d < c.head_dim; ++d) {
        double sum = 0.0;
        for (int64_t j = 0; j < c.cached; ++j) {
          sum += p[static_cast<size_t>(j)] *
                 static_cast<double>(v[static_cast<size_t>((j * c.kv_heads + kv) * c.head_dim + d)]);
        }
        want[static_cast<size_t>((i * c.heads + h) * c.head_dim + d)] = total > 0.0 ? sum / total : 0.0;
      }
    }
  }

  const int64_t row = cache_row_bytes(type, c.head_dim);
  for (const Target t : supported_targets()) {
    std::vector<std::byte> keys(static_cast<size_t>(c.cached * c.kv_heads * row)), values(keys.size());
    for (int64_t j = 0; j < c.cached; ++j) {
      for (int64_t h = 0; h < c.kv_heads; ++h) {
        const int64_t from = (j * c.kv_heads + h) * c.head_dim, to = (h * c.cached + j) * row;
        cache_store(t, type, k.data() + from, c.head_dim, keys.data() + to);
        cache_store(t, type, v.data() + from, c.head_dim, values.data() + to);
      }
    }
    std::vector<float> one_thread;
    for (const int threads : {1, 3}) {
      ThreadPool pool(threads);
      std::vector<std::byte> scratch;
      std::vector<float> out(q_size, -9.0F);
      attention(t, pool,
                {q.data(), out.data(), c.heads * c.head_dim, c.heads * c.head_dim, c.queries, positions.data(),
                 keys.data(), values.data(), c.cached * row, c.cached, c.heads, c.kv_heads, c.head_dim, scale,
                 c.causal, c.window, type, c.softcap, rounded},
                scratch);
      expect_near(out, want, tolerance, tolerance);
      if (threads == 1) one_thread = out;
      EXPECT_EQ(out, one_thread);
    }
  }
}

TEST(Attention, AgainstDouble) {
  const AttentionCase cases[] = {
      {1, 1, 1, 1, 8, 0, true},      {1, 300, 9, 3, 64, 0, true},         {40, 40, 9, 3, 64, 0, true},
      {7, 90, 4, 1, 80, 0, true},    {33, 33, 2, 2, 24, 0, false},        {50, 130, 4, 2, 32, 20, true},
      {70, 70, 6, 2, 128, 0, false}, {3, 5, 3, 1, 15, 2, true},           {1, 700, 4, 2, 64, 0, true},
      {20, 600, 2, 1, 64, 0, true},  {50, 130, 4, 2, 32, 20, true, 1.5F}, {1, 700, 4, 2, 64, 0, true, 50.0F},
  };
  for (const AttentionCase& c : cases) {
    SCOPED_TRACE(testing::Message() << c.queries << " queries, " << c.cached << " keys, head_dim "
                                    << c.head_dim);
    check_attention(c, CacheType::f32, 2e-6);
    check_attention(c, CacheType::f16, 3e-3);
    check_attention(c, CacheType::q8_0, 3e-2);
    check_attention(c, CacheType::f32, 5e-3, true);
    check_attention(c, CacheType::f16, 5e-3, true);
    check_attention(c, CacheType::q8_0, 3e-2, true);
  }
}

TEST(Attention, LargeScoresDoNotOverflow) {
  // One key far above all others: its value is the result.
  const int64_t dim = 16, cached = 200;
  std::vector<float> q(dim, 100.0F), keys(static_cast<size_t>(cached * dim), -100.0F), values(keys.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const size_t key = i / static_cast<size_t>(dim);
    values[i] = static_cast<float>(key);
  }
  std::fill(keys.begin() + 150 * dim, keys.begin() + 151 * dim, 100.0F);
  const int32_t position = cached - 1;
  for (const Target t : supported_targets()) {
    ThreadPool pool(2);
    std::vector<std::byte> scratch;
    std::vector<float> out(dim);
    attention(t, pool,
              {q.data(), out.data(), dim, dim, 1, &position, reinterpret_cast<const std::byte*>(keys.data()),
               reinterpret_cast<const std::byte*>(values.data()), cached * dim * 4, cached, 1, 1, dim, 1.0F,
               true, 0, CacheType::f32},
              scratch);
    for (const float v : out) EXPECT_EQ(v, 150.0F);
  }
}

}  // namespace
}  // namespace lissom::kernels
