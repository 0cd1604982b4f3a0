// F32, F16 and BF16 weights against F32 activations. Included between simd/<target>.h and simd/end.h.

struct F32Panel {
  static constexpr int kStep = 1;
  static constexpr int64_t kBytes = 64;
  static inline void load_columns(const uint8_t* p, F (&w)[1]) {
    w[0] = load(reinterpret_cast<const float*>(p));
  }
};
struct F16Panel {
  static constexpr int kStep = 1;
  static constexpr int64_t kBytes = 32;
  static inline void load_columns(const uint8_t* p, F (&w)[1]) {
    w[0] = load_half(reinterpret_cast<const uint16_t*>(p));
  }
};
struct Bf16Panel {
  static constexpr int kStep = 2;
  static constexpr int64_t kBytes = 64;
  static inline void load_columns(const uint8_t* p, F (&w)[2]) {
    w[0] = load_bf16_even(reinterpret_cast<const uint16_t*>(p));
    w[1] = load_bf16_odd(reinterpret_cast<const uint16_t*>(p));
  }
};

/// out[t] = Σ_k w[k]·x[k][t]. Few tokens leave room for several sums each, which hides the latency of the
/// additions.
template <class Panel, int T>
inline void float_tile(const uint8_t* panel, const float* x, int64_t cols, F (&out)[T]) {
  constexpr int kWays = T == 1 ? 8 : T == 2 ? 4 : 2;
  constexpr int kSums = T >= 8 || kTile < 8 ? 1 : kWays / Panel::kStep;
  F acc[kSums][T];
  for (int i = 0; i < kSums; ++i)
    for (int t = 0; t < T; ++t) acc[i][t] = set(0.0F);
  constexpr int kChunk = kSums * Panel::kStep;
  int64_t k = 0;
  for (; k + kChunk <= cols; k += kChunk) {
    for (int i = 0; i < kSums; ++i) {
      F w[Panel::kStep];
      Panel::load_columns(panel, w);
      panel += Panel::kBytes;
      for (int j = 0; j < Panel::kStep; ++j) {
        for (int t = 0; t < T; ++t) acc[i][t] = fma(w[j], set(x[t]), acc[i][t]);
        x += T;
      }
    }
  }
  for (; k < cols; k += Panel::kStep) {
    F w[Panel::kStep];
    Panel::load_columns(panel, w);
    panel += Panel::kBytes;
    for (int j = 0; j < Panel::kStep && k + j < cols; ++j) {
      for (int t = 0; t < T; ++t) acc[0][t] = fma(w[j], set(x[t]), acc[0][t]);
      x += T;
    }
  }
  for (int t = 0; t < T; ++t) {
    out[t] = acc[0][t];
    for (int i = 1; i < kSums; ++i) out[t] = add(out[t], acc[i][t]);
  }
}

template <class Panel, int T>
void float_run_tile(const uint8_t* panel, const float* x, int64_t cols, int64_t count, int64_t rows,
                    const float* bias, float* y, int64_t stride) {
  F out[T];
  float_tile<Panel, T>(panel, x, cols, out);
  const F b = bias == nullptr ? set(0.0F) : load_n(bias, rows);
  for (int64_t t = 0; t < count; ++t) {
    if (rows == kPanelRows)
      store(y + t * stride, add(out[t], b));
    else
      store_n(y + t * stride, add(out[t], b), rows);
  }
}

template <class Panel>
void float_run(const uint8_t* panel, const PreparedInput& x, int64_t first, int64_t last, int64_t rows,
               const float* bias, float* y, int64_t stride) {
  for (int64_t i = first; i < last; ++i) {
    const int64_t count = x.m - i * kTile < kTile ? x.m - i * kTile : kTile;
    const float* in = x.f32 + i * kTile * x.cols;
    float* out = y + i * kTile * stride;
    switch (padded_tile(count)) {
      case 1:
        float_run_tile<Panel, 1>(panel, in, x.cols, count, rows, bias, out, stride);
        break;
      case 2:
        float_run_tile<Panel, 2>(panel, in, x.cols, count, rows, bias, out, stride);
        break;
      case 4:
        if constexpr (kTile >= 4) float_run_tile<Panel, 4>(panel, in, x.cols, count, rows, bias, out, stride);
        break;
      case 8:
        if constexpr (kTile >= 8) float_run_tile<Panel, 8>(panel, in, x.cols, count, rows, bias, out, stride);
        break;
      default:
        if constexpr (kTile >= 12) float_run_tile<Panel, 12>(panel, in, x.cols, count, rows, bias, out, stride);
    }
  }
}

/// F32 products of 32 columns at a time, added up in double.
void exact_run(const uint8_t* panel, const PreparedInput& x, int64_t first, int64_t last, int64_t rows,
               const float* bias, float* y, int64_t stride) {
  const auto* w = reinterpret_cast<const float*>(panel);
  for (int64_t i = first; i < last; ++i) {
    const int64_t count = x.m - i * kTile < kTile ? x.m - i * kTile : kTile;
    const int64_t T = padded_tile(count);
    const float* in = x.f32 + i * kTile * x.cols;
    for (int64_t t = 0; t < count; ++t) {
      double sum[16] = {};
      for (int64_t k = 0; k < x.cols; k += 32) {
        F acc = set(0.0F);
        const int64_t end = k + 32 < x.cols ? k + 32 : x.cols;
        for (int64_t c = k; c < end; ++c) acc = fma(load(w + c * 16), set(in[c * T + t]), acc);
        float part[16];
        store(part, acc);
        for (int r = 0; r < 16; ++r) sum[r] += static_cast<double>(part[r]);
      }
      for (int64_t r = 0; r < rows; ++r) {
        y[(i * kTile + t) * stride + r] =
            static_cast<float>(sum[r] + (bias == nullptr ? 0.0 : static_cast<double>(bias[r])));
      }
    }
  }
}

}  // namespace

void fill_float(KernelTable& table) {
  table.f32 = float_run<F32Panel>;
  table.f16 = float_run<F16Panel>;
  table.bf16 = float_run<Bf16Panel>;
  table.exact = exact_run;
}

namespace {
