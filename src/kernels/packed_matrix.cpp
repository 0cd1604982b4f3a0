#include <sys/mman.h>

#include <algorithm>
#include <cassert>
#include <cstring>
#include <limits>
#include <memory>
#include <mutex>
#include <string>

#include "base/half.h"
#include "codec/equivalent.h"
#include "codec/low_rank.h"
#include "codec/panels.h"
#include "codec/parts.h"
#include "codec/stacked/stacked.h"
#include "kernels/pack.h"
#include "kernels/table.h"

namespace lissom::kernels {

namespace {

static_assert(kPanelRows == PanelDecoder::kLanes);

int64_t panels_of(int64_t rows) {
  return (rows + kPanelRows - 1) / kPanelRows;
}

/// Zeroed memory at a multiple of 64 bytes, out of fresh chunks that ask for huge pages: with pages of 4 KiB,
/// looking up addresses takes as long as reading the weights of one token. A chunk goes when the last matrix in
/// it does.
class Buffer {
 public:
  static Result<Buffer> make(uint64_t bytes) {
    constexpr uint64_t kHuge = uint64_t{2} << 20, kChunk = uint64_t{32} << 20;
    static std::mutex mutex;
    static std::weak_ptr<Chunk> latest;
    const uint64_t size = (bytes + 63) / 64 * 64;
    const std::lock_guard lock(mutex);
    std::shared_ptr<Chunk> chunk = latest.lock();
    if (chunk == nullptr || chunk->size - chunk->used < size) {
      const uint64_t want = std::max(kChunk, (size + kHuge - 1) / kHuge * kHuge);
      void* p = mmap(nullptr, want + kHuge, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      if (p == MAP_FAILED) return io_error("out of memory: " + std::to_string(bytes) + " bytes of weights");
      chunk = std::make_shared<Chunk>();
      chunk->mapping = p;
      chunk->mapped = want + kHuge;
      const auto at = reinterpret_cast<uintptr_t>(p);
      chunk->start = static_cast<uint8_t*>(p) + ((at + kHuge - 1) / kHuge * kHuge - at);
      chunk->size = want;
      (void)madvise(chunk->start, want, MADV_HUGEPAGE);  // without it everything works, slower
      latest = chunk;
    }
    Buffer b;
    b.data_ = chunk->start + chunk->used;
    b.size_ = bytes;
    chunk->used += size;
    b.chunk_ = std::move(chunk);
    return b;
  }
  [[nodiscard]] uint8_t* data() const { return data_; }
  [[nodiscard]] uint64_t size() const { return size_; }

 private:
  struct Chunk {
    void* mapping = nullptr;
    uint8_t* start = nullptr;
    uint64_t mapped = 0, size = 0, used = 0;
    Chunk() = default;
    Chunk(const Chunk&) = delete;
    Chunk& operator=(const Chunk&) = delete;
    ~Chunk() {
      if (mapping != nullptr) munmap(mapping, mapped);
    }
  };
  std::shared_ptr<Chunk> chunk_;
  uint8_t* data_ = nullptr;
  uint64_t size_ = 0;
};

class MatrixBase : public PackedMatrix {
 public:
  MatrixBase(const KernelTable& table, int64_t rows, int64_t cols) : table_(table), rows_(rows), cols_(cols) {}
  [[nodiscard]] int64_t rows() const override { return rows_; }
  [[nodiscard]] int64_t cols() const override { return cols_; }

 protected:
  /// Calls f(panel, first tile, last tile, rows) for `together` panels at a time, so that a stretch of tokens
  /// stays in the L2 cache while several panels pass over it.
  template <class Function>
  void blocked(int64_t first, int64_t last, int64_t together, const PreparedInput& x, int64_t token_bytes,
               Function f) const {
    const int64_t tiles = (x.m + x.tile - 1) / x.tile;
    const int64_t step =
        std::clamp<int64_t>((256 << 10) / std::max<int64_t>(token_bytes * x.tile, 1), 1, tiles);
    for (int64_t t = 0; t < tiles; t += step) {
      for (int64_t p = first; p < last; p += together) {
        const int64_t panels = std::min(together, last - p);
        f(p, t, std::min(tiles, t + step), std::min(panels * kPanelRows, rows_ - p * kPanelRows));
      }
    }
  }

