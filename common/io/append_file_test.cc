#include "common/io/append_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/io/atomic_file.h"
#include "common/testing/matchers.h"

namespace longrange {
namespace {

TEST(AppendFile, GrowsAndIsCut) {
  const std::string path = absl::StrCat(testing::TempDir(), "/grows");
  {
    LR_ASSERT_OK_AND_ASSIGN(const auto file, AppendFile::Open(path));
    ASSERT_THAT(file->Append("one\n"), IsOk());
    ASSERT_THAT(file->Append("two\n"), IsOk());
    EXPECT_EQ(ReadFile(path).value_or(""), "one\ntwo\n");  // there before it is closed
    EXPECT_THAT(file->Sync(), IsOk());
  }
  LR_ASSERT_OK_AND_ASSIGN(const auto file, AppendFile::Open(path, 4));
  ASSERT_THAT(file->Append("three\n"), IsOk());
  EXPECT_EQ(ReadFile(path).value_or(""), "one\nthree\n");
}

TEST(AppendFile, SaysWhatCannotBeWritten) {
  EXPECT_THAT(AppendFile::Open(absl::StrCat(testing::TempDir(), "/missing/file")).status(),
              StatusIs(absl::StatusCode::kNotFound, "cannot write "));
}

}  // namespace
}  // namespace longrange
