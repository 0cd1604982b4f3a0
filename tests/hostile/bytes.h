#pragma once
// Files of the two weight formats built byte by byte, right or wrong, without our writers: what the readers'
// tests and the fuzz corpus are made from.

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace lissom::hostile {

class Bytes {
 public:
  template <class T>
  Bytes& put(T value) {
    char raw[sizeof(T)];
    std::memcpy(raw, &value, sizeof(T));
    bytes_.append(raw, sizeof(T));
    return *this;
  }
  Bytes& u8(uint8_t v) { return put(v); }
  Bytes& u32(uint32_t v) { return put(v); }
  Bytes& u64(uint64_t v) { return put(v); }
  Bytes& raw(std::string_view text) {
    bytes_ += text;
    return *this;
  }
  /// A GGUF string: u64 length, then the bytes.
  Bytes& str(std::string_view text) { return u64(text.size()).raw(text); }
  Bytes& pad(size_t alignment) {
    bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment, '\0');
    return *this;
  }
  Bytes& zeros(size_t n) {
    bytes_.append(n, '\0');
    return *this;
  }

  Bytes& gguf(uint64_t tensors, uint64_t keys, uint32_t version = 3) {
    return raw("GGUF").u32(version).u64(tensors).u64(keys);
  }
  Bytes& key_u32(std::string_view key, uint32_t value) { return str(key).u32(4).u32(value); }
  Bytes& key_string(std::string_view key, std::string_view value) { return str(key).u32(8).str(value); }
  /// One directory entry of a tensor of at most four dimensions, fastest first, as the file has them.
  Bytes& tensor(std::string_view name, std::initializer_list<uint64_t> dims, uint32_t type, uint64_t offset) {
    str(name).u32(static_cast<uint32_t>(dims.size()));
    for (const uint64_t d : dims) u64(d);
    return u32(type).u64(offset);
  }
  /// A safetensors file with this header and `data` zero bytes behind it.
  Bytes& safetensors(std::string_view header, size_t data) { return str(header).zeros(data); }

  [[nodiscard]] const std::string& str() const { return bytes_; }

 private:
  std::string bytes_;
};

/// A small GGUF with every kind of value and some kinds of tensor.
inline std::string small_gguf() {
  Bytes b;
  b.gguf(4, 16);
  b.key_string("general.architecture", "llama")
      .key_u32("llama.block_count", 2)
      .key_u32("general.alignment", 32);
  b.str("t.u8").u32(0).u8(200);
  b.str("t.i8").u32(1).u8(0x80);
  b.str("t.u16").u32(2).put(uint16_t{40000});
  b.str("t.i16").u32(3).put(int16_t{-2});
  b.str("t.i32").u32(5).put(int32_t{-3});
  b.str("t.f32").u32(6).put(1.5F);
  b.str("t.bool").u32(7).u8(1);
  b.str("t.u64").u32(10).u64(1ULL << 60U);
  b.str("t.i64").u32(11).put(int64_t{-5});
  b.str("t.f64").u32(12).put(2.25);
  b.str("tokenizer.ggml.tokens").u32(9).u32(8).u64(3).str("a").str("").str("\xe2\x96\x81x");
  b.str("tokenizer.ggml.scores").u32(9).u32(6).u64(2).put(0.5F).put(-1.0F);
  b.str("t.nested").u32(9).u32(9).u64(2).u32(7).u64(2).u8(0).u8(1).u32(5).u64(1).put(int32_t{7});
  b.tensor("token_embd.weight", {32, 3}, 8, 0);  // Q8_0: 102 bytes
  b.tensor("output_norm.weight", {5}, 0, 128);   // F32: 20 bytes
  b.tensor("blk.0.cube", {2, 2, 2}, 1, 160);     // F16: 16 bytes
  b.tensor("scalar", {}, 27, 192);               // I64: 8 bytes
  b.pad(32);
  for (int i = 0; i < 200; ++i) b.u8(static_cast<uint8_t>(i));
  return b.str();
}

inline std::string small_safetensors() {
  return Bytes()
      .safetensors(R"({"__metadata__":{"format":"pt"},)"
                   R"("a.weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
                   R"("b":{"dtype":"BF16","shape":[],"data_offsets":[24,26]},)"
                   R"("c":{"data_offsets":[26,30],"shape":[4,1],"dtype":"F8_E4M3","note":{"x":[1,{}]}},)"
                   R"("empty":{"dtype":"I64","shape":[0,7],"data_offsets":[30,30]}}   )",
                   30)
      .str();
}

}  // namespace lissom::hostile
