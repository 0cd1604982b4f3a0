// Runs of 16 values and exponentials. Included between simd/<target>.h and simd/end.h.

/// Calls f(i, lanes) for each run of 16 values, the last maybe shorter.
template <class Function>
inline void each16(int64_t n, Function f) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) f(i, int64_t{16});
  if (i < n) f(i, n - i);
}
inline F load_some(const float* p, int64_t lanes) {
  return lanes == 16 ? load(p) : load_n(p, lanes);
}
inline void store_some(float* p, F x, int64_t lanes) {
  lanes == 16 ? store(p, x) : store_n(p, x, lanes);
}

/// e^x, relative error below 2e-7 between -87 and 88; 0 below, 2.4e38 above.
inline F exp(F x) {
  const F low = set(-87.0F);
  const F c = min(max(x, low), set(88.3F));
  const F n = round(mul(c, set(1.44269504F)));
  F r = fma(n, set(-0.693359375F), c);  // ln 2 in two parts
  r = fma(n, set(2.12194440e-4F), r);
  F p = set(1.0F / 5040);
  p = fma(p, r, set(1.0F / 720));
  p = fma(p, r, set(1.0F / 120));
  p = fma(p, r, set(1.0F / 24));
  p = fma(p, r, set(1.0F / 6));
  p = fma(p, r, set(0.5F));
  p = fma(mul(r, r), p, r);
  return where_less(x, low, set(0.0F), scale2(add(p, set(1.0F)), n));
}

/// 2^x for x ≤ 0, relative error below 2e-7; 2^-126 below -126, which is nothing beside a row's largest
/// weight, 1.
inline F exp2(F x) {
  const F c = max(x, set(-126.0F));
  const F n = round(c), r = sub(c, n);
  constexpr float kFit[] = {0.693147182F,   0.240226507F,   0.0555035695F,
                            0.00961805694F, 0.00133908668F, 0.000154614478F};
  F p = set(kFit[5]);
  for (int i = 4; i >= 0; --i) p = fma(p, r, set(kFit[i]));
  return scale2(fma(p, r, set(1.0F)), n);
}
