// Files made to hurt a reader. Each must end in an error that names the file and the field, soon, and without
// an allocation that the file's own size does not explain.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "format/json.h"
#include "format/safetensors.h"
#include "hostile/bytes.h"
#include "hostile/gguf_cases.h"
#include "hostile/safetensors_cases.h"
#include "lissom/gguf.h"
#include "support/allocations.h"

namespace lissom {
namespace {

using hostile::Case;
using ::testing::HasSubstr;
using ::testing::StartsWith;

template <class Open>
void expect_refused(const Case& c, const char* name, Open open) {
  testing::largest_allocation = 0;
  const auto file = open(std::as_bytes(std::span(c.bytes)), name);
  ASSERT_FALSE(file) << c.what;
  EXPECT_THAT(file.error().message, StartsWith(name)) << c.what;
  EXPECT_THAT(file.error().message, HasSubstr(c.field)) << c.what;
  EXPECT_LT(file.error().message.size(), 500U) << c.what;
  EXPECT_LT(testing::largest_allocation, (1U << 20U) + 4 * c.bytes.size()) << c.what;
}

// ---------------------------------------------------------------- GGUF

TEST(Hostile, Gguf) {
  for (const auto& list : {hostile::gguf_headers(), hostile::gguf_metadata(), hostile::gguf_tensors()})
    for (const Case& c : list) expect_refused(c, "h.gguf", GgufFile::open_memory);
}

TEST(Hostile, GgufTruncatedAnywhere) {
  const std::string whole = hostile::small_gguf();
  ASSERT_TRUE(GgufFile::open_memory(std::as_bytes(std::span(whole)), "h.gguf"));
  for (size_t n = 0; n < whole.size(); ++n)
    expect_refused({"truncated", whole.substr(0, n), ""}, "h.gguf", GgufFile::open_memory);
}

/// Reads all that a file claims to hold: the sanitizers watch.
void read_all(const TensorSource& source) {
  unsigned sum = 0;
  for (size_t i = 0; i < source.tensors().size(); ++i) {
    const auto view = source.read(i);
    ASSERT_TRUE(view);
    for (const std::byte b : view->data) sum += static_cast<unsigned>(b);
  }
  EXPECT_LT(sum, 1U << 30U);
}

template <class Open>
void flip_every_byte(const std::string& whole, const char* name, Open open) {
  for (size_t i = 0; i < whole.size(); ++i) {
    for (const int flip : {0x01, 0x20, 0x80, 0xff}) {
      std::string bytes = whole;
      bytes[i] = static_cast<char>(bytes[i] ^ flip);
      testing::largest_allocation = 0;
      const auto file = open(std::as_bytes(std::span(bytes)), name);
      EXPECT_LT(testing::largest_allocation, 1U << 20U);
      if (file)
        read_all(**file);
      else
        EXPECT_THAT(file.error().message, StartsWith(name));
    }
  }
}

TEST(Hostile, GgufEveryByteFlipped) {
  flip_every_byte(hostile::small_gguf(), "h.gguf", GgufFile::open_memory);
}

// ---------------------------------------------------------------- safetensors

TEST(Hostile, Safetensors) {
  for (const auto& list : {hostile::safetensors_headers(), hostile::safetensors_fields()})
    for (const Case& c : list) expect_refused(c, "h.safetensors", SafetensorsFile::open_memory);
}

TEST(Hostile, SafetensorsTruncatedAnywhere) {
  const std::string whole = hostile::small_safetensors();
  ASSERT_TRUE(SafetensorsFile::open_memory(std::as_bytes(std::span(whole)), "h.safetensors"));
  for (size_t n = 0; n < whole.size(); ++n)
    expect_refused({"truncated", whole.substr(0, n), ""}, "h.safetensors", SafetensorsFile::open_memory);
}

TEST(Hostile, SafetensorsEveryByteFlipped) {
  flip_every_byte(hostile::small_safetensors(), "h.safetensors", SafetensorsFile::open_memory);
}

// ---------------------------------------------------------------- JSON

TEST(Hostile, Json) {
  const auto refused = [](const std::string& text, const char* why) {
    testing::largest_allocation = 0;
    const auto json = parse_json(text, "h.json");
    ASSERT_FALSE(json) << text.substr(0, 100);
    EXPECT_THAT(json.error().message, StartsWith("h.json: JSON: "));
    EXPECT_THAT(json.error().message, HasSubstr(why));
    EXPECT_LT(json.error().message.size(), 500U);
    EXPECT_LT(testing::largest_allocation, (1U << 20U) + 16 * text.size());
  };
  refused("", "");
  refused(std::string(1'000'000, '['), "nested deeper than 64");
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  refused(objects, "nested deeper than 64");
  refused(R"({"a":1,"b":{"c":1,"c":2}})", "key 'c' occurs twice");
  refused(R"({"a":1} {"a":1})", "");
  refused("{\"a\":\"\xc3\x28\"}", "");
  refused("{\"a\":\"" + std::string(100000, 'x') + "\xc3\x28\"}", "");
  refused(R"({"a":"\ud800"})", "");
  refused(R"({"a":1e999})", "");
  refused(R"({"a":NaN})", "");
  refused("{\"a\":01}", "");
  refused(std::string("{}\0{", 4), "NUL");
  refused("\xef\xbb\xbf\xef\xbb\xbf{}", "");
  EXPECT_TRUE(parse_json(std::string(64, '[') + std::string(64, ']'), "h.json"));
}

TEST(Hostile, JsonOfTooManyValues) {
  std::string text = "[";
  for (int i = 0; i < 10'000'000; ++i) text += "1,";
  text += "1]";
  const auto json = parse_json(text, "h.json");
  ASSERT_FALSE(json);
  EXPECT_THAT(json.error().message, HasSubstr("more than 10000000 values"));
}

}  // namespace
}  // namespace lissom
