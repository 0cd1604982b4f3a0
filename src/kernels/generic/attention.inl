// Attention with online softmax, as a blocked product. Included after generic/math.inl.
//
// A task is one kv head, a block of queries and a chunk of keys. Its rows are the queries of all query heads
// that share the kv head, so that each key and value is converted once for all of them. Keys go by in blocks of
// kKeyBlock: K is transposed so that lanes are keys (scores = 16 dot products at a time, no horizontal sums), V
// stays with lanes along the head.
//
// Both products sum over elements of 32 bits: a float, or a pair of narrower numbers that lie together.
// `Products` says which:
//   kTogether                 numbers of an element: columns in scores, keys in values
//   squeeze(p, n)             n floats (a multiple of 32) to n/kTogether elements, in place
//   join(rows, n, out)        kTogether rows of n floats (a multiple of 32), a row after the other, to n
//   elements;
//                             where kTogether is not 1
//   product(sum, x, y)        sum + x·y of 16 elements

struct F32Products {
  static constexpr int kTogether = 1;
  static inline void squeeze(float*, int64_t) {}
  static inline F product(F sum, F x, F y) { return fma(x, y, sum); }
};

constexpr int kPvRows = kTile >= 12 ? 6 : 2;
constexpr int kPvVectors = kTile >= 12 ? 4 : 2;
constexpr int kRowTile = kTile >= 12 ? 12 : 4;

/// A task's arrays, carved out of the worker's scratch memory.
struct AttentionTile {
  int64_t dim;               ///< head_dim, padded to 32
  int64_t rows;              ///< queries × heads of the group
  float* q;                  ///< [row tile][elements of a row][T], scaled
  float* keys;               ///< [elements of a row][kKeyBlock]
  float* values;             ///< [elements of kKeyBlock keys][dim]
  float* p;                  ///< [T][kKeyBlock] of the current row tile
  float* load;               ///< [16][dim]
  float *top, *total, *out;  ///< per row: largest score, sum of exponentials, [dim] sums
};

/// One cached vector as F32, padded with zeros to a multiple of 32.
inline void cache_load_row(CacheType type, const std::byte* row, int64_t head_dim, float* out) {
  if (type == CacheType::q8_0) {
    for (int64_t i = 0; i < head_dim; i += 32, row += 34) {
      uint16_t d;
      std::memcpy(&d, row, 2);
      const F scale = set(half_to_float(d));
      store(out + i, mul(load_s8(reinterpret_cast<const int8_t*>(row) + 2), scale));
      store(out + i + 16, mul(load_s8(reinterpret_cast<const int8_t*>(row) + 18), scale));
    }
    return;
  }
  if (head_dim % 32 != 0) {
    store(out + head_dim / 32 * 32, set(0.0F));
    store(out + head_dim / 32 * 32 + 16, set(0.0F));
  }
  if (type == CacheType::f32) {
    const auto* p = reinterpret_cast<const float*>(row);
    each16(head_dim, [&](int64_t i, int64_t k) { store(out + i, load_some(p + i, k)); });
  } else {
    const auto* p = reinterpret_cast<const uint16_t*>(row);
    int64_t i = 0;
    for (; i + 16 <= head_dim; i += 16) store(out + i, load_half(p + i));
    if (i < head_dim) {
      uint16_t rest[16] = {};
      std::memcpy(rest, p + i, static_cast<size_t>(head_dim - i) * 2);
      store(out + i, load_half(rest));
    }
  }
}

/// 16 rows of `elements` from `load` into columns first … first+15 of `keys`.
inline void transpose_keys(const AttentionTile& t, int64_t elements, int64_t first) {
  for (int64_t d = 0; d < elements; d += 16) {
    F r[16];
    for (int i = 0; i < 16; ++i) r[i] = load(t.load + i * t.dim + d);
    transpose(r);
    for (int i = 0; i < 16; ++i) store(t.keys + (d + i) * kKeyBlock + first, r[i]);
  }
}

