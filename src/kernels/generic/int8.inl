// Integer codes against int8 activations: see docs/kernels.md. Included between simd/<target>.h and simd/end.h.

/// What a target puts before the function that holds the accumulators of a tile.
#if !defined(LISSOM_FLATTEN)
#define LISSOM_FLATTEN
#endif

/// The four codes of each of 16 rows for columns 4·Step … 4·Step+3 of a group.
template <class Format, int Step>
inline B codes_of(const uint8_t* group) {
  constexpr int kBits = Format::kBits;
  if constexpr (kBits == 8) return loadb(group + Step * 64);
  B low;
  if constexpr (kBits >= 4) low = bits<Step % 2 * 4, 4, 0>(loadb(group + Step / 2 * 64));
  if constexpr (kBits < 4) low = bits<Step % 4 * 2, 2, 0>(loadb(group + Step / 4 * 64));
  if constexpr (kBits == 3) low = orb(low, bits<Step, 1, 2>(loadb(group + 128)));
  if constexpr (kBits == 5) low = orb(low, bits<Step, 1, 4>(loadb(group + 256)));
  if constexpr (kBits == 6) low = orb(low, bits<Step % 4 * 2, 2, 4>(loadb(group + 256 + Step / 4 * 64)));
  return low;
}

template <class Format>
constexpr bool kFullByte = Format::kBits == 8 || Format::kTable != nullptr;

#if defined(LISSOM_DOT_PAIRS)
// The target has dot_pair(), for two steps at once, and may keep accumulators its own way within a group.
template <class Format, int Step>
inline B values_of(const uint8_t* group, const Table& table) {
  const B u = codes_of<Format, Step>(group);
  if constexpr (Format::kTable != nullptr) return lookup(table, u);
  return u;
}
template <class Format, int T, int N, int P, int Step>
inline void dot_step(const uint8_t* const (&groups)[P], const Table& table, const int8_t* a, I (&acc)[P][N]) {
  if constexpr (Step % 2 == 1) {
    for (int p = 0; p < P; ++p) {
      dot_pair<kFullByte<Format>, T, N>(values_of<Format, Step - 1>(groups[p], table),
                                        values_of<Format, Step>(groups[p], table), a + (Step - 1) * T * 4,
                                        acc[p]);
    }
  }
}
#else
template <class Format, int T, int N, int P, int Step>
inline void dot_step(const uint8_t* const (&groups)[P], const Table& table, const int8_t* a, I (&acc)[P][N]) {
  B u[P];
  for (int p = 0; p < P; ++p) {
    u[p] = codes_of<Format, Step>(groups[p]);
    if constexpr (Format::kTable != nullptr) u[p] = lookup(table, u[p]);
  }
  for (int t = 0; t < N; ++t) {
    for (int p = 0; p < P; ++p) acc[p][t] = dot<kFullByte<Format> >(acc[p][t], u[p], a + (Step * T + t) * 4);
  }
}
template <int N>
inline void to_pairs(I (&)[N]) {}
template <int N>
inline void from_pairs(I (&)[N]) {}
#endif

template <class Format, int N>
inline void start(const int32_t* minus, I (&acc)[N]) {
  constexpr bool kPlain = Format::kZeroShift < 0 || (kSignedWide && kFullByte<Format>);
  for (int t = 0; t < N; ++t) {
    if constexpr (kPlain)
      acc[t] = seti(0);
    else
      acc[t] = shl<Format::kZeroShift>(seti(minus[t]));
  }
  to_pairs(acc);
}

