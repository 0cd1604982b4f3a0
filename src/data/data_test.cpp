#include <gtest/gtest.h>

#include <numeric>

#include "base/file.h"
#include "data/overlap.h"
#include "data/text.h"
#include "data/windows.h"
#include "support/temp_folder.h"
#include "support/toy_tokenizer.h"

namespace lissom {
namespace {

std::string error_of(const auto& result) {
  return result ? "no error" : result.error().message;
}

TEST(Text, ReadsUtf8AndDropsAByteOrderMark) {
  const testing::TempFolder folder;
  const auto path = folder.path() / "a.txt";
  ASSERT_TRUE(write_file(path, "\xEF\xBB\xBFna\xC3\xAFve\n"));
  EXPECT_EQ(read_text(path).value(), "na\xC3\xAFve\n");
}

TEST(Text, RefusesWhatIsNoText) {
  const testing::TempFolder folder;
  const auto path = folder.path() / "a.txt";
  EXPECT_NE(error_of(read_text(path)).find("a.txt"), std::string::npos);
  for (const char* empty : {"", " \n\t\r\n", "\xEF\xBB\xBF", "\xEF\xBB\xBF\n"}) {
    ASSERT_TRUE(write_file(path, empty));
    EXPECT_NE(error_of(read_text(path)).find("the text is empty"), std::string::npos);
  }
  const std::pair<std::string, int> broken[] = {{"abc\xFF def", 3}, {"\xC3\xA9\xC3", 2}, {"a\xED\xA0\x80", 1}};
  for (const auto& [text, at] : broken) {
    ASSERT_TRUE(write_file(path, text));
    EXPECT_NE(error_of(read_text(path)).find("malformed at byte " + std::to_string(at)), std::string::npos);
  }
  ASSERT_TRUE(write_file(path, std::string(100, 'x')));
  EXPECT_FALSE(read_text(path, 99));
  EXPECT_TRUE(read_text(path, 100));
}

TEST(Windows, CutWithoutOverlapAndScoreTheSecondHalf) {
  const testing::ToyTokenizer tokenizer(false);
  const Windows w = cut_windows(tokenizer, "0123456789abcdefghij!\n", 8, 0).value();
  EXPECT_FALSE(w.bos);
  EXPECT_EQ(w.count, 2);
  EXPECT_EQ(w.tokens.size(), 21U);  // the line end at the very end is not part of the text
  std::vector<int32_t> input(8);
  w.input(1, input);
  EXPECT_EQ(tokenizer.decode(input, false), "89abcdef");
  EXPECT_EQ(w.first_scored(), 4);
  EXPECT_EQ(w.scored(), 3);
  EXPECT_EQ(w.target(1, 4), 'd');
  EXPECT_EQ(w.target(1, 6), 'f');
}

TEST(Windows, OddContextsScoreTheSamePositionsAsLlamaPerplexity) {
  const Windows w = cut_windows(testing::ToyTokenizer(false), "0123456789", 5, 0).value();
  EXPECT_EQ(w.first_scored(), 2);  // positions 2 and 3 predict 3 and 4
  EXPECT_EQ(w.scored(), 2);
  EXPECT_EQ(w.target(0, 3), '4');
}

TEST(Windows, BosBeginsTheTextAndReplacesTheFirstTokenOfEveryWindow) {
  const testing::ToyTokenizer tokenizer(true);
  const Windows w = cut_windows(tokenizer, "0123456789", 4, 0).value();
  ASSERT_EQ(w.bos, 256);
  EXPECT_EQ(w.count, 2);
  EXPECT_EQ(w.tokens.size(), 11U);
  std::vector<int32_t> input(4);
  w.input(0, input);
  EXPECT_EQ(tokenizer.decode(input, false), "<s>012");
  w.input(1, input);
  EXPECT_EQ(tokenizer.decode(input, false), "<s>456");  // '3' made room
  EXPECT_EQ(w.target(1, 2), '6');
}

TEST(Windows, ChunksLimitTheirNumberAndShortTextsAreRefused) {
  const testing::ToyTokenizer tokenizer(true);
  const std::string text(100, 'x');
  EXPECT_EQ(cut_windows(tokenizer, text, 10, 3)->count, 3);
  EXPECT_EQ(cut_windows(tokenizer, text, 10, 99)->count, 10);
  EXPECT_EQ(cut_windows(tokenizer, text, 101, 0)->count, 1);
  const std::string message = error_of(cut_windows(tokenizer, text, 102, 0));
  EXPECT_NE(message.find("101 tokens"), std::string::npos) << message;
  EXPECT_NE(message.find("102"), std::string::npos) << message;
  EXPECT_FALSE(cut_windows(tokenizer, text, 3, 0));
  EXPECT_FALSE(cut_windows(tokenizer, text, 10, -1));
}

TEST(Overlap, CountsRunsThatCalibrationHolds) {
  std::vector<int32_t> evaluation(100), calibration(60);
  std::iota(evaluation.begin(), evaluation.end(), 0);
  std::iota(calibration.begin(), calibration.end(), 1000);
  EXPECT_EQ(shared_runs(evaluation, calibration), 0);
  EXPECT_EQ(shared_runs(evaluation, evaluation), 1);
  // 20 shared tokens hold 8 runs of 13, of 88 in all.
  std::copy_n(evaluation.begin() + 30, 20, calibration.begin() + 7);
  EXPECT_DOUBLE_EQ(shared_runs(evaluation, calibration), 8.0 / 88.0);
  // The same tokens in another order are another text.
  std::vector<int32_t> reversed(evaluation.rbegin(), evaluation.rend());
  EXPECT_EQ(shared_runs(evaluation, reversed), 0);
  EXPECT_EQ(shared_runs({}, calibration), 0);
  EXPECT_EQ(shared_runs(evaluation, {}), 0);
}

}  // namespace
}  // namespace lissom