template <class Products>
inline void load_block(const AttentionArgs& a, const AttentionTile& t, int64_t kv_head, int64_t first,
                       int64_t count) {
  const int64_t row_bytes = cache_row_bytes(a.cache, a.head_dim);
  const std::byte* k = a.keys + kv_head * a.head_stride + first * row_bytes;
  const std::byte* v = a.values + kv_head * a.head_stride + first * row_bytes;
  constexpr int64_t kTogether = Products::kTogether;
  for (int64_t j = 0; j < count; j += 16) {
    const int64_t n = count - j < 16 ? count - j : 16;
    for (int64_t i = 0; i < n; ++i) {
      cache_load_row(a.cache, k + (j + i) * row_bytes, a.head_dim, t.load + i * t.dim);
      Products::squeeze(t.load + i * t.dim, t.dim);
    }
    for (int64_t i = n * t.dim; i < 16 * t.dim; i += 16) store(t.load + i, set(0.0F));
    transpose_keys(t, t.dim / kTogether, j);
  }
  for (int64_t j = 0; j < count; j += kTogether) {
    float* to = t.values + j / kTogether * t.dim;
    if constexpr (kTogether == 1) {
      cache_load_row(a.cache, v + j * row_bytes, a.head_dim, to);
    } else {
      for (int64_t i = 0; i < kTogether; ++i) {
        if (j + i < count) {
          cache_load_row(a.cache, v + (j + i) * row_bytes, a.head_dim, t.load + i * t.dim);
        } else {
          for (int64_t d = 0; d < t.dim; d += 16) store(t.load + i * t.dim + d, set(0.0F));
        }
      }
      Products::join(t.load, t.dim, to);
    }
  }
}

/// Scores of one row tile against `count` keys, into p.
template <class Products, int T>
inline void score_tile(const AttentionTile& t, int64_t elements, const float* q, int64_t count) {
  for (int64_t j = 0; j < count; j += 16) {
    F acc[T];
    for (int r = 0; r < T; ++r) acc[r] = set(0.0F);
    const float* k = t.keys + j;
    for (int64_t d = 0; d < elements; ++d, k += kKeyBlock) {
      const F key = load(k);
      for (int r = 0; r < T; ++r) acc[r] = Products::product(acc[r], key, set(q[d * T + r]));
    }
    for (int r = 0; r < T; ++r) store(t.p + r * kKeyBlock + j, acc[r]);
  }
}

/// Scores, in units of log 2, to cap·tanh(score/cap), with cap in the same units.
inline void cap_scores(float* p, int64_t rows, int64_t count, float cap) {
  for (int64_t r = 0; r < rows; ++r, p += kKeyBlock) {
    for (int64_t j = 0; j < count; j += 16) {
      const F e = exp(mul(load(p + j), set(2.0F / cap)));  // tanh(u) = 1 - 2/(1 + e^2u)
      store(p + j, fma(div(set(-2.0F), add(set(1.0F), e)), set(cap), set(cap)));
    }
  }
}

/// Scores, in units of log 2, to weights. Keys first … last-1 of the block are seen by this row; the others get
/// weight 0.
inline void softmax_row(float* p, int64_t count, int64_t first, int64_t last, float& top, float& total,
                        float& keep) {
  const int64_t vectors = (count + 15) / 16;
  F s[kKeyBlock / 16];
  const F low = set(-INFINITY);
  F most = low;
  for (int64_t i = 0; i < vectors; ++i) {
    s[i] = load(p + i * 16);
    const int64_t b = first - i * 16, e = last - i * 16;
    if (b > 0 || e < 16) {
      s[i] = where_lanes(b < 0    ? 0
                         : b > 16 ? 16
                                  : static_cast<int>(b),
                         e < 0    ? 0
                         : e > 16 ? 16
                                  : static_cast<int>(e),
                         s[i], low);
    }
    most = max(most, s[i]);
  }
  const float largest = reduce_max(most);
  keep = 1.0F;
  if (first >= last) {
    for (int64_t i = 0; i < vectors; ++i) store(p + i * 16, set(0.0F));
    return;
  }
  const float now = largest > top ? largest : top;
  F sum = set(0.0F);
  for (int64_t i = 0; i < vectors; ++i) {
    const F e = exp2(sub(s[i], set(now)));
    sum = add(sum, e);
    store(p + i * 16, e);
  }
  if (now > top) {
    float f[16];
    store(f, exp2(set(top - now)));
    keep = f[0];
    top = now;
  }
  total = total * keep + reduce_add(sum);
}

