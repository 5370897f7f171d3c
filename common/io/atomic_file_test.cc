#include "common/io/atomic_file.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <string>

#include "common/io/checksum.h"
#include "common/testing/matchers.h"
#include "gtest/gtest.h"

namespace longrange {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

class AtomicFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = ::testing::TempDir() + "/atomic_file_" +
           ::testing::UnitTest::GetInstance()->current_test_info()->name();
    ASSERT_THAT(RemoveAll(dir_), IsOk());
    ASSERT_THAT(MakeDirs(dir_), IsOk());
  }

  std::string Path(const std::string& name) const { return dir_ + "/" + name; }
  std::string Content(const std::string& name) const {
    const absl::StatusOr<std::string> content = ReadFile(Path(name));
    return content.ok() ? *content : content.status().ToString();
  }

  std::string dir_;
};

TEST_F(AtomicFileTest, WritesReplacesAndLeavesNothingElse) {
  ASSERT_THAT(WriteFileAtomically(Path("f"), "old"), IsOk());
  EXPECT_EQ(Content("f"), "old");
  const std::string bytes("new\0\n\xFF", 6);
  ASSERT_THAT(WriteFileAtomically(Path("f"), bytes), IsOk());
  EXPECT_EQ(Content("f"), bytes);
  ASSERT_THAT(WriteFileAtomically(Path("empty"), ""), IsOk());
  EXPECT_EQ(Content("empty"), "");
  EXPECT_THAT(ListDir(dir_), IsOkAndHolds(ElementsAre("empty", "f")));
}

TEST_F(AtomicFileTest, NothingHappensWithoutCommit) {
  ASSERT_THAT(WriteFileAtomically(Path("f"), "old"), IsOk());
  {
    LR_ASSERT_OK_AND_ASSIGN(const auto writer, AtomicFileWriter::Create(Path("f")));
    ASSERT_THAT(writer->Append("half"), IsOk());
    EXPECT_EQ(Content("f"), "old");
  }
  EXPECT_EQ(Content("f"), "old");
  EXPECT_THAT(ListDir(dir_), IsOkAndHolds(ElementsAre("f")));
}

TEST_F(AtomicFileTest, PiecesAndTheEndOfWriting) {
  LR_ASSERT_OK_AND_ASSIGN(const auto writer, AtomicFileWriter::Create(Path("f")));
  ASSERT_THAT(writer->Append("one, "), IsOk());
  ASSERT_THAT(writer->Append("two"), IsOk());
  EXPECT_EQ(writer->bytes_written(), 8);
  ASSERT_THAT(writer->Commit(), IsOk());
  EXPECT_EQ(Content("f"), "one, two");
  EXPECT_THAT(writer->Append("three"),
              StatusIs(absl::StatusCode::kFailedPrecondition, "after commit"));
  EXPECT_THAT(writer->Commit(), StatusIs(absl::StatusCode::kFailedPrecondition, "second commit"));
}

TEST_F(AtomicFileTest, TwoWritersOfOneFileDoNotMix) {
  LR_ASSERT_OK_AND_ASSIGN(const auto a, AtomicFileWriter::Create(Path("f")));
  LR_ASSERT_OK_AND_ASSIGN(const auto b, AtomicFileWriter::Create(Path("f")));
  ASSERT_THAT(a->Append("aaaa"), IsOk());
  ASSERT_THAT(b->Append("bb"), IsOk());
  ASSERT_THAT(a->Commit(), IsOk());
  EXPECT_EQ(Content("f"), "aaaa");
  ASSERT_THAT(b->Commit(), IsOk());
  EXPECT_EQ(Content("f"), "bb");
}

TEST_F(AtomicFileTest, ALinkStaysALink) {
  ASSERT_THAT(WriteFileAtomically(Path("real"), "old"), IsOk());
  ASSERT_EQ(symlink("real", Path("link").c_str()), 0);
  ASSERT_THAT(WriteFileAtomically(Path("link"), "new"), IsOk());
  EXPECT_EQ(Content("real"), "new");
  struct stat info;
  ASSERT_EQ(lstat(Path("link").c_str(), &info), 0);
  EXPECT_TRUE(S_ISLNK(info.st_mode));
  ASSERT_EQ(symlink("nowhere", Path("dangling").c_str()), 0);
  EXPECT_THAT(WriteFileAtomically(Path("dangling"), "x"),
              StatusIs(absl::StatusCode::kNotFound, "dangling"));
}