/// The parameters of a chunk: scale and offset of a sub-block of one of its groups.
template <class Format>
struct Params {
  using Layout = PanelLayout<Format>;
  const uint8_t* p;
  F d, m;  ///< of a super-block
  explicit inline Params(const uint8_t* chunk) : p(chunk) {
    if constexpr (Format::kSuper && f32_scale<Format>())
      d = load(reinterpret_cast<const float*>(chunk));
    else if constexpr (Format::kSuper)
      d = half(0);
    if constexpr (scale_factor<Format>() != 1.0F) d = mul(d, set(scale_factor<Format>()));
    if constexpr (Format::kSuper && Format::kOffset) m = half(32);
  }
  inline F half(int64_t at) const { return load_half(reinterpret_cast<const uint16_t*>(p + at)); }
  static constexpr int64_t sub_at(int64_t group, int sub) {
    return 32 * Layout::kFields + (group * Layout::kSubs + sub) * 16 * Layout::kFields;
  }
  inline F scale(int64_t group, int sub) const {
    if constexpr (Format::kSuper)
      return mul(d, load_s8(reinterpret_cast<const int8_t*>(p + sub_at(group, sub))));
    else if constexpr (f32_scale<Format>())
      return load(reinterpret_cast<const float*>(p + 64 * group));
    else if constexpr (bf16_scale<Format>())
      return load_bf16(reinterpret_cast<const uint16_t*>(p + 32 * group));
    else
      return half(32 * (group * Layout::kSubs + sub));
  }
  /// The offset; its negative for super-blocks of 16 (see group_of_16).
  inline F offset(int64_t group, int sub) const {
    if constexpr (Format::kSuper)
      return mul(m, load_u8(p + sub_at(group, sub) + 16));
    else
      return half(64 + 32 * group);
  }
};

#if defined(LISSOM_NARROW_SUMS)
/// How many steps' products of unsigned codes with |a| ≤ 127, two to a lane, fit 16 bits. 0: of codes of 8 bits
/// not even one's.
template <class Format>
constexpr int kNarrowSteps = kFullByte<Format>    ? 0
                             : Format::kBits <= 4 ? 8
                             : Format::kBits == 5 ? 4
                                                  : 2;

template <class Format, int T, int First, int Count, int N, int P>
inline void narrow_steps(const uint8_t* const (&groups)[P], const int8_t* a, I (&acc)[P][N]) {
  I sums[P][N];
  const auto step = [&]<int Step>(std::integral_constant<int, Step>) {
    constexpr bool kFirst = (Step - First) % kNarrowSteps<Format> == 0;
    constexpr bool kLast = (Step - First + 1) % kNarrowSteps<Format> == 0 || Step + 1 == First + Count;
    for (int p = 0; p < P; ++p) {
      const B u = codes_of<Format, Step>(groups[p]);
      for (int t = 0; t < N; ++t) {
        sums[p][t] = narrow_dot(kFirst ? seti(0) : sums[p][t], u, a + (Step * T + t) * 4);
        if constexpr (kLast) acc[p][t] = add_narrow(acc[p][t], sums[p][t]);
      }
    }
  };
  [&]<int... Step>(std::integer_sequence<int, Step...>) {
    (step(std::integral_constant<int, First + Step>{}), ...);
  }
  (std::make_integer_sequence<int, Count>{});
}
#endif

/// Steps First … First+Count-1 of a group, of P panels.
template <class Format, int T, int First, int Count, int N, int P>
inline void dot_steps(const uint8_t* const (&groups)[P], const Table& table, const uint8_t* act,
                      const int32_t* minus, I (&acc)[P][N]) {
  const auto* a = reinterpret_cast<const int8_t*>(act);
  for (int p = 0; p < P; ++p) start<Format, N>(minus, acc[p]);
#if defined(LISSOM_NARROW_SUMS)
  if constexpr (kNarrowSteps<Format> != 0) return narrow_steps<Format, T, First, Count>(groups, a, acc);
#endif
  dot_step<Format, T, N, P, First>(groups, table, a, acc);
  dot_step<Format, T, N, P, First + 1>(groups, table, a, acc);
  dot_step<Format, T, N, P, First + 2>(groups, table, a, acc);
  dot_step<Format, T, N, P, First + 3>(groups, table, a, acc);
  if constexpr (Count == 8) {
    dot_step<Format, T, N, P, 4>(groups, table, a, acc);
    dot_step<Format, T, N, P, 5>(groups, table, a, acc);
    dot_step<Format, T, N, P, 6>(groups, table, a, acc);
    dot_step<Format, T, N, P, 7>(groups, table, a, acc);
  }
  for (int p = 0; p < P; ++p) from_pairs(acc[p]);
}