/// out[R][16·V] = out·keep + p·values for R rows.
template <class Products, int R, int V>
inline void value_tile(const float* p, const float* keep, const float* values, int64_t dim, int64_t elements,
                       float* out) {
  F acc[R][V];
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < V; ++v) acc[r][v] = mul(load(out + r * dim + 16 * v), set(keep[r]));
  }
  for (int64_t j = 0; j < elements; ++j, values += dim) {
    F x[V];
    for (int v = 0; v < V; ++v) x[v] = load(values + 16 * v);
    for (int r = 0; r < R; ++r) {
      const F w = set(p[r * kKeyBlock + j]);
      for (int v = 0; v < V; ++v) acc[r][v] = Products::product(acc[r][v], w, x[v]);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < V; ++v) store(out + r * dim + 16 * v, acc[r][v]);
  }
}

template <class Products, int R>
inline void value_rows(const AttentionTile& t, int64_t vectors, int64_t row, const float* keep, const float* p,
                       int64_t elements) {
  int64_t v = 0;
  float* out = t.out + row * t.dim;
  for (; v + kPvVectors <= vectors; v += kPvVectors) {
    value_tile<Products, R, kPvVectors>(p, keep, t.values + 16 * v, t.dim, elements, out + 16 * v);
  }
  for (; v < vectors; ++v)
    value_tile<Products, R, 1>(p, keep, t.values + 16 * v, t.dim, elements, out + 16 * v);
}

/// Rows first … first+n-1 of the task, which start at row `first`'s place in p.
template <class Products>
inline void add_values(const AttentionTile& t, int64_t vectors, int64_t first, int64_t n, const float* keep,
                       int64_t count) {
  const int64_t elements = (count + Products::kTogether - 1) / Products::kTogether;
  const auto rows = [&]<int R>(int64_t r) {
    value_rows<Products, R>(t, vectors, first + r, keep + r, t.p + r * kKeyBlock, elements);
  };
  int64_t r = 0;
  for (; r + kPvRows <= n; r += kPvRows) rows.template operator()<kPvRows>(r);
  for (; kPvRows > 3 && r + 3 <= n; r += 3) rows.template operator()<3>(r);
  for (; r < n; ++r) rows.template operator()<1>(r);
}

template <class Products>
inline void score_rows(const AttentionTile& t, const float* q, int64_t n, int64_t count) {
  const int64_t elements = t.dim / Products::kTogether;
  switch (padded_tile(n)) {
    case 1:
      return score_tile<Products, 1>(t, elements, q, count);
    case 2:
      return score_tile<Products, 2>(t, elements, q, count);
    case 4:
      return score_tile<Products, 4>(t, elements, q, count);
    case 8:
      if constexpr (kRowTile >= 8) return score_tile<Products, 8>(t, elements, q, count);
      return;
    default:
      if constexpr (kRowTile >= 12) return score_tile<Products, 12>(t, elements, q, count);
  }
}

/// Row r of the task, which is query first_query + r / group, head kv_head·group + r % group: scaled, to [dim].
inline void gather_row(const AttentionArgs& a, const AttentionTask& task, int64_t row, float* to) {
  const int64_t group = a.heads / a.kv_heads;
  const F scale = set(a.scale * 1.44269504F);  // scores in units of log 2
  const float* from =
      a.q + (task.first_query + row / group) * a.q_stride + (task.kv_head * group + row % group) * a.head_dim;
  each16(a.head_dim, [&](int64_t d, int64_t k) { store(to + d, mul(load_some(from + d, k), scale)); });
}

inline void gather_rows(const AttentionArgs& a, const AttentionTask& task, const AttentionTile& t) {
  for (int64_t r = 0; r < t.rows; ++r) gather_row(a, task, r, t.q + r * t.dim);
}