  const KernelTable& table_;
  int64_t rows_, cols_;
};

/// Integer codes in panels of our own.
class BlockMatrix final : public MatrixBase {
 public:
  BlockMatrix(const KernelTable& table, int64_t rows, int64_t cols, size_t format, Buffer data)
      : MatrixBase(table, rows, cols),
        packer_(block_packers()[format]),
        run_(table.int8[format]),
        wide_(table.widening[format]),
        panel_bytes_(packer_.panel_bytes(cols)),
        data_(std::move(data)) {}
  [[nodiscard]] bool repacked() const override { return true; }
  [[nodiscard]] uint64_t bytes() const override { return data_.size(); }
  void row(int64_t index, float* out) const override {
    packer_.unpack_row(panel(index / kPanelRows), index % kPanelRows, cols_, out);
  }
  [[nodiscard]] Input input(int64_t) const override { return Input::int8; }
  [[nodiscard]] int64_t panel_scratch() const override {
    return wide_.widen == nullptr ? 0 : wide_panels() * wide_bytes() / static_cast<int64_t>(sizeof(float));
  }
  void run_panels(int64_t first, int64_t last, const PreparedInput& x, const float* bias, float* y,
                  int64_t y_stride, float* scratch) const override {
    if (wide_.widen == nullptr || x.m < kWidenFrom)
      return run(run_, data_.data(), panel_bytes_, 0, first, last, x, bias, y, y_stride);
    auto* wide = reinterpret_cast<uint8_t*>(scratch);
    for (int64_t p = first; p < last; p += wide_panels()) {
      const int64_t end = std::min(p + wide_panels(), last);
      for (int64_t i = p; i < end; ++i) wide_.widen(panel(i), cols_, wide + (i - p) * wide_bytes());
      run(wide_.run, wide, wide_bytes(), p, p, end, x, bias, y, y_stride);
    }
  }

 private:
  /// Tokens from which on it pays to widen a panel for all of them, and bytes of panels that are widened at
  /// once: with the activations that blocked() keeps there they fit an L2 cache.
  static constexpr int64_t kWidenFrom = 64, kWideBytes = 384 << 10;

  [[nodiscard]] const uint8_t* panel(int64_t p) const { return data_.data() + p * panel_bytes_; }
  [[nodiscard]] int64_t wide_bytes() const { return wide_.bytes(cols_); }
  /// An even number.
  [[nodiscard]] int64_t wide_panels() const {
    return std::max<int64_t>(1, kWideBytes / (2 * std::max<int64_t>(wide_bytes(), 1))) * 2;
  }
  /// Panels first … last-1 of `panels`, which begins with the panel `begin`.
  void run(RunPanel kernel, const uint8_t* panels, int64_t bytes, int64_t begin, int64_t first, int64_t last,
           const PreparedInput& x, const float* bias, float* y, int64_t y_stride) const {
    blocked(first, last, 2, x, cols_ / 32 * kInt8GroupBytes, [&](int64_t p, int64_t t0, int64_t t1, int64_t n) {
      kernel(panels + (p - begin) * bytes, x, t0, t1, n, bias == nullptr ? nullptr : bias + p * kPanelRows,
             y + p * kPanelRows, y_stride);
    });
  }