/// One group of 32 columns with one scale: out += (Σ codes·a)·scale·a_scale + offset·a_sum.
template <class Format, int T, int N, int P>
inline void group_of_32(const uint8_t* const (&codes)[P], const std::array<Params<Format>, P>& params,
                        int64_t g, const Table& table, const uint8_t* act, F (&out)[P][N]) {
  const auto* scale = reinterpret_cast<const float*>(act + 32 * T);
  I acc[P][N];
  dot_steps<Format, T, 0, 8>(codes, table, act, reinterpret_cast<const int32_t*>(act + 40 * T), acc);
  for (int p = 0; p < P; ++p) {
    const F s = params[p].scale(g, 0);
    for (int t = 0; t < N; ++t) out[p][t] = fma(mul(to_float(acc[p][t]), s), set(scale[t]), out[p][t]);
    if constexpr (Format::kOffset) {
      const F o = params[p].offset(g, 0);
      for (int t = 0; t < N; ++t) {
        const F sum = set(scale[T + t]);
        out[p][t] = fma(Format::kSuper ? neg(o) : o, sum, out[p][t]);
      }
    }
  }
}

/// One group of two sub-blocks of 16 columns. `minus` sums are negative already, so offsets enter with their
/// own sign turned: out += a_scale·(s₀·dot₀ + s₁·dot₁ + m₀·minus₀ + m₁·minus₁).
template <class Format, int T, int N, int P>
inline void group_of_16(const uint8_t* const (&codes)[P], const std::array<Params<Format>, P>& params,
                        int64_t g, const Table& table, const uint8_t* act, F (&out)[P][N]) {
  const auto* scale = reinterpret_cast<const float*>(act + 32 * T);
  const auto* minus = reinterpret_cast<const int32_t*>(act + 44 * T);
  I acc[P][N];
  F both[P][N];
  dot_steps<Format, T, 0, 4>(codes, table, act, minus, acc);
  for (int p = 0; p < P; ++p) {
    const F s0 = params[p].scale(g, 0);
    for (int t = 0; t < N; ++t) both[p][t] = mul(to_float(acc[p][t]), s0);
  }
  dot_steps<Format, T, 4, 4>(codes, table, act, minus + T, acc);
  for (int p = 0; p < P; ++p) {
    const F s1 = params[p].scale(g, 1);
    for (int t = 0; t < N; ++t) both[p][t] = fma(to_float(acc[p][t]), s1, both[p][t]);
    if constexpr (Format::kOffset) {
      const F m0 = params[p].offset(g, 0), m1 = params[p].offset(g, 1);
      for (int t = 0; t < N; ++t) {
        both[p][t] = fma(to_float(seti(minus[t])), m0, both[p][t]);
        both[p][t] = fma(to_float(seti(minus[T + t])), m1, both[p][t]);
      }
    }
    for (int t = 0; t < N; ++t) out[p][t] = fma(both[p][t], set(scale[t]), out[p][t]);
  }
}

/// A super-block of 256 columns with one scale: out += scale·Σ over groups of (Σ codes·a)·a_scale.
template <class Format, int T, int N, int P>
inline void super_block(const uint8_t* const (&codes)[P], const std::array<Params<Format>, P>& params,
                        const Table& table, const uint8_t* act, F (&out)[P][N]) {
  using Layout = PanelLayout<Format>;
  F sums[P][N];
  for (int p = 0; p < P; ++p) {
    for (int t = 0; t < N; ++t) sums[p][t] = set(0.0F);
  }
  for (int64_t g = 0; g < Layout::kChunkGroups; ++g, act += T * kInt8GroupBytes) {
    const auto* scale = reinterpret_cast<const float*>(act + 32 * T);
    const uint8_t* group[P];
    for (int p = 0; p < P; ++p) group[p] = codes[p] + g * Layout::kCodeBytes;
    I acc[P][N];
    dot_steps<Format, T, 0, 8>(group, table, act, reinterpret_cast<const int32_t*>(act + 40 * T), acc);
    for (int p = 0; p < P; ++p) {
      for (int t = 0; t < N; ++t) sums[p][t] = fma(to_float(acc[p][t]), set(scale[t]), sums[p][t]);
    }
  }
  for (int p = 0; p < P; ++p) {
    for (int t = 0; t < N; ++t) out[p][t] = fma(sums[p][t], params[p].d, out[p][t]);
  }
}

