#include "common/testing/golden_file.h"

#include <string>
#include <vector>

#include "common/io/atomic_file.h"
#include "common/io/safetensors.h"
#include "common/testing/matchers.h"
#include "gtest/gtest.h"

namespace longrange {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class GoldenFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = ::testing::TempDir() + "/golden_" +
           ::testing::UnitTest::GetInstance()->current_test_info()->name();
    ASSERT_THAT(RemoveAll(dir_), IsOk());
    ASSERT_THAT(MakeDirs(dir_ + "/mega/more"), IsOk());
    ASSERT_THAT(WriteSafetensors(Path(), tensors_, metadata_), IsOk());
  }
  std::string Path() const { return dir_ + "/mega/ema.safetensors"; }

  std::string dir_;
  SafetensorsMetadata metadata_ = {{"paper", "mega"},
                                   {"case", "ema"},
                                   {"config", "{\"heads\": 2}"},
                                   {"reference", "fairseq"},
                                   {"notes", "B, T"}};
  TensorMap tensors_ = {{"in.x", Tensor::Full({2, 2}, 1)},
                        {"param.w", Tensor::Full({2}, 2)},
                        {"param.layer.b", Tensor::Full({1}, 4)},
                        {"out.y", Tensor::Full({2, 2}, 3)},
                        {"cotangent.y", Tensor::Full({2, 2}, 1)},
                        {"grad.in.x", Tensor::Full({2, 2}, 1)},
                        {"out_check.ids", Tensor::FromVector<int64_t>({2}, {4, 5})}};
};

TEST_F(GoldenFileTest, ReadsACase) {
  LR_ASSERT_OK_AND_ASSIGN(const GoldenCase golden, GoldenCase::Read(Path()));
  EXPECT_EQ(golden.paper(), "mega");
  EXPECT_EQ(golden.name(), "ema");
  EXPECT_EQ(golden.reference(), "fairseq");
  EXPECT_EQ(golden.notes(), "B, T");
  EXPECT_EQ(golden.config().at("heads"), 2);
  EXPECT_THAT(golden.In("x"), IsOkAndHolds(BitEqual(tensors_["in.x"])));
  EXPECT_THAT(golden.Param("layer.b"), IsOkAndHolds(BitEqual(tensors_["param.layer.b"])));
  EXPECT_THAT(golden.Out("y"), IsOkAndHolds(BitEqual(tensors_["out.y"])));
  EXPECT_THAT(golden.Cotangent("y"), IsOk());
  EXPECT_THAT(golden.Grad("in.x"), IsOk());
  EXPECT_THAT(golden.Get("out_check.ids"), IsOk());
  EXPECT_TRUE(golden.Has("out.y"));
  EXPECT_FALSE(golden.Has("out.z"));
  EXPECT_THAT(golden.Param("v"),
              StatusIs(absl::StatusCode::kNotFound,
                       "no tensor \"param.v\"; there are: param.layer.b, param.w"));
  EXPECT_THAT(golden.Param("v"), StatusIs(absl::StatusCode::kNotFound, Path()));
  EXPECT_EQ(golden.Group("param.").count("layer.b"), 1u);
  EXPECT_EQ(golden.Group("param.").size(), 2u);
  EXPECT_THAT(golden.ResultNames(), ElementsAre("grad.in.x", "out.y", "out_check.ids"));
}

TEST_F(GoldenFileTest, RefusesWhatIsNoCase) {
  const std::string path = dir_ + "/f.safetensors";
  const auto write = [&](const std::string& key, const char* value) {
    SafetensorsMetadata metadata = metadata_;
    if (value == nullptr) {
      metadata.erase(key);
    } else {
      metadata[key] = value;
    }
    return WriteSafetensors(path, tensors_, metadata);
  };
  ASSERT_THAT(write("case", nullptr), IsOk());
  EXPECT_THAT(GoldenCase::Read(path), StatusIs(absl::StatusCode::kFailedPrecondition, path));
  ASSERT_THAT(write("paper", nullptr), IsOk());
  EXPECT_THAT(GoldenCase::Read(path), StatusIs(absl::StatusCode::kInvalidArgument, "no `paper`"));
  ASSERT_THAT(write("config", nullptr), IsOk());
  EXPECT_THAT(GoldenCase::Read(path), StatusIs(absl::StatusCode::kInvalidArgument, "no `config`"));
  ASSERT_THAT(write("config", "{"), IsOk());
  EXPECT_THAT(GoldenCase::Read(path),
              StatusIs(absl::StatusCode::kInvalidArgument, "metadata `config`"));
  ASSERT_THAT(WriteSafetensors(path, {{"x", Tensor::Zeros({1})}}, metadata_), IsOk());
  EXPECT_THAT(GoldenCase::Read(path), StatusIs(absl::StatusCode::kInvalidArgument, "tensor \"x\""));
}

