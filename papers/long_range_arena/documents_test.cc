#include "papers/long_range_arena/documents.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/io/atomic_file.h"
#include "common/testing/matchers.h"
#include "papers/long_range_arena/class_task.h"
#include "papers/long_range_arena/data_files.h"
#include "papers/long_range_arena/long_range_arena.pb.h"
#include "plugins/task.h"

namespace longrange::long_range_arena {
namespace {

constexpr char kTestdata[] = "papers/long_range_arena/testdata";

std::string Folder(const std::string& name) {
  const std::string folder = absl::StrCat(testing::TempDir(), "/", name);
  CHECK(RemoveAll(folder).ok() && MakeDirs(folder).ok());
  return folder;
}

void Write(const std::string& folder, const std::string& name, const std::string& text) {
  ASSERT_THAT(MakeDirs(folder), IsOk());
  ASSERT_THAT(WriteFileAtomically(absl::StrCat(folder, "/", name), text), IsOk());
}

std::string Lines(const std::string& line, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += line;
  return text;
}

TEST(Reviews, ALineEach) {
  LR_ASSERT_OK_AND_ASSIGN(const DocumentSplits splits,
                          ReadReviews(absl::StrCat(kTestdata, "/reviews"), 1000));
  EXPECT_EQ(splits.train.size(), 36);
  EXPECT_EQ(splits.validation.size(), 4);  // every tenth
  EXPECT_EQ(splits.test.size(), 24);
  for (int64_t i = 0; i < splits.test.size(); ++i) {
    EXPECT_EQ(splits.test.label(i), i % 2);
    // The two kinds are of different letters.
    const bool is_one = splits.test.text(i).find_first_of("bdgkpt") != absl::string_view::npos;
    EXPECT_EQ(is_one, i % 2 == 1) << splits.test.text(i);
  }
  EXPECT_THAT(splits.described, testing::HasSubstr("36 reviews to train on, 4 to validate on"));
  LR_ASSERT_OK_AND_ASSIGN(const DocumentSplits cut,
                          ReadReviews(absl::StrCat(kTestdata, "/reviews"), 5));
  for (int64_t i = 0; i < cut.test.size(); ++i)
    EXPECT_EQ(cut.test.text(i), splits.test.text(i).substr(0, 5));
}

TEST(Reviews, WhatIsWrongIsSaid) {
  const auto read = [](const std::string& folder) { return ReadReviews(folder, 100).status(); };
  const std::string folder = Folder("reviews");
  for (const std::string& what :
       {folder, std::string("aclImdb_v1.tar.gz"), std::string("train.tsv")})
    EXPECT_THAT(read(folder), StatusIs(absl::StatusCode::kNotFound, what));
  const auto is = [&](const std::string& train, absl::StatusCode code, const std::string& what) {
    Write(folder, "train.tsv", train);
    EXPECT_THAT(read(folder), StatusIs(code, what)) << train;
  };
  const std::string good = Lines("1\tgood\n", 10);
  is(good, absl::StatusCode::kNotFound, "no file test.tsv in");
  Write(folder, "test.tsv", "0\tbad\n");
  Write(folder, "train.tsv", good);
  EXPECT_THAT(read(folder), IsOk());
  is("", absl::StatusCode::kDataLoss, "train.tsv is empty");
  is(good + "1\tgo", absl::StatusCode::kDataLoss, "line 11: cut short");
  is(good + "2\tgood\n", absl::StatusCode::kDataLoss, "line 11: label '2'");
  is(good + "good\n", absl::StatusCode::kDataLoss, "line 11: 1 of 2 fields between tabs");
  is(good + "\n", absl::StatusCode::kDataLoss, "line 11: 1 of 2");
  is(good + "1\tgood\tgood\n", absl::StatusCode::kDataLoss, "line 11: more than 2 fields");
  is(good + std::string("1\tgo\0d\n", 7), absl::StatusCode::kDataLoss, "line 11: no text");
  is("1\tgood\n", absl::StatusCode::kDataLoss, "1 reviews to train on (expected 10");
  ASSERT_THAT(RemoveAll(absl::StrCat(folder, "/train.tsv")), IsOk());
  Write(absl::StrCat(folder, "/train.tsv"), "no_file", "");
  EXPECT_THAT(read(folder),
              StatusIs(absl::StatusCode::kInvalidArgument, "train.tsv is no regular file"));
}

TEST(Reviews, AsPublished) {
  const std::string folder = Folder("aclImdb");
  Write(absl::StrCat(folder, "/train/neg"), "0_1.txt", "bad");
  const auto status = [&] { return ReadReviews(folder, 100).status(); };
  EXPECT_THAT(status(), StatusIs(absl::StatusCode::kDataLoss,
                                 "train/neg: 1 files *.txt (expected 12500; Large Movie"));
  ASSERT_THAT(RemoveAll(absl::StrCat(folder, "/train/neg")), IsOk());
  EXPECT_THAT(status(), StatusIs(absl::StatusCode::kNotFound, "no folder train/neg in"));
}

TEST(Pairs, ALineEach) {
  LR_ASSERT_OK_AND_ASSIGN(const DocumentSplits splits,
                          ReadPairs(absl::StrCat(kTestdata, "/pairs"), 1000));
  EXPECT_EQ(splits.train.size(), 40);
  EXPECT_EQ(splits.validation.size(), 20);
  EXPECT_EQ(splits.test.size(), 24);
  const auto is_one = [](absl::string_view text) {
    return text.find_first_of("bdgkpt") != absl::string_view::npos;
  };
  for (int64_t i = 0; i < splits.train.size(); ++i) {
    EXPECT_EQ(is_one(splits.train.text(i, 0)) == is_one(splits.train.text(i, 1)),
              splits.train.label(i) == 1);
  }
  const std::string folder = Folder("pairs");
  for (const std::string& what :
       {folder, std::string("new_aan_pairs.train.tsv"), std::string("lra_release.gz")})
    EXPECT_THAT(ReadPairs(folder, 10).status(), StatusIs(absl::StatusCode::kNotFound, what));
}

TEST(TabbedLines, HoldNoMoreThanIsKept) {
  const std::string folder = Folder("long");
  Write(folder, "file", absl::StrCat("0\t", std::string(1 << 20, 'x'), "\n1\ty\n"));
  std::vector<std::string> kept;
  ASSERT_THAT(ForEachTabbedLine(absl::StrCat(folder, "/file"), 2, 7,
                                [&](absl::Span<const std::string> fields, absl::string_view) {
                                  kept.push_back(fields[1]);
                                  return absl::OkStatus();
                                }),
              IsOk());
  EXPECT_THAT(kept, testing::ElementsAre("xxxxxxx", "y"));
}

TEST(DataFile, IsHeldToItsSizeAndDigest) {
  const std::string folder = Folder("files");
  Write(folder, "abc", "abc");
  const DataSet set = {"three letters", "the alphabet", {}};
  const std::string right = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
  EXPECT_THAT(CheckDataFile(set, {"abc"}, folder), IsOk());
  EXPECT_THAT(CheckDataFile(set, {"abc", 3, right}, folder), IsOk());
  EXPECT_THAT(CheckDataFile(set, {"abc", 4, right}, folder),
              StatusIs(absl::StatusCode::kDataLoss, "3 bytes (expected 4; three letters"));
  EXPECT_THAT(CheckDataFile(set, {"abc", 3, std::string(64, '0')}, folder),
              StatusIs(absl::StatusCode::kDataLoss, absl::StrCat("SHA-256 ", right)));
  EXPECT_THAT(CheckDataFile(set, {"abd"}, folder),
              StatusIs(absl::StatusCode::kNotFound,
                       absl::StrCat("no file abd in ", folder,
                                    " (three letters, published at the alphabet)")));
}

TEST(Passages, AreLettersOfOneText) {
  EXPECT_EQ(LettersOf("  {1:1} In the\tBEGINNING, God--"), "in the beginning god ");
  LR_ASSERT_OK_AND_ASSIGN(const Passages passages,
                          Passages::Open({absl::StrCat(kTestdata, "/made_up_one.txt"),
                                          absl::StrCat(kTestdata, "/made_up_two.txt")}));
  RngStream draw(Rng(1));
  std::set<std::string> seen;
  for (int i = 0; i < 200; ++i) {
    const int64_t source = i % 2;
    const Split split = i % 3 == 0 ? Split::kTrain : i % 3 == 1 ? Split::kValidation : Split::kTest;
    LR_ASSERT_OK_AND_ASSIGN(const absl::string_view text, passages.Draw(source, split, 60, &draw));
    ASSERT_EQ(text.size(), 60u);
    EXPECT_EQ(text.find_first_not_of(source == 0 ? "bdgkptaeo " : "lmnrsviuy "),
              absl::string_view::npos)
        << text;
    seen.insert(std::string(text));
  }
  EXPECT_GT(seen.size(), 150u);
  EXPECT_THAT(passages.Draw(0, Split::kTest, 1 << 20, &draw).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, "the test part of source"));
  EXPECT_THAT(Passages::Open({"x"}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, "source: x (expected two"));
  EXPECT_THAT(Passages::Open({"x", "x"}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, "each once"));
  EXPECT_THAT(Passages::Open({"no_such_corpus", "anarchism"}).status(),
              StatusIs(absl::StatusCode::kNotFound, "no_such_corpus"));
}

TEST(Shuffled, EveryOneOnceInAnOrderOfTheSeed) {
  for (const int64_t count : {1, 2, 7, 24, 60}) {
    std::set<int64_t> seen;
    for (int64_t i = 0; i < count; ++i) seen.insert(Shuffled(i, count, Rng(1)));
    EXPECT_EQ(static_cast<int64_t>(seen.size()), count);
    EXPECT_EQ(*seen.begin(), 0);
    EXPECT_EQ(*seen.rbegin(), count - 1);
    EXPECT_EQ(Shuffled(count, count, Rng(1)), Shuffled(0, count, Rng(1)));
  }
  std::set<int64_t> firsts;
  for (int seed = 0; seed < 100; ++seed) firsts.insert(Shuffled(0, 60, Rng(seed)));
  EXPECT_GT(firsts.size(), 30u);
}

}  // namespace
}  // namespace longrange::long_range_arena
