#include "common/base/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

DEFINE_int64(test_steps, 1000, "Updates of the base model");
DEFINE_double(test_rate, 0.5, "Learning rate");
DEFINE_bool(test_resume, true, "Go on where a run stopped");
DEFINE_string(test_preset, "default", "Size of the study");
DEFINE_uint64(test_cap, 3, "Cap");
DEFINE_bool(test_hidden, false, "In no group");

namespace longrange {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

CommandLineSpec Spec() {
  return {"Compares ways to extend a context window.",
          {{"Study", {"test_steps", "test_rate", "test_resume", "test_preset", "test_cap", "set"}},
           StandardFlags()},
          {{"test_preset", {"default", "full"}}}};
}

class CommandLineTest : public testing::Test {
 protected:
  absl::StatusOr<CommandLine> Parse(const std::vector<std::string>& args) {
    return ParseCommandLine(args, Spec());
  }

  std::string Refused(const std::vector<std::string>& args) {
    const absl::StatusOr<CommandLine> line = Parse(args);
    EXPECT_EQ(line.status().code(), absl::StatusCode::kInvalidArgument)
        << testing::PrintToString(args);
    EXPECT_THAT(std::string(line.status().message()), Not(HasSubstr("\n")));
    return std::string(line.status().message());
  }

 private:
  gflags::FlagSaver saver_;
};

TEST_F(CommandLineTest, BothWaysToGiveAValue) {
  const absl::StatusOr<CommandLine> line =
      Parse({"--test_steps=5", "--test_rate", "-0.25", "--notest_resume", "--test-preset=full",
             "--dry_run", "--out", ""});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_FALSE(line->help);
  EXPECT_EQ(FLAGS_test_steps, 5);
  EXPECT_EQ(FLAGS_test_rate, -0.25);
  EXPECT_FALSE(FLAGS_test_resume);
  EXPECT_EQ(FLAGS_test_preset, "full");
  EXPECT_TRUE(FLAGS_dry_run);
  EXPECT_EQ(FLAGS_out, "");
}

TEST_F(CommandLineTest, BooleansTakeTheirValueBehindAnEqualsSign) {
  ASSERT_TRUE(Parse({"--test_resume=false"}).ok());
  EXPECT_FALSE(FLAGS_test_resume);
  EXPECT_THAT(Refused({"--dry_run", "false"}), HasSubstr("stray argument 'false'"));
  EXPECT_THAT(Refused({"--dry_run=maybe"}), HasSubstr("--dry_run=maybe: expected true or false"));
  EXPECT_THAT(Refused({"--noquiet=false"}), HasSubstr("unknown flag --noquiet"));
  EXPECT_THAT(Refused({"--notest_steps"}), HasSubstr("unknown flag --notest_steps"));
  EXPECT_THAT(Refused({"--noset"}), HasSubstr("unknown flag --noset"));
}

TEST_F(CommandLineTest, SetIsRepeatedInOrder) {
  const absl::StatusOr<CommandLine> line =
      Parse({"--set=b.c=2", "--set", "a=1=x", "--set", "b.c=3"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_THAT(line->set, ElementsAre("b.c=2", "a=1=x", "b.c=3"));
  EXPECT_THAT(Refused({"--set"}), HasSubstr("--set needs a value"));
  EXPECT_THAT(Refused({"--set", "abc"}), HasSubstr("--set abc: expected PATH=VALUE"));
  EXPECT_THAT(Refused({"--set="}), HasSubstr("expected PATH=VALUE"));
  EXPECT_THAT(Refused({"--set", "=3"}), HasSubstr("expected PATH=VALUE"));
}

TEST_F(CommandLineTest, RefusesUnknownFlagsWithTheNearestName) {
  EXPECT_EQ(Refused({"--sede=1"}),
            "unknown flag --sede; did you mean '--seed'? (--help lists all flags)");
  EXPECT_EQ(Refused({"--colour"}), "unknown flag --colour (--help lists all flags)");
  // Flags of glog and gflags, and of our own that the program does not name, do not exist.
  for (const char* name : {"--minloglevel=2", "--v=1", "--flagfile=x", "--helpfull", "--version",
                           "--test_hidden", "--"}) {
    Refused({name});
  }
}

TEST_F(CommandLineTest, RefusesStraysAndRepetitions) {
  EXPECT_THAT(Refused({"--seed=1", "run"}), HasSubstr("stray argument 'run'"));
  EXPECT_THAT(Refused({"-seed=1"}), HasSubstr("stray argument '-seed=1'"));
  EXPECT_THAT(Refused({""}), HasSubstr("stray argument ''"));
  EXPECT_EQ(Refused({"--seed=1", "--seed=1"}), "--seed is given twice");
  EXPECT_EQ(Refused({"--quiet", "--noquiet"}), "--quiet is given twice");
}

TEST_F(CommandLineTest, RefusesBadValues) {
  EXPECT_EQ(Refused({"--seed=abc"}), "--seed=abc: expected an integer");
  EXPECT_EQ(Refused({"--seed=1.5"}), "--seed=1.5: expected an integer");
  EXPECT_EQ(Refused({"--seed=99999999999999999999"}),
            "--seed=99999999999999999999: expected an integer");
  EXPECT_EQ(Refused({"--test_rate=fast"}), "--test_rate=fast: expected a number");
  EXPECT_EQ(Refused({"--test_cap=-1"}), "--test_cap=-1: expected an integer of 0 or more");
  EXPECT_EQ(Refused({"--threads=-1"}), "--threads=-1: expected 0 (all processors) to 1024");
  EXPECT_EQ(Refused({"--device=gpu"}), "--device=gpu: expected cpu or cuda");
  EXPECT_EQ(Refused({"--test_preset=ful"}), "--test_preset=ful: expected default or full");
  EXPECT_EQ(Refused({"--out", "--quiet"}), "--out needs a value: --out=...");
  EXPECT_EQ(Refused({"--out"}), "--out needs a value: --out=...");
}

TEST_F(CommandLineTest, ThereIsNoCudaYet) {
  const absl::Status status = Parse({"--device=cuda"}).status();
  EXPECT_TRUE(absl::IsUnimplemented(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("--device=cuda"));
  EXPECT_TRUE(Parse({"--device=cpu"}).ok());
}

TEST_F(CommandLineTest, HelpListsOurFlagsOnly) {
  EXPECT_TRUE(Parse({"--help"})->help);
  EXPECT_TRUE(Parse({"-h"})->help);
  const std::string help = HelpText("study", Spec());
  EXPECT_THAT(help, HasSubstr("Compares ways to extend a context window.\n\nUsage: study "
                              "[--flag=value ...]\n\nStudy\n"));
  EXPECT_THAT(
      help, HasSubstr("  --test_steps=INT            Updates of the base model (default: 1000)\n"));
  EXPECT_THAT(help, HasSubstr("  --notest_resume             Go on where a run stopped\n"));
  EXPECT_THAT(help,
              HasSubstr("  --test_preset=default|full  Size of the study (default: default)\n"));
  EXPECT_THAT(help, HasSubstr("  --device=cpu|cuda           Where to compute"));
  EXPECT_THAT(help, HasSubstr("--set PATH=VALUE"));
  for (const char* other : {"test_hidden", "logtostderr", "flagfile", "gtest"})
    EXPECT_THAT(help, Not(HasSubstr(other)));
  size_t start = 0;
  for (size_t end; (end = help.find('\n', start)) != std::string::npos; start = end + 1)
    EXPECT_LE(end - start, 100);
}

TEST_F(CommandLineTest, OutFolderIsTheUsersOrTheDefault) {
  setenv("BUILD_WORKSPACE_DIRECTORY", "/workspace", 1);
  setenv("BUILD_WORKING_DIRECTORY", "/workspace/papers", 1);
  EXPECT_EQ(OutFolder("study"), "/workspace/.out/study");
  ASSERT_TRUE(Parse({"--out=here"}).ok());
  EXPECT_EQ(OutFolder("study"), "/workspace/papers/here");
  unsetenv("BUILD_WORKSPACE_DIRECTORY");
  unsetenv("BUILD_WORKING_DIRECTORY");
}

TEST(ExitCodeTest, TellsTheUserFromTheEnvironment) {
  EXPECT_EQ(ExitCode(absl::OkStatus()), 0);
  for (const absl::Status& status :
       {absl::InvalidArgumentError(""), absl::NotFoundError(""), absl::AlreadyExistsError(""),
        absl::FailedPreconditionError(""), absl::OutOfRangeError(""),
        absl::UnimplementedError("")}) {
    EXPECT_EQ(ExitCode(status), 2) << status;
  }
  for (const absl::Status& status :
       {absl::InternalError(""), absl::UnavailableError(""), absl::ResourceExhaustedError(""),
        absl::PermissionDeniedError(""), absl::DataLossError(""), absl::UnknownError(""),
        absl::AbortedError(""), absl::DeadlineExceededError("")}) {
    EXPECT_EQ(ExitCode(status), 1) << status;
  }
  EXPECT_EQ(ExitCode(absl::CancelledError("")), 130);
}

// Runs Main as a program would and exits with its code.
[[noreturn]] void RunMain(std::vector<std::string> args, const absl::Status& result) {
  args.insert(args.begin(), "/some/where/study");
  std::vector<char*> argv;
  for (std::string& arg : args) argv.push_back(arg.data());
  std::exit(Main(static_cast<int>(argv.size()), argv.data(), Spec(), [&](const CommandLine&) {
    std::cerr << "steps " << FLAGS_test_steps << "; ";
    return result;
  }));
}

TEST(MainDeathTest, ExitsWithCodeAndOneLine) {
  EXPECT_EXIT(RunMain({"--test_steps=3", "--threads=1"}, absl::OkStatus()),
              testing::ExitedWithCode(0), "^steps 3; $");
  EXPECT_EXIT(RunMain({"--help"}, absl::InternalError("it ran")), testing::ExitedWithCode(0), "^$");
  EXPECT_EXIT(RunMain({"--nope"}, absl::InternalError("it ran")), testing::ExitedWithCode(2),
              "^error: unknown flag --nope \\(--help lists all flags\\)\n$");
  EXPECT_EXIT(RunMain({}, absl::NotFoundError("no corpus")), testing::ExitedWithCode(2),
              "^steps 1000; error: no corpus\n$");
  EXPECT_EXIT(RunMain({}, absl::ResourceExhaustedError("disk\nfull")), testing::ExitedWithCode(1),
              "^steps 1000; error: disk full\n$");
  EXPECT_EXIT(RunMain({}, absl::CancelledError("stopped at step 3")), testing::ExitedWithCode(130),
              "^steps 1000; stopped at step 3\n$");
}

}  // namespace
}  // namespace longrange