template <class Products>
inline void gather_queries(const AttentionArgs& a, const AttentionTask& task, const AttentionTile& t) {
  const int64_t elements = t.dim / Products::kTogether;
  for (int64_t first = 0; first < t.rows; first += kRowTile) {
    const int64_t n = t.rows - first < kRowTile ? t.rows - first : kRowTile, T = padded_tile(n);
    float* q = t.q + first * elements;
    for (int64_t r = 0; r < T; ++r) {
      float* row = t.load + r * t.dim;
      if (r >= n || a.head_dim < t.dim)
        for (int64_t d = 0; d < t.dim; d += 16) store(row + d, set(0.0F));
      if (r < n) gather_row(a, task, first + r, row);
      Products::squeeze(row, t.dim);
    }
    if constexpr (kRowTile < 12) {  // most of a transposed vector would be padding
      for (int64_t r = 0; r < T; ++r)
        for (int64_t d = 0; d < elements; ++d) q[d * T + r] = t.load[r * t.dim + d];
      continue;
    }
    for (int64_t d = 0; d < elements; d += 16) {
      F column[16];
      for (int64_t r = 0; r < 16; ++r) column[r] = r < T ? load(t.load + r * t.dim + d) : set(0.0F);
      transpose(column);
      for (int64_t i = 0; i < 16; ++i) store_n(q + (d + i) * T, column[i], T);
    }
  }
}

inline AttentionTile carve(const AttentionArgs& a, const AttentionTask& task, float* scratch) {
  AttentionTile t{};
  t.dim = (a.head_dim + 31) / 32 * 32;
  t.rows = (task.last_query - task.first_query) * (a.heads / a.kv_heads);
  const int64_t padded = (t.rows + 11) / 12 * 12;
  const auto take = [&scratch](int64_t n) {
    float* p = scratch;
    scratch += (n + 15) / 16 * 16;
    return p;
  };
  t.keys = take(t.dim * kKeyBlock);
  t.values = take(t.dim * kKeyBlock);
  t.load = take(16 * t.dim);
  t.p = take(12 * kKeyBlock);
  t.q = take(padded * t.dim);
  t.top = take(padded);
  t.total = take(padded);
  t.out = take(padded * t.dim);
  return t;
}

/// Keys first … last-1 that a query at `position` sees.
inline void visible(const AttentionArgs& a, int32_t position, int64_t& first, int64_t& last) {
  first = a.window > 0 && position - a.window + 1 > 0 ? position - a.window + 1 : 0;
  last = a.causal && position + 1 < a.cached ? position + 1 : a.cached;
}

/// Which of `count` keys from `begin` on the rows first … first+n-1 of the task see.
struct SeenKeys {
  int64_t low[kRowTile], high[kRowTile];
  int64_t last = 0;  ///< one beyond the last that any row sees; 0: none
};
inline SeenKeys seen_keys(const AttentionArgs& a, const AttentionTask& task, int64_t first, int64_t n,
                          int64_t begin, int64_t count) {
  const int64_t group = a.heads / a.kv_heads;
  SeenKeys seen;
  for (int64_t r = 0; r < n; ++r) {
    int64_t &low = seen.low[r], &high = seen.high[r];
    visible(a, a.positions[task.first_query + (first + r) / group], low, high);
    low = low > begin ? low - begin : 0;
    high = high < begin + count ? high - begin : count;
    if (low < high && high > seen.last) seen.last = high;
  }
  return seen;
}

/// Scores in p to weights, as elements; keep: what becomes of the rows' sums so far.
template <class Products>
inline void soften(const AttentionArgs& a, const AttentionTile& t, int64_t first, int64_t n,
                   const SeenKeys& seen, float* keep) {
  if (a.softcap > 0.0F) cap_scores(t.p, n, seen.last, a.softcap * 1.44269504F);
  for (int64_t r = 0; r < n; ++r) {
    float* p = t.p + r * kKeyBlock;
    softmax_row(p, seen.last, seen.low[r], seen.high[r], t.top[first + r], t.total[first + r], keep[r]);
    Products::squeeze(p, (seen.last + 31) / 32 * 32);
  }
}

template <class Products>
inline void attention_block(const AttentionArgs& a, const AttentionTask& task, const AttentionTile& t,
                            int64_t begin, int64_t count) {
  load_block<Products>(a, t, task.kv_head, begin, count);
  const int64_t vectors = (a.head_dim + 15) / 16;
  for (int64_t first = 0; first < t.rows; first += kRowTile) {
    const int64_t n = t.rows - first < kRowTile ? t.rows - first : kRowTile;
    const SeenKeys seen = seen_keys(a, task, first, n, begin, count);
    if (seen.last == 0) continue;
    score_rows<Products>(t, t.q + first * (t.dim / Products::kTogether), n, seen.last);
    float keep[kRowTile];
    soften<Products>(a, t, first, n, seen, keep);
    add_values<Products>(t, vectors, first, n, keep, seen.last);
  }
}

