#include "common/base/text_proto.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/one_line.h"
#include "common/base/text_proto_test.pb.h"
#include "common/testing/peak_memory.h"

namespace longrange {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr char kPlugin[] =
    "plugin { [type.googleapis.com/longrange.TextProtoTestPart] { rate: 0.25 } }";

TextProtoTestConfig Parsed(const std::string& text) {
  TextProtoTestConfig config;
  const absl::Status status = ParseTextProto(text, "test", &config);
  EXPECT_TRUE(status.ok()) << status;
  return config;
}

std::string ParseError(const std::string& text) {
  TextProtoTestConfig config;
  const absl::Status status = ParseTextProto(text, "f.textproto", &config);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), Not(HasSubstr("\n")));
  return std::string(status.message());
}

// The message of a refused --set; the config must not change.
std::string SetError(const std::string& text, const std::string& assignment) {
  TextProtoTestConfig config = Parsed(text);
  const absl::Status status = SetField(&config, assignment);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << assignment;
  EXPECT_EQ(config.SerializeAsString(), Parsed(text).SerializeAsString()) << assignment;
  EXPECT_THAT(std::string(status.message()),
              StartsWith(absl::StrCat("--set ", OneLine(assignment), ": ")));
  return std::string(status.message());
}

TEST(ParseTextProtoTest, SaysFileLineAndColumnOfTheFirstMistake) {
  EXPECT_EQ(ParseError("steps: 3\n  stpes: 4\n lenghts: 1"),
            "f.textproto:2:8: longrange.TextProtoTestConfig has no field 'stpes'; did you mean "
            "'steps'? (fields: steps, part, "
            "kind, lengths, arm, plugin, nested, number, word, flag, name, seed)");
  EXPECT_THAT(ParseError("steps: abc"), StartsWith("f.textproto:1:8: "));
  EXPECT_THAT(ParseError("steps: 1 steps: 2"), HasSubstr("specified multiple times"));
  EXPECT_THAT(ParseError("kind: QUICK"), HasSubstr("QUICK"));
  EXPECT_THAT(ParseError("part {"), StartsWith("f.textproto:1:7: "));
}

std::string Repeated(const std::string& piece, size_t bytes) {
  std::string text;
  while (text.size() + piece.size() <= bytes) text += piece;
  return text;
}

// What nests deeper than any config, in the ways in which a text can.
TEST(ParseTextProtoTest, RefusesDeepNesting) {
  EXPECT_THAT(ParseError(Repeated("nested{", 400000)), HasSubstr("deeper than 64"));
  EXPECT_THAT(ParseError(Repeated("nested<nested{", 400000)), HasSubstr("deeper than 64"));
  EXPECT_THAT(
      ParseError("plugin{" + Repeated("[type.googleapis.com/google.protobuf.Any]{", 400000)),
      HasSubstr("deeper than 64"));
  EXPECT_THAT(SetError("", "nested={" + Repeated("nested{", 400000)), HasSubstr("deeper than 64"));
  EXPECT_THAT(SetError("", Repeated("nested.", 400000) + "steps=1"), HasSubstr("deeper than 64"));
  // Braces in strings and comments are none; a string ends with its line.
  EXPECT_EQ(Parsed("name: '\\'" + Repeated("{", 100) + "' # " + Repeated("{", 100)).name_size(), 1);
  EXPECT_THAT(ParseError("name: '\n" + Repeated("nested{", 400000)), HasSubstr("deeper than 64"));
  EXPECT_THAT(ParseError("name: '\\\n" + Repeated("nested{", 400000)), HasSubstr("deeper than 64"));
  std::string text = "steps: 7";
  for (int i = 0; i < 64; ++i) text = absl::StrCat("nested { ", text, " }");
  EXPECT_THAT(Resolve(Parsed(text)), HasSubstr("steps: 7"));
}

// Payloads within payloads as bytes, which no parser of text sees.
TEST(ParseTextProtoTest, NestedPayloadsAsBytesAreNotFollowedForEver) {
  google::protobuf::Any any;
  for (int i = 0; i < 3000; ++i) {
    google::protobuf::Any outer;
    outer.PackFrom(any);
    any = outer;
  }
  TextProtoTestConfig config;
  *config.mutable_plugin() = any;
  const std::string resolved = Resolve(config);
  EXPECT_EQ(Resolve(Parsed(resolved)), resolved);
  EXPECT_THAT(SetError(resolved, "plugin.rate=1"), HasSubstr("deeper than 64"));
}

TEST(ParseTextProtoTest, RefusesLargeTextsAndShortensWhatItShows) {
  EXPECT_THAT(ParseError(std::string(kMaxTextProtoBytes + 1, ' ')), HasSubstr("at most 524288"));
  EXPECT_EQ(Parsed(std::string(kMaxTextProtoBytes, ' ')).steps(), 10);
  const std::string long_name(100000, 'a');
  EXPECT_LT(ParseError(long_name + ": 1").size(), 1000);
  EXPECT_LT(ParseError("kind: " + long_name).size(), 1000);
  EXPECT_THAT(ParseError("kind: \"\x01\xFF\""), Not(HasSubstr("\xFF")));
  TextProtoTestConfig config;
  const std::string error(SetField(&config, long_name + "=1\n2").message());
  EXPECT_LT(error.size(), 3000);
  EXPECT_THAT(error, Not(HasSubstr("\n")));
}

