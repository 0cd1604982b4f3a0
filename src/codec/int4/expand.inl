// The loops of expand.h, in the namespace of one target, whose functions have the attributes LISSOM_TARGET and
// which brings
//   Sixteen                    sixteen floats, with +, ·, set(float), load(const float*), store(float*, Sixteen)
//   from_halves(const std::byte*), from_nibbles, from_bytes, from_quarters(const uint8_t*)
//   Levels, levels_at(const float*), look_up(const Levels&, const uint8_t*)

LISSOM_TARGET void halves(const std::byte* from, size_t n, float* to) {
  size_t i = 0;
  for (; i + 16 <= n; i += 16) store(to + i, from_halves(from + 2 * i));
  for (; i < n; ++i) {
    uint16_t half;
    std::memcpy(&half, from + 2 * i, 2);
    to[i] = half_to_float(half);
  }
}

LISSOM_TARGET void line(const uint8_t* codes, size_t n, float scale, float offset, float* to) {
  size_t i = 0;
  for (; i + 16 <= n; i += 16) store(to + i, set(scale) * from_nibbles(codes + i / 2) + set(offset));
  for (; i < n; ++i) to[i] = scale * static_cast<float>((codes[i / 2] >> (4 * (i % 2))) & 15) + offset;
}

LISSOM_TARGET void lines(const Lines& l, float* to) {
  for (size_t g = 0, first = 0; first < l.columns; ++g, first += l.group)
    line(l.codes + first / 2, std::min(l.group, l.columns - first), l.scales[g], l.offsets[g], to + first);
}

LISSOM_TARGET void bytes(const uint8_t* codes, size_t n, float scale, float offset, float* to) {
  size_t i = 0;
  for (; i + 16 <= n; i += 16) store(to + i, set(scale) * from_bytes(codes + i) + set(offset));
  for (; i < n; ++i) to[i] = scale * static_cast<float>(codes[i]) + offset;
}

LISSOM_TARGET void quarters(const uint8_t* codes, size_t n, float scale, float offset, float* to) {
  size_t i = 0;
  for (; i + 16 <= n; i += 16) store(to + i, set(scale) * from_quarters(codes + i / 4) + set(offset));
  for (; i < n; ++i) to[i] = scale * static_cast<float>((codes[i / 4] >> (2 * (i % 4))) & 3) + offset;
}

LISSOM_TARGET void levels(const uint8_t* codes, size_t n, float scale, const float* level, float* to) {
  const Levels table = levels_at(level);
  size_t i = 0;
  for (; i + 16 <= n; i += 16) store(to + i, set(scale) * look_up(table, codes + i / 2));
  for (; i < n; ++i) to[i] = scale * level[(codes[i / 2] >> (4 * (i % 2))) & 15];
}

LISSOM_TARGET void multiply(const float* by, size_t n, float* to) {
  size_t i = 0;
  for (; i + 16 <= n; i += 16) store(to + i, load(to + i) * load(by + i));
  for (; i < n; ++i) to[i] *= by[i];
}

LISSOM_TARGET void add(float by, const float* x, size_t n, float* to) {
  size_t i = 0;
  for (; i + 16 <= n; i += 16) store(to + i, load(to + i) + set(by) * load(x + i));
  for (; i < n; ++i) to[i] += by * x[i];
}

constexpr Expanders kTable{halves, lines, bytes, quarters, levels, multiply, add};
