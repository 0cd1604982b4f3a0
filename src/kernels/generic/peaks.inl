// What the probe of the machine times (kernels/probe.h). Included after simd/<target>.h and the target's own
//   struct Int8Peak {       dot products of bytes, in registers alone
//     Sum, Operand, kSums   independent sums: enough to hide an instruction's latency, few enough not to spill
//     kOps                  of a step: two for each multiply-accumulate
//     step(sum, operand)    sum and products. An empty asm touches what it must: the compiler would otherwise drop
//                           the sums, form a product once for all of them, or (GCC 12) hold sums twice, in two types
//   };
//   struct F32Peak          likewise
// and before simd/end.h.

/// The value is used, whatever becomes of it. A copy: the sums themselves must not need an address.
template <class T>
inline void keep(T value) {
  asm volatile("" : : "m"(value));
}

/// A vector of bytes, floats or whatever that the compiler knows nothing about, not even that others are equal to it.
template <class T>
inline T unknown(const void* p) {
  asm volatile("" : : "r"(p) : "memory");
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

void read_memory(const uint8_t* p, int64_t bytes) {
  constexpr int kWays = 4;
  B seen[kWays];
  for (auto& way : seen) way = loadb(p);
  for (int64_t at = 0; at < bytes; at += kWays * 64)
    for (int i = 0; i < kWays; ++i) seen[i] = orb(seen[i], loadb(p + at + i * 64));
  for (const auto& way : seen) keep(way);
}

template <class Peak>
void peak_rounds(int64_t rounds) {
  alignas(64) uint8_t bytes[64];
  std::memset(bytes, 0x3c, sizeof bytes);  // as floats .0115: neither denormal nor soon too large
  auto operand = unknown<typename Peak::Operand>(bytes);
  typename Peak::Sum sums[Peak::kSums];
  for (auto& sum : sums) sum = unknown<typename Peak::Sum>(bytes);
  for (; rounds > 0; --rounds)
    for (auto& sum : sums) sum = Peak::step(sum, operand);
}

template <class Peak>
constexpr PeakKernel peak_kernel() {
  return {peak_rounds<Peak>, Peak::kSums * Peak::kOps};
}

}  // namespace

void fill_peaks(KernelTable& table) {
  table.read_memory = read_memory;
  table.int8_peak = peak_kernel<Int8Peak>();
  table.f32_peak = peak_kernel<F32Peak>();
}

namespace {