TEST(ParseTextProtoTest, TakesLittleMemory) {
  LR_SKIP_WITHOUT_PEAK_MEMORY();
  const size_t most = kMaxTextProtoBytes;
  for (const std::string& text :
       {Repeated("arm{}", most), Repeated("arm{label:''}", most), Repeated("lengths:1 ", most),
        Repeated("name:''", most), Repeated("nested{", most),
        "arm{label:'" + std::string(most - 20, 'a') + "'}"}) {
    SCOPED_TRACE(text.substr(0, 20));
    const int64_t peak = PeakMemoryOf([&] {
      TextProtoTestConfig config;
      if (ParseTextProto(text, "test", &config).ok()) Resolve(config);
    });
    EXPECT_LE(peak, MaxReadingMemory(static_cast<int64_t>(text.size())));
  }
}

TEST(ParseTextProtoTest, NamesAnUnknownPluginAndItsNeighbour) {
  EXPECT_THAT(ParseError("\nplugin { [type.googleapis.com/longrange.TextProtoTestPrat] {} }"),
              testing::AllOf(StartsWith("f.textproto:2:"),
                             HasSubstr("no message 'longrange.TextProtoTestPrat' in this program"),
                             HasSubstr("did you mean 'longrange.TextProtoTestPart'")));
  EXPECT_THAT(ParseError("plugin { [type.googleapis.com/longrange.TextProtoTestPart] { rat: 1 } }"),
              HasSubstr("has no field 'rat'; did you mean 'rate'?"));
}

TEST(ParseTextProtoTest, ReadsFiles) {
  const std::string path = absl::StrCat(testing::TempDir(), "/text_proto_test.", getpid());
  std::ofstream(path) << "steps: 7\n";
  const absl::StatusOr<TextProtoTestConfig> config = ParseTextProtoFile<TextProtoTestConfig>(path);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->steps(), 7);
  std::ofstream(path) << "steps: 7 }";
  EXPECT_THAT(std::string(ParseTextProtoFile<TextProtoTestConfig>(path).status().message()),
              StartsWith(absl::StrCat(path, ":1:10: ")));
  unlink(path.c_str());
  const absl::Status missing = ParseTextProtoFile<TextProtoTestConfig>(path).status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr(path));
}

TEST(ResolveTest, WritesDefaultsInOrderOfNumbers) {
  EXPECT_EQ(Resolve(TextProtoTestConfig()), R"(part {
  rate: 0.5
  label: "none"
}
kind: FAST
steps: 10
flag: false
seed: 0
)");
}

TEST(ResolveTest, WritesPayloadsListsAndChoices) {
  EXPECT_EQ(
      Resolve(Parsed(absl::StrCat(
          "lengths: 8 lengths: 4 arm { label: 'x' } word: 'w' nested { steps: 1 } ", kPlugin))),
      R"(part {
  rate: 0.5
  label: "none"
}
kind: FAST
steps: 10
lengths: 8
lengths: 4
arm {
  rate: 0.5
  label: "x"
}
plugin {
  [type.googleapis.com/longrange.TextProtoTestPart] {
    rate: 0.25
    label: "none"
  }
}
nested {
  part {
    rate: 0.5
    label: "none"
  }
  kind: FAST
  steps: 1
  flag: false
  seed: 0
}
word: "w"
flag: false
seed: 0
)");
}

TEST(ResolveTest, ParsesBackAndIsStable) {
  const std::string text = Resolve(Parsed(
      absl::StrCat("part { rate: 0.1 } lengths: 3 nested { nested { steps: 2 } } ", kPlugin)));
  EXPECT_EQ(Resolve(Parsed(text)), text);
  // A default that is written out is the same config.
  EXPECT_EQ(Resolve(Parsed("steps: 10 part {}")), Resolve(TextProtoTestConfig()));
  EXPECT_NE(Resolve(Parsed("steps: 11")), Resolve(TextProtoTestConfig()));
}

TEST(ResolveTest, KeepsAPayloadOfAnUnknownType) {
  TextProtoTestConfig config;
  config.mutable_plugin()->set_type_url("type.googleapis.com/elsewhere.Config");
  config.mutable_plugin()->set_value("\001");
  EXPECT_THAT(
      Resolve(config),
      HasSubstr(
          "plugin {\n  type_url: \"type.googleapis.com/elsewhere.Config\"\n  value: \"\\001\"\n}"));
}

