#pragma once
// safetensors files that a reader must refuse, each with what its message must name.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hostile/bytes.h"
#include "hostile/case.h"

namespace lissom::hostile {

inline std::string st(std::string_view header, size_t data = 0) {
  return Bytes().safetensors(header, data).str();
}
inline std::string tensor(std::string_view fields, size_t data = 4) {
  return st("{\"x\":{" + std::string(fields) + "}}", data);
}

inline std::vector<Case> safetensors_headers() {
  return {
      {"empty", "", "header length"},
      {"seven bytes", std::string(7, '\0'), "header length"},
      {"length 0", Bytes().u64(0).zeros(9).str(), "does not begin with '{'"},
      {"length past the end", Bytes().u64(100).raw("{}").str(), "past the end of the file"},
      {"length 100 MB + 1", Bytes().u64(100'000'001).zeros(64).str(), "more than 100 MB"},
      {"length 2^64-1", Bytes().u64(UINT64_MAX).zeros(64).str(), "more than 100 MB"},
      {"length 2^64-8", Bytes().u64(UINT64_MAX - 7).zeros(64).str(), "more than 100 MB"},
      {"leading space", st(" {}"), "does not begin with '{'"},
      {"an array", st("[]"), "does not begin with '{'"},
      {"not JSON", st("{\"a\":"), "header: is not valid JSON"},
      {"trailing text", st("{} x"), "not valid JSON"},
      {"two objects", st("{}{}"), "not valid JSON"},
      {"NUL padding", st(std::string_view("{}\0\0", 4)), "not valid JSON"},
      {"bad UTF-8", st("{\"\xff\":{}}"), "not valid JSON"},
      {"a nested bomb", st("{\"x\":{\"dtype\":" + std::string(100000, '['), 4), "'x'"},
      {"a nested bomb in an unknown field", st("{\"x\":{\"y\":" + std::string(100000, '['), 4),
       "'x': is nested too deep"},
      {"a wide bomb", st("{\"x\":{\"shape\":[" + std::string(200000, '1') + "]}}", 4), "header"},
      {"a shape without end",
       st("{\"x\":{\"shape\":[" +
          [] {
            std::string s;
            for (int i = 0; i < 100000; ++i) s += "1,";
            return s;
          }() +
          "1]}}"),
       "'x': shape has more than 8 dimensions"},
      {"no tensor fits the data", st("{}", 5), "the tensors end at 0"},
  };
}

inline std::vector<Case> safetensors_fields() {
  return {
      {"null", st("{\"x\":null}"), "'x': is null"},
      {"number", st("{\"x\":1}"), "'x'"},
      {"metadata is text", st("{\"__metadata__\":\"x\"}"), "__metadata__"},
      {"metadata of numbers", st("{\"__metadata__\":{\"a\":1}}"), "__metadata__"},
      {"metadata nested", st("{\"__metadata__\":{\"a\":{}}}"), "__metadata__"},
      {"metadata twice", st("{\"__metadata__\":{},\"__metadata__\":{}}"), "occurs twice"},
      {"no fields", tensor(""), "'x': lacks"},
      {"no dtype", tensor(R"("shape":[1],"data_offsets":[0,4])"), "'x': lacks"},
      {"no shape", tensor(R"("dtype":"F32","data_offsets":[0,4])"), "'x': lacks"},
      {"no offsets", tensor(R"("dtype":"F32","shape":[1])"), "'x': lacks"},
      {"dtype twice", tensor(R"("dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4])"),
       "dtype occurs twice"},
      {"dtype a number", tensor(R"("dtype":4,"shape":[1],"data_offsets":[0,4])"), "'dtype' holds a number"},
      {"unknown dtype", tensor(R"("dtype":"F128","shape":[1],"data_offsets":[0,4])"), "'F128'"},
      {"lower-case dtype", tensor(R"("dtype":"f32","shape":[1],"data_offsets":[0,4])"), "'f32'"},
      {"negative dimension", tensor(R"("dtype":"F32","shape":[-1],"data_offsets":[0,4])"), "negative"},
      {"fraction", tensor(R"("dtype":"F32","shape":[1.0],"data_offsets":[0,4])"), "no integer"},
      {"dimension 2^63", tensor(R"("dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,4])"),
       "'x': shape"},
      {"dimension 2^64", tensor(R"("dtype":"F32","shape":[18446744073709551616],"data_offsets":[0,4])"), "'x'"},
      {"product wraps", tensor(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4])"),
       "overflows"},
      {"bits wrap", tensor(R"("dtype":"F32","shape":[576460752303423488],"data_offsets":[0,4])"), "overflows"},
      {"zero times 2^63-1",
       tensor(R"("dtype":"F32","shape":[9223372036854775807,9,0],"data_offsets":[0,0])", 0), "overflows"},
      {"half a byte", tensor(R"("dtype":"F4","shape":[3],"data_offsets":[0,1])", 1), "whole bytes"},
      {"too few bytes", tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,4])"), "takes 8"},
      {"too many bytes", tensor(R"("dtype":"F32","shape":[],"data_offsets":[0,8])", 8), "takes 4"},
      {"one offset", tensor(R"("dtype":"F32","shape":[1],"data_offsets":[0])"), "two numbers"},
      {"three offsets", tensor(R"("dtype":"F32","shape":[1],"data_offsets":[0,4,8])"), "two numbers"},
      {"backwards", tensor(R"("dtype":"F32","shape":[1],"data_offsets":[4,0])"), "'x': data_offsets"},
      {"offset not 0", tensor(R"("dtype":"F32","shape":[1],"data_offsets":[4,8])", 8), "'x': data_offsets"},
      {"offset 2^64-1",
       tensor(R"("dtype":"F32","shape":[1],"data_offsets":[18446744073709551612,18446744073709551615])"),
       "data_offsets"},
      {"past the end", tensor(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])"), "past the file"},
      {"empty name", st(R"({"":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4), "empty name"},
      {"name twice",
       st(R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"x":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
          2),
       "'x': occurs twice"},
      {"overlap",
       st(R"({"x":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"y":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
          3),
       "'y': data_offsets [1, 3] should begin at 2"},
      {"gap",
       st(R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"y":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
          3),
       "'y': data_offsets [2, 3] should begin at 1"},
      {"the same bytes twice",
       st(R"({"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"y":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
          1),
       "'y'"},
      {"unclaimed bytes", tensor(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])", 5), "holds 5 bytes"},
  };
}

}  // namespace lissom::hostile
