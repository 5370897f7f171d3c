// bazel run //papers:scoreboard [-- --verify=fast] [--html=FILE]: what of the survey stands.

#include <glog/logging.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <regex>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/command_line.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "common/base/text_proto.h"
#include "common/io/atomic_file.h"
#include "common/io/rows.h"
#include "papers/claim_figure.h"
#include "papers/scoreboard.h"
#include "plugins/backbone.h"
#include "plugins/golden/golden_adapter.h"
#include "plugins/position.h"
#include "plugins/probe.h"
#include "plugins/study/findings.h"
#include "plugins/task.h"

DEFINE_string(html, "", "Also write the scoreboard to this file");
DEFINE_string(verify, "none",
              "Measure claims anew: 'fast' those of two minutes or less, 'all' the studies too");

namespace longrange {
namespace {

constexpr double kFastSeconds = 120;

template <typename Kind>
void AddPlugins(std::vector<std::pair<std::string, std::string>>* plugins) {
  for (const std::string& id : Registry<Kind>::Get().Ids())
    plugins->emplace_back(Kind::kKindName, id);
}

absl::StatusOr<CaseCount> CountCases(const std::string& dir) {
  LR_ASSIGN_OR_RETURN(const std::string path, RunfilePath(dir));
  std::ostringstream lines;
  LR_ASSIGN_OR_RETURN(const GoldenTotals totals, RunGoldens(path, {}, lines));
  if (totals.failed > 0) std::fputs(lines.str().c_str(), stderr);
  return CaseCount{totals.passed, totals.failed};
}

Claim::Status StatusOf(report::Verdict verdict) {
  switch (verdict) {
    case report::Verdict::kHolds:
      return Claim::HOLDS;
    case report::Verdict::kDoesNotHold:
      return Claim::DOES_NOT_HOLD;
    case report::Verdict::kCannotBeSeen:
      return Claim::NOT_VISIBLE;
    case report::Verdict::kNotRun:
      return Claim::NOT_RUN;
  }
  LOG(FATAL) << "unknown verdict";
}

// Runs a study from nothing in a process of its own; a paper sees no study.
absl::StatusOr<std::map<std::string, Claim::Status>> RunStudyAnew(const std::string& study,
                                                                  const std::string& preset) {
  const char* workspace = std::getenv("BUILD_WORKSPACE_DIRECTORY");
  if (workspace == nullptr)
    return absl::FailedPreconditionError("a study is run by bazel run //papers:scoreboard only");
  if (!std::regex_match(study, std::regex("experiments/[a-z0-9_]+|papers/[a-z0-9_]+:[a-z0-9_]+"))) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", study, "' is no study (expected 'experiments/NAME' or 'papers/PAPER:NAME')"));
  }
  if (!std::regex_match(preset, std::regex("[a-z0-9_]*")))
    return absl::InvalidArgumentError(absl::StrCat("'", preset, "' is no name of a preset"));
  const std::string place = absl::StrCat(".out/verify/", absl::StrReplaceAll(study, {{":", "/"}}),
                                         preset.empty() ? "" : "-", preset);
  const std::string out = absl::StrCat(workspace, "/", place);
  LR_RETURN_IF_ERROR(RemoveAll(out));
  const std::string program = absl::StrCat("//", study, " -- --preset=", preset);
  std::fprintf(stderr, "running %s\n", program.c_str());
  const std::string command = absl::StrCat("cd \"$BUILD_WORKSPACE_DIRECTORY\" && bazel run ",
                                           program, " --out=", place, " >&2");
  if (const int code = std::system(command.c_str()); code != 0)
    return absl::InternalError(absl::StrCat("//", study, " failed with code ", code));
  LR_ASSIGN_OR_RETURN(const std::vector<Row> rows, ReadRows(out + "/rows.jsonl"));
  LR_ASSIGN_OR_RETURN(const std::vector<Row> records, ReadRows(out + "/runs.jsonl"));
  LR_ASSIGN_OR_RETURN(const StudyResults results, ReadStudy(rows, records));
  std::map<std::string, Claim::Status> verdicts;
  for (const Finding& finding : StudyFindings(results))
    verdicts[finding.id] = StatusOf(finding.verdict);
  return verdicts;
}

Measures RealMeasures() {
  Measures measures;
  measures.figure = [](const std::string& paper, const std::string& figure) {
    return MeasureClaimFigure(paper, figure);
  };
  measures.goldens = CountCases;
  // One run answers all claims on a study.
  measures.study =
      [done = std::map<std::string, absl::StatusOr<std::map<std::string, Claim::Status>>>()](
          const std::string& study, const std::string& preset) mutable {
        const std::string key = absl::StrCat(study, " ", preset);
        const auto it = done.find(key);
        return it != done.end() ? it->second
                                : done.emplace(key, RunStudyAnew(study, preset)).first->second;
      };
  return measures;
}

absl::StatusOr<Scoreboard> Collect(double most_seconds) {
  Survey survey;
  LR_ASSIGN_OR_RETURN(const std::string survey_file, RunfilePath("papers/survey.textproto"));
  LR_RETURN_IF_ERROR(ParseTextProtoFile(survey_file, &survey));
  const std::vector<std::string> folders = {LR_PAPERS};
  std::vector<std::pair<std::string, std::string>> plugins;
  AddPlugins<Mixer>(&plugins);
  AddPlugins<Backbone>(&plugins);
  AddPlugins<PositionScheme>(&plugins);
  AddPlugins<AttentionRule>(&plugins);
  AddPlugins<Task>(&plugins);
  AddPlugins<Probe>(&plugins);
  std::map<std::string, std::vector<std::string>> by_folder = PluginsByFolder(folders, plugins);

  const Measures measures = RealMeasures();
  std::vector<PaperFacts> papers;
  for (const std::string& folder : folders) {
    PaperFacts facts;
    facts.id = folder;
    facts.plugins = by_folder[folder];
    const std::string dir = absl::StrCat("papers/", folder);
    LR_ASSIGN_OR_RETURN(const std::string claims, RunfilePath(dir + "/claims.textproto"));
    LR_RETURN_IF_ERROR(ParseTextProtoFile(claims, &facts.claims));
    if (RunfilePath(dir + "/goldens").ok()) {
      LR_ASSIGN_OR_RETURN(facts.goldens, CountCases(dir + "/goldens"));
    }
    if (most_seconds > 0) {
      for (const Claim& claim : facts.claims.claim())
        facts.rechecked[claim.id()] = Recheck(folder, claim, most_seconds, measures);
    }
    papers.push_back(std::move(facts));
  }
  return MakeScoreboard(survey, std::move(papers));
}

}  // namespace
}  // namespace longrange

