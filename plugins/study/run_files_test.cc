#include "plugins/study/run_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <fstream>

#include "common/io/atomic_file.h"
#include "common/testing/matchers.h"
#include "common/testing/system_faults.h"

namespace longrange {
namespace {

class RunFilesTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ =
        testing::TempDir() + "/" + testing::UnitTest::GetInstance()->current_test_info()->name();
    Empty();
  }
  void Empty() const {
    CHECK(RemoveAll(folder_).ok());
    CHECK(MakeDirs(folder_).ok());
  }
  static RunFiles Files(int64_t number) {
    RunFiles files;
    files.rows = {Row().Set("kind", "run").Set("number", number),
                  Row().Set("kind", "window").Set("nll", 0.1)};
    files.record = Row().Set("run", "arm-1").Set("seconds", 1e-7).Set("threads", number);
    return files;
  }

  std::string folder_;
};

bool Same(const RunFiles& a, const RunFiles& b) { return a.rows == b.rows && a.record == b.record; }

TEST_F(RunFilesTest, ReadsBackWhatWasWritten) {
  LR_ASSERT_OK_AND_ASSIGN(const auto none, ReadRunFiles(folder_));
  EXPECT_FALSE(none.has_value());
  ASSERT_THAT(WriteRunFiles(folder_, Files(7)), IsOk());
  LR_ASSERT_OK_AND_ASSIGN(const auto read, ReadRunFiles(folder_));
  ASSERT_TRUE(read.has_value());
  EXPECT_TRUE(Same(*read, Files(7)));
}

// Any flipped bit and any cut of either file, and a file of another run.
TEST_F(RunFilesTest, DamageIsNoticed) {
  ASSERT_THAT(WriteRunFiles(folder_, Files(8)), IsOk());
  LR_ASSERT_OK_AND_ASSIGN(const std::string other, ReadFile(folder_ + "/rows.jsonl"));
  ASSERT_THAT(WriteRunFiles(folder_, Files(7)), IsOk());
  for (const std::string& path : {folder_ + "/rows.jsonl", folder_ + "/run.json"}) {
    LR_ASSERT_OK_AND_ASSIGN(const std::string good, ReadFile(path));
    std::vector<std::string> bad = {good + good, other};
    for (size_t bit = 0; bit < 8 * good.size(); ++bit) {
      bad.push_back(good);
      bad.back()[bit / 8] = static_cast<char>(good[bit / 8] ^ (1 << (bit % 8)));
    }
    for (size_t size = 0; size < good.size(); ++size) bad.push_back(good.substr(0, size));
    for (const std::string& bytes : bad) {
      std::ofstream(path, std::ios::binary) << bytes;
      const auto read = ReadRunFiles(folder_);
      ASSERT_THAT(read, StatusIs(absl::StatusCode::kDataLoss, path + ": damaged")) << bytes;
      ASSERT_EQ(read.status().message().find('\n'), absl::string_view::npos);
    }
    std::ofstream(path, std::ios::binary) << good;
  }
  ASSERT_THAT(RemoveAll(folder_ + "/rows.jsonl"), IsOk());
  EXPECT_THAT(ReadRunFiles(folder_), StatusIs(absl::StatusCode::kNotFound, "rows.jsonl"));
}

// Whatever fails while they are written: the run is not done, or whole.
TEST_F(RunFilesTest, AFaultAtEveryCallOfAWrite) {
  for (const SystemFault::Kind kind :
       {SystemFault::kError, SystemFault::kShort, SystemFault::kDiskFull, SystemFault::kReadOnly}) {
    int64_t hits = 0, errors = 0;
    for (int64_t nth = 0;; ++nth) {
      Empty();
      absl::Status status;
      {
        const SystemFaults faults(folder_, {kind, nth, EIO});
        status = WriteRunFiles(folder_, Files(7));
        if (nth >= faults.calls()) break;
        hits += faults.hit();
      }
      errors += !status.ok();
      LR_ASSERT_OK_AND_ASSIGN(const auto read, ReadRunFiles(folder_));
      EXPECT_TRUE(!read.has_value() || Same(*read, Files(7)));
      if (status.ok()) {
        EXPECT_TRUE(read.has_value());
      } else {
        EXPECT_THAT(status.message(), testing::HasSubstr(folder_));
      }
    }
    EXPECT_GT(hits, 1);
    EXPECT_EQ(errors > 3, kind != SystemFault::kShort);
  }
}

}  // namespace
}  // namespace longrange