TEST_F(AtomicFileTest, MissingDirectoryIsNamed) {
  EXPECT_THAT(WriteFileAtomically(Path("no/f"), "x"),
              StatusIs(absl::StatusCode::kNotFound, "no/f"));
  EXPECT_THAT(WriteFileAtomically(Path("no/f"), "x"),
              StatusIs(absl::StatusCode::kNotFound, "No such file or directory"));
  EXPECT_THAT(WriteFileAtomically("", "x"),
              StatusIs(absl::StatusCode::kInvalidArgument, "without a name"));
}

TEST_F(AtomicFileTest, NothingButRegularFilesIsReplaced) {
  ASSERT_THAT(MakeDirs(Path("dir")), IsOk());
  EXPECT_THAT(WriteFileAtomically(Path("dir"), "x"),
              StatusIs(absl::StatusCode::kFailedPrecondition, "not a regular file"));
  EXPECT_TRUE(IsDirectory(Path("dir")));
  EXPECT_THAT(WriteFileAtomically("/dev/full", "x"),
              StatusIs(absl::StatusCode::kFailedPrecondition, "/dev/full"));
  struct stat info;
  ASSERT_EQ(stat("/dev/full", &info), 0);
  EXPECT_TRUE(S_ISCHR(info.st_mode));
}

TEST_F(AtomicFileTest, ReadOnlyDirectoryIsNamed) {
  if (geteuid() == 0) GTEST_SKIP() << "root writes everywhere";
  ASSERT_THAT(WriteFileAtomically(Path("f"), "old"), IsOk());
  ASSERT_EQ(chmod(dir_.c_str(), 0555), 0);
  EXPECT_THAT(WriteFileAtomically(Path("f"), "new"),
              StatusIs(absl::StatusCode::kPermissionDenied, Path("f")));
  ASSERT_EQ(chmod(dir_.c_str(), 0755), 0);
  EXPECT_EQ(Content("f"), "old");
}

TEST_F(AtomicFileTest, AFullDiskLeavesTheOldFile) {
  ASSERT_THAT(WriteFileAtomically(Path("f"), "old"), IsOk());
  // A limit on the file's size makes write() fail half-way, as a full disk does.
  rlimit before;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 4096;
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const absl::Status status = WriteFileAtomically(Path("f"), std::string(10000, 'x'));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, handler);
  EXPECT_THAT(status, Not(IsOk()));
  EXPECT_NE(std::string(status.message()).find(Path("f") + ": File too large"), std::string::npos)
      << status;
  EXPECT_EQ(Content("f"), "old");
  EXPECT_THAT(ListDir(dir_), IsOkAndHolds(ElementsAre("f")));
}

TEST_F(AtomicFileTest, OnlyStaleTemporariesAreRemoved) {
  for (const char* name : {"f", "f.tmp.12.0", "step-1.safetensors.tmp.4711.33", "f.tmp.12",
                           "f.tmp.12.x", "f.tmp.12.0.bak", "f.tmp..0", ".tmp.12.0", "f.tmp"})
    ASSERT_THAT(WriteFileAtomically(Path(name), "x"), IsOk());
  ASSERT_THAT(MakeDirs(Path("d.tmp.12.0")), IsOk());
  ASSERT_THAT(RemoveStaleTemporaries(dir_), IsOk());
  EXPECT_THAT(ListDir(dir_),
              IsOkAndHolds(ElementsAre(".tmp.12.0", "d.tmp.12.0", "f", "f.tmp", "f.tmp..0",
                                       "f.tmp.12", "f.tmp.12.0.bak", "f.tmp.12.x")));
  EXPECT_THAT(RemoveStaleTemporaries(Path("nothing")), IsOk());
}

