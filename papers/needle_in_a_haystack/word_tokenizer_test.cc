#include "papers/needle_in_a_haystack/word_tokenizer.h"

#include <string>

#include "common/testing/matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace longrange::needle_in_a_haystack {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// As re.findall(r"\w+|\s+|[^\w\s]", text).
TEST(WordTokenizerTest, Pieces) {
  EXPECT_THAT(SplitWords("It's  4_2.\n..a"),
              ElementsAre("It", "'", "s", "  ", "4_2", ".", "\n", ".", ".", "a"));
  EXPECT_THAT(SplitWords(""), IsEmpty());
  // Letters and numerals of any script; a combining accent is a sign of its own; the no-break
  // space is white space.
  EXPECT_THAT(SplitWords("caf\u00E9\u00A0\u00BDx\u2014\u4E2D\u6587\u3002e\u0301"),
              ElementsAre("caf\u00E9", "\u00A0", "\u00BDx", "\u2014", "\u4E2D\u6587", "\u3002", "e",
                          "\u0301"));
  EXPECT_THAT(SplitWords("\U0001F600\U0001D7D8"), ElementsAre("\U0001F600", "\U0001D7D8"));
  EXPECT_THAT(SplitWords("a\xFF\xC3"), ElementsAre("a", "\xFF", "\xC3"));  // no UTF-8
}

TEST(WordTokenizerTest, CountsWords) {
  EXPECT_EQ(CountWords(""), 0);
  EXPECT_EQ(CountWords(" \n"), 0);
  EXPECT_EQ(CountWords(" a b-c\u3000d. "), 3);
}

TEST(WordTokenizerTest, RoundTrip) {
  const WordTokenizer words({"The river. The boat", "."});
  EXPECT_EQ(words.vocab_size(), 256 + 5);
  EXPECT_EQ(words.Encode("The river.").size(), 4u);
  EXPECT_EQ(words.Encode(".").size(), 1u);
  for (const char* text : {"The river. The boat", "The caf\u00E9!", ""}) {
    EXPECT_EQ(words.Decode(words.Encode(text)), text);
  }
  EXPECT_THAT(words.SpecialId("<bos>"), StatusIs(absl::StatusCode::kNotFound, "<bos>"));
}

}  // namespace
}  // namespace longrange::needle_in_a_haystack
