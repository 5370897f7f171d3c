// What an arm may differ in, and what the runner says of one that differs in more.

#include "plugins/study/control.h"

#include <gmock/gmock.h>
#include <google/protobuf/wrappers.pb.h>
#include <gtest/gtest.h>

#include "common/base/text_proto.h"
#include "common/testing/matchers.h"
#include "plugins/stack/stack.pb.h"
#include "plugins/study/control_test.pb.h"

namespace longrange {
namespace {

StudyProtocol Protocol() {
  StudyProtocol protocol;
  CHECK(ParseTextProto(R"(
    compares: "model.backbone.mixer"
    settings {
      model {
        width: 8
        backbone {
          [type.googleapis.com/longrange.StackConfig] {
            layers: 2
            mixer { [type.googleapis.com/google.protobuf.Int64Value] { value: 1 } }
          }
        }
      }
      tuning { steps: 10 batch: 4 }
      evaluation { length: 8 length: 16 }
    })",
                       "protocol", &protocol)
            .ok());
  return protocol;
}

absl::StatusOr<StudySettings> WithArm(const std::string& text) {
  StudyArm arm;
  const absl::Status parsed = ParseTextProto("name: \"a\" settings { " + text + " }", "arm", &arm);
  CHECK(parsed.ok()) << parsed;
  return ArmSettings(Protocol(), arm);
}

constexpr char kMixer[] =
    R"(model { backbone { [type.googleapis.com/longrange.StackConfig] { mixer {
    [type.googleapis.com/google.protobuf.Int64Value] { value: 7 } } } } })";

TEST(ArmSettings, LaysAnArmInsideTheProtocolsAny) {
  LR_ASSERT_OK_AND_ASSIGN(const StudySettings settings, WithArm(kMixer));
  StackConfig stack;
  ASSERT_TRUE(settings.model().backbone().UnpackTo(&stack));
  EXPECT_EQ(stack.layers(), 2);  // as in the protocol
  google::protobuf::Int64Value value;
  ASSERT_TRUE(stack.mixer().UnpackTo(&value));
  EXPECT_EQ(value.value(), 7);
  const std::vector<Difference> differences = Differences(Protocol().settings(), settings);
  ASSERT_EQ(differences.size(), 1u);
  EXPECT_EQ(differences[0].path, "model.backbone.mixer.value");
}

TEST(ArmSettings, TakesAnotherPluginWhole) {
  LR_ASSERT_OK_AND_ASSIGN(const StudySettings settings, WithArm(R"(model { backbone {
      [type.googleapis.com/longrange.StackConfig] { mixer {
        [type.googleapis.com/google.protobuf.StringValue] { value: "x" } } } } })"));
  const std::vector<Difference> differences = Differences(Protocol().settings(), settings);
  ASSERT_EQ(differences.size(), 1u);
  EXPECT_EQ(differences[0].path, "model.backbone.mixer");
  EXPECT_EQ(differences[0].after, "string_value");
}

// A scalar that the protocol sets reaches the plugin that an arm puts in the old one's place.
TEST(ArmSettings, AnotherPluginTakesOverScalarsOfTheSameName) {
  StudyProtocol protocol = Protocol();
  FeedForwardConfig before;
  before.set_width(640);
  StackConfig stack;
  CHECK(protocol.settings().model().backbone().UnpackTo(&stack));
  stack.mutable_mixer()->PackFrom(before);
  protocol.mutable_settings()->mutable_model()->mutable_backbone()->PackFrom(stack);
  const auto width = [&](const std::string& set) {
    StudyArm arm;
    CHECK(ParseTextProto("name: \"a\" settings { model { backbone { "
                         "[type.googleapis.com/longrange.StackConfig] { mixer { "
                         "[type.googleapis.com/longrange.ModelConfig] { " +
                             set + " } } } } } }",
                         "arm", &arm)
              .ok());
    const auto settings = ArmSettings(protocol, arm);
    CHECK(settings.ok()) << settings.status();
    ModelConfig model;
    CHECK(settings->model().backbone().UnpackTo(&stack) && stack.mixer().UnpackTo(&model));
    return model.width();
  };
  EXPECT_EQ(width(""), 640);
  EXPECT_EQ(width("width: 128"), 128);  // what the arm says counts, also where it is the default
}