/// The first `groups` groups of a chunk of P panels that lie `panel_bytes` apart.
template <class Format, int T, int N, int P>
inline void int8_chunk(const uint8_t* chunk, int64_t panel_bytes, int64_t groups, const Table& table,
                       const uint8_t* act, F (&out)[P][N]) {
  using Layout = PanelLayout<Format>;
  const auto params = [&]<int... I>(std::integer_sequence<int, I...>) {
    return std::array<Params<Format>, P>{Params<Format>(chunk + I * panel_bytes)...};
  }
  (std::make_integer_sequence<int, P>{});
  const uint8_t* codes[P];
  for (int p = 0; p < P; ++p) codes[p] = chunk + p * panel_bytes + Layout::kParamBytes;
  // A chunk of which a third and more are parameters is two streams to the hardware's prefetchers, which lose both.
  if constexpr (T == 1 && Format::kSuper && 3 * Layout::kParamBytes > Layout::kChunkBytes) {
    for (int64_t i = 0; i < Layout::kChunkBytes; i += 64) __builtin_prefetch(chunk + 2 * Layout::kChunkBytes + i);
  }
  if constexpr (Format::kSub == 256) return super_block<Format, T, N, P>(codes, params, table, act, out);
  for (int64_t i = 0; i < groups; ++i, act += T * kInt8GroupBytes) {
    if constexpr (Format::kSub == 32)
      group_of_32<Format, T, N, P>(codes, params, i, table, act, out);
    else
      group_of_16<Format, T, N, P>(codes, params, i, table, act, out);
    for (int p = 0; p < P; ++p) codes[p] += Layout::kCodeBytes;
  }
}

/// N of the T tokens of a tile against P panels; act and out point at the first of them.
template <class Format, int T, int N, int P>
void int8_tile(const uint8_t* panel, int64_t groups, const uint8_t* act, F (&out)[P][N]) {
  using Layout = PanelLayout<Format>;
  const int64_t panel_bytes = Layout::bytes(groups * 32);
  Table table{};
  if constexpr (Format::kTable != nullptr) table = load_table(Format::kTable);
  for (int p = 0; p < P; ++p) {
    for (int t = 0; t < N; ++t) out[p][t] = set(0.0F);
  }
  int64_t left = groups;
  for (; left >= Layout::kChunkGroups; left -= Layout::kChunkGroups) {
    int8_chunk<Format, T, N, P>(panel, panel_bytes, Layout::kChunkGroups, table, act, out);
    panel += Layout::kChunkBytes;
    act += Layout::kChunkGroups * T * kInt8GroupBytes;
  }
  if (!Format::kSuper && left > 0) int8_chunk<Format, T, N, P>(panel, panel_bytes, left, table, act, out);
}

template <int T>
inline void store_tile(const F (&out)[T], int64_t count, int64_t rows, const float* bias, float* y,
                       int64_t stride) {
  const F b = bias == nullptr ? set(0.0F) : load_n(bias, rows);
  for (int64_t t = 0; t < count; ++t) {
    if (rows == kPanelRows)
      store(y + t * stride, add(out[t], b));
    else
      store_n(y + t * stride, add(out[t], b), rows);
  }
}

/// N tokens of a tile of T against P panels, of which `rows` rows are stored, `count` tokens of them.
template <class Format, int T, int N, int P>
LISSOM_FLATTEN void int8_run_tile(const uint8_t* panel, int64_t groups, const uint8_t* act, int64_t count,
                                  int64_t rows, const float* bias, float* y, int64_t stride) {
  F out[P][N];
  int8_tile<Format, T, N, P>(panel, groups, act, out);
  for (int64_t p = 0; p < P; ++p, rows -= kPanelRows) {
    store_tile<N>(out[p], count, rows < kPanelRows ? rows : kPanelRows,
                  bias == nullptr ? nullptr : bias + p * kPanelRows, y + p * kPanelRows, stride);
  }
}

