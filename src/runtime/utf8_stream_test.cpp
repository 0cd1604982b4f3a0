#include "runtime/utf8_stream.h"

#include <gtest/gtest.h>

namespace lissom {
namespace {

TEST(Utf8Stream, HoldsBackWhatIsNotWhole) {
  const std::string text = "aé€😀z";
  for (size_t step = 1; step <= 5; ++step) {
    Utf8Stream stream;
    std::string out;
    for (size_t i = 0; i < text.size(); i += step) {
      const std::string part = stream.push(std::string_view(text).substr(i, step));
      EXPECT_EQ(part.find("\xEF\xBF\xBD"), std::string::npos);
      if (!part.empty()) {
        EXPECT_NE(static_cast<unsigned char>(part[0]) & 0xC0, 0x80);
      }
      out += part;
    }
    EXPECT_EQ(out + stream.finish(), text) << step;
  }
}

TEST(Utf8Stream, ReplacesWhatCannotBecomeText) {
  const auto all = [](std::string_view bytes) {
    Utf8Stream stream;
    std::string out = stream.push(bytes);
    return out + stream.finish();
  };
  EXPECT_EQ(all("a\xFFz"), "a\uFFFDz");
  EXPECT_EQ(all("\xC0\xAF"), "\uFFFD\uFFFD");            // overlong
  EXPECT_EQ(all("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");  // a surrogate
  EXPECT_EQ(all("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");
  EXPECT_EQ(all("\xE2\x82q"), "\uFFFDq");
  EXPECT_EQ(all("\xF0\x9F\x98"), "\uFFFD");
}

}  // namespace
}  // namespace lissom