TEST(SetFieldTest, SetsEveryKindOfField) {
  TextProtoTestConfig config =
      Parsed(absl::StrCat("lengths: 1 arm {} name: 'n' number: 4 ", kPlugin));
  const absl::Status status = SetFields(
      &config, {"steps=-7", "kind=SLOW", "part.rate=1e-3", "flag=true", "nested.nested.steps=5",
                "lengths=128,256,512", "lengths.1=200", "arm.0.label=a=b, c", "arm.1.rate=2",
                "name.1=two words", "word=w", "plugin.rate=0.75", "seed=4294967295"});
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(config.steps(), -7);
  EXPECT_EQ(config.kind(), TextProtoTestConfig::SLOW);
  EXPECT_EQ(config.part().rate(), 1e-3);
  EXPECT_TRUE(config.flag());
  EXPECT_EQ(config.nested().nested().steps(), 5);
  EXPECT_THAT(config.lengths(), ElementsAre(128, 200, 512));
  EXPECT_EQ(config.arm(0).label(), "a=b, c");
  EXPECT_EQ(config.arm(1).rate(), 2);
  EXPECT_THAT(config.name(), ElementsAre("n", "two words"));
  EXPECT_EQ(config.word(), "w");
  EXPECT_FALSE(config.has_number());
  EXPECT_EQ(config.seed(), 4294967295u);
  TextProtoTestPart plugin;
  ASSERT_TRUE(config.plugin().UnpackTo(&plugin));
  EXPECT_EQ(plugin.rate(), 0.75);
}

TEST(SetFieldTest, ReplacesMessagesAndLists) {
  TextProtoTestConfig config =
      Parsed("part { label: 'old' } lengths: 1 arm { label: 'old' } arm { label: 'kept' }");
  ASSERT_TRUE(
      SetFields(&config,
                {"part={ rate: 3 }", "lengths=", "arm.0={ rate: 4 }",
                 "plugin={ [type.googleapis.com/longrange.TextProtoTestPart] { label: 'p' } }"})
          .ok());
  EXPECT_EQ(config.part().rate(), 3);
  EXPECT_EQ(config.part().label(), "none");
  EXPECT_THAT(config.lengths(), ElementsAre());
  ASSERT_EQ(config.arm_size(), 2);
  EXPECT_EQ(config.arm(0).rate(), 4);
  EXPECT_EQ(config.arm(0).label(), "none");
  EXPECT_EQ(config.arm(1).label(), "kept");
  TextProtoTestPart plugin;
  ASSERT_TRUE(config.plugin().UnpackTo(&plugin));
  EXPECT_EQ(plugin.label(), "p");
}

TEST(SetFieldTest, RefusesWhatItCannotDo) {
  EXPECT_THAT(SetError("", "part.rat=1"),
              HasSubstr("longrange.TextProtoTestPart has no field 'rat'; did you mean 'rate'? "
                        "(fields: rate, label)"));
  EXPECT_THAT(SetError("", "steps=1e3"), HasSubstr("expected an integer, got '1e3'"));
  EXPECT_THAT(SetError("", "steps=5 seed: 3"), HasSubstr("expected an integer"));
  EXPECT_THAT(SetError("", "steps="), HasSubstr("expected an integer, got ''"));
  EXPECT_THAT(SetError("", "seed=-1"), HasSubstr("expected an integer of 0 or more"));
  EXPECT_THAT(SetError("", "kind=FASTER"),
              HasSubstr("expected SLOW or FAST, got 'FASTER'; did you mean 'FAST'?"));
  EXPECT_THAT(SetError("", "steps.more=1"),
              HasSubstr("'steps' is an integer and has no field 'more'"));
  EXPECT_THAT(SetError("", "part=3"),
              HasSubstr("expected { ... } with a longrange.TextProtoTestPart"));
  EXPECT_THAT(SetError("", "part={ rat: 1 }"),
              HasSubstr("has no field 'rat'; did you mean 'rate'?"));
  EXPECT_THAT(SetError("lengths: 1", "lengths.2=5"), HasSubstr("expected an index from 0 to 1"));
  EXPECT_THAT(SetError("lengths: 1", "lengths=2,x"), HasSubstr("got 'x'"));
  EXPECT_THAT(SetError("", "arm={}"), HasSubstr("'arm' is a list; give an index: arm.0"));
  EXPECT_THAT(SetError("", "plugin.rate=1"), HasSubstr("'plugin' is not set"));
  EXPECT_THAT(SetError(kPlugin, "plugin.rates=1"), HasSubstr("did you mean 'rate'?"));
  EXPECT_THAT(SetError("", "steps"), HasSubstr("expected path.to.field=value"));
  EXPECT_THAT(SetError("", "=3"), HasSubstr("expected path.to.field=value"));
  EXPECT_THAT(SetError("", "part..rate=3"), HasSubstr("has no field ''"));
}

TEST(HashTest, IsXxh3) {
  EXPECT_EQ(Hash(""), "2d06800538d394c2");  // of the specification's test vectors
  EXPECT_NE(Hash("steps: 1"), Hash("steps: 2"));
}

}  // namespace
}  // namespace longrange