/// A tile of T tokens against the panels of up to 32 rows. Where there are registers for it, two panels take
/// half of the tokens each time: an activation is loaded once for both, and loading is what a large tile waits
/// for.
template <class Format, int T>
inline void int8_run_panels(const uint8_t* panel, int64_t groups, const uint8_t* act, int64_t count,
                            int64_t rows, const float* bias, float* y, int64_t stride) {
  if constexpr (T >= 8) {
    constexpr int kHalf = T / 2;
    if (rows > kPanelRows) {
      for (int64_t t = 0; t < count; t += kHalf) {
        int8_run_tile<Format, T, kHalf, 2>(panel, groups, act + 4 * t, count - t < kHalf ? count - t : kHalf,
                                           rows, bias, y + t * stride, stride);
      }
      return;
    }
  }
  for (int64_t r = 0; r < rows; r += kPanelRows) {
    int8_run_tile<Format, T, T, 1>(panel, groups, act, count, rows - r < kPanelRows ? rows - r : kPanelRows,
                                   bias == nullptr ? nullptr : bias + r, y + r, stride);
    panel += PanelLayout<Format>::bytes(groups * 32);
  }
}

template <class Format>
void int8_run(const uint8_t* panel, const PreparedInput& x, int64_t first, int64_t last, int64_t rows,
              const float* bias, float* y, int64_t stride) {
  const int64_t groups = x.cols / 32;
  for (int64_t i = first; i < last; ++i) {
    const int64_t count = x.m - i * kTile < kTile ? x.m - i * kTile : kTile;
    const uint8_t* act = x.int8 + i * kTile * groups * kInt8GroupBytes;
    float* out = y + i * kTile * stride;
    switch (padded_tile(count)) {
      case 1:
        int8_run_panels<Format, 1>(panel, groups, act, count, rows, bias, out, stride);
        break;
      case 2:
        int8_run_panels<Format, 2>(panel, groups, act, count, rows, bias, out, stride);
        break;
      case 4:
        if constexpr (kTile >= 4)
          int8_run_panels<Format, 4>(panel, groups, act, count, rows, bias, out, stride);
        break;
      case 8:
        if constexpr (kTile >= 8)
          int8_run_panels<Format, 8>(panel, groups, act, count, rows, bias, out, stride);
        break;
      default:
        if constexpr (kTile >= 12)
          int8_run_panels<Format, 12>(panel, groups, act, count, rows, bias, out, stride);
    }
  }
}

/// Whether codes times their sub-scales fit 8 bits, so that nothing is rounded.
template <class Format>
constexpr bool kWidensExactly =
    Format::kSuper && !Format::kOffset && Format::kBits == 3 && Format::kTable == nullptr;

template <class Format>
constexpr float kZeroPoint = Format::kZeroShift < 0 ? 0 : 1 << (Format::kZeroShift < 0 ? 0 : Format::kZeroShift);

/// The least and the largest value of a code, in units of its scale.
template <class Format>
constexpr std::array<float, 2> code_values() {
  std::array<float, 2> ends = {255, -255};
  for (int code = 0; code < 1 << Format::kBits; ++code) {
    int value = code;
    if constexpr (Format::kTable != nullptr) value = Format::kTable[code];
    if (Format::kTable != nullptr && value == 0) continue;  // stands for nothing
    const float v = static_cast<float>(value) - kZeroPoint<Format>;
    ends = {v < ends[0] ? v : ends[0], v > ends[1] ? v : ends[1]};
  }
  return ends;
}

/// The one scale of some groups of a chunk, and what weights are multiplied by to be codes of 8 bits.
struct WideScale {
  F scale, inverse;
};