TEST(ArmSettings, APluginOfThePlacesNameWrapsWhatStoodThere) {
  // The wrapper's own mixer unset: the protocol's is inside.
  LR_ASSERT_OK_AND_ASSIGN(
      StudySettings settings,
      WithArm(R"(model { backbone { [type.googleapis.com/longrange.StackConfig] { mixer {
          [type.googleapis.com/longrange.TestWrapperConfig] { size: 3 } } } } })"));
  StackConfig stack;
  TestWrapperConfig wrapper;
  google::protobuf::Int64Value value;
  ASSERT_TRUE(settings.model().backbone().UnpackTo(&stack));
  ASSERT_TRUE(stack.mixer().UnpackTo(&wrapper));
  EXPECT_EQ(wrapper.size(), 3);
  ASSERT_TRUE(wrapper.mixer().UnpackTo(&value));
  EXPECT_EQ(value.value(), 1);
  // Set: laid over the protocol's.
  LR_ASSERT_OK_AND_ASSIGN(
      settings, WithArm(R"(model { backbone { [type.googleapis.com/longrange.StackConfig] { mixer {
          [type.googleapis.com/longrange.TestWrapperConfig] { mixer {
            [type.googleapis.com/google.protobuf.Int64Value] { value: 7 } } } } } } })"));
  ASSERT_TRUE(settings.model().backbone().UnpackTo(&stack));
  ASSERT_TRUE(stack.mixer().UnpackTo(&wrapper));
  ASSERT_TRUE(wrapper.mixer().UnpackTo(&value));
  EXPECT_EQ(value.value(), 7);
}

TEST(ArmSettings, AnotherPluginTakesOverPluginsOfTheSameName) {
  StudyProtocol protocol;
  ASSERT_THAT(ParseTextProto(R"(
    compares: "model.backbone.mixer"
    settings { model { backbone { [type.googleapis.com/longrange.StackConfig] { mixer {
      [type.googleapis.com/longrange.TestWrapperConfig] { size: 5 inner {
        [type.googleapis.com/google.protobuf.Int64Value] { value: 2 } } } } } } } })",
                             "protocol", &protocol),
              IsOk());
  StudyArm arm;
  ASSERT_THAT(ParseTextProto(R"(name: "a" settings {
    model { backbone { [type.googleapis.com/longrange.StackConfig] { mixer {
      [type.googleapis.com/longrange.TestOtherConfig] {} } } } } })",
                             "arm", &arm),
              IsOk());
  LR_ASSERT_OK_AND_ASSIGN(const StudySettings settings, ArmSettings(protocol, arm));
  StackConfig stack;
  TestOtherConfig other;
  google::protobuf::Int64Value value;
  ASSERT_TRUE(settings.model().backbone().UnpackTo(&stack));
  ASSERT_TRUE(stack.mixer().UnpackTo(&other));
  EXPECT_EQ(other.size(), 5);
  ASSERT_TRUE(other.inner().UnpackTo(&value));
  EXPECT_EQ(value.value(), 2);
}

TEST(ArmSettings, SomeArmsMayDifferInMore) {
  StudyProtocol protocol = Protocol();
  StudyProtocol::Further* further = protocol.add_compares_further();
  further->set_path("tuning.batch");
  further->add_arm("long");
  StudyArm arm;
  arm.mutable_settings()->mutable_tuning()->set_batch(2);
  arm.set_name("long");
  EXPECT_THAT(ArmSettings(protocol, arm), IsOk());
  arm.set_name("other");
  EXPECT_THAT(ArmSettings(protocol, arm),
              StatusIs(absl::StatusCode::kInvalidArgument, "arm 'other' breaks the control"));
  // An arm that goes on from the one named has what that one has.
  LR_ASSERT_OK_AND_ASSIGN(StudySettings settings, WithArm(""));
  settings.mutable_tuning()->set_batch(2);
  StudyArm later;
  later.set_name("later");
  later.set_after("long");
  LR_ASSERT_OK_AND_ASSIGN(const StudySettings mine, ArmSettings(protocol, later, &settings));
  EXPECT_EQ(mine.tuning().batch(), 2);
}