TEST_F(GoldenFileTest, FindsCasesBrokenFilesAndLines) {
  ASSERT_THAT(
      WriteSafetensors(dir_ + "/mega/more/weights.safetensors", tensors_, {{"format", "pt"}}),
      IsOk());
  ASSERT_THAT(WriteFileAtomically(dir_ + "/mega/more/broken.safetensors", "xx"), IsOk());
  ASSERT_THAT(WriteFileAtomically(dir_ + "/mega/more/README.md", "text"), IsOk());
  ASSERT_THAT(MakeDirs(dir_ + "/lambada/goldens"), IsOk());
  ASSERT_THAT(WriteFileAtomically(dir_ + "/lambada/goldens/scoring.jsonl", "{}\n"), IsOk());
  ASSERT_THAT(WriteSafetensors(dir_ + "/z.safetensors", tensors_, {{"case", "c"}}), IsOk());
  LR_ASSERT_OK_AND_ASSIGN(const std::vector<GoldenFile> found, FindGoldenFiles(dir_));
  ASSERT_EQ(found.size(), 4u);
  EXPECT_EQ(found[0].path, dir_ + "/lambada/goldens/scoring.jsonl");
  EXPECT_EQ(found[0].kind, GoldenFile::Kind::kJsonLines);
  EXPECT_EQ(found[0].paper, "lambada");
  EXPECT_EQ(found[0].name, "scoring");
  EXPECT_EQ(found[1].paper, "mega");
  EXPECT_EQ(found[1].name, "ema");
  EXPECT_THAT(found[1].status, IsOk());
  EXPECT_THAT(found[2].status,
              StatusIs(absl::StatusCode::kInvalidArgument, dir_ + "/mega/more/broken.safetensors"));
  EXPECT_THAT(found[3].status, StatusIs(absl::StatusCode::kInvalidArgument, "no `paper`"));
  EXPECT_THAT(FindGoldenFiles(dir_ + "/none"), StatusIs(absl::StatusCode::kNotFound, "none"));
}

TEST_F(GoldenFileTest, EveryResultMustBeCompared) {
  LR_ASSERT_OK_AND_ASSIGN(const GoldenCase golden, GoldenCase::Read(Path()));
  GoldenChecker all(&golden);
  // A wider type of ours and a narrower integer are compared by value.
  EXPECT_TRUE(all.Check("out.y", Tensor::Full({2, 2}, 3, DType::kFloat64), "plain"));
  EXPECT_TRUE(all.Check("out.y", Tensor::Full({2, 2}, 3 + 3e-5), "fused"));
  EXPECT_TRUE(all.Check("grad.in.x", Tensor::Full({2, 2}, 1)));
  EXPECT_TRUE(all.Check("out_check.ids", Tensor::FromVector<int32_t>({2}, {4, 5})));
  const GoldenReport report = all.Finish();
  EXPECT_TRUE(report.passed);
  EXPECT_EQ(report.name, "mega/ema");
  ASSERT_EQ(report.results.size(), 4u);
  EXPECT_EQ(report.Worst()->name, "out.y (fused)");
  EXPECT_THAT(report.ToString(),
              HasSubstr("ok   mega/ema: worst out.y (fused) at [0, 0]: off by 3e-05"));
  EXPECT_THAT(report.ToString(), HasSubstr("(mega: rtol 1e-4, atol 2e-5)"));

  GoldenChecker some(&golden);
  EXPECT_TRUE(some.Check("grad.in.x", Tensor::Full({2, 2}, 1)));
  EXPECT_TRUE(some.Check("out_check.ids", tensors_["out_check.ids"]));
  const GoldenReport incomplete = some.Finish();
  EXPECT_FALSE(incomplete.passed);
  EXPECT_THAT(incomplete.ToString(),
              HasSubstr("FAIL mega/ema: 1 of 3 results failed\n     out.y: it was not compared"));

  EXPECT_FALSE(GoldenChecker(&golden).Finish().passed);
}

