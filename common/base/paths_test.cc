#include "common/base/paths.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"

namespace longrange {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;

// Sets the variables that paths depend on, and puts them back.
class PathsTest : public testing::Test {
 protected:
  PathsTest() : old_folder_(std::filesystem::current_path()) {
    for (const char* name : {"BUILD_WORKING_DIRECTORY", "BUILD_WORKSPACE_DIRECTORY", "HOME",
                             "LONGRANGE_CORPORA", "TEST_SRCDIR", "RUNFILES_DIR"}) {
      const char* value = std::getenv(name);
      if (value != nullptr) old_[name] = value;
    }
    unsetenv("BUILD_WORKING_DIRECTORY");
    unsetenv("BUILD_WORKSPACE_DIRECTORY");
    unsetenv("LONGRANGE_CORPORA");
    setenv("HOME", "/home/somebody", 1);
    folder_ = absl::StrCat(testing::TempDir(), "/paths_test.", getpid());
    std::filesystem::create_directories(folder_);
    folder_ = std::filesystem::canonical(folder_).string();
    std::filesystem::current_path(folder_);
  }
  ~PathsTest() override {
    std::filesystem::current_path(old_folder_);
    std::filesystem::remove_all(folder_);
    for (const char* name : {"BUILD_WORKING_DIRECTORY", "BUILD_WORKSPACE_DIRECTORY", "HOME",
                             "LONGRANGE_CORPORA", "TEST_SRCDIR", "RUNFILES_DIR"}) {
      unsetenv(name);
    }
    for (const auto& [name, value] : old_) setenv(name.c_str(), value.c_str(), 1);
  }

  const std::filesystem::path old_folder_;
  std::map<std::string, std::string> old_;
  std::string folder_;
};

TEST_F(PathsTest, UserPathIsWhatWasTyped) {
  EXPECT_EQ(UserPath("a/./b/../c/"), absl::StrCat(folder_, "/a/c"));
  EXPECT_EQ(UserPath("."), folder_);
  setenv("BUILD_WORKING_DIRECTORY", "/typed/here", 1);
  EXPECT_EQ(UserPath("a"), "/typed/here/a");
  EXPECT_EQ(UserPath("../a"), "/typed/a");
  EXPECT_EQ(UserPath("/x//y/"), "/x/y");
  EXPECT_EQ(UserPath("/"), "/");
  EXPECT_EQ(UserPath("~/z"), "/home/somebody/z");
  EXPECT_EQ(UserPath("~z"), "/typed/here/~z");
  EXPECT_EQ(UserPath(""), "");
}

TEST_F(PathsTest, DefaultOutIsInTheWorkspace) {
  EXPECT_EQ(DefaultOut("study"), absl::StrCat(folder_, "/.out/study"));
  setenv("BUILD_WORKING_DIRECTORY", "/workspace/papers", 1);
  setenv("BUILD_WORKSPACE_DIRECTORY", "/workspace", 1);
  EXPECT_EQ(DefaultOut("study"), "/workspace/.out/study");
}

TEST_F(PathsTest, CacheAndCorpora) {
  EXPECT_EQ(CacheDir(), "/home/somebody/.cache/longrange");
  EXPECT_EQ(CorporaDir(), "/home/somebody/.cache/longrange/corpora");
  setenv("LONGRANGE_CORPORA", "texts", 1);
  EXPECT_EQ(CorporaDir(), absl::StrCat(folder_, "/texts"));
}

TEST_F(PathsTest, RunfilesOfThisTest) {
  // This file is in the target's data.
  const absl::StatusOr<std::string> path = RunfilePath("common/base/paths_test.cc");
  ASSERT_TRUE(path.ok()) << path.status();
  const absl::StatusOr<std::string> text = ReadWholeFile(*path);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(*text, HasSubstr("This file is in the target's data."));
}

TEST_F(PathsTest, RunfilesOfTheEnvironmentThenTheFolderThenTheWorkspace) {
  unsetenv("TEST_SRCDIR");
  unsetenv("RUNFILES_DIR");
  EXPECT_EQ(RunfilePath("some/data.txt").status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(RunfilePath("some/data.txt").status().message()),
              HasSubstr("'some/data.txt'"));
  const auto make = [this](const std::string& where) {
    std::filesystem::create_directories(absl::StrCat(folder_, "/", where, "/some"));
    std::ofstream(absl::StrCat(folder_, "/", where, "/some/data.txt")) << where;
  };
  make("workspace");
  setenv("BUILD_WORKSPACE_DIRECTORY", absl::StrCat(folder_, "/workspace").c_str(), 1);
  EXPECT_THAT(*RunfilePath("some/data.txt"), EndsWith("/workspace/some/data.txt"));
  make("");
  EXPECT_EQ(*RunfilePath("some/data.txt"), absl::StrCat(folder_, "/some/data.txt"));
  make("runfiles/longrange");
  setenv("RUNFILES_DIR", absl::StrCat(folder_, "/runfiles").c_str(), 1);
  EXPECT_EQ(*RunfilePath("some/data.txt"),
            absl::StrCat(folder_, "/runfiles/longrange/some/data.txt"));
  EXPECT_EQ(*RunfilePath("some"), absl::StrCat(folder_, "/runfiles/longrange/some"));
}

TEST_F(PathsTest, ReadWholeFileSaysWhyNot) {
  std::string bytes(3 << 20, 'x');
  bytes[5] = '\0';
  std::ofstream("large", std::ios::binary) << bytes;
  EXPECT_EQ(*ReadWholeFile("large"), bytes);
  std::ofstream("empty").close();
  EXPECT_EQ(*ReadWholeFile("empty"), "");
  const absl::Status missing = ReadWholeFile("no/such").status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("no/such"));
  EXPECT_THAT(std::string(ReadWholeFile(folder_).status().message()), HasSubstr("Is a directory"));
}

}  // namespace
}  // namespace longrange
