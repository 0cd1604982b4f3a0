#include "report/diagnosis.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "report/report.h"

namespace lissom {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Diagnosis example() {
  Diagnosis found;
  for (int64_t b = -1; b < 3; ++b) {
    LayerDifference l;
    l.block = b;
    l.own.relative_error = b == 1 ? 0.9 : 0.05;
    l.state.relative_error = 0.1;
    l.outlier = b == 1;
    found.layers.push_back(l);
  }
  TensorDifference t;
  t.name = "blk.1.attn_q.weight<script>";
  t.codec = "Q4_0";
  t.base_codec = "F32";
  t.shape = {4, 8, 32};
  t.block = 1;
  t.relative_error = 0.5;
  t.worst_expert = 2;
  t.expert_error = 0.9;
  t.outlier = true;
  found.tensors.push_back(t);
  found.scan.measured = true;
  found.scan.measure = "kld";
  found.scan.loss = 0.5;
  found.scan.parts = {{"block 1", 1, 0.1, 0.4, 0.01, 0.8}, {"head", kHead, 0.55, -0.05, 0.01, -0.1}};
  found.culprits = {{t.name, 1, 6.5, true, 0.4, 0.8, "6.5 × its peers' error"}};
  found.repaired_loss = 0.1;
  found.summary = "The culprit is <b>.";
  return found;
}

Json report_of(const Diagnosis& found) {
  Json report = diagnosis_json(found);
  report["report"] = kDiagnosis;
  report["source"] = {{"name", "tiny"}};
  report["verdict"] = {
      {"healthy", false}, {"summary", found.summary}, {"reasons", {"generation (greedy): <i>"}}};
  return report;
}

TEST(DiagnosisReport, HasTheFields) {
  const Json json = diagnosis_json(example());
  EXPECT_EQ(json["layers"].size(), 4U);
  EXPECT_EQ(json["layers"][2]["own"]["relative_error"], 0.9);
  EXPECT_EQ(json["tensors"][0]["shape"], Json({4, 8, 32}));
  EXPECT_EQ(json["tensors"][0]["worst_expert"], 2);
  EXPECT_EQ(json["scan"]["parts"][0]["share"], 0.8);
  EXPECT_EQ(json["culprits"][0]["why"], "6.5 × its peers' error");
  EXPECT_EQ(json["repaired_loss"], 0.1);
  EXPECT_TRUE(json["logits"].is_null());
  EXPECT_FALSE(diagnosis_json({}).contains("repaired_loss"));
  EXPECT_TRUE(diagnosis_json({})["scan"].is_null());
}

TEST(DiagnosisReport, HasAPictureOfTheBlocksAndEscapesAll) {
  const std::string page = report_html(report_of(example()));
  EXPECT_THAT(page, HasSubstr("tiny – diagnosis"));
  EXPECT_THAT(page, HasSubstr("aria-label=\"error of each block\""));
  EXPECT_THAT(page, HasSubstr("aria-label=\"what restoring each block brings back\""));
  EXPECT_THAT(page, HasSubstr("class=\"bad\""));
  EXPECT_THAT(page, HasSubstr("blk.1.attn_q.weight&lt;script&gt;"));
  for (const char* raw : {"weight<script>", "is <b>", ": <i>"}) EXPECT_THAT(page, Not(HasSubstr(raw)));
}

TEST(DiagnosisReport, OddFieldsShowAsDashes) {
  for (const Json& odd :
       {Json("x"), Json(3), Json::array({1, "two", nullptr}), Json::object({{"parts", 7}}), Json()}) {
    for (const char* field :
         {"layers", "tensors", "scan", "culprits", "verdict", "health", "logits", "source"}) {
      Json report = report_of(example());
      report[field] = odd;
      EXPECT_THAT(report_html(report), HasSubstr("</html>")) << field << " = " << odd.dump();
    }
  }
  EXPECT_THAT(report_html({{"report", kDiagnosis}}), HasSubstr("–"));
}

}  // namespace
}  // namespace lissom