TEST_F(GoldenFileTest, FailuresAreSeen) {
  LR_ASSERT_OK_AND_ASSIGN(const GoldenCase golden, GoldenCase::Read(Path()));
  const auto report_of = [&](auto misuse) {
    GoldenChecker checker(&golden);
    checker.Check("out.y", tensors_["out.y"]);
    checker.Check("grad.in.x", tensors_["grad.in.x"]);
    misuse(checker);
    return checker.Finish();
  };
  const auto ids = [&](GoldenChecker& c) { c.Check("out_check.ids", tensors_["out_check.ids"]); };
  ASSERT_TRUE(report_of(ids).passed);
  EXPECT_THAT(report_of([&](GoldenChecker& c) {
                ids(c);
                ids(c);
              }).ToString(),
              HasSubstr("compared twice"));
  EXPECT_THAT(report_of([&](GoldenChecker& c) {
                ids(c);
                c.Check("out.z", tensors_["out.y"]);
              }).ToString(),
              HasSubstr("out.z: the case has no such tensor"));
  EXPECT_THAT(report_of([&](GoldenChecker& c) {
                ids(c);
                c.Check("in.x", tensors_["in.x"]);
              }).ToString(),
              HasSubstr("no result"));
  EXPECT_THAT(report_of([&](GoldenChecker& c) {
                ids(c);
                c.Fail("config", "unknown key");
              }).ToString(),
              HasSubstr("config: unknown key"));
  EXPECT_THAT(report_of([&](GoldenChecker& c) {
                c.Check("out_check.ids",
                        absl::StatusOr<Tensor>(absl::UnimplementedError("no ids")));
              }).ToString(),
              HasSubstr("out_check.ids: no ids"));
  EXPECT_THAT(report_of([&](GoldenChecker& c) {
                c.Check("out_check.ids", Tensor::FromVector<int64_t>({2}, {4, 6}));
              }).ToString(),
              HasSubstr("got 6, expected 5 at [1]"));
  EXPECT_THAT(report_of([&](GoldenChecker& c) {
                c.Check("out_check.ids", Tensor::Full({2}, 4));
              }).ToString(),
              HasSubstr("got float64 [2], expected int64 [2]"));
  EXPECT_THAT(report_of([&](GoldenChecker& c) {
                c.Check("out_check.ids", Tensor::FromVector<int64_t>({1, 2}, {4, 5}));
              }).ToString(),
              HasSubstr("[1, 2], expected int64 [2]"));
}

TEST_F(GoldenFileTest, RmsCountsBesideAnElementwiseComparisonOnly) {
  LR_ASSERT_OK_AND_ASSIGN(const GoldenCase golden, GoldenCase::Read(Path()));
  const auto report_of = [&](double scale, bool elementwise) {
    GoldenChecker checker(&golden);
    checker.Check("grad.in.x", tensors_["grad.in.x"]);
    checker.Check("out_check.ids", tensors_["out_check.ids"]);
    Tensor y = tensors_["out.y"].To(DType::kFloat64);
    if (elementwise) checker.Check("out.y", y, "double");
    y = y.Clone();
    for (int64_t i = 0; i < y.numel(); ++i) y.mutable_data<double>()[i] *= scale;
    checker.CheckRms("out.y", y, "float32");
    return checker.Finish();
  };
  EXPECT_TRUE(report_of(1 + 0.9e-5, true).passed);
  EXPECT_THAT(report_of(1 + 1.1e-5, true).ToString(),
              HasSubstr("out.y (float32): RMS ratio 1.1e-05"));
  EXPECT_THAT(report_of(1, false).ToString(), HasSubstr("out.y: it was not compared"));
}

TEST_F(GoldenFileTest, TablesByPosition) {
  const SafetensorsMetadata metadata = {
      {"paper", "rope_extension"}, {"case", "tables"}, {"config", "{}"}};
  ASSERT_THAT(WriteSafetensors(Path(), {{"out.yarn.cos", Tensor::Zeros({2, 2})}}, metadata),
              IsOk());
  LR_ASSERT_OK_AND_ASSIGN(const GoldenCase golden, GoldenCase::Read(Path()));
  const Tensor actual = Tensor::FromVector<float>({2, 2}, {1e-5f, 0, 0, 2e-3f});
  GoldenChecker far(&golden);
  EXPECT_TRUE(far.CheckTable("out.yarn.cos", actual, {3, 5000}));
  EXPECT_THAT(far.Finish().ToString(), HasSubstr("above 4000"));
  GoldenChecker near(&golden);
  EXPECT_FALSE(near.CheckTable("out.yarn.cos", actual, {3, 900}));
  GoldenChecker wrong(&golden);
  EXPECT_FALSE(wrong.CheckTable("out.yarn.cos", actual, {3}));
}

TEST(GoldenLinesTest, NumbersAndText) {
  EXPECT_TRUE(CompareGoldenNumber("lambada", "scoring", "target_logprob", -2.00005, -2).passed);
  EXPECT_FALSE(CompareGoldenNumber("lambada", "scoring", "target_logprob", -2.0002, -2).passed);
  EXPECT_TRUE(CompareGoldenText("prompt", "same", "same").passed);
  const GoldenResult r =
      CompareGoldenText("prompt", "a longer text that ends so", "a longer text that ends here");
  EXPECT_FALSE(r.passed);
  EXPECT_THAT(r.message, HasSubstr("from byte 24 on"));
  EXPECT_FALSE(CompareGoldenText("prompt", "same", "same and more").passed);
  EXPECT_TRUE(MakeGoldenReport("lambada/scoring", {CompareGoldenText("k", "a", "a")}).passed);
  EXPECT_FALSE(MakeGoldenReport("lambada/scoring", {r}).passed);
  EXPECT_FALSE(MakeGoldenReport("lambada/scoring", {}).passed);
}

}  // namespace
}  // namespace longrange
