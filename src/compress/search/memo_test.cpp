#include "compress/search/memo.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "base/file.h"
#include "support/temp_folder.h"

namespace lissom::search {
namespace {

using ::testing::HasSubstr;
using Values = std::vector<double>;

TEST(Memo, RemembersTheSameBits) {
  const testing::TempFolder folder;
  const auto path = folder.path() / "out.gguf.search";
  const Values numbers = {0.1, 1.0 / 3, 5e-324, -1e300, 0};
  {
    const auto memo = Memo::open(path, R"({"search": 1})");
    ASSERT_TRUE(memo) << memo.error().message;
    EXPECT_EQ((*memo)->find("group a"), nullptr);
    ASSERT_TRUE((*memo)->add("group a", numbers));
    ASSERT_TRUE((*memo)->add("group \"b\"", {2}));
    EXPECT_THAT(Memo::open(path, R"({"search": 1})").error().message, HasSubstr("another process"));
  }
  const auto memo = Memo::open(path, R"({"search": 1})");
  ASSERT_TRUE(memo);
  EXPECT_EQ((*memo)->size(), 2U);
  ASSERT_NE((*memo)->find("group a"), nullptr);
  EXPECT_EQ(*(*memo)->find("group a"), numbers);
  EXPECT_EQ(*(*memo)->find("group \"b\""), Values{2});
  (*memo)->remove();
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(Memo, AnotherSearchStartsAnew) {
  const testing::TempFolder folder;
  const auto path = folder.path() / "memo";
  ASSERT_TRUE((*Memo::open(path, "one"))->add("a", {1}));
  EXPECT_EQ((*Memo::open(path, "another"))->size(), 0U);
  EXPECT_EQ((*Memo::open(path, "one"))->size(), 0U);
}

TEST(Memo, ATornOrSpoiltLineEndsWhatCounts) {
  const testing::TempFolder folder;
  const auto path = folder.path() / "memo";
  const std::string whole = "run\n{\"measured\":\"a\",\"values\":[1.5]}\n";
  for (const char* rest :
       {"{\"measured\":\"b\",\"val", "{}\n", "[]\n", "{\"measured\":\"b\",\"values\":[\"x\"]}\n",
        "{\"measured\":7,\"values\":[1]}\n", "{\"measured\":\"b\",\"values\":1}\n", "\n"}) {
    ASSERT_TRUE(write_file(path, whole + rest + "{\"measured\":\"c\",\"values\":[3]}\n"));
    {
      const auto memo = Memo::open(path, "run");
      ASSERT_TRUE(memo);
      EXPECT_EQ((*memo)->size(), 1U) << rest;
      EXPECT_EQ(*(*memo)->find("a"), Values{1.5});
      ASSERT_TRUE((*memo)->add("d", {4}));
    }
    EXPECT_EQ((*Memo::open(path, "run"))->size(), 2U) << rest;
  }
  EXPECT_THAT(Memo::open(folder.path() / "no" / "memo", "run").error().message, HasSubstr("memo"));
}

}  // namespace
}  // namespace lissom::search
