#include "common/io/sha256.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "common/io/atomic_file.h"
#include "common/testing/matchers.h"
#include "gtest/gtest.h"

namespace longrange {
namespace {

std::string Of(absl::string_view bytes) {
  Sha256 sum;
  sum.Update(bytes);
  return sum.Hex();
}

// FIPS 180-4's examples, and a million of one letter.
TEST(Sha256, Published) {
  EXPECT_EQ(Of(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(Of("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(Of(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, PiecesAreTheWhole) {
  std::string bytes;
  for (int i = 0; i < 300; ++i) bytes += static_cast<char>(i * 7);
  for (size_t size = 0; size <= bytes.size(); ++size) {
    const std::string some = bytes.substr(0, size);
    Sha256 sum;
    for (size_t at = 0, step = 1; at < size; at += step, step = step % 67 + 1)
      sum.Update(absl::string_view(some).substr(at, step));
    EXPECT_EQ(sum.Hex(), Of(some)) << size;
    EXPECT_EQ(sum.Hex(), Of(some)) << "asked twice";
  }
}

TEST(Sha256, OfAFile) {
  const std::string path = absl::StrCat(testing::TempDir(), "/sha256");
  ASSERT_THAT(WriteFileAtomically(path, std::string(1000000, 'a')), IsOk());
  LR_ASSERT_OK_AND_ASSIGN(const std::string sum, Sha256OfFile(path));
  EXPECT_EQ(sum, Of(std::string(1000000, 'a')));
  EXPECT_THAT(Sha256OfFile(absl::StrCat(path, "_missing")).status(),
              StatusIs(absl::StatusCode::kNotFound, "sha256_missing"));
}

}  // namespace
}  // namespace longrange
