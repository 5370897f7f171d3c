#include "common/data/corpus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/testing/peak_memory.h"

namespace longrange {
namespace {

using ::testing::HasSubstr;

class CorpusTest : public testing::Test {
 protected:
  CorpusTest() {
    const std::filesystem::path folder =
        absl::StrCat(testing::TempDir(), "/corpus_test.", getpid());
    std::filesystem::create_directories(folder);
    folder_ = std::filesystem::canonical(folder).string();
    setenv("LONGRANGE_CORPORA", folder_.c_str(), 1);
  }
  ~CorpusTest() override {
    std::filesystem::remove_all(folder_);
    unsetenv("LONGRANGE_CORPORA");
  }

  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = absl::StrCat(folder_, "/", name);
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }

  std::string Refused(const std::string& name, absl::StatusCode code) {
    const absl::Status status = OpenCorpus(name).status();
    EXPECT_EQ(status.code(), code) << status;
    return std::string(status.message());
  }

  std::string folder_;
};

TEST_F(CorpusTest, PartsAreCutAtFixedPlaces) {
  std::string text;
  for (int i = 0; i < 109; ++i) text += static_cast<char>('0' + i % 10);
  const Corpus corpus("digits", text);  // 109 / 20 = 5
  EXPECT_EQ(corpus.train().size(), 99);
  EXPECT_EQ(absl::StrCat(corpus.train(), corpus.validation(), corpus.test()), text);
  EXPECT_EQ(corpus.validation(), "90123");
  EXPECT_EQ(corpus.test(), "45678");
  EXPECT_EQ(Corpus("short", "abc").train(), "abc");
}

TEST_F(CorpusTest, OnlyFilesAndFoldersAreRead) {
  EXPECT_THAT(Refused("/dev/zero", absl::StatusCode::kInvalidArgument),
              HasSubstr("neither a regular file nor a folder"));
  const std::string pipe = folder_ + "/pipe.txt";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0666), 0);
  EXPECT_THAT(Refused(pipe, absl::StatusCode::kInvalidArgument), HasSubstr("pipe.txt"));
  EXPECT_THAT(Refused(folder_, absl::StatusCode::kInvalidArgument), HasSubstr("has no .txt"));
}

TEST_F(CorpusTest, TakesAtMostTwiceItsBytes) {
  LR_SKIP_WITHOUT_PEAK_MEMORY();
  constexpr int64_t kBytes = int64_t{96} << 20;
  const std::string file = Write("big.txt", std::string(kBytes, 'a'));
  EXPECT_LE(PeakMemoryOf([&] { EXPECT_TRUE(OpenCorpus(file).ok()); }), MaxReadingMemory(kBytes));
  std::filesystem::remove(file);
  for (int i = 0; i < 8; ++i) Write(absl::StrCat("part/", i, ".txt"), std::string(kBytes / 8, 'a'));
  EXPECT_LE(PeakMemoryOf([&] { EXPECT_TRUE(OpenCorpus(folder_).ok()); }), MaxReadingMemory(kBytes));
  // One large file among small ones: the text and the file are held at the same time.
  Write("part/3.txt", std::string(kBytes, 'a'));
  EXPECT_LE(PeakMemoryOf([&] { EXPECT_TRUE(OpenCorpus(folder_).ok()); }),
            MaxReadingMemory(kBytes + kBytes / 8 * 7));
}

TEST_F(CorpusTest, CopiesShareTheirText) {
  const Corpus corpus("name", std::string(1000, 'x'));
  const Corpus copy = corpus;
  EXPECT_EQ(copy.text().data(), corpus.text().data());
}

