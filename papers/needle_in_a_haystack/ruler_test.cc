// Prompts of RULER's needle family: wording, and reading back what is hidden and asked. Samples of
// the original are held against by the golden cases (//papers:goldens_test).

#include "papers/needle_in_a_haystack/ruler.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/testing/matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace longrange::needle_in_a_haystack {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

RulerTask Task(const std::string& name) { return *FindRulerTask(name); }

std::string Needle(const std::string& key, const std::string& value) {
  return RulerNeedleText(RulerWord::kNumbers, {key, value});
}

std::string MultiQuery() {
  return RulerPrompt(
      Task("niah_multiquery"),
      absl::StrCat("It rained. ", Needle("a-b", "1000001"), " ", Needle("c-d", "1000002"),
                   " We left. ", Needle("e-f", "1000003"), " ", Needle("g-h", "1000004")),
      {"c-d", "a-b", "g-h", "e-f"});
}

TEST(RulerTest, Wording) {
  EXPECT_EQ(Needle("old-cat", "1234567"),
            "One of the special magic numbers for old-cat is: 1234567.");
  EXPECT_EQ(RulerPrompt(Task("niah_single_3"), "Text.", {"old-cat"}),
            "A special magic uuid is hidden within the following text. Make sure to memorize it. I "
            "will quiz you about the uuid afterwards.\nText.\nWhat is the special magic uuid for "
            "old-cat mentioned in the provided text? The special magic uuid for old-cat mentioned "
            "in the provided text is");
  EXPECT_EQ(RulerPrompt(Task("niah_multivalue"), "Text.", {"old-cat"}),
            "Some special magic numbers are hidden within the following text. Make sure to "
            "memorize it. I will quiz you about the numbers afterwards.\nText.\nWhat are all the "
            "special magic numbers for old-cat mentioned in the provided text? The special magic "
            "numbers for old-cat mentioned in the provided text are");
  EXPECT_THAT(MultiQuery(), HasSubstr("numbers for c-d, a-b, g-h, and e-f mentioned"));
}

TEST(RulerTest, ReadsWhatIsHiddenAndAsked) {
  LR_ASSERT_OK_AND_ASSIGN(const RulerSample sample,
                          ReadRulerPrompt(Task("niah_multiquery"), MultiQuery()));
  EXPECT_THAT(sample.queries, ElementsAre("c-d", "a-b", "g-h", "e-f"));
  EXPECT_THAT(sample.ValuesOf("c-d"), ElementsAre("1000002"));
  EXPECT_EQ(sample.needles.size(), 4u);
  EXPECT_EQ(sample.needles[3].key, "g-h");
}

TEST(RulerTest, EveryTaskReadsItsOwnPrompt) {
  const std::string uuid = "972a8469-1641-4f82-8b9d-2434e465e150";
  for (const RulerTask& task : RulerTasks()) {
    std::vector<std::string> lines, keys;
    for (int64_t k = 0; k < task.keys; ++k) {
      keys.push_back(task.key == RulerWord::kUuids ? uuid : absl::StrCat("key-", k));
      for (int64_t v = 0; v < task.values; ++v) {
        const RulerNeedle needle = {
            keys.back(), task.value == RulerWord::kUuids ? uuid : absl::StrCat(1234567 + v)};
        if (task.haystack == RulerHaystack::kRepeat) lines.emplace_back(RulerFiller());
        if (task.haystack == RulerHaystack::kEssay) lines.emplace_back("A sentence.");
        lines.push_back(RulerNeedleText(task.value, needle));
      }
    }
    std::string context;
    for (const std::string& line : lines)
      absl::StrAppend(&context, context.empty() ? "" : "\n", line);
    keys.resize(static_cast<size_t>(task.queries));
    EXPECT_THAT(ReadRulerPrompt(task, RulerPrompt(task, context, keys)), IsOk()) << task.name;
  }
}

TEST(RulerTest, WhatIsNoPromptOfTheTaskIsRefused) {
  const std::pair<std::pair<const char*, const char*>, const char*> edits[] = {
      {{"Some special", "Many special"}, "no instruction and question"},
      {{"What are all", "Where are all"}, "no instruction and question"},
      {{"provided text are", "provided text is"}, "its question does not end"},
      {{"and e-f", "and x-y"}, "asks for 'x-y', which is not in the context"},
      {{"and e-f", "and a-b"}, "asks for 'a-b' twice"},
      {{"g-h, and e-f", "and g-h"}, "asks for 3 keys (expected 4)"},
      {{"numbers for a-b is: ", "words for a-b is: "},
       "expected \"One of the special magic numbers"},
      {{"1000003", "100003"}, "value '100003' (expected numbers)"},
      {{"1000003", "0000003"}, "value '0000003' (expected numbers)"},
      {{"for e-f is", "for ef is"}, "key 'ef' (expected words)"},
      {{"for e-f is", "for a-b is"}, "hides 3 keys (expected 4)"},
      {{"It rained. ", "One of the special magic numbers for a-b is: 1000009."},
       "key 'a-b' has 2 values (expected 1)"},
  };
  for (const auto& [edit, message] : edits) {
    const std::string prompt = absl::StrReplaceAll(MultiQuery(), {edit});
    ASSERT_NE(prompt, MultiQuery());
    EXPECT_THAT(ReadRulerPrompt(Task("niah_multiquery"), prompt),
                StatusIs(absl::StatusCode::kInvalidArgument, message));
  }
  EXPECT_THAT(ReadRulerPrompt(Task("niah_multikey_1"), ""),
              StatusIs(absl::StatusCode::kInvalidArgument, "no instruction"));
  const auto read = [](const std::string& task, const std::string& context) {
    return ReadRulerPrompt(Task(task), RulerPrompt(Task(task), context, {"a-b"})).status();
  };
  const std::string needle = Needle("a-b", "1000001"), filler(RulerFiller());
  EXPECT_THAT(read("niah_single_1", filler + "\n" + needle), IsOk());
  EXPECT_THAT(read("niah_single_1", "Grass.\n" + needle),
              StatusIs(absl::StatusCode::kInvalidArgument, "line \"Grass.\""));
  EXPECT_THAT(read("niah_single_1", needle),
              StatusIs(absl::StatusCode::kInvalidArgument, "no line of the filler"));
  EXPECT_THAT(read("niah_single_2", needle),
              StatusIs(absl::StatusCode::kInvalidArgument, "no text around"));
  EXPECT_THAT(read("niah_multikey_2", filler + "\n" + needle),
              StatusIs(absl::StatusCode::kInvalidArgument, "expected needles only"));
  EXPECT_THAT(FindRulerTask("vt"),
              StatusIs(absl::StatusCode::kNotFound, "task: 'vt' (expected one of niah_single_1, "));
}

}  // namespace
}  // namespace longrange::needle_in_a_haystack
