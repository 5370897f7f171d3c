#include "common/base/trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/base/paths.h"

namespace longrange {
namespace {

nlohmann::json Events(const std::string& path) {
  const nlohmann::json events =
      nlohmann::json::parse(ReadWholeFile(path).value_or(""), nullptr, /*allow_exceptions=*/false);
  EXPECT_TRUE(events.is_array());
  return events;
}

TEST(Trace, SpansNestAndKnowTheirThread) {
  const std::string path = absl::StrCat(testing::TempDir(), "/trace.json");
  { const TraceSpan before("before the trace"); }
  ASSERT_TRUE(StartTrace(path, "a \"test\"\n").ok());
  EXPECT_EQ(StartTrace(path, "again").code(), absl::StatusCode::kFailedPrecondition);
  {
    const TraceSpan outer("outer", TraceSpan::kPhase);
    { const TraceSpan inner("inner"); }
    std::thread([] { const TraceSpan other("other", TraceSpan::kOperation); }).join();
  }
  ASSERT_TRUE(StopTrace().ok());
  { const TraceSpan after("after the trace"); }
  std::map<std::string, nlohmann::json> spans;
  for (const nlohmann::json& event : Events(path)) {
    EXPECT_EQ(event["pid"], 1);
    if (event["ph"] == "M") {
      EXPECT_EQ(event["name"], "process_name");
      EXPECT_EQ(event["args"]["name"], "a \"test\" ");
      continue;
    }
    EXPECT_EQ(event["ph"], "X");
    spans[event["name"]] = event;
  }
  ASSERT_EQ(spans.size(), 3u);
  EXPECT_EQ(spans["outer"]["cat"], "phase");
  EXPECT_EQ(spans["inner"]["cat"], "kernel");
  EXPECT_EQ(spans["other"]["cat"], "operation");
  EXPECT_EQ(spans["outer"]["tid"], spans["inner"]["tid"]);
  EXPECT_NE(spans["outer"]["tid"], spans["other"]["tid"]);
  const auto end = [&](const char* name) {
    return spans[name]["ts"].get<double>() + spans[name]["dur"].get<double>();
  };
  constexpr double kRounding = 0.002;  // of times in microseconds
  for (const char* name : {"inner", "other"}) {
    EXPECT_GE(spans[name]["ts"].get<double>(), spans["outer"]["ts"].get<double>());
    EXPECT_LE(end(name), end("outer") + kRounding);
  }
  EXPECT_GE(spans["outer"]["ts"].get<double>(), 0);
}

TEST(Trace, TheFileIsWholeAtAnyTimeAndBounded) {
  const std::string path = absl::StrCat(testing::TempDir(), "/long.json");
  ASSERT_TRUE(StartTrace(path, "test", 30000).ok());
  EXPECT_EQ(Events(path).size(), 1u);
  for (int i = 0; i < 20000; ++i) const TraceSpan span("kernel");
  const size_t some = Events(path).size();  // as after a kill
  EXPECT_GT(some, 1000u);
  EXPECT_LT(some, 20001u);
  for (int i = 20000; i < 30005; ++i) const TraceSpan span("kernel");
  { const TraceSpan phase("phase", TraceSpan::kPhase); }
  ASSERT_TRUE(StopTrace().ok());
  const std::string text = ReadWholeFile(path).value_or("");
  const nlohmann::json events = Events(path);
  EXPECT_EQ(events.size(), 1u + 30000 + 1 + 1);
  EXPECT_EQ(events[events.size() - 2]["name"], "phase");
  EXPECT_EQ(events.back()["name"], "5 spans of kernels and operations were left out");
}

TEST(Trace, SaysWhatCannotBeWritten) {
  const absl::Status status = StartTrace(absl::StrCat(testing::TempDir(), "/missing/t.json"), "x");
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(StopTrace().ok());
#ifdef __linux__
  ASSERT_TRUE(StartTrace("/dev/full", "x").ok());
  EXPECT_FALSE(StopTrace().ok());
#endif
}

}  // namespace
}  // namespace longrange
