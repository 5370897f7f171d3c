#include "common/report/number.h"

#include <gtest/gtest.h>

#include <clocale>
#include <cmath>
#include <limits>

namespace longrange {
namespace report {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

TEST(NumberTest, Fixed) {
  EXPECT_EQ(FormatFixed(3.949, 2), "3.95");
  EXPECT_EQ(FormatFixed(-0.5, 2), "−0.50");
  EXPECT_EQ(FormatFixed(-0.001, 2), "0.00");
  EXPECT_EQ(FormatFixed(412, 0), "412");
  EXPECT_EQ(FormatFixed(NAN, 2), "NaN");
  EXPECT_EQ(FormatFixed(kInf, 2), "∞");
  EXPECT_EQ(FormatFixed(-kInf, 2), "−∞");
  EXPECT_EQ(FormatFixed(1.5e300, 2), "1.5×10³⁰⁰");
}

TEST(NumberTest, Significant) {
  EXPECT_EQ(FormatSignificant(3.949, 3), "3.95");
  EXPECT_EQ(FormatSignificant(9.996, 3), "10.0");
  EXPECT_EQ(FormatSignificant(128.7, 3), "129");
  EXPECT_EQ(FormatSignificant(12345, 3), "12345");
  EXPECT_EQ(FormatSignificant(0.00012345, 2), "0.00012");
  EXPECT_EQ(FormatSignificant(1.25e-7, 2), "1.2×10⁻⁷");
  EXPECT_EQ(FormatSignificant(-2e9, 3), "−2×10⁹");
  EXPECT_EQ(FormatSignificant(1e12, 3), "10¹²");
  EXPECT_EQ(FormatSignificant(0, 3), "0");
  EXPECT_EQ(FormatShort(512, 6), "512");
  EXPECT_EQ(FormatShort(0.50, 6), "0.5");
  EXPECT_EQ(FormatScientific(2.5, 3), "2.5");
}

TEST(NumberTest, CountsAndUnits) {
  EXPECT_EQ(FormatCount(870016), "870\u202F016");
  EXPECT_EQ(FormatCount(-1234567), "−1\u202F234\u202F567");
  EXPECT_EQ(FormatCount(1024), "1024");
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatWithUnit(107456), "107\u00A0k");
  EXPECT_EQ(FormatWithUnit(999.7), "1\u00A0k");
  EXPECT_EQ(FormatWithUnit(2.14e12), "2.14\u00A0T");
  EXPECT_EQ(FormatWithUnit(12), "12");
}

TEST(NumberTest, Pixels) {
  EXPECT_EQ(FormatPixels(1.005), "1");
  EXPECT_EQ(FormatPixels(-0.001), "0");
  EXPECT_EQ(FormatPixels(12.50), "12.5");
  EXPECT_EQ(FormatPixels(100), "100");
  EXPECT_EQ(FormatPixels(NAN), "0");
}

TEST(NumberTest, NoLocaleIsHeard) {
  // A locale with a decimal comma, where the machine has one.
  for (const char* name : {"de_DE.UTF-8", "fr_FR.UTF-8", "de_DE"}) {
    if (std::setlocale(LC_ALL, name) != nullptr) break;
  }
  EXPECT_EQ(FormatFixed(1234.5, 1), "1234.5");
  EXPECT_EQ(FormatPixels(0.5), "0.5");
  std::setlocale(LC_ALL, "C");
}

}  // namespace
}  // namespace report
}  // namespace longrange