TEST(ArmSettings, StepsMayBeTimesTheProtocols) {
  StudyProtocol protocol = Protocol();
  protocol.add_compares("tuning.steps");
  StudyArm arm;
  arm.set_name("a");
  arm.mutable_settings()->mutable_tuning()->set_steps_times(3);
  LR_ASSERT_OK_AND_ASSIGN(const StudySettings settings, ArmSettings(protocol, arm));
  EXPECT_EQ(settings.tuning().steps(), 30);
  EXPECT_FALSE(settings.tuning().has_steps_times());
  arm.mutable_settings()->mutable_tuning()->set_steps_times(0);
  EXPECT_THAT(ArmSettings(protocol, arm),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "arm 'a': tuning.steps_times: 0 (expected 1 or more)"));
}

TEST(ArmSettings, AnArmMayOnlyBeLeftUntuned) {
  EXPECT_THAT(WithArm("tuning { steps: 20 }"),
              StatusIs(absl::StatusCode::kInvalidArgument, "tuning.steps to 20"));
}

TEST(ArmSettings, ZeroIsAValue) {
  LR_ASSERT_OK_AND_ASSIGN(const StudySettings settings, WithArm("tuning { steps: 0 }"));
  EXPECT_EQ(settings.tuning().steps(), 0);
  EXPECT_EQ(settings.tuning().batch(), 4);
}

// Every way to be unfair is refused by the path of the field.
TEST(ArmSettings, RefusesWhatTheStudyDoesNotCompare) {
  const std::pair<const char*, const char*> cases[] = {
      {"tuning { batch: 8 }", "tuning.batch to 8 where the protocol has 4"},
      {"model { width: 16 }", "model.width"},
      {"model { tied: true }", "model.tied"},
      {"model { backbone { [type.googleapis.com/longrange.StackConfig] { layers: 3 } } }",
       "model.backbone.layers"},
      {"model { backbone { [type.googleapis.com/google.protobuf.StringValue] {} } }",
       "model.backbone "},
      {"evaluation { length: 8 }", "evaluation.length"},
      {"tuning { optimizer { schedule { learning_rate: 1 } } }",
       "tuning.optimizer.schedule.learning_rate"},
      {"data { corpus: \"x\" }", "data.corpus"},
      {"base { steps: 3 }", "base.steps"},
      {"task { [type.googleapis.com/google.protobuf.StringValue] {} }", "task"},
  };
  for (const auto& [text, path] : cases) {
    EXPECT_THAT(WithArm(text), StatusIs(absl::StatusCode::kInvalidArgument, path)) << text;
  }
}

// Writing out what the protocol has anyway is no difference.
TEST(ArmSettings, SameValuesAreNoDifference) {
  EXPECT_THAT(WithArm("tuning { batch: 4 } model { width: 8 tied: false }"), IsOk());
}

constexpr char kRunnable[] = R"(
  name: "n"
  trained_length: 8
  extended_length: 32
  compares: "model.backbone.mixer"
  compares: "tuning"
  base_seed: 0
  tuning_seed: 0
  tuning_seed: 1
  settings {
    model { vocabulary: 4 width: 8 }
    task { [type.googleapis.com/google.protobuf.StringValue] {} }
    base { length: 8 batch: 4 steps: 10 short_share: 0.5 short_length: [2, 8] stop_at_score: 1 }
    tuning { length: 32 batch: 1 steps: 2 task_share: 0 }
    evaluation { length: [8, 32] task_length: [8] task_depth: [0, 100] }
  })";

// What is said of kRunnable with one assignment to the protocol.
absl::Status Checked(const std::string& assignment) {
  StudyProtocol protocol;
  CHECK(ParseTextProto(kRunnable, "runnable", &protocol).ok());
  if (!assignment.empty()) {
    const absl::Status set = SetField(&protocol, assignment);
    CHECK(set.ok()) << set;
  }
  return CheckProtocol(protocol);
}