  const BlockPacker& packer_;
  RunPanel run_;
  const Widening& wide_;
  int64_t panel_bytes_;
  Buffer data_;
};

// ---------------------------------------------------------------- plain floats

struct FloatFormat {
  const char* codec;
  int64_t element_bytes;
  int64_t columns_together;  ///< consecutive columns of a row that lie side by side in a panel
  RunPanel KernelTable::*run;
  RunPanel KernelTable::*bf16_run;  ///< for prompts, where the target has it; or null
  float (*decode)(const uint8_t* element);
};

float decode_f32(const uint8_t* p) {
  float f;
  std::memcpy(&f, p, 4);
  return f;
}
float decode_f16(const uint8_t* p) {
  return half_to_float(blocks::half_at(p));
}
float decode_bf16(const uint8_t* p) {
  return bf16_to_float(blocks::half_at(p));
}

constexpr FloatFormat kFloatFormats[] = {
    {"F32", 4, 1, &KernelTable::f32, nullptr, decode_f32},
    {"F16", 2, 1, &KernelTable::f16, nullptr, decode_f16},
    {"BF16", 2, 2, &KernelTable::bf16, &KernelTable::bf16_dot, decode_bf16},
};

class FloatMatrix final : public MatrixBase {
 public:
  FloatMatrix(const KernelTable& table, int64_t rows, int64_t cols, const FloatFormat& format, Buffer data)
      : MatrixBase(table, rows, cols), format_(format), data_(std::move(data)) {}
  static int64_t panel_bytes(const FloatFormat& f, int64_t cols) {
    return (cols + f.columns_together - 1) / f.columns_together * f.columns_together * f.element_bytes *
           kPanelRows;
  }
  static void pack_panel(const FloatFormat& f, const std::byte* src, int64_t n_rows, int64_t cols,
                         uint8_t* panel) {
    const int64_t e = f.element_bytes, c = f.columns_together;
    for (int64_t lane = 0; lane < n_rows; ++lane) {
      for (int64_t k = 0; k < cols; ++k) {
        std::memcpy(panel + (k / c * kPanelRows * c + lane * c + k % c) * e, src + (lane * cols + k) * e,
                    static_cast<size_t>(e));
      }
    }
  }
  [[nodiscard]] bool repacked() const override { return true; }
  [[nodiscard]] uint64_t bytes() const override { return data_.size(); }
  void row(int64_t index, float* out) const override {
    const int64_t lane = index % kPanelRows, e = format_.element_bytes, c = format_.columns_together;
    const uint8_t* p = panel(index / kPanelRows);
    for (int64_t k = 0; k < cols_; ++k)
      out[k] = format_.decode(p + (k / c * kPanelRows * c + lane * c + k % c) * e);
  }
  /// A few tokens are bound by memory, so their activations need no rounding.
  [[nodiscard]] Input input(int64_t m) const override {
    const bool rounded = m >= 4 && format_.bf16_run != nullptr && table_.*format_.bf16_run != nullptr;
    return rounded ? Input::bf16 : Input::f32;
  }
  void run_panels(int64_t first, int64_t last, const PreparedInput& x, const float* bias, float* y,
                  int64_t y_stride, float*) const override {
    const RunPanel run = table_.*(input(x.m) == Input::bf16 ? format_.bf16_run : format_.run);
    blocked(first, last, 1, x, cols_ * 4, [&](int64_t p, int64_t t0, int64_t t1, int64_t n) {
      run(panel(p), x, t0, t1, n, bias == nullptr ? nullptr : bias + p * kPanelRows, y + p * kPanelRows,
          y_stride);
    });
  }

 private:
  [[nodiscard]] const uint8_t* panel(int64_t p) const { return data_.data() + p * panel_bytes(format_, cols_); }
  const FloatFormat& format_;
  Buffer data_;
};

// ---------------------------------------------------------------- anything else

/// Four rows' four columns, rows `stride` apart, into four columns of a panel.
void transpose4(const float* rows, int64_t stride, float* panel) {
  using Four = float __attribute__((vector_size(16)));
  Four r[4];
  for (int i = 0; i < 4; ++i) std::memcpy(&r[i], rows + i * stride, sizeof(Four));
  const Four a = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5),
             b = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5);
  const Four c = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7),
             d = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
  const Four columns[4] = {__builtin_shufflevector(a, b, 0, 1, 4, 5), __builtin_shufflevector(a, b, 2, 3, 6, 7),
                           __builtin_shufflevector(c, d, 0, 1, 4, 5),
                           __builtin_shufflevector(c, d, 2, 3, 6, 7)};
  for (int i = 0; i < 4; ++i) std::memcpy(panel + i * kPanelRows, &columns[i], sizeof(Four));
}

