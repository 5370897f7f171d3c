#include "common/report/ticks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace longrange {
namespace report {
namespace {

using ::testing::ElementsAre;

struct Case {
  Scale scale;
  double low;
  double high;
  int wanted;
  std::vector<std::string> labels;
};

TEST(TicksTest, Table) {
  const std::vector<Case> cases = {
      {Scale::kLinear, 0, 1, 5, {"0.0", "0.2", "0.4", "0.6", "0.8", "1.0"}},
      {Scale::kLinear, 0, 100, 5, {"0", "20", "40", "60", "80", "100"}},
      {Scale::kLinear, -1, 1, 4, {"−1.0", "−0.5", "0.0", "0.5", "1.0"}},
      {Scale::kLinear, 3.7, 4.4, 5, {"3.7", "3.8", "3.9", "4.0", "4.1", "4.2", "4.3", "4.4"}},
      {Scale::kLinear, 0, 3e-7, 3, {"0", "10⁻⁷", "2×10⁻⁷", "3×10⁻⁷"}},
      {Scale::kLinear, 0, 2e9, 4, {"0", "5×10⁸", "10⁹", "1.5×10⁹", "2×10⁹"}},
      {Scale::kLog2, 128, 1024, 6, {"128", "256", "512", "1024"}},
      {Scale::kLog2, 1, 65536, 4, {"1", "16", "256", "4096", "65536"}},
      {Scale::kLog2, 128, 256, 6, {"128", "256"}},
      {Scale::kLog2, 600, 900, 3, {"600", "700", "800", "900"}},
      {Scale::kLog10, 3.7, 40, 5, {"4", "5", "7", "10", "15", "20", "30", "40"}},
      {Scale::kLog10, 1, 100, 5, {"1", "2", "5", "10", "20", "50", "100"}},
      {Scale::kLog10, 0.01, 1e4, 5, {"0.01", "0.1", "1", "10", "100", "1000", "10000"}},
      {Scale::kLog10, 3.6, 7, 4, {"4", "5", "6", "7"}},
      {Scale::kLog10, 1e-12, 1e12, 4, {"10⁻¹²", "10⁻⁸", "10⁻⁴", "1", "10⁴", "10⁸", "10¹²"}},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(TickLabels(c.scale, Ticks(c.scale, c.low, c.high, c.wanted)), c.labels)
        << c.low << " to " << c.high;
  }
}

TEST(TicksTest, AreWithinAscendingAndFew) {
  for (Scale scale : {Scale::kLinear, Scale::kLog2, Scale::kLog10}) {
    for (double low : {1e-300, 1e-9, 0.37, 1.0, 3.74, 128.0, 5e7, 1e200}) {
      for (double ratio : {1.0 + 1e-14, 1.001, 1.3, 2.0, 7.0, 33.0, 1e4, 1e20, 1e100}) {
        for (int wanted : {2, 4, 6, 12}) {
          const double high = low * ratio;
          const std::vector<double> ticks = Ticks(scale, low, high, wanted);
          const double slack = 1e-8 * (scale == Scale::kLinear ? high - low : low);
          EXPECT_LE(ticks.size(), static_cast<size_t>(2 * wanted + 2)) << low << " × " << ratio;
          for (size_t i = 0; i < ticks.size(); ++i) {
            EXPECT_GE(ticks[i], low - slack) << low << " × " << ratio;
            EXPECT_LE(ticks[i], high * (1 + 1e-8)) << low << " × " << ratio;
            if (i > 0) {
              EXPECT_LT(ticks[i - 1], ticks[i]);
            }
          }
          EXPECT_EQ(TickLabels(scale, ticks).size(), ticks.size());
        }
      }
    }
  }
}

TEST(TicksTest, NoRangeNoTicks) {
  const double inf = std::numeric_limits<double>::infinity();
  EXPECT_THAT(Ticks(Scale::kLinear, 1, 1, 5), ElementsAre());
  EXPECT_THAT(Ticks(Scale::kLinear, 2, 1, 5), ElementsAre());
  EXPECT_THAT(Ticks(Scale::kLinear, NAN, 1, 5), ElementsAre());
  EXPECT_THAT(Ticks(Scale::kLog10, 1, inf, 5), ElementsAre());
  EXPECT_FALSE(Ticks(Scale::kLinear, -1e308, 1e308, 5).empty());
}

}  // namespace
}  // namespace report
}  // namespace longrange