TEST_F(CorpusTest, OpensInstalledCorporaByName) {
  Write("anarchism.txt", "no masters");
  const absl::StatusOr<Corpus> corpus = OpenCorpus("anarchism");
  ASSERT_TRUE(corpus.ok()) << corpus.status();
  EXPECT_EQ(corpus->name(), "anarchism");
  EXPECT_EQ(corpus->text(), "no masters");
  EXPECT_EQ(corpus->num_documents(), 1);
  EXPECT_EQ(
      Refused("bible_kjv", absl::StatusCode::kNotFound),
      absl::StrCat(
          "corpus 'bible_kjv' not found at ", folder_,
          "/bible_kjv.txt; run third_party/install.sh, or name a file or folder of text instead"));
  EXPECT_THAT(Refused("anarchsim", absl::StatusCode::kNotFound),
              HasSubstr("did you mean 'anarchism'?"));
}

TEST_F(CorpusTest, JoinsTheTextFilesOfAFolderInOrder) {
  Write("books/b.txt", "second\n");
  Write("books/a/z.md", "first");
  Write("books/a/empty.txt", "");
  Write("books/c.TXT", "third");
  Write("books/data.csv", "1,2");
  Write("books/.git/x.txt", "hidden");
  Write("books/.hidden.txt", "hidden");
  const absl::StatusOr<Corpus> corpus = OpenCorpus(absl::StrCat(folder_, "/books/"));
  ASSERT_TRUE(corpus.ok()) << corpus.status();
  EXPECT_EQ(corpus->text(), "first\nsecond\nthird\n");
  EXPECT_EQ(corpus->num_documents(), 3);
  // The same bytes from another place are the same corpus.
  EXPECT_EQ(corpus->checksum(), Corpus("other", "first\nsecond\nthird\n").checksum());
  EXPECT_NE(corpus->checksum(), Corpus("other", "first\nsecond\nthird.\n").checksum());
}

TEST_F(CorpusTest, OpensAnyOneFile) {
  const absl::StatusOr<Corpus> corpus = OpenCorpus(Write("notes", "some text"));
  ASSERT_TRUE(corpus.ok()) << corpus.status();
  EXPECT_EQ(corpus->text(), "some text");
}

TEST_F(CorpusTest, RefusesWhatIsNoText) {
  EXPECT_THAT(Refused("", absl::StatusCode::kInvalidArgument), HasSubstr("no corpus is named"));
  EXPECT_THAT(Refused(absl::StrCat(folder_, "/missing"), absl::StatusCode::kNotFound),
              HasSubstr(absl::StrCat("there is no ", folder_, "/missing")));
  EXPECT_THAT(Refused(Write("empty.txt", ""), absl::StatusCode::kInvalidArgument),
              HasSubstr("empty.txt is empty"));
  EXPECT_THAT(
      Refused(Write("picture.txt", std::string("ab\0c", 4)), absl::StatusCode::kInvalidArgument),
      HasSubstr("picture.txt is not text: byte 2 is 0"));
  Write("tables/a.csv", "1");
  EXPECT_THAT(Refused(absl::StrCat(folder_, "/tables"), absl::StatusCode::kInvalidArgument),
              HasSubstr("no .txt or .md file"));
  Write("blank/a.txt", "");
  EXPECT_THAT(Refused(absl::StrCat(folder_, "/blank"), absl::StatusCode::kInvalidArgument),
              HasSubstr("all empty"));
  Write("mixed/a.txt", "text");
  Write("mixed/b.txt", std::string("\0", 1));
  EXPECT_THAT(Refused(absl::StrCat(folder_, "/mixed"), absl::StatusCode::kInvalidArgument),
              HasSubstr("mixed/b.txt is not text"));
}

TEST_F(CorpusTest, SaysWhichFileCannotBeRead) {
  if (geteuid() == 0) GTEST_SKIP() << "root reads everything";
  const std::string path = Write("locked/a.txt", "text");
  std::filesystem::permissions(path, std::filesystem::perms::none);
  EXPECT_THAT(Refused(absl::StrCat(folder_, "/locked"), absl::StatusCode::kPermissionDenied),
              HasSubstr(path));
}

}  // namespace
}  // namespace longrange