template <class Format>
inline WideScale wide_scale(const Params<Format>& params, int64_t first, int64_t last) {
  // A sub-scale is -32 … 31 and a code -4 … 3, so that their product's negative is -128 … 124.
  if constexpr (kWidensExactly<Format>) return {neg(params.d), set(-1.0F)};
  constexpr float kLow = code_values<Format>()[0], kHigh = code_values<Format>()[1];
  F poison = set(0.0F), most = set(0.0F);
  for (int64_t g = first; g < last; ++g) {
    for (int sub = 0; sub < PanelLayout<Format>::kSubs; ++sub) {
      const F scale = params.scale(g, sub);
      F offset = set(0.0F);
      if constexpr (Format::kOffset) offset = neg(params.offset(g, sub));
      most = max(most, abs(fma(scale, set(kLow), offset)));
      most = max(most, abs(fma(scale, set(kHigh), offset)));
      poison = add(poison, mul(add(scale, offset), set(0.0F)));  // max() may drop a NaN
    }
  }
  const F unit = mul(most, set(1.0F / 127.0F));
  return {add(unit, poison), where_less(most, set(3e-36F), set(0.0F), div(set(1.0F), unit))};
}

/// What store_affine() makes of the codes of a sub-block: in 256th parts, `by` rounded, so that codes are off by less
/// than a tenth of what rounding them costs anyway (the table of IQ4_XS: half).
struct Affine {
  F by, plus;
};
template <class Format>
inline Affine affine(const Params<Format>& params, int64_t g, int sub, F inverse) {
  const F parts = mul(inverse, set(256.0F));
  F scale, plus = set(128.5F * 256.0F);
  if constexpr (kWidensExactly<Format>)
    scale = load_s8(reinterpret_cast<const int8_t*>(params.p + Params<Format>::sub_at(g, sub)));
  else
    scale = params.scale(g, sub);
  if constexpr (Format::kOffset) plus = fma(set(-1.0F), round(mul(params.offset(g, sub), parts)), plus);
  const F by = round(mul(scale, parts));
  return {by, fma(set(-kZeroPoint<Format>), by, plus)};
}

/// The codes of a group of 16 rows and 32 columns as WideOf<Format>'s.
template <class Format, bool Rounds>
inline void widen_group(const Params<Format>& params, int64_t g, const Table& table, F inverse,
                        const uint8_t* codes, uint8_t* out) {
  Affine to[PanelLayout<Format>::kSubs];
  for (int sub = 0; Rounds && sub < PanelLayout<Format>::kSubs; ++sub)
    to[sub] = affine(params, g, sub, inverse);
  const auto step = [&]<int Step>(std::integral_constant<int, Step>) {
    B u = codes_of<Format, Step>(codes);
    if constexpr (Format::kTable != nullptr) u = lookup(table, u);
    const Affine& a = to[Step * 4 / Format::kSub];
    if constexpr (Rounds)
      store_affine(out + 64 * Step, u, a.by, a.plus);
    else
      storeb(out + 64 * Step, u);
  };
  [&]<int... Step>(std::integer_sequence<int, Step...>) {
    (step(std::integral_constant<int, Step>{}), ...);
  }
  (std::make_integer_sequence<int, 8>{});
}

template <class Format>
void widen(const uint8_t* panel, int64_t cols, uint8_t* out) {
  using From = PanelLayout<Format>;
  using To = PanelLayout<WideOf<Format>>;
  static_assert(From::kChunkGroups == To::kChunkGroups);
  constexpr bool kRounds = Format::kSuper || Format::kSub == 16;
  constexpr int64_t kTogether = Format::kSuper ? From::kChunkGroups : 1;  // groups with one scale
  Table table{};
  if constexpr (Format::kTable != nullptr) table = load_table(Format::kTable);
  for (int64_t left = cols / 32; left > 0; left -= From::kChunkGroups) {
    const int64_t groups = left < From::kChunkGroups ? left : From::kChunkGroups;
    const Params<Format> params(panel);
    WideScale s;
    for (int64_t g = 0; g < groups; ++g) {
      if (g % kTogether == 0) {
        if constexpr (kRounds)
          s = wide_scale(params, g, g + kTogether);
        else
          s.scale = params.scale(g, 0);
        store(reinterpret_cast<float*>(out + 64 * (g / kTogether)), s.scale);
      }
      widen_group<Format, kRounds>(params, g, table, s.inverse, panel + From::kParamBytes + g * From::kCodeBytes,
                                   out + To::kParamBytes + g * To::kCodeBytes);
    }
    panel += From::kChunkBytes;
    out += To::kChunkBytes;
  }
}

