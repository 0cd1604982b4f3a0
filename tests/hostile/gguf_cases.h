#pragma once
// GGUF files that a reader must refuse, each with what its message must name.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hostile/bytes.h"
#include "hostile/case.h"

namespace lissom::hostile {

inline std::string one_tensor(std::string_view name, std::initializer_list<uint64_t> dims, uint32_t type,
                              uint64_t offset) {
  return Bytes().gguf(1, 0).tensor(name, dims, type, offset).pad(32).zeros(64).str();
}
inline std::string alignment(uint32_t value) {
  return Bytes().gguf(1, 1).key_u32("general.alignment", value).tensor("x", {4}, 0, 0).pad(64).zeros(64).str();
}

inline std::vector<Case> gguf_headers() {
  constexpr uint64_t kHuge = 1ULL << 63U;
  return {
      {"empty", "", "magic"},
      {"short", "GG", "magic"},
      {"other magic", "PK\x03\x04 a zip, as it happens", "magic"},
      {"the old format", Bytes().raw("ggjt").u32(3).zeros(64).str(), "magic"},
      {"version 0", Bytes().gguf(0, 0, 0).str(), "version"},
      {"version 1", Bytes().gguf(0, 0, 1).str(), "version"},
      {"version 4", Bytes().gguf(0, 0, 4).str(), "version"},
      {"big-endian", Bytes().gguf(0, 0, 0x03000000).str(), "big-endian"},
      {"2^63 tensors", Bytes().gguf(kHuge, 0).zeros(64).str(), "tensor count"},
      {"2^64-1 tensors", Bytes().gguf(UINT64_MAX, 0).zeros(64).str(), "tensor count"},
      {"2^63 keys", Bytes().gguf(0, kHuge).zeros(64).str(), "metadata count"},
      {"more tensors than fit", Bytes().gguf(1000, 0).zeros(999).str(), "tensor count"},
  };
}

inline std::vector<Case> gguf_metadata() {
  constexpr uint64_t kLong = 1ULL << 40U;
  Bytes deep;
  deep.gguf(0, 1).str("bomb").u32(9);
  for (int i = 0; i < 100000; ++i) deep.u32(9).u64(1);
  return {
      {"key of 2^40 bytes", Bytes().gguf(0, 1).u64(kLong).str(), "metadata key 0"},
      {"key of 2^64-1 bytes", Bytes().gguf(0, 1).u64(UINT64_MAX).zeros(9).str(), "metadata key 0"},
      {"empty key", Bytes().gguf(0, 1).key_u32("", 1).str(), "metadata key ''"},
      {"bad UTF-8 in a key", Bytes().gguf(0, 1).key_u32("a\xc0\x80", 1).str(), R"('a\xc0\x80')"},
      {"key twice", Bytes().gguf(0, 2).key_u32("a", 1).key_u32("a", 2).str(), "'a': occurs twice"},
      {"unknown value type", Bytes().gguf(0, 1).str("k").u32(13).zeros(64).str(), "'k': has unknown type 13"},
      {"string of 2^40 bytes", Bytes().gguf(0, 1).str("k").u32(8).u64(kLong).zeros(64).str(), "'k'"},
      {"boolean 2", Bytes().gguf(0, 1).str("k").u32(7).u8(2).str(), "boolean with value 2"},
      {"array of unknown type", Bytes().gguf(0, 1).str("k").u32(9).u32(77).u64(0).str(), "unknown type 77"},
      {"array of 2^61 doubles", Bytes().gguf(0, 1).str("k").u32(9).u32(12).u64(1ULL << 61U).zeros(64).str(),
       "'k'"},
      {"array of 2^61 strings", Bytes().gguf(0, 1).str("k").u32(9).u32(8).u64(1ULL << 61U).zeros(64).str(),
       "'k'"},
      {"array of 2^63 booleans", Bytes().gguf(0, 1).str("k").u32(9).u32(7).u64(1ULL << 63U).zeros(64).str(),
       "'k'"},
      {"array of 2^60 arrays", Bytes().gguf(0, 1).str("k").u32(9).u32(9).u64(1ULL << 60U).zeros(64).str(),
       "'k'"},
      {"arrays nested 100,000 deep", deep.str(), "'bomb': nests arrays deeper"},
      {"alignment 0", alignment(0), "general.alignment"},
      {"alignment 24", alignment(24), "general.alignment"},
      {"alignment of 2 GiB", alignment(1U << 31U), "past the end"},
      {"alignment as u64", Bytes().gguf(0, 1).str("general.alignment").u32(10).u64(32).str(), "not a u32"},
  };
}

inline std::vector<Case> gguf_tensors() {
  constexpr uint64_t kHuge = 1ULL << 63U;
  return {
      {"no name", one_tensor("", {4}, 0, 0), "name is empty"},
      {"long name", one_tensor(std::string(64, 'n'), {4}, 0, 0), "name of tensor 0"},
      {"name of 2^40 bytes", Bytes().gguf(1, 0).u64(1ULL << 40U).zeros(64).str(), "name of tensor 0"},
      {"bad UTF-8 in a name", one_tensor("w\xff", {4}, 0, 0), R"('w\xff')"},
      {"surrogate in a name", one_tensor("\xed\xa0\x80", {4}, 0, 0), "not UTF-8"},
      {"NUL in a name", one_tensor(std::string_view("a\0b", 3), {4}, 0, 0), R"('a\x00b')"},
      {"five dimensions", one_tensor("x", {1, 1, 1, 1, 1}, 0, 0), "'x': has 5 dimensions"},
      {"2^32-1 dimensions", Bytes().gguf(1, 0).str("x").u32(UINT32_MAX).zeros(64).str(), "dimensions"},
      {"zero dimension", one_tensor("x", {4, 0}, 0, 0), "'x': dimension 1 is 0"},
      {"2^63 columns", one_tensor("x", {kHuge}, 0, 0), "dimension 0"},
      {"2^62 columns", one_tensor("x", {kHuge / 2}, 0, 0), "overflows"},
      {"product wraps to 0", one_tensor("x", {1ULL << 32U, 1ULL << 32U}, 0, 0), "overflows"},
      {"bytes overflow", one_tensor("x", {1ULL << 31U, 1ULL << 31U}, 0, 0), "overflows"},
      {"columns do not divide", one_tensor("x", {33}, 2, 0), "multiples of 32"},
      {"unknown type", one_tensor("x", {4}, 43, 0), "'x': has unknown ggml type 43"},
      {"type 2^32-1", one_tensor("x", {4}, UINT32_MAX, 0), "unknown ggml type"},
      {"dropped type", one_tensor("x", {32}, 31, 0), "Q4_0_4_4"},
      {"offset not 0", one_tensor("x", {4}, 0, 32), "data offset is 32, expected 0"},
      {"offset 2^64-32", one_tensor("x", {4}, 0, UINT64_MAX - 31), "data offset"},
      {"larger than the file", one_tensor("x", {1ULL << 20U}, 0, 0), "past the end of the file"},
      {"as large as can be", one_tensor("x", {(1ULL << 60U) - 256}, 0, 0), "past the end of the file"},
      {"name twice", Bytes().gguf(2, 0).tensor("x", {8}, 0, 0).tensor("x", {8}, 0, 32).pad(32).zeros(64).str(),
       "'x': occurs twice"},
      {"overlap", Bytes().gguf(2, 0).tensor("x", {8}, 0, 0).tensor("y", {8}, 0, 0).pad(32).zeros(64).str(),
       "'y': data offset is 0, expected 32"},
      {"gap", Bytes().gguf(2, 0).tensor("x", {8}, 0, 0).tensor("y", {8}, 0, 64).pad(32).zeros(96).str(),
       "'y': data offset is 64, expected 32"},
      {"offsets add up to 2^64",
       Bytes()
           .gguf(3, 0)
           .tensor("x", {1ULL << 60U}, 0, 0)
           .tensor("y", {1ULL << 60U}, 0, 1ULL << 62U)
           .zeros(99)
           .str(),
       "data offset overflows"},
      {"alone in a split", Bytes().gguf(0, 1).key_u32("split.count", 2).str(), "split"},
      {"absurd split", Bytes().gguf(0, 1).key_u32("split.count", UINT32_MAX).str(), "split.count"},
  };
}

}  // namespace lissom::hostile