// ---------------------------------------------------------------- a few rows

// With so few rows, transposing the keys and writing the values as F32 cost more than the products: here lanes
// run along the head in both, straight from the cache.
constexpr int64_t kFewRows = 4;

template <CacheType Type>
inline F cached16(const std::byte* row, int64_t d) {
  if constexpr (Type == CacheType::f32)
    return load(reinterpret_cast<const float*>(row) + d);
  else
    return load_half(reinterpret_cast<const uint16_t*>(row) + d);
}

/// Asks for the row that a block of keys later will want: the hardware's prefetchers begin anew at each page.
inline void prefetch_row(const std::byte* row, int64_t row_bytes) {
  for (int64_t i = 0; i < row_bytes; i += 64) __builtin_prefetch(row + kKeyBlock * row_bytes + i);
}

/// Scores of R rows, [R][dim] in t.q, against `count` keys, into p.
template <CacheType Type, int R>
inline void few_scores(const AttentionArgs& a, const AttentionTile& t, const std::byte* keys, int64_t row_bytes,
                       int64_t count) {
  for (int64_t j = 0; j < count; j += 16) {
    F sums[R][16];
    const int64_t n = count - j < 16 ? count - j : 16;
    for (int64_t i = 0; i < n; ++i) {
      F sum[R];  // in registers
      for (int r = 0; r < R; ++r) sum[r] = set(0.0F);
      const std::byte* key = keys + (j + i) * row_bytes;
      prefetch_row(key, row_bytes);
      for (int64_t d = 0; d < a.head_dim; d += 16) {
        const F k = cached16<Type>(key, d);
        for (int r = 0; r < R; ++r) sum[r] = fma(k, load(t.q + r * t.dim + d), sum[r]);
      }
      for (int r = 0; r < R; ++r) sums[r][i] = sum[r];
    }
    for (int64_t i = n; i < 16; ++i) {
      for (int r = 0; r < R; ++r) sums[r][i] = set(0.0F);
    }
    for (int r = 0; r < R; ++r) {
      transpose(sums[r]);
      for (int step = 8; step > 0; step /= 2) {
        for (int i = 0; i < step; ++i) sums[r][i] = add(sums[r][i], sums[r][i + step]);
      }
      store(t.p + r * kKeyBlock + j, sums[r][0]);
    }
  }
}

/// out[R][16·V] = out·keep + p·values, from column d on.
template <CacheType Type, int R, int V>
inline void few_values(const AttentionTile& t, const std::byte* values, int64_t row_bytes, int64_t count,
                       const float* keep, int64_t d) {
  F acc[R][V];
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < V; ++v) acc[r][v] = mul(load(t.out + r * t.dim + d + 16 * v), set(keep[r]));
  }
  for (int64_t j = 0; j < count; ++j, values += row_bytes) {
    if (d == 0) prefetch_row(values, row_bytes);
    for (int v = 0; v < V; ++v) {
      const F x = cached16<Type>(values, d + 16 * v);
      for (int r = 0; r < R; ++r) acc[r][v] = fma(set(t.p[r * kKeyBlock + j]), x, acc[r][v]);
    }
  }
  for (int r = 0; r < R; ++r) {
    for (int v = 0; v < V; ++v) store(t.out + r * t.dim + d + 16 * v, acc[r][v]);
  }
}

template <CacheType Type, int R>
inline void few_rows_block(const AttentionArgs& a, const AttentionTask& task, const AttentionTile& t,
                           int64_t begin, int64_t count) {
  const SeenKeys seen = seen_keys(a, task, 0, R, begin, count);
  if (seen.last == 0) return;
  const int64_t row_bytes = cache_row_bytes(Type, a.head_dim), from = task.kv_head * a.head_stride;
  few_scores<Type, R>(a, t, a.keys + from + begin * row_bytes, row_bytes, seen.last);
  float keep[kRowTile];
  soften<F32Products>(a, t, 0, R, seen, keep);
  const std::byte* values = a.values + from + begin * row_bytes;
  int64_t d = 0;
  for (; d + 64 <= a.head_dim; d += 64) few_values<Type, R, 4>(t, values, row_bytes, seen.last, keep, d);
  for (; d < a.head_dim; d += 16) few_values<Type, R, 1>(t, values, row_bytes, seen.last, keep, d);
}

