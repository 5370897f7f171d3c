#include "experiments/speed/kernel_times.h"

#include "common/testing/matchers.h"
#include "gtest/gtest.h"

namespace longrange {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr char kHalves[] = "Rotary/half_split/b:4/t:1024/h:8/d:64",
               kPairs[] = "Rotary/interleaved/b:4/t:1024/h:8/d:64";

TEST(KernelTimes, NamesByExpression) {
  EXPECT_THAT(*KernelNames("."), ElementsAre(kHalves, kPairs));
  EXPECT_THAT(*KernelNames("^Rotary/inter|nothing"), ElementsAre(kPairs));
  EXPECT_THAT(*KernelNames("Softmax"), IsEmpty());
  EXPECT_THAT(KernelNames("(").status(),
              StatusIs(absl::StatusCode::kInvalidArgument, "kernels: '('"));
}

TEST(KernelTimes, TimesOneAndCountsItsWork) {
  LR_ASSERT_OK_AND_ASSIGN(const WorkTime time, TimeKernel(kHalves, 0));
  EXPECT_GT(time.seconds, 0);
  const double elements = 4 * 1024 * 8 * 64;
  EXPECT_EQ(time.flops, 3 * elements);
  EXPECT_GE(time.bytes, 2 * 4 * elements);  // in and out, and the table of angles
  EXPECT_LE(time.bytes, 2 * 4 * elements + 2 * 4 * 1024 * 64);
}

TEST(KernelTimes, ANameIsNoExpression) {
  EXPECT_THAT(TimeKernel("Rotary/.*", 0).status(), StatusIs(absl::StatusCode::kNotFound, ""));
  EXPECT_THAT(TimeKernel("half_split", 0).status(), StatusIs(absl::StatusCode::kNotFound, ""));
}

}  // namespace
}  // namespace longrange