TEST(CheckProtocol, TakesWhatCanRun) {
  for (const char* assignment :
       {"", "settings.base.task_share=1", "settings.base.short_share=0", "settings.base.batch=1",
        "settings.base.minimum_steps=11", "settings.base.stop_at_score=0",
        "settings.tuning.carry_state=true", "settings.tuning={ steps: 0 }",
        "settings.evaluation={ length: 8 }",
        "settings.evaluation={ task_length: 8 task_depth: 50.5 }",
        "settings.evaluation={ task_length: 8 }", "compares=tuning.steps",
        "finding.0={ id: 'F' statement: 's' comparison { arm: 'a' length: 8 at_least: 0.5 } }",
        "settings.tuning.course.every=7",
        "finding.0={ id: 'F' statement: 's' comparison { arm: 'a' course { figure: 'f' } less { "
        "figure: 'g' reading: FALL_STEP } at_most: 1 } }"}) {
    EXPECT_THAT(Checked(assignment), IsOk()) << assignment;
  }
}

TEST(CheckProtocol, RefusesEveryValueByItsField) {
  const std::pair<const char*, const char*> cases[] = {
      {"settings.model.vocabulary=0", "model.vocabulary: 0 (expected 1 or more)"},
      {"settings.model.vocabulary=4294967296",
       "model.vocabulary: 4294967296 (expected 2147483647 or less)"},
      {"settings.model.width=-8", "model.width: -8 (expected 1 or more)"},
      {"settings.model.width=1048577", "model.width: 1048577 (expected 1048576 or less)"},
      {"settings.model.init_std=nan", "model.init_std: nan (expected 0 or more)"},
      {"settings.base.length=0", "base.length: 0 (expected 1 or more)"},
      {"settings.base.batch=0", "base.batch: 0 (expected 1 or more)"},
      {"settings.base.batch=1000000000",
       "base.batch: 1000000000 (expected at most 268435455 sequences of 8 tokens)"},
      {"settings.base.steps=0", "base.steps: 0 (expected 1 or more)"},
      {"settings.base.task_share=2", "base.task_share: 2 (expected 0 to 1)"},
      {"settings.base.task_share=nan", "base.task_share: nan (expected 0 to 1)"},
      {"settings.base.carry_state=true",
       "base.task_share: 0.5 (expected 0 where base.carry_state is true)"},
      {"settings.tuning={ length: 8 batch: 1 steps: 2 task_share: 0 short_share: 0.5 "
       "short_length: 4 carry_state: true }",
       "tuning.short_share: 0.5 (expected 0 where tuning.carry_state is true)"},
      {"settings.base.short_share=-0.5", "base.short_share: -0.5 (expected 0 to 1)"},
      {"settings.base.short_length=",
       "base.short_share: 0.5 (expected 0 where base.short_length is empty)"},
      {"settings.base.short_length=4,0", "base.short_length: 0 (expected 1 or more)"},
      {"settings.base.short_length=9", "base.short_length: 9 (expected at most base.length, 8)"},
      {"settings.base.stop_at_score=1.5", "base.stop_at_score: 1.5 (expected 0 to 1)"},
      {"settings.base.check_every=0", "base.check_every: 0 (expected 1 or more)"},
      {"settings.base.check_examples=0", "base.check_examples: 0 (expected 1 or more)"},
      {"settings.base.minimum_steps=-1", "base.minimum_steps: -1 (expected 0 or more)"},
      {"settings.base.checkpoint_every=0", "base.checkpoint_every: 0 (expected 1 or more)"},
      {"settings.tuning.steps=-1", "tuning.steps: -1 (expected 0 or more)"},
      {"settings.tuning.batch=0", "tuning.batch: 0 (expected 1 or more)"},
      {"settings.evaluation.length=8,0", "evaluation.length: 0 (expected 1 or more)"},
      {"settings.evaluation.length=8,8", "evaluation.length: 8 twice (expected every value once)"},
      {"settings.evaluation.windows=0", "evaluation.windows: 0 (expected 1 or more)"},
      {"settings.evaluation.position_bucket=0",
       "evaluation.position_bucket: 0 (expected 1 or more)"},
      {"settings.evaluation.task_length=-8", "evaluation.task_length: -8 (expected 1 or more)"},
      {"settings.evaluation.task_length=", "evaluation.task_length: none (expected one or more"},
      {"settings.evaluation.task_depth=120", "evaluation.task_depth: 120 (expected 0 to 100)"},
      {"settings.evaluation.task_depth=-1", "evaluation.task_depth: -1 (expected 0 to 100)"},
      {"settings.evaluation.task_depth=50,50",
       "evaluation.task_depth: 50 twice (expected every value once)"},
      {"settings.evaluation={}", "evaluation.length: none (expected one or more"},
      {"settings.evaluation.task_examples=0", "evaluation.task_examples: 0 (expected 1 or more)"},
      {"settings.evaluation.stride=-1", "evaluation.stride: -1 (expected 0 or more)"},
      {"settings.evaluation.stride_windows=0", "evaluation.stride_windows: 0 (expected 1 or more)"},
      {"settings.evaluation.stream_rows=-1", "evaluation.stream_rows: -1 (expected 0 or more)"},
      {"settings.evaluation.longest_growing=-1",
       "evaluation.longest_growing: -1 (expected 0 or more)"},
      {"settings.evaluation.cell_rows=-1", "evaluation.cell_rows: -1 (expected 0 or more)"},
      {"settings.data.corpus=", "tuning.task_share: 0 (expected 1 where there is no text)"},
      {"finding.0={ statement: 's' }", "finding.id: nothing"},
      {"finding.0={ id: 'F' }", "finding 'F'.statement: nothing"},
      {"finding.0={ id: 'F' statement: 's' }", "finding 'F'.comparison: none"},
      {"finding.0={ id: 'F' statement: 's' comparison { arm: 'a' at_least: 1 } }",
       "finding 'F'.comparison.length: none"},
      {"finding.0={ id: 'F' statement: 's' comparison { arm: 'a' length: 8 } }",
       "finding 'F'.comparison.at_least: nothing"},
      {"finding.0={ id: 'F' statement: 's' comparison { length: 8 at_most: nan } }",
       "finding 'F'.comparison.bound: nan (expected a number)"},
      {"finding.0={ id: 'F' statement: 's' comparison { figure: PERPLEXITY length: 8 at_most: 0 } "
       "}",
       "finding 'F'.comparison.bound: 0 (expected more than 0)"},
      {"settings.base.course.every=0", "base.course.every: 0 (expected 1 or more)"},
      {"settings.tuning.course.length=-1", "tuning.course.length: -1 (expected 0 or more)"},
      {"settings.tuning.course.sequences=0", "tuning.course.sequences: 0 (expected 1 or more)"},
      {"settings.base.course.probe.0={ [type.googleapis.com/google.protobuf.Int64Value] {} }",
       "base.course.probe: 1 (expected none"},
      {"finding.0={ id: 'F' statement: 's' comparison { course { figure: 'f' } length: 8 at_most: "
       "1 } }",
       "finding 'F'.comparison.length: 8 (expected none beside a course)"},
      {"finding.0={ id: 'F' statement: 's' comparison { course { figure: 'f' } task: 't' at_most: "
       "1 } }",
       "finding 'F'.comparison.course.figure: 'f' (expected nothing beside a figure or a task)"},
      {"finding.0={ id: 'F' statement: 's' comparison { course { figure: 'f' } } }",
       "finding 'F'.comparison.at_least: nothing"},
      {"finding.0={ id: 'F' statement: 's' comparison { course { figure: 'f' } at_most: nan } }",
       "finding 'F'.comparison.bound: nan"},
      {"finding.0={ id: 'F' statement: 's' comparison { course { figure: 'f' within: 0 } at_most: "
       "1 } }",
       "finding 'F'.comparison.course.within: 0 (expected 1 or more)"},
      {"finding.0={ id: 'F' statement: 's' comparison { course { figure: 'f' level: inf } at_most: "
       "1 } }",
       "finding 'F'.comparison.course.level: inf"},
      {"finding.0={ id: 'F' statement: 's' comparison { course { figure: 'f' } less { level: 2 } "
       "at_most: 1 } }",
       "finding 'F'.comparison.less.figure: nothing"},
      {"finding.0={ id: 'F' statement: 's' comparison { less { figure: 'f' } length: 8 at_most: 1 "
       "} }",
       "finding 'F'.comparison.less: 'f' (expected nothing without a course"},
      {"settings.evaluation.batch_rows=0", "evaluation.batch_rows: 0 (expected 1 or more)"},
      {"name=", "name: '' (expected the name of a folder)"},
      {"name=a/b", "name: 'a/b' (expected the name of a folder)"},
      {"trained_length=0", "trained_length: 0 (expected 1 or more)"},
      {"trained_length=16", "base.length: 8 (expected trained_length of the protocol, 16)"},
      {"extended_length=16", "tuning.length: 32 (expected extended_length of the protocol, 16)"},
      {"from_scratch=true", "tuning.length: 32 (expected trained_length of the protocol, 8)"},
      {"base_seed=", "base_seed: none (expected one or more)"},
      {"base_seed=3,3", "base_seed: 3 twice (expected every value once)"},
      {"tuning_seed=", "tuning_seed: none (expected one or more)"},
      {"tuning_seed=-1", "tuning_seed: -1 (expected 0 or more)"},
      {"tuning_seed=2,1,2", "tuning_seed: 2 twice (expected every value once)"},
      {"compares=data.corpus", "compares: 'data.corpus' (expected model, tuning or a path"},
      {"compares=modelling", "compares: 'modelling' (expected model, tuning or a path"},
  };
  for (const auto& [assignment, text] : cases) {
    EXPECT_THAT(Checked(assignment), StatusIs(absl::StatusCode::kInvalidArgument, text))
        << assignment;
  }
}

