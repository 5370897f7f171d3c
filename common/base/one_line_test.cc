#include "common/base/one_line.h"

#include <gtest/gtest.h>

#include <string>

namespace longrange {
namespace {

TEST(OneLineTest, KeepsWhatCanBeShown) {
  EXPECT_EQ(OneLine(""), "");
  EXPECT_EQ(OneLine("a \"b\" é 中 \xF0\x9F\x98\x80"), "a \"b\" é 中 \xF0\x9F\x98\x80");
}

TEST(OneLineTest, EscapesLineEndsControlsAndBrokenUtf8) {
  EXPECT_EQ(OneLine("a\nb\r\x1b[31m\x7f"), "a\\x0ab\\x0d\\x1b[31m\\x7f");
  EXPECT_EQ(OneLine(absl::string_view("\0", 1)), "\\x00");
  EXPECT_EQ(OneLine("\xFFz\xC3"), "\\xffz\\xc3");
  EXPECT_EQ(OneLine("\xED\xA0\x80"), "\\xed\\xa0\\x80");
}

TEST(OneLineTest, CutsLongTextBetweenCharacters) {
  EXPECT_EQ(OneLine(std::string(200, 'a')), std::string(200, 'a'));
  EXPECT_EQ(OneLine(std::string(1 << 20, 'a'), 3), "aaa... (1048576 bytes)");
  EXPECT_EQ(OneLine("ééé", 3), "éé... (6 bytes)");
}

}  // namespace
}  // namespace longrange
