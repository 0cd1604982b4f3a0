#include "report/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <limits>

#include "base/file.h"
#include "report/html.h"

namespace lissom {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

Json result(const std::string& scheme, double bytes, double kld) {
  return {{"scheme", scheme},
          {"file", scheme + ".gguf"},
          {"file_bytes", bytes},
          {"tensor_bytes", bytes},
          {"bits_per_weight", 4.5},
          {"seconds", 1.5},
          {"sha256", "00"},
          {"eval", {{"kld_mean", kld}, {"kld_mean_error", kld / 10}, {"ppl", 11.0}, {"ppl_base", 10.0}}},
          {"tensors",
           {{{"name", "blk.0.ffn_up.weight"},
             {"shape", {8, 4}},
             {"from", "F32"},
             {"codec", "Q4_K"},
             {"bits", 4.5},
             {"bytes_after", 18},
             {"relative_error", 0.07},
             {"weighted_relative_error", 0.05},
             {"reason", "default; Q4_K wants 256 columns"},
             {"fallback", true},
             {"kept", false}},
            {{"name", "output_norm.weight"}, {"kept", true}, {"bytes_after", 128}}}}};
}

Json report_of(const std::vector<Json>& results, const std::string& digest = "sha256:ab") {
  return {{"source", {{"name", "tiny"}, {"digest", digest}, {"tensor_bytes", 4e8}, {"weights", 1e8}}},
          {"results", results}};
}

TEST(Report, ShowsWhatMatters) {
  const std::string page = report_html(report_of({result("size", 8e7, 0.05), result("quality", 1.2e8, 0.002)}));
  EXPECT_THAT(page,
              AllOf(HasSubstr("80.0 MB"), HasSubstr("120.0 MB"), HasSubstr("20%"), HasSubstr("10.00%"),
                    HasSubstr("<svg"), HasSubstr("blk.0.ffn_up.weight"), HasSubstr("1 × Q4_K wants 256")));
}

TEST(Report, SaysWhatLearningDid) {
  Json learned = result("size", 8e7, 0.05);
  EXPECT_THAT(report_html(report_of({learned})), Not(HasSubstr("learned")));
  learned["distillation"] = {{"engine", "LibTorch <2>"}, {"steps", 120},      {"tokens", 61440},
                             {"seconds", 500.0},         {"kld_first", 0.25}, {"kld_last", 0.125}};
  EXPECT_THAT(
      report_html(report_of({learned})),
      AllOf(HasSubstr("120 steps over 61440 tokens, 500 s with LibTorch &lt;2&gt;"), HasSubstr("KL 0.25")));
}

TEST(Report, NeedsNothingFromElsewhere) {
  const std::string page = report_html(report_of({result("size", 8e7, 0.05)}));
  for (const char* outside : {"http://", "https://", "src=", "href=", "@import", "url("})
    EXPECT_THAT(page, Not(HasSubstr(outside)));
  EXPECT_THAT(page, HasSubstr("default-src 'none'"));
}

TEST(Report, TextOfAModelIsInert) {
  const std::string evil = "<script>alert(1)</script>\"'&";
  Json r = result(evil, 8e7, 0.05);
  r["tensors"][0]["name"] = "blk.0." + evil;
  r["tensors"][0]["codec"] = evil;
  r["tensors"][0]["reason"] = evil;
  r["warnings"] = {evil};
  r["limits"] = {{{"name", evil}, {"met", false}}};
  r["file"] = r["sha256"] = evil;
  Json report = report_of({r}, evil);
  report["source"]["name"] = report["source"]["file"] = report["source"]["architecture"] = evil;
  report["warnings"] = {evil};
  for (const char* part : {"machine", "calibration", "evaluation"})
    report[part] = {{"cpu", evil},    {"threads", evil},     {"kernels", evil},
                    {"lissom", evil}, {"description", evil}, {"tokens", evil},
                    {"chunks", evil}, {"uncovered", evil},   {"disjoint", evil}};
  const std::string page = report_html(report);
  EXPECT_THAT(page, AllOf(Not(HasSubstr("<script>alert")), Not(HasSubstr(evil)),
                          HasSubstr("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;")));
  size_t scripts = 0;
  for (size_t at = page.find("<script"); at != std::string::npos; at = page.find("<script", at + 1)) ++scripts;
  EXPECT_EQ(scripts, 1U);
}

TEST(Report, EscapesWhatIsNotText) {
  EXPECT_EQ(html::escaped("aé日😀"), "aé日😀");
  EXPECT_EQ(html::escaped(std::string("a\0b", 3)),
            "a\xef\xbf\xbd"
            "b");
  EXPECT_EQ(html::escaped("\xff\xc0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(html::escaped("\xed\xa0\x80"), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");  // a surrogate
  EXPECT_EQ(html::escaped("\xf4\x90\x80\x80").find('\xf4'), std::string::npos);
  EXPECT_EQ(html::escaped("\xe6\x97"), "\xef\xbf\xbd\xef\xbf\xbd");  // cut off
}

TEST(Report, OddFieldsShowAsNothing) {
  for (const Json& odd : {Json(), Json(7), Json("x"), Json::array({1, "a", nullptr}), Json::object()}) {
    EXPECT_THAT(report_html(odd), HasSubstr("</html>"));
    for (const char* key : {"source", "results", "machine", "calibration", "evaluation", "warnings"}) {
      Json report = report_of({result("size", 8e7, 0.05)});
      report[key] = odd;
      EXPECT_THAT(report_html(report), HasSubstr("</html>"));
    }
    Json r = result("size", 8e7, 0.05);
    const Json whole = r;
    for (const auto& [key, value] : whole.items()) {
      Json broken = r;
      broken[key] = odd;
      EXPECT_THAT(report_html(report_of({broken})), HasSubstr("</html>")) << key;
    }
    const Json tensor = r["tensors"][0];
    for (const auto& [key, value] : tensor.items()) {
      Json broken = r;
      broken["tensors"][0][key] = odd;
      EXPECT_THAT(report_html(report_of({broken})), HasSubstr("</html>")) << key;
    }
  }
}

TEST(Report, ChartSurvivesOddNumbers) {
  for (const double kld : {0.0, 1e-300, 1e300, -1.0})
    for (const double bytes : {1.0, 1e-300, 1e300, 0.0}) {
      const std::string page = report_html(report_of({result("a", bytes, kld), result("b", 8e7, 0.1)}));
      EXPECT_THAT(page, HasSubstr("</html>"));
      EXPECT_LT(page.size(), 200000U);
    }
}

TEST(Report, ShowsHowAPlanWasChosen) {
  Json r = result("search", 8e7, 0.05);
  const std::string evil = "<script>alert(1)</script>";
  r["search"] = {{"scheme_file", "out.gguf.scheme.yaml"},
                 {"kld", 0.048},
                 {"kld_error", 0.001},
                 {"kld_bound", 0.0497},
                 {"windows", 8},
                 {"measurements", 77},
                 {"remembered", 3},
                 {"seconds", 60.0},
                 {"frontier",
                  {{{"name", "search"}, {"file_bytes", 7e7}, {"predicted_kld", 0.2}},
                   {{"name", evil}, {"file_bytes", 9e7}, {"predicted_kld", 0.04}},
                   {{"name", "search"},
                    {"file_bytes", 8e7},
                    {"predicted_kld", 0.05},
                    {"kld", 0.048},
                    {"kld_error", 0.001}}}}};
  const std::string page = report_html(report_of({r}));
  EXPECT_THAT(page, AllOf(HasSubstr("77 measurements"), HasSubstr("below 0.0497"), HasSubstr("class=\"ring\""),
                          HasSubstr("predicted 0.05, verified 0.048"), Not(HasSubstr(evil))));
  EXPECT_EQ(report_html(report_of({result("a", 8e7, 0.05)})).find("How the codecs were chosen"),
            std::string::npos);
  for (const Json& odd :
       {Json(), Json(7), Json("x"), Json::array({1, "a", nullptr}), Json::object(), Json(1e300)}) {
    Json broken = r;
    broken["search"]["frontier"] = odd;
    EXPECT_THAT(report_html(report_of({broken})), HasSubstr("</html>"));
    for (const char* key : {"name", "file_bytes", "predicted_kld", "kld", "kld_error"}) {
      broken = r;
      for (Json& point : broken["search"]["frontier"]) point[key] = odd;
      const std::string text = report_html(report_of({broken}));
      EXPECT_THAT(text, HasSubstr("</html>"));
      EXPECT_LT(text.size(), 200000U);
    }
  }
}

TEST(Report, MergesResultsOfOneSource) {
  const auto merged =
      merge_reports({report_of({result("a", 1, 1), result("b", 2, 2)}), report_of({result("b", 3, 3)})});
  ASSERT_TRUE(merged);
  ASSERT_EQ(merged->at("results").size(), 2U);
  EXPECT_EQ(merged->at("results")[1]["file_bytes"], 3.0);
  const auto other = merge_reports({report_of({}), report_of({}, "sha256:cd")});
  ASSERT_FALSE(other);
  EXPECT_THAT(other.error().message, HasSubstr("different sources"));
  EXPECT_FALSE(merge_reports({}));
  EXPECT_FALSE(merge_reports({Json(1)}));
  EXPECT_FALSE(merge_reports({Json{{"results", 1}}}));
  EXPECT_FALSE(merge_reports({Json{{"results", {1}}}}));
}

TEST(Report, IsWrittenEvenWithBytesThatAreNotText) {
  const auto folder = std::filesystem::temp_directory_path() / ("lissom_report_" + std::to_string(::getpid()));
  Json report = report_of({result("a\xff", 1e6, 0.1)});
  ASSERT_TRUE(write_report(report, folder));
  const auto back = read_json(folder / "report.json");
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->at("results").size(), 1U);
  EXPECT_TRUE(std::filesystem::exists(folder / "report.html"));
  std::filesystem::remove_all(folder);
  EXPECT_FALSE(write_report(report, "/proc/nowhere"));
}

}  // namespace
}  // namespace lissom