/// The codec's own components; each panel is decoded to F32 when it is needed. The rows may be some of a larger
/// tensor's.
class DecodedMatrix final : public MatrixBase {
 public:
  struct Stored {
    Shape shape;
    int64_t first = 0;
    Parts parts;
    uint64_t bytes = 0;  ///< that these rows account for
    std::shared_ptr<const void> keep;
  };
  DecodedMatrix(const KernelTable& table, const Codec& codec, int64_t rows, Stored stored, RunPanel run)
      : MatrixBase(table, rows, stored.shape.cols()), codec_(codec), stored_(std::move(stored)), run_(run) {
    if (const auto* panels = dynamic_cast<const PanelCodec*>(&codec))
      panels_ = panels->panels(stored_.shape, stored_.parts);
  }
  [[nodiscard]] bool repacked() const override { return false; }
  [[nodiscard]] uint64_t bytes() const override { return stored_.bytes; }
  void row(int64_t index, float* out) const override { decode(index, 1, out); }
  [[nodiscard]] Input input(int64_t) const override { return Input::f32; }
  [[nodiscard]] int64_t panel_scratch() const override { return 2 * kPanelRows * cols_; }
  void run_panels(int64_t first, int64_t last, const PreparedInput& x, const float* bias, float* y,
                  int64_t y_stride, float* scratch) const override {
    float* panel = scratch + kPanelRows * cols_;
    for (int64_t p = first; p < last; ++p) {
      const int64_t n = std::min(kPanelRows, rows_ - p * kPanelRows);
      decode_panel(p * kPanelRows, n, scratch, panel);
      run_(reinterpret_cast<const uint8_t*>(panel), x, 0, (x.m + x.tile - 1) / x.tile, n,
           bias == nullptr ? nullptr : bias + p * kPanelRows, y + p * kPanelRows, y_stride);
    }
  }

 private:
  void decode(int64_t first, int64_t count, float* out) const {
    codec_.decode_rows(stored_.shape, stored_.parts, stored_.first + first, count, out);
  }
  /// rows: room for kPanelRows × cols.
  void decode_panel(int64_t first, int64_t count, float* rows, float* panel) const {
    if (count < kPanelRows) std::fill(panel, panel + kPanelRows * cols_, 0.0F);
    if (panels_ != nullptr) return panels_->decode(stored_.first + first, count, panel);
    decode(first, count, rows);
    const int64_t lanes = count / 4 * 4, cols = cols_ / 4 * 4;
    for (int64_t k = 0; k < cols; k += 4)
      for (int64_t lane = 0; lane < lanes; lane += 4)
        transpose4(rows + lane * cols_ + k, cols_, panel + k * kPanelRows + lane);
    for (int64_t k = 0; k < cols_; ++k)
      for (int64_t lane = k < cols ? lanes : 0; lane < count; ++lane)
        panel[k * kPanelRows + lane] = rows[lane * cols_ + k];
  }

  const Codec& codec_;
  Stored stored_;
  std::unique_ptr<PanelDecoder> panels_;  ///< where the codec has one
  RunPanel run_;
};

/// Two small products, in the layout of integer codes.
class LowRankMatrix final : public MatrixBase {
 public:
  LowRankMatrix(const KernelTable& table, int64_t rows, int64_t cols, std::unique_ptr<PackedMatrix> right,
                std::unique_ptr<PackedMatrix> left, std::vector<float> middle)
      : MatrixBase(table, rows, cols),
        right_(std::move(right)),
        left_(std::move(left)),
        middle_(std::move(middle)),
        factors_{right_.get(), left_.get(), middle_} {}
  [[nodiscard]] bool repacked() const override { return true; }
  [[nodiscard]] uint64_t bytes() const override {
    return right_->bytes() + left_->bytes() + middle_.size() * sizeof(float);
  }
  void row(int64_t index, float* out) const override {
    std::vector<float> weights(middle_.size()), of_right(static_cast<size_t>(cols_));
    left_->row(index, weights.data());
    std::fill(out, out + cols_, 0.0F);
    for (size_t k = 0; k < middle_.size(); ++k) {
      const float weight = weights[k] * middle_[k];
      right_->row(static_cast<int64_t>(k), of_right.data());
      for (int64_t i = 0; i < cols_; ++i) out[i] += weight * of_right[static_cast<size_t>(i)];
    }
  }
  [[nodiscard]] Input input(int64_t) const override { return Input::int8; }
  void run_panels(int64_t, int64_t, const PreparedInput&, const float*, float*, int64_t,
                  float*) const override {
    assert(false);  // matmul() asks for factors() first
  }
  [[nodiscard]] const Factors* factors() const override { return &factors_; }

 private:
  std::unique_ptr<PackedMatrix> right_, left_;
  std::vector<float> middle_;
  Factors factors_;
};