TEST(CheckSettings, RefusesFurtherTasksByName) {
  StudyProtocol protocol;
  CHECK(ParseTextProto(kRunnable, "runnable", &protocol).ok());
  const auto checked = [&](const std::string& tasks) {
    StudySettings settings = protocol.settings(), more;
    CHECK(ParseTextProto(tasks, "tasks", &more).ok());
    settings.MergeFrom(more);
    return CheckSettings(settings);
  };
  const std::string task =
      "task { [type.googleapis.com/google.protobuf.Int64Value] { value: 1 } } ";
  EXPECT_THAT(checked("further_task { name: 'a' length: 8 " + task + "}"), IsOk());
  const std::pair<std::string, std::string> cases[] = {
      {"further_task { " + task + "}", "further_task.name: nothing (expected what rows"},
      {"further_task { name: 'a' }", "further_task 'a'.task: nothing (expected a task)"},
      {"further_task { name: 'a' share: -1 " + task + "}",
       "further_task 'a'.share: -1 (expected 0 or more)"},
      {"further_task { name: 'a' shortest: 0 " + task + "}",
       "further_task 'a'.shortest: 0 (expected 1 or more)"},
      {"further_task { name: 'a' length: 0 " + task + "}",
       "further_task 'a'.length: 0 (expected 1 or more)"},
      {"further_task { name: 'a' depth: 101 " + task + "}",
       "further_task 'a'.depth: 101 (expected 0 to 100)"},
      {"further_task { name: 'a' examples: 0 " + task + "}",
       "further_task 'a'.examples: 0 (expected 1 or more)"},
      {"further_task { name: 'a' " + task + "} further_task { name: 'a' " + task + "}",
       "further_task.name: 'a' twice (expected every name once)"},
  };
  for (const auto& [tasks, text] : cases)
    EXPECT_THAT(checked(tasks), StatusIs(absl::StatusCode::kInvalidArgument, text)) << tasks;
  protocol.mutable_settings()->clear_task();
  EXPECT_THAT(checked("further_task { name: 'a' " + task + "}"),
              StatusIs(absl::StatusCode::kInvalidArgument, "a task of the study before it"));
}

// A task is what a score to stop at, and nothing else, asks for.
TEST(CheckSettings, TakesStudiesWithoutATask) {
  StudyProtocol protocol;
  CHECK(ParseTextProto(kRunnable, "runnable", &protocol).ok());
  protocol.mutable_settings()->clear_task();
  EXPECT_THAT(CheckSettings(protocol.settings()),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "base.stop_at_score: 1 (expected 0 where there is no task)"));
  protocol.mutable_settings()->mutable_base()->clear_stop_at_score();
  EXPECT_THAT(CheckSettings(protocol.settings()), IsOk());
}

}  // namespace
}  // namespace longrange