using BlockOfKeys = void (*)(const AttentionArgs& a, const AttentionTask& task, const AttentionTile& t,
                             int64_t begin, int64_t count);
template <CacheType Type>
inline BlockOfKeys few_rows(int64_t rows) {
  constexpr BlockOfKeys kByRows[kFewRows] = {few_rows_block<Type, 1>, few_rows_block<Type, 2>,
                                             few_rows_block<Type, 3>, few_rows_block<Type, 4>};
  return kByRows[rows - 1];
}
/// Null where the rows are too many or heads do not end with a vector, and with q8_0, whose values are better
/// made F32 once.
inline BlockOfKeys few_rows(const AttentionArgs& a, int64_t rows) {
  if (rows > kFewRows || a.head_dim % 16 != 0 || a.cache == CacheType::q8_0) return nullptr;
  return a.cache == CacheType::f32 ? few_rows<CacheType::f32>(rows) : few_rows<CacheType::f16>(rows);
}

template <class Products>
void attention_task(const AttentionArgs& a, const AttentionTask& task, float* scratch) {
  const AttentionTile t = carve(a, task, scratch);
  const BlockOfKeys few = few_rows(a, t.rows), block = few != nullptr ? few : attention_block<Products>;
  if (few != nullptr)
    gather_rows(a, task, t);
  else
    gather_queries<Products>(a, task, t);
  int64_t begin = task.last_key, end = task.first_key;
  for (int64_t i = task.first_query; i < task.last_query; ++i) {
    int64_t first = 0, last = 0;
    visible(a, a.positions[i], first, last);
    begin = first < begin ? first : begin;
    end = last > end ? last : end;
  }
  begin = begin < task.first_key ? task.first_key : begin / kKeyBlock * kKeyBlock;
  end = end < task.last_key ? end : task.last_key;
  for (int64_t r = 0; r < t.rows; ++r) {
    t.top[r] = -INFINITY;
    t.total[r] = 0.0F;
    for (int64_t d = 0; d < t.dim; d += 16) store(t.out + r * t.dim + d, set(0.0F));
  }
  for (int64_t j = begin; j < end; j += kKeyBlock) {
    const int64_t count = end - j < kKeyBlock ? end - j : kKeyBlock;
    block(a, task, t, j, count);
  }

  const int64_t group = a.heads / a.kv_heads;
  for (int64_t r = 0; r < t.rows; ++r) {
    const float* sums = t.out + r * t.dim;
    if (task.partial != nullptr) {
      float* out = task.partial + r * (t.dim + 16);
      out[0] = t.top[r];
      out[1] = t.total[r];
      for (int64_t d = 0; d < t.dim; d += 16) store(out + 16 + d, load(sums + d));
      continue;
    }
    float* out =
        a.out + (task.first_query + r / group) * a.out_stride + (task.kv_head * group + r % group) * a.head_dim;
    const F inverse = set(t.total[r] > 0.0F ? 1.0F / t.total[r] : 0.0F);
    each16(a.head_dim, [&](int64_t d, int64_t k) { store_some(out + d, mul(load(sums + d), inverse), k); });
  }
}

/// Adds up the chunks of one row: `partial` is the first chunk's, the next is `stride` floats further.
inline void attention_merge(const float* partial, int64_t chunks, int64_t stride, int64_t head_dim,
                            float* out) {
  float top = -INFINITY, total = 0.0F;
  for (int64_t c = 0; c < chunks; ++c) top = partial[c * stride] > top ? partial[c * stride] : top;
  each16(head_dim, [&](int64_t d, int64_t k) { store_some(out + d, set(0.0F), k); });
  if (top == -INFINITY) return;
  for (int64_t c = 0; c < chunks; ++c) {
    const float* p = partial + c * stride;
    if (p[1] == 0.0F) continue;
    float f[16];
    store(f, exp2(set(p[0] - top)));
    total += p[1] * f[0];
    each16(head_dim, [&](int64_t d, int64_t k) {
      store_some(out + d, fma(load(p + 16 + d), set(f[0]), load_some(out + d, k)), k);
    });
  }
  const F inverse = set(total > 0.0F ? 1.0F / total : 0.0F);
  each16(head_dim, [&](int64_t d, int64_t k) { store_some(out + d, mul(load_some(out + d, k), inverse), k); });
}