template <class Format>
constexpr Widening widening() {
  // Ternary types have one scale for 256 weights as they are.
  constexpr bool kTernary = Format::kSub == 32 && Format::kBits == 2;
  constexpr bool kOfTable = kWidensTables && Format::kTable != nullptr;
  if constexpr ((Format::kSuper && !kTernary) || Format::kSub == 16 || kOfTable)
    return {widen<Format>, int8_run<WideOf<Format>>, PanelLayout<WideOf<Format>>::bytes};
  return {};
}

/// One group of 32 values of token t. A NaN or an infinity makes the scale NaN, so that it reaches the result.
template <int T>
inline void quantize_group(const float* x, int t, uint8_t* group) {
  const F lo = load(x), hi = load(x + 16);
  // max() may drop a NaN, and 0·∞ is one: their products with 0 are added back.
  const float largest = reduce_max(max(abs(lo), abs(hi)));
  const float poison = reduce_add(mul(add(lo, hi), set(0.0F)));
  // Below 3e-36 the reciprocal would overflow; such values are no different from zero to any weight.
  const bool tiny = largest < 3e-36F;
  const float inverse = tiny ? 0.0F : 127.0F / largest;
  const float scale = (tiny ? 0.0F : largest * (1.0F / 127.0F)) + poison;
  int32_t sums[2];
  quantize_store<T>(lo, hi, set(inverse), group + t * 4, sums);
  const float sum = scale * static_cast<float>(sums[0] + sums[1]);
  const int32_t minus[3] = {-(sums[0] + sums[1]), -sums[0], -sums[1]};
  std::memcpy(group + 32 * T + 4 * t, &scale, 4);
  std::memcpy(group + 36 * T + 4 * t, &sum, 4);
  for (int i = 0; i < 3; ++i) std::memcpy(group + (40 + 4 * i) * T + 4 * t, &minus[i], 4);
}

template <int T>
void prepare_int8_tile(const float* x, int64_t cols, int64_t count, uint8_t* out) {
  if (count < T) std::memset(out, 0, static_cast<size_t>(cols / 32 * T * kInt8GroupBytes));
  for (int64_t g = 0; g < cols / 32; ++g) {
    uint8_t* group = out + g * T * kInt8GroupBytes;
    for (int t = 0; t < count; ++t) quantize_group<T>(x + t * cols + g * 32, t, group);
  }
}

void prepare_int8(const float* x, int64_t cols, int64_t count, uint8_t* out) {
  switch (padded_tile(count)) {
    case 1:
      return prepare_int8_tile<1>(x, cols, count, out);
    case 2:
      return prepare_int8_tile<2>(x, cols, count, out);
    case 4:
      return prepare_int8_tile<4>(x, cols, count, out);
    case 8:
      return prepare_int8_tile<8>(x, cols, count, out);
    default:
#if defined(LISSOM_PREPARE_TILE)  // the target has prepare_tile(), for all tokens of a tile together
      return prepare_tile(x, cols, count, out);
#else
      return prepare_int8_tile<12>(x, cols, count, out);
#endif
  }
}

template <class... Formats>
void fill_formats(KernelTable& table, FormatList<Formats...>) {
  int i = 0, j = 0;
  ((table.int8[i++] = int8_run<typename KernelOf<Formats>::type>), ...);
  ((table.widening[j++] = widening<typename KernelOf<Formats>::type>()), ...);
}

}  // namespace

void fill_int8(KernelTable& table) {
  table.tile = kTile;
  table.prepare_int8 = prepare_int8;
  fill_formats(table, BlockFormats{});
}

namespace {
