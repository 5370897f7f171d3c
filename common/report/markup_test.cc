#include "common/report/markup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/report/xml_checker.h"

namespace longrange {
namespace report {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(EscapeTextTest, EscapesWhatMarkupReads) {
  EXPECT_EQ(EscapeText("<script>alert(\"a&b\", 'c')</script>"),
            "&lt;script&gt;alert(&quot;a&amp;b&quot;, &#39;c&#39;)&lt;/script&gt;");
}

TEST(EscapeTextTest, KeepsUtf8) {
  for (const char* text : {"naïve", "日本語", "θ′ ± ½", "😀", "é"})
    EXPECT_EQ(EscapeText(text), text);
}

TEST(EscapeTextTest, ReplacesWhatIsNotUtf8) {
  EXPECT_EQ(EscapeText("a\xFF"), "a\uFFFD");                    // Never a lead byte.
  EXPECT_EQ(EscapeText("a\xC3"), "a\uFFFD");                    // Cut short.
  EXPECT_EQ(EscapeText("\xC0\xBC"), "\uFFFD\uFFFD");            // '<' in too many bytes.
  EXPECT_EQ(EscapeText("\xED\xA0\x80"), "\uFFFD\uFFFD\uFFFD");  // A surrogate.
  EXPECT_EQ(EscapeText("\xC3("), "\uFFFD(");
  EXPECT_EQ(EscapeText("\xF4\x90\x80\x80"), "\uFFFD\uFFFD\uFFFD\uFFFD");  // Beyond U+10FFFF.
}

TEST(EscapeTextTest, ReplacesControlCharacters) {
  EXPECT_EQ(EscapeText(absl::string_view("a\0b\x1B", 4)), "a\uFFFDb\uFFFD");
  EXPECT_EQ(EscapeText("a\tb\n"), "a\tb\n");
}

TEST(HtmlTest, TextIsEscapedAndMarkupIsNot) {
  const Html html = Html("a < b, ") + Element("b", {{"title", "\"x\""}, {"id", ""}}, "c & d");
  EXPECT_EQ(html.markup(), "a &lt; b, <b title=\"&quot;x&quot;\">c &amp; d</b>");
  EXPECT_EQ(EmptyElement("br", {}).markup(), "<br/>");
}

// The checker itself must be able to say no.
TEST(CheckXmlTest, FindsFaults) {
  EXPECT_THAT(CheckXml("<!DOCTYPE html>\n<a b=\"1\">x &amp; y<c/></a>\n").error, IsEmpty());
  EXPECT_THAT(CheckXml("<a><b></a></b>").error, HasSubstr("closes <b>"));
  EXPECT_THAT(CheckXml("<a>").error, HasSubstr("never closed"));
  EXPECT_THAT(CheckXml("<a b=1></a>").error, HasSubstr("no quoted value"));
  EXPECT_THAT(CheckXml("<a b=\"1\" b=\"2\"/>").error, HasSubstr("twice"));
  EXPECT_THAT(CheckXml("<a b=\"<\"/>").error, HasSubstr("'<'"));
  EXPECT_THAT(CheckXml("<a>x & y</a>").error, HasSubstr("reference"));
  EXPECT_THAT(CheckXml("<a>x < y</a>").error, HasSubstr("name is missing"));
  EXPECT_THAT(CheckXml("<a/><b/>").error, HasSubstr("2 root"));
  EXPECT_THAT(CheckXml("<a>\x01</a>").error, HasSubstr("control"));
}

}  // namespace
}  // namespace report
}  // namespace longrange
