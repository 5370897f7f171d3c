// The survey's rows against what stands: which are built, equal to their reference implementations,
// and measured against their papers' claims.

#ifndef LONGRANGE_PAPERS_SCOREBOARD_H_
#define LONGRANGE_PAPERS_SCOREBOARD_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "papers/claims.pb.h"
#include "papers/survey.pb.h"
#include "papers/verification.h"

namespace longrange {

// What stands in a folder of papers.bzl.
struct PaperFacts {
  std::string id;
  std::vector<std::string> plugins;  // "mixer retnet", "position scheme alibi"
  CaseCount goldens;                 // none: no cases
  Claims claims;
  std::map<std::string, Rechecked> rechecked;  // by the claim's id
};

struct ScoreRow {
  SurveyRow survey;  // number 0: a folder beside the survey's
  bool built = false;
  PaperFacts facts;
};

struct Scoreboard {
  std::vector<ScoreRow> rows;  // the survey's in order, then the others
};

// Plugins (kind, id) by the folder that they belong to: the longest one that the id is, or starts
// with before "_". Those of no folder, such as the default backbone, are left out.
std::map<std::string, std::vector<std::string>> PluginsByFolder(
    const std::vector<std::string>& folders,
    const std::vector<std::pair<std::string, std::string>>& kinds_and_ids);

// InvalidArgument: a number or an id that is in the survey twice, or a claims file of another
// paper.
absl::StatusOr<Scoreboard> MakeScoreboard(const Survey& survey, std::vector<PaperFacts> papers);

// A line a row, and a summary; with what moved, where claims were measured anew.
std::string ScoreboardText(const Scoreboard& board);
// One self-contained HTML file.
std::string ScoreboardHtml(const Scoreboard& board);

// Does a golden case fail, or has a claim moved?
bool HasFailed(const Scoreboard& board);

}  // namespace longrange

#endif  // LONGRANGE_PAPERS_SCOREBOARD_H_