/// Matrices one below the other.
class StackedMatrix final : public MatrixBase {
 public:
  StackedMatrix(const KernelTable& table, int64_t rows, int64_t cols,
                std::vector<std::unique_ptr<PackedMatrix>> matrices)
      : MatrixBase(table, rows, cols), matrices_(std::move(matrices)) {
    int64_t first = 0;
    for (const auto& matrix : matrices_) {
      shares_.push_back({matrix.get(), first});
      first += matrix->rows();
    }
  }
  [[nodiscard]] bool repacked() const override { return true; }
  [[nodiscard]] uint64_t bytes() const override {
    uint64_t sum = 0;
    for (const auto& matrix : matrices_) sum += matrix->bytes();
    return sum;
  }
  void row(int64_t index, float* out) const override {
    const Share& share = *(std::ranges::upper_bound(shares_, index, {}, &Share::first) - 1);
    share.matrix->row(index - share.first, out);
  }
  [[nodiscard]] Input input(int64_t m) const override { return matrices_.front()->input(m); }
  void run_panels(int64_t, int64_t, const PreparedInput&, const float*, float*, int64_t,
                  float*) const override {
    assert(false);  // matmul() asks for shares() first
  }
  [[nodiscard]] std::span<const Share> shares() const override { return shares_; }

 private:
  std::vector<std::unique_ptr<PackedMatrix>> matrices_;
  std::vector<Share> shares_;
};

/// A buffer of `panels` panels, filled in parallel by pack(panel, rows of it, destination).
template <class Function>
Result<Buffer> fill_panels(ThreadPool& pool, int64_t rows, int64_t panel_bytes, Function pack) {
  const int64_t panels = panels_of(rows);
  if (panels > std::numeric_limits<int64_t>::max() / std::max<int64_t>(panel_bytes, 1) / 2) {
    return bad_input("a matrix of " + std::to_string(rows) + " rows is too large");
  }
  LISSOM_TRY(Buffer data, Buffer::make(static_cast<uint64_t>(panels * panel_bytes)));
  pool.parallel_for(panels, 8, [&](int64_t begin, int64_t end, int) {
    for (int64_t p = begin; p < end; ++p) {
      pack(p, std::min(kPanelRows, rows - p * kPanelRows), data.data() + p * panel_bytes);
    }
  });
  return data;
}

}  // namespace

Result<std::unique_ptr<PackedMatrix>> PackedMatrix::pack(Target target, const Codec& codec, int64_t rows,
                                                         int64_t cols, std::span<const std::byte> bytes,
                                                         std::shared_ptr<const void> keep, ThreadPool& pool,
                                                         Precision precision) {
  const std::string name(codec.name());
  if (rows <= 0 || cols <= 0 || rows > (int64_t{1} << 40) / cols) {
    return bad_input(name + ": a matrix of " + std::to_string(rows) + " × " + std::to_string(cols));
  }
  if (cols % codec.column_multiple() != 0) {
    return bad_input(name + ": " + std::to_string(cols) + " columns are not a multiple of " +
                     std::to_string(codec.column_multiple()));
  }
  const Shape shape{rows, cols};
  LISSOM_TRY(const Parts parts, parts_of(codec, shape, bytes));
  const KernelTable& table = kernel_table(target);
  const auto decoded = [&](RunPanel run) {
    return std::make_unique<DecodedMatrix>(
        table, codec, rows, DecodedMatrix::Stored{shape, 0, parts, bytes.size(), std::move(keep)}, run);
  };
  if (precision == Precision::exact) return decoded(table.exact);
  if (const auto* other = dynamic_cast<const EquivalentCodec*>(&codec);
      other != nullptr && other->equivalent(shape) != nullptr) {
    const Codec& equal = *other->equivalent(shape);
    std::vector<std::byte> own(equal.components(shape).at(0).bytes);
    other->write_equivalent(shape, parts, own);
    return pack(target, equal, rows, cols, own, nullptr, pool);
  }
  if (const auto* low_rank = dynamic_cast<const LowRankCodec*>(&codec)) {
    LowRankFactors factors = low_rank->factors(shape, parts);
    const auto rank = static_cast<int64_t>(factors.middle.size());
    LISSOM_TRY(auto right, pack(target, *factors.codec, rank, cols, factors.right, nullptr, pool));
    LISSOM_TRY(auto left, pack(target, *factors.codec, rows, rank, factors.left, nullptr, pool));
    return std::make_unique<LowRankMatrix>(table, rows, cols, std::move(right), std::move(left),
                                           std::move(factors.middle));
  }
  if (const auto* stacked = dynamic_cast<const StackedCodec*>(&codec)) {
    std::vector<std::unique_ptr<PackedMatrix>> matrices;
    for (const StackedCodec::Share& share : stacked->shares(shape)) {
      std::vector<std::vector<std::byte>> own;
      for (const auto& part : std::span(parts).subspan(share.part, share.parts))
        own.emplace_back(part.begin(), part.end());
      const auto joined =
          std::make_shared<const std::vector<std::byte>>(join_parts(*share.codec, share.shape, own));
      LISSOM_TRY(matrices.emplace_back(),
                 pack(target, *share.codec, share.shape.rows(), cols, *joined, joined, pool));
    }
    return std::make_unique<StackedMatrix>(table, rows, cols, std::move(matrices));
  }
  const auto packers = block_packers();
  for (size_t f = 0; f < packers.size(); ++f) {
    const BlockPacker& packer = packers[f];
    if (name != packer.codec) continue;
    const int64_t row_bytes = cols / packer.block_weights * packer.block_bytes;
    LISSOM_TRY(Buffer data,
               fill_panels(pool, rows, packer.panel_bytes(cols), [&](int64_t p, int64_t n, uint8_t* out) {
                 packer.pack_panel(bytes.data() + p * kPanelRows * row_bytes, row_bytes, n, cols, out);
               }));
    return std::make_unique<BlockMatrix>(table, rows, cols, f, std::move(data));
  }
  for (const FloatFormat& format : kFloatFormats) {
    if (name != format.codec) continue;
    const int64_t row_bytes = cols * format.element_bytes;
    LISSOM_TRY(Buffer data, fill_panels(pool, rows, FloatMatrix::panel_bytes(format, cols),
                                        [&](int64_t p, int64_t n, uint8_t* out) {
                                          FloatMatrix::pack_panel(
                                              format, bytes.data() + p * kPanelRows * row_bytes, n, cols, out);
                                        }));
    return std::make_unique<FloatMatrix>(table, rows, cols, format, std::move(data));
  }
  return decoded(table.f32);
}