int main(int argc, char** argv) {
  bool failed = false;
  const int code = longrange::Main(
      argc, argv,
      {"What of the survey stands: for each row, whether it is built, how many cases of its "
       "reference implementation it passes, and what came of its paper's claims.\n"
       "Exits 1 where a case fails or a claim has moved.",
       {{"Scoreboard", {"html", "verify"}}, {"Run", {"threads"}}},
       {{"verify", {"none", "fast", "all"}}}},
      [&](const longrange::CommandLine&) -> absl::Status {
        const double most_seconds = FLAGS_verify == "none"   ? 0
                                    : FLAGS_verify == "fast" ? longrange::kFastSeconds
                                                             : INFINITY;
        LR_ASSIGN_OR_RETURN(const longrange::Scoreboard board, longrange::Collect(most_seconds));
        std::fputs(longrange::ScoreboardText(board).c_str(), stdout);
        failed = longrange::HasFailed(board);
        if (FLAGS_html.empty()) return absl::OkStatus();
        const std::string file = longrange::UserPath(FLAGS_html);
        LR_RETURN_IF_ERROR(longrange::WriteFileAtomically(file, longrange::ScoreboardHtml(board)));
        std::printf("\n%s\n", file.c_str());
        return absl::OkStatus();
      });
  return code == 0 && failed ? 1 : code;
}
