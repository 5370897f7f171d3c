#include "experiments/long_range_arena/page.h"

#include <cmath>

#include "common/report/xml_checker.h"
#include "common/testing/matchers.h"

namespace longrange {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

ArenaScore Score(double value, double error, bool above) {
  ArenaScore score;
  score.score.value = value;
  score.score.error = error;
  score.above_chance = above;
  score.parameters = 1000;
  return score;
}

// Two mixers, of which one cannot serve the second task, which is a stand-in.
ArenaResults Results() {
  ArenaResults results;
  results.preset = "quick";
  results.threads = 2;
  ArenaMixerResult full, other;
  full.name = "transformer";
  full.label = "transformer";
  full.published = {{"listops", 36.37}, {"path_x", std::nan("")}};
  full.published_average = 54.39;
  full.published_in = "Table 1";
  other.name = other.label = "line & <linear>";
  results.mixers = {full, other};
  ArenaTaskResult listops, text, path_x;
  listops.name = "listops";
  listops.title = "ListOps";
  listops.folder = "listops";
  listops.chance = 0.1;
  listops.scores["transformer"] = Score(0.3, 0.01, true);
  listops.scores[other.name] = Score(0.4, 0.01, true);
  text.name = "text";
  text.title = "Text";
  text.chance = 0.5;
  text.stand_in = true;
  text.data = "a stand-in: passages";
  text.scores["transformer"] = Score(0.6, 0.02, true);
  text.unserved[other.name] = "pooling: CLS";
  path_x.name = "path_x";
  path_x.title = "Path-X";
  path_x.chance = 0.5;
  path_x.in_average = false;
  path_x.scores["transformer"] = Score(0.5, 0.02, false);
  results.tasks = {listops, text, path_x};
  results.left = {"Image"};
  results.speed = {{"transformer", 1024, 0.1, 0.1, 100 << 20, 1e9},
                   {"transformer", 4096, 1.2, 1.1, 400 << 20, 12e9},
                   {other.name, 1024, 0.1, 0.1, 100 << 20, 1e9},
                   {other.name, 4096, 0.4, 0.4, 410 << 20, 4e9}};
  return results;
}

const ArenaFinding* Find(const std::vector<ArenaFinding>& findings, const std::string& id) {
  for (const ArenaFinding& finding : findings)
    if (finding.id == id) return &finding;
  return nullptr;
}

TEST(ArenaPage, SaysWhatWasMeasured) {
  const std::string page = ArenaPage(Results());
  const report::XmlReport xml = report::CheckXml(page.substr(page.find("<html")));
  EXPECT_EQ(xml.error, "");
  EXPECT_THAT(page, HasSubstr("line &amp; &lt;linear&gt;"));
  EXPECT_THAT(page, HasSubstr("Text*"));
  EXPECT_THAT(page, HasSubstr("does not serve “Text”: pooling: CLS."));
  EXPECT_THAT(page, HasSubstr("“Image” is not run in the preset “quick”."));
  EXPECT_THAT(page, HasSubstr("Not the benchmark’s data: Text (a stand-in: passages)."));
  EXPECT_THAT(page, HasSubstr("No better than a guess, by two standard errors: transformer on "
                              "“Path-X”."));
  EXPECT_THAT(page, HasSubstr("href=\"listops/report.html\""));
  // Nothing but a table without results, nothing but speed: pages too.
  ArenaResults less = Results();
  less.speed.clear();
  EXPECT_EQ(report::CheckXml(ArenaPage(less).substr(page.find("<html"))).error, "");
  less = Results();
  less.tasks.clear();
  EXPECT_EQ(report::CheckXml(ArenaPage(less).substr(page.find("<html"))).error, "");
}

// As in the paper Path-X does not count, and who lacks a task has no average.
TEST(ArenaPage, Averages) {
  EXPECT_DOUBLE_EQ(AverageScore(Results(), "transformer"), 0.45);
  EXPECT_TRUE(std::isnan(AverageScore(Results(), "line & <linear>")));
}

TEST(ArenaPage, Findings) {
  const std::vector<ArenaFinding> findings = ArenaFindings(Results());
  EXPECT_EQ(Find(findings, "learnt/listops")->verdict, report::Verdict::kHolds);
  EXPECT_EQ(Find(findings, "learnt/path_x")->verdict, report::Verdict::kCannotBeSeen);
  EXPECT_EQ(Find(findings, "time/transformer")->verdict, report::Verdict::kHolds);  // 12 times
  EXPECT_EQ(Find(findings, "time/line & <linear>")->verdict, report::Verdict::kHolds);
  EXPECT_EQ(Find(findings, "memory/transformer")->verdict, report::Verdict::kHolds);
  ArenaResults slower = Results();
  slower.speed[3].seconds = 0.6;  // six times, of work that is four times
  slower.speed[1].peak_bytes *= 3;
  slower.tasks[0].scores["transformer"].above_chance = false;
  const std::vector<ArenaFinding> other = ArenaFindings(slower);
  EXPECT_EQ(Find(other, "time/line & <linear>")->verdict, report::Verdict::kDoesNotHold);
  EXPECT_EQ(Find(other, "memory/transformer")->verdict, report::Verdict::kDoesNotHold);
  EXPECT_EQ(Find(other, "learnt/listops")->verdict, report::Verdict::kDoesNotHold);
  slower.speed[1].seconds = 0.4;  // four times, of work that is twelve
  EXPECT_EQ(Find(ArenaFindings(slower), "time/transformer")->verdict,
            report::Verdict::kDoesNotHold);
}

TEST(ArenaPage, Text) {
  const std::string text = ArenaText(Results());
  EXPECT_THAT(text,
              HasSubstr("transformer              30.0         60.0         50.0         45.0\n"));
  EXPECT_THAT(text, HasSubstr("* Text: a stand-in: passages\n"));
  EXPECT_THAT(text, HasSubstr("10.00   100.0"));
}

TEST(ArenaPage, RowsReadBack) {
  const std::vector<SpeedRow> speed = Results().speed;
  LR_ASSERT_OK_AND_ASSIGN(const std::vector<SpeedRow> again, ParseSpeedRows(SpeedRows(speed)));
  ASSERT_EQ(again.size(), speed.size());
  for (size_t i = 0; i < speed.size(); ++i) {
    EXPECT_EQ(again[i].mixer, speed[i].mixer);
    EXPECT_EQ(again[i].seconds, speed[i].seconds);
    EXPECT_EQ(again[i].peak_bytes, speed[i].peak_bytes);
  }
  EXPECT_THAT(ParseSpeedRows({Row().Set("mixer", "x")}).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, "length"));
  int64_t scores = 0;
  for (const Row& row : ArenaRows(Results())) scores += row.String("kind").value() == "score";
  EXPECT_EQ(scores, 4);
}

}  // namespace
}  // namespace longrange