Result<std::unique_ptr<PackedMatrix>> PackedMatrix::part(Target target, const Codec& codec, const Shape& whole,
                                                         int64_t first, int64_t rows,
                                                         std::span<const std::byte> bytes,
                                                         std::shared_ptr<const void> keep,
                                                         Precision precision) {
  const int64_t all = whole.rows();
  if (first < 0 || rows <= 0 || all < 1 || first > all - rows)
    return bad_input(std::string(codec.name()) + ": rows past the end of " + whole.str());
  LISSOM_TRY(Parts parts, parts_of(codec, whole, bytes));
  const KernelTable& table = kernel_table(target);
  const auto share = bytes.size() / static_cast<uint64_t>(all) * static_cast<uint64_t>(rows);
  return std::make_unique<DecodedMatrix>(
      table, codec, rows, DecodedMatrix::Stored{whole, first, std::move(parts), share, std::move(keep)},
      precision == Precision::exact ? table.exact : table.f32);
}

uint64_t PackedMatrix::packed_bytes(const Codec& codec, int64_t rows, int64_t cols, Precision precision) {
  const auto panels = static_cast<uint64_t>(panels_of(rows));
  if (precision == Precision::fast) {
    for (const BlockPacker& packer : block_packers())
      if (codec.name() == packer.codec) return panels * static_cast<uint64_t>(packer.panel_bytes(cols));
    for (const FloatFormat& format : kFloatFormats)
      if (codec.name() == format.codec)
        return panels * static_cast<uint64_t>(FloatMatrix::panel_bytes(format, cols));
    if (const auto* other = dynamic_cast<const EquivalentCodec*>(&codec))
      if (const Codec* equal = other->equivalent(Shape{rows, cols})) return packed_bytes(*equal, rows, cols);
    if (const auto* low_rank = dynamic_cast<const LowRankCodec*>(&codec)) {
      const int64_t rank = low_rank->padded_rank(Shape{rows, cols});
      const Codec& factor = low_rank->factor_codec();
      return packed_bytes(factor, rank, cols) + packed_bytes(factor, rows, rank) +
             static_cast<uint64_t>(rank) * sizeof(float);
    }
    if (const auto* stacked = dynamic_cast<const StackedCodec*>(&codec)) {
      uint64_t sum = 0;
      for (const StackedCodec::Share& share : stacked->shares(Shape{rows, cols}))
        sum += packed_bytes(*share.codec, share.shape.rows(), cols);
      return sum;
    }
  }
  return part_offsets(codec.components(Shape{rows, cols})).back();
}

}  // namespace lissom::kernels
