#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/testing/matchers.h"
#include "common/testing/peak_memory.h"
#include "common/train/checkpoint.h"
#include "gtest/gtest.h"

namespace longrange::train {
namespace {

TEST(CheckpointMemoryTest, LoadingTakesAtMostTwiceTheFile) {
  LR_SKIP_WITHOUT_PEAK_MEMORY();
  constexpr int64_t kBytes = int64_t{96} << 20;
  const CheckpointFolder folder(::testing::TempDir() + "/checkpoint_memory");
  Checkpoint checkpoint;
  checkpoint.step = 1;
  checkpoint.tensors["parameters/w"] = Tensor::Zeros({kBytes / 8});
  checkpoint.tensors["moments/w"] = Tensor::Zeros({kBytes / 8});
  ASSERT_THAT(folder.Save(checkpoint), IsOk());
  checkpoint = Checkpoint();
  const int64_t peak = PeakMemoryOf([&] {
    std::vector<std::string> warnings;
    CHECK(folder.LoadLatest(&warnings).value().has_value());
  });
  EXPECT_GE(peak, kBytes) << "nothing was measured";
  EXPECT_LE(peak, MaxReadingMemory(kBytes));
}

}  // namespace
}  // namespace longrange::train
