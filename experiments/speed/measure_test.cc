#include "experiments/speed/measure.h"

#include "common/base/text_proto.h"
#include "common/testing/matchers.h"
#include "gtest/gtest.h"

namespace longrange {
namespace {

using ::testing::SizeIs;

TEST(Speed, RatioIsTheMedianOfRounds) {
  WorkRow row;
  row.ours = {1, 2, 4};
  EXPECT_EQ(Seconds(row), 2);
  EXPECT_FALSE(RatioOf(row).has_value());
  row.peer = {3, 10, 4};
  const Ratio ratio = *RatioOf(row);
  EXPECT_EQ(ratio.median, 3);
  EXPECT_EQ(ratio.least, 1);
  EXPECT_EQ(ratio.most, 5);
}

TEST(Speed, ReachIsThatOfTheNearerEdge) {
  WorkRow row;
  row.ours = {1};
  row.flops = 50;
  row.bytes = 4;
  const Reach arithmetic = ReachOf(row, {100, 10});
  EXPECT_EQ(arithmetic.share, 0.5);
  EXPECT_FALSE(arithmetic.of_memory);
  row.bytes = 8;
  const Reach memory = ReachOf(row, {100, 10});
  EXPECT_EQ(memory.share, 0.8);
  EXPECT_TRUE(memory.of_memory);
}

TEST(Speed, CrossoverLiesBetweenTwoLengths) {
  const std::vector<Crossover> found = Crossovers({{"full", "", 100, 1},
                                                   {"full", "", 200, 4},
                                                   {"full", "", 400, 16},
                                                   {"line", "full", 100, 2},
                                                   {"line", "full", 200, 2},
                                                   {"line", "full", 400, 2},
                                                   {"line", "full", 800, 2},
                                                   {"slow", "full", 200, 5},
                                                   {"slow", "full", 400, 17},
                                                   {"fast", "full", 100, 0.5},
                                                   {"fast", "full", 200, 0.5},
                                                   {"noisy", "full", 100, 0.5},
                                                   {"noisy", "full", 200, 5},
                                                   {"noisy", "full", 400, 8}});
  ASSERT_THAT(found, SizeIs(4));
  // The full one's time is length squared: as long as 2 at sqrt(2) times 100.
  EXPECT_TRUE(found[0].overtakes);
  EXPECT_FALSE(found[0].always);
  EXPECT_NEAR(found[0].length, 141.4, 0.1);
  EXPECT_EQ(found[0].longest, 400);
  EXPECT_FALSE(found[1].overtakes);
  EXPECT_EQ(found[1].longest, 400);
  EXPECT_TRUE(found[2].always);
  EXPECT_EQ(found[2].length, 100);
  EXPECT_EQ(found[2].longest, 200);
  // What is ahead only for a while has not overtaken.
  EXPECT_GT(found[3].length, 200);
  EXPECT_LT(found[3].length, 400);
  EXPECT_TRUE(Crossovers({}).empty());
}

TEST(Speed, RefusesSettingsWithoutMeaning) {
  const auto refused = [](const std::string& text, const std::string& why) {
    SpeedSettings settings;
    ASSERT_THAT(ParseTextProto(text, "settings", &settings), IsOk());
    EXPECT_THAT(CheckSettings(settings), StatusIs(absl::StatusCode::kInvalidArgument, why)) << text;
  };
  refused("rounds: 0", "rounds: 0 (expected 1 to 1000)");
  refused("seconds: -1", "seconds: -1");
  refused("seconds: nan", "seconds: nan");
  refused("width: 0", "width: 0");
  refused("length: 8 length: 8", "length: 8 (expected 9 to");
  refused("step { mixer: 'rwkv' }",
          "step.0: mixer: rwkv (expected one of attention, mamba, retnet)");
  refused("step { mixer: 'mamba' length: 0 }", "step.0: length: 0");
  refused("layer { }", "layer.0.name: none");
  refused("layer { name: 'a' } layer { name: 'a' }", "layer.1.name: a");
  refused("layer { name: 'a' } layer { name: 'b' against: 'c' }", "layer.1.against: c");
  refused("layer { name: 'a' against: 'a' }", "layer.0.against: a");
  refused("decode { steps: 0 }", "decode: steps: 0");
  EXPECT_THAT(CheckSettings(SpeedSettings()), IsOk());
}

}  // namespace
}  // namespace longrange
