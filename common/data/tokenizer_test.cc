#include "common/data/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace longrange {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ByteTokenizerTest, EveryByteComesBack) {
  std::string all;
  for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
  const ByteTokenizer tokenizer;
  const std::vector<int32_t> ids = tokenizer.Encode(all);
  ASSERT_EQ(ids.size(), 256);
  for (int byte = 0; byte < 256; ++byte) EXPECT_EQ(ids[static_cast<size_t>(byte)], byte);
  EXPECT_EQ(tokenizer.Decode(ids), all);
  EXPECT_EQ(tokenizer.vocab_size(), 256);
}

TEST(ByteTokenizerTest, SpecialTokensAreAboveTheBytesAndNotInText) {
  const ByteTokenizer tokenizer({"<bos>", "<mark>"});
  EXPECT_EQ(tokenizer.vocab_size(), 258);
  EXPECT_EQ(*tokenizer.SpecialId("<bos>"), 256);
  EXPECT_EQ(*tokenizer.SpecialId("<mark>"), 257);
  EXPECT_EQ(tokenizer.Decode({256, 'a', 257}), "<bos>a<mark>");
  EXPECT_THAT(tokenizer.Encode("<a>"), ElementsAre('<', 'a', '>'));
  EXPECT_EQ(tokenizer.Encode("<bos>").size(), 5);
  const absl::Status unknown = tokenizer.SpecialId("<eos>").status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(unknown.message()), HasSubstr("there are: <bos>, <mark>"));
}

TEST(SymbolTokenizerTest, IdsAreTheSymbolsInOrder) {
  const SymbolTokenizer tokenizer({"<a>", "<b>", "<c>"});
  EXPECT_EQ(tokenizer.vocab_size(), 3);
  EXPECT_EQ(*tokenizer.SpecialId("<a>"), 0);
  EXPECT_EQ(*tokenizer.SpecialId("<c>"), 2);
  EXPECT_EQ(tokenizer.Decode({2, 0, 0}), "<c><a><a>");
  EXPECT_THAT(tokenizer.Encode(""), ElementsAre());
  EXPECT_THAT(tokenizer.special_tokens(), ElementsAre("<a>", "<b>", "<c>"));
  EXPECT_EQ(tokenizer.SpecialId("<d>").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(tokenizer.kind(), "symbols");
  EXPECT_EQ(ByteTokenizer({"<a>"}).kind(), "bytes");
  EXPECT_THAT(ByteTokenizer({"<a>"}).special_tokens(), ElementsAre("<a>"));
}

TEST(SymbolTokenizerDeathTest, HasNoText) {
  EXPECT_DEATH(SymbolTokenizer({"<a>"}).Encode("<a>"), "text for a tokenizer of symbols");
  EXPECT_DEATH(SymbolTokenizer({"<a>"}).Decode({1}), "token id 1 of a vocabulary of 1");
  EXPECT_DEATH(SymbolTokenizer({"<a>", "<a>"}), "named twice");
}

TEST(ByteTokenizerDeathTest, RefusesIdsAndNamesThatAreNone) {
  EXPECT_DEATH(ByteTokenizer().Decode({256}), "token id 256 of a vocabulary of 256");
  EXPECT_DEATH(ByteTokenizer().Decode({-1}), "token id -1");
  EXPECT_DEATH(ByteTokenizer({"<a>", "<a>"}), "named twice");
}

}  // namespace
}  // namespace longrange