TEST_F(AtomicFileTest, ReadFileRefuses) {
  EXPECT_THAT(ReadFile(Path("none")), StatusIs(absl::StatusCode::kNotFound, Path("none")));
  EXPECT_THAT(ReadFile(dir_),
              StatusIs(absl::StatusCode::kFailedPrecondition, "not a regular file"));
  ASSERT_EQ(mkfifo(Path("pipe").c_str(), 0666), 0);
  EXPECT_THAT(ReadFile(Path("pipe")),
              StatusIs(absl::StatusCode::kFailedPrecondition, "not a regular file"));
  ASSERT_THAT(WriteFileAtomically(Path("f"), "12345"), IsOk());
  EXPECT_THAT(ReadFile(Path("f"), 5), IsOkAndHolds("12345"));
  EXPECT_THAT(ReadFile(Path("f"), 4),
              StatusIs(absl::StatusCode::kResourceExhausted, "5 bytes, at most 4"));
}

TEST_F(AtomicFileTest, Directories) {
  ASSERT_THAT(MakeDirs(Path("a/b/c")), IsOk());
  ASSERT_THAT(MakeDirs(Path("a/b/c")), IsOk());
  ASSERT_THAT(WriteFileAtomically(Path("a/b/f"), "x"), IsOk());
  EXPECT_THAT(MakeDirs(Path("a/b/f")), Not(IsOk()));
  EXPECT_THAT(ListDir(Path("a/b")), IsOkAndHolds(ElementsAre("c", "f")));
  EXPECT_THAT(ListDir(Path("none")), StatusIs(absl::StatusCode::kNotFound, Path("none")));
  EXPECT_TRUE(PathExists(Path("a/b/f")));
  EXPECT_FALSE(IsDirectory(Path("a/b/f")));
  ASSERT_THAT(RenameDurably(Path("a"), Path("z/")), IsOk());
  EXPECT_EQ(Content("z/b/f"), "x");
  EXPECT_THAT(RenameDurably(Path("a"), Path("y")),
              StatusIs(absl::StatusCode::kNotFound, Path("a")));
  ASSERT_THAT(RemoveAll(Path("z")), IsOk());
  ASSERT_THAT(RemoveAll(Path("z")), IsOk());
  EXPECT_THAT(ListDir(dir_), IsOkAndHolds(IsEmpty()));
}

TEST_F(AtomicFileTest, AnOutFolderIsNoFile) {
  EXPECT_THAT(MakeOutFolder(dir_ + "/a/b"), IsOk());
  EXPECT_THAT(MakeOutFolder(dir_ + "/a/b"), IsOk());
  EXPECT_TRUE(IsDirectory(dir_ + "/a/b"));
  EXPECT_THAT(WriteFileAtomically(dir_ + "/file", "x"), IsOk());
  EXPECT_THAT(MakeOutFolder(dir_ + "/file"),
              StatusIs(absl::StatusCode::kFailedPrecondition, "is a file (expected a folder, or"));
}

TEST_F(AtomicFileTest, Checksums) {
  // The value of the reference implementation for no input and seed 0.
  EXPECT_EQ(ChecksumHex(Checksum("")), "2d06800538d394c2");
  EXPECT_EQ(ChecksumHex(1), "0000000000000001");
  std::string large(3 << 20, 'x');
  large[2 << 20] = 'y';
  ASSERT_THAT(WriteFileAtomically(Path("f"), large), IsOk());
  EXPECT_THAT(ChecksumFile(Path("f")), IsOkAndHolds(Checksum(large)));
  large[0] = 'y';
  EXPECT_THAT(ChecksumFile(Path("f")), Not(IsOkAndHolds(Checksum(large))));
  EXPECT_THAT(ChecksumFile(Path("none")), StatusIs(absl::StatusCode::kNotFound, Path("none")));
  EXPECT_THAT(ChecksumFile(dir_), StatusIs(absl::StatusCode::kFailedPrecondition, dir_));
}

}  // namespace
}  // namespace longrange
