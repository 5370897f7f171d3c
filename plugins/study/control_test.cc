// What an arm may differ in, and what the runner says of one that differs in more.

#include "plugins/study/control.h"

#include <gmock/gmock.h>
#include <google/protobuf/wrappers.pb.h>
#include <gtest/gtest.h>

#include "common/base/text_proto.h"
#include "common/testing/matchers.h"
#include "plugins/stack/stack.pb.h"

namespace longrange {
namespace {

StudyProtocol Protocol() {
  StudyProtocol protocol;
  CHECK(ParseTextProto(R"(
    compares: "model.backbone.mixer"
    compares: "tuning.steps"
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

}  // namespace
}  // namespace longrange
