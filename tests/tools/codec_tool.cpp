// Reaches the codecs from tests/peers: reads binary arrays from files, writes binary arrays.
//   codec_tool list
//   codec_tool targets                               those of this machine, best first
//   codec_tool decode CODEC COLS IN OUT              bytes → f32
//   codec_tool encode CODEC COLS IN IMPORTANCE OUT   f32, f32 ("-" for none) → bytes; prints the user-CPU
//   seconds

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

#include "base/cpu.h"
#include "lissom/codec.h"

namespace {

using namespace lissom;

template <class T>
std::vector<T> read_array(const char* path) {
  std::vector<T> data;
  std::FILE* file = std::fopen(path, "rb");
  if (file == nullptr) return data;
  std::fseek(file, 0, SEEK_END);
  data.resize(static_cast<size_t>(std::ftell(file)) / sizeof(T));
  std::rewind(file);
  data.resize(std::fread(data.data(), sizeof(T), data.size(), file));
  std::fclose(file);
  return data;
}

bool write_bytes(const char* path, const void* data, size_t size) {
  std::FILE* file = std::fopen(path, "wb");
  if (file == nullptr) return false;
  const bool whole = std::fwrite(data, 1, size, file) == size;
  return std::fclose(file) == 0 && whole;
}

int decode(const BlockCodec& codec, int64_t cols, const char* in, const char* out) {
  const auto bytes = read_array<std::byte>(in);
  const int64_t blocks = static_cast<int64_t>(bytes.size()) / codec.block_bytes();
  const Shape shape{blocks * codec.block_weights() / cols, cols};
  std::vector<float> values(static_cast<size_t>(shape.elements()));
  const std::span<const std::byte> part = bytes;
  codec.decode_rows(shape, {&part, 1}, 0, shape.rows(), values.data());
  return write_bytes(out, values.data(), values.size() * sizeof(float)) ? 0 : 1;
}

int encode(const Codec& codec, int64_t cols, const char* in, const char* importance_path, const char* out) {
  const auto weights = read_array<float>(in);
  std::vector<float> importance;
  if (std::strcmp(importance_path, "-") != 0) importance = read_array<float>(importance_path);
  const Shape shape{static_cast<int64_t>(weights.size()) / cols, cols};
  auto parts = encode_checked(codec, in, shape, weights, importance);
  if (!parts) {
    std::fprintf(stderr, "%s\n", parts.error().message.c_str());
    return 2;
  }
  // Timed again on warm memory, as many times as fit into a quarter of a second.
  double best = 1e9, sum = 0;
  const std::span<std::byte> part = parts->front();
  for (int round = 0; round < 2 || (round < 20 && sum < 0.25); ++round) {
    const std::clock_t start = std::clock();
    codec.encode(shape, weights, importance, {&part, 1});
    const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    best = std::min(best, seconds);
    sum += seconds;
  }
  std::printf("%.6f\n", best);
  return write_bytes(out, parts->front().data(), parts->front().size()) ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string verb = argc > 1 ? argv[1] : "";
  if (verb == "list") {
    for (const Codec* codec : codecs()) std::printf("%s\n", std::string(codec->name()).c_str());
    return 0;
  }
  if (verb == "targets") {
    for (const Target target : supported_targets())
      std::printf("%s\n", std::string(target_name(target)).c_str());
    return 0;
  }
  const BlockCodec* codec = argc > 2 ? find_block_codec(argv[2]) : nullptr;
  const int64_t cols = argc > 3 ? std::atoll(argv[3]) : 0;
  if (codec != nullptr && cols > 0 && verb == "decode" && argc == 6)
    return decode(*codec, cols, argv[4], argv[5]);
  if (codec != nullptr && cols > 0 && verb == "encode" && argc == 7)
    return encode(*codec, cols, argv[4], argv[5], argv[6]);
  std::fprintf(
      stderr,
      "usage: codec_tool list | targets | decode CODEC COLS IN OUT | encode CODEC COLS IN IMPORTANCE|- OUT\n");
  return 2;
}
