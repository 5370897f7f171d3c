#include <string>
#include <vector>

#include "common/io/atomic_file.h"
#include "common/io/safetensors.h"
#include "common/testing/fuzz.h"
#include "common/testing/golden_file.h"
#include "glog/logging.h"

namespace longrange {

// What is a case can be walked through, and checking it against itself passes.
void FuzzOne(absl::string_view input) {
  const absl::StatusOr<GoldenCase> golden = GoldenCase::Read(FuzzFile(input));
  if (!golden.ok()) {
    CHECK(golden.status().message().find('\n') == absl::string_view::npos) << golden.status();
    return;
  }
  GoldenChecker checker(&*golden);
  for (const std::string& name : golden->ResultNames()) {
    const absl::StatusOr<Tensor> t = golden->Get(name);
    CHECK(t.ok()) << t.status();
    checker.Check(name, t);
  }
  const GoldenReport report = checker.Finish();
  CHECK(!report.ToString().empty());
  CHECK_EQ(golden->Group("param.").size() + golden->Group("in.").size() +
               golden->Group("cotangent.").size() + golden->ResultNames().size(),
           golden->tensors().size());
}

std::vector<std::string> FuzzSeeds() {
  const std::string path = FuzzFolder() + "/seed.safetensors";
  const SafetensorsMetadata metadata = {{"paper", "mega"},
                                        {"case", "ema"},
                                        {"config", R"({"heads": 2, "rates": [1, 0.5]})"},
                                        {"reference", "fairseq"},
                                        {"notes", "B, T"}};
  const TensorMap tensors = {{"in.x", Tensor::Full({2, 2}, 1)},
                             {"param.layer.b", Tensor::Full({1}, 4)},
                             {"out.y", Tensor::Full({2, 2}, 3)},
                             {"cotangent.y", Tensor::Full({2, 2}, 1)},
                             {"grad.in.x", Tensor::Full({2, 2}, 1)},
                             {"out_check.ids", Tensor::FromVector<int64_t>({2}, {4, 5})}};
  std::vector<std::string> seeds;
  for (const bool with_metadata : {true, false}) {
    CHECK(WriteSafetensors(path, tensors, with_metadata ? metadata : SafetensorsMetadata()).ok());
    seeds.push_back(ReadFile(path).value());
  }
  return seeds;
}

}  // namespace longrange
