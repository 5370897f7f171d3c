// The doctor's parsing and layout; what a machine has is not tested.

#include "common/tools/doctor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace longrange {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

const Finding kFound = {Finding::State::kOk, "g++", "12.2.0", ""};
const Finding kNoGpu = {Finding::State::kOptional, "GPU", "not found", "for --device=cuda only"};
const Finding kNoProtoc = {Finding::State::kMissing, "protoc", "not found", "install it"};

TEST(FormatReportTest, AlignsColumnsOverAllSections) {
  EXPECT_EQ(FormatReport({{"Build", {kFound, kNoProtoc}}, {"Machine", {kNoGpu}}}, /*colour=*/false),
            "Build\n"
            "  ok        g++     12.2.0\n"
            "  missing   protoc  not found: install it\n"
            "\n"
            "Machine\n"
            "  optional  GPU     not found: for --device=cuda only\n"
            "\n"
            "1 required thing is missing.\n");
}

TEST(FormatReportTest, ColoursTheStateOnly) {
  EXPECT_EQ(FormatReport({{"Build", {kFound}}}, /*colour=*/true),
            "\033[1mBuild\033[0m\n"
            "  \033[32mok      \033[0m  g++  12.2.0\n"
            "\n"
            "Everything that is required is here.\n");
}

TEST(ExitCodeTest, OnlyWhatIsRequiredCounts) {
  EXPECT_EQ(ExitCode({{"Build", {kFound}}, {"Machine", {kNoGpu}}}), 0);
  EXPECT_EQ(ExitCode({{"Machine", {kNoGpu}}, {"Build", {kFound, kNoProtoc}}}), 1);
}

TEST(FormatBytesTest, PicksTheUnit) {
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(1024), "1.0 KiB");
  EXPECT_EQ(FormatBytes(1 << 20), "1.0 MiB");
  EXPECT_EQ(FormatBytes(11684875), "11.1 MiB");
  EXPECT_EQ(FormatBytes(uint64_t{5} << 42), "20.0 TiB");
  EXPECT_EQ(FormatBytes(uint64_t{1} << 52), "4096.0 TiB");
}

TEST(ParseNvccVersionTest, TakesTheFullVersion) {
  EXPECT_EQ(ParseNvccVersion("nvcc: NVIDIA (R) Cuda compiler driver\n"
                             "Cuda compilation tools, release 13.0, V13.0.88\n"
                             "Build cuda_13.0.r13.0/compiler.36424714_0\n"),
            "13.0.88");
  EXPECT_EQ(ParseNvccVersion("release 13"), "");
  EXPECT_EQ(ParseNvccVersion(""), "");
}

TEST(ParseProcValueTest, MatchesTheWholeKey) {
  const std::string text =
      "vmx flags\t: a b\nflags\t\t: avx2 fma\nMemTotal:   24611688 kB\nflags : x\n";
  EXPECT_EQ(ParseProcValue(text, "flags"), "avx2 fma");
  EXPECT_EQ(ParseProcValue(text, "MemTotal"), "24611688 kB");
  EXPECT_EQ(ParseProcValue(text, "MemFree"), "");
}

TEST(DescribeSimdTest, NamesTheLevels) {
  EXPECT_EQ(DescribeSimd("fpu sse2 avx"), "");
  EXPECT_EQ(DescribeSimd("fpu avx2 fma"), "AVX2");
  EXPECT_EQ(DescribeSimd("fma avx2 avx512f avx512_bf16"), "AVX2, AVX-512, AVX-512 BF16");
  // A longer flag that begins the same is another one.
  EXPECT_EQ(DescribeSimd("fma avx2 avx512fp16"), "AVX2");
}

TEST(ParsePackageVersionsTest, OneALine) {
  EXPECT_THAT(ParsePackageVersions("libabsl-dev 20220623.1-1\nlibgtest-dev 1.12.1-0.2\n"),
              ElementsAre(Pair("libabsl-dev", "20220623.1-1"), Pair("libgtest-dev", "1.12.1-0.2")));
}

TEST(ParseDiskCacheTest, LastOneWinsAndCommentsDoNotCount) {
  EXPECT_EQ(ParseDiskCache("build --disk_cache=/a\nbuild --disk_cache=/b --jobs=2\n"
                           "# build --disk_cache=/c\n"),
            "/b");
  EXPECT_EQ(ParseDiskCache("build --jobs=2\n"), "");
}

}  // namespace
}  // namespace longrange
