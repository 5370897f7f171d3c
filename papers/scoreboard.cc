#include "papers/scoreboard.h"

#include <algorithm>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "common/report/html.h"
#include "common/report/table.h"

namespace longrange {
namespace {

constexpr Claim::Status kStatuses[] = {Claim::HOLDS, Claim::DOES_NOT_HOLD, Claim::NOT_VISIBLE,
                                       Claim::NOT_RUN};

std::map<Claim::Status, int> CountClaims(const Claims& claims) {
  std::map<Claim::Status, int> counts;
  for (const Claim& claim : claims.claim()) ++counts[claim.status()];
  return counts;
}

// "2 hold, 1 does not, 3 not run".
std::string ClaimsText(const std::map<Claim::Status, int>& counts) {
  std::vector<std::string> parts;
  for (const Claim::Status status : kStatuses) {
    const auto it = counts.find(status);
    if (it == counts.end()) continue;
    const char* words = status == Claim::HOLDS           ? (it->second == 1 ? "holds" : "hold")
                        : status == Claim::DOES_NOT_HOLD ? (it->second == 1 ? "does not" : "do not")
                        : status == Claim::NOT_VISIBLE   ? "not visible"
                                                         : "not run";
    parts.push_back(absl::StrCat(it->second, " ", words));
  }
  return absl::StrJoin(parts, ", ");
}

std::string GoldensText(const CaseCount& cases) {
  const int64_t all = cases.passed + cases.failed;
  return all == 0 ? "" : absl::StrCat(cases.passed, " of ", all);
}

std::string StateText(const ScoreRow& row) {
  if (!row.built) return "planned";
  const size_t plugins = row.facts.plugins.size();
  return plugins == 0   ? "built, no plugin"
         : plugins == 1 ? "built"
                        : absl::StrCat("built, ", plugins, " plugins");
}

// "Linformer, 2020", "Mega, ICLR 2023".
std::string Citation(const SurveyRow& row) {
  if (row.title().empty()) return "";
  return absl::StrCat(row.title(), ", ", row.venue(), row.venue().empty() ? "" : " ", row.year());
}

std::string Year(const SurveyRow& row) { return row.year() > 0 ? absl::StrCat(row.year()) : ""; }

// `width` characters (code points, as of "ö"): filled up with blanks, or cut short.
std::string Cut(const std::string& text, size_t width) {
  size_t count = 0, end = 0, last = 0;  // characters, bytes, where the last character begins
  while (end < text.size() && count < width) {
    last = end;
    do {
      ++end;
    } while (end < text.size() && (text[end] & 0xC0) == 0x80);
    ++count;
  }
  if (end < text.size()) return absl::StrCat(text.substr(0, last), "…");
  return absl::StrCat(text, std::string(width - count, ' '));
}

struct Sums {
  int rows = 0, built = 0, equal = 0, measured = 0, cases = 0;
  std::map<Claim::Status, int> claims;
  std::map<Rechecked::Outcome, int> rechecked;
};

Sums Summed(const Scoreboard& board) {
  Sums sums;
  for (const ScoreRow& row : board.rows) {
    const CaseCount& cases = row.facts.goldens;
    sums.cases += static_cast<int>(cases.passed);
    for (const auto& [status, count] : CountClaims(row.facts.claims)) sums.claims[status] += count;
    for (const auto& [id, rechecked] : row.facts.rechecked) ++sums.rechecked[rechecked.outcome];
    if (row.survey.number() == 0) continue;
    ++sums.rows;
    sums.built += row.built;
    sums.equal += cases.passed > 0 && cases.failed == 0;
    for (const Claim& claim : row.facts.claims.claim()) {
      if (claim.status() == Claim::NOT_RUN) continue;
      ++sums.measured;
      break;
    }
  }
  return sums;
}

std::string SummaryText(const Sums& sums) {
  return absl::StrCat("Of ", sums.rows, " rows, built: ", sums.built,
                      "; equal to their reference: ", sums.equal,
                      "; with claims measured: ", sums.measured, ".");
}

std::string RecheckSummary(const Sums& sums) {
  const auto count = [&](Rechecked::Outcome outcome) {
    const auto it = sums.rechecked.find(outcome);
    return it == sums.rechecked.end() ? 0 : it->second;
  };
  return absl::StrCat("Claims measured anew: ", count(Rechecked::kAsRecorded), " as recorded, ",
                      count(Rechecked::kMoved), " moved, ", count(Rechecked::kLeftOut),
                      " left out, ", count(Rechecked::kNoWay), " without a way to.");
}

const char* OutcomeText(Rechecked::Outcome outcome) {
  return outcome == Rechecked::kAsRecorded ? "as recorded"
         : outcome == Rechecked::kMoved    ? "MOVED"
                                           : "left out";
}

report::Verdict VerdictOf(Claim::Status status) {
  return status == Claim::HOLDS           ? report::Verdict::kHolds
         : status == Claim::DOES_NOT_HOLD ? report::Verdict::kDoesNotHold
         : status == Claim::NOT_VISIBLE   ? report::Verdict::kCannotBeSeen
                                          : report::Verdict::kNotRun;
}

}  // namespace

std::map<std::string, std::vector<std::string>> PluginsByFolder(
    const std::vector<std::string>& folders,
    const std::vector<std::pair<std::string, std::string>>& kinds_and_ids) {
  std::map<std::string, std::vector<std::string>> by_folder;
  for (const auto& [kind, id] : kinds_and_ids) {
    std::string best;
    for (const std::string& folder : folders) {
      const bool belongs = id == folder || id.rfind(folder + "_", 0) == 0;
      if (belongs && folder.size() > best.size()) best = folder;
    }
    if (!best.empty()) by_folder[best].push_back(absl::StrCat(kind, " ", id));
  }
  return by_folder;
}

absl::StatusOr<Scoreboard> MakeScoreboard(const Survey& survey, std::vector<PaperFacts> papers) {
  Scoreboard board;
  std::set<std::string> ids;
  std::set<int> numbers;
  for (const SurveyRow& row : survey.row()) {
    if (!ids.insert(row.id()).second || !numbers.insert(row.number()).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("survey: row ", row.number(), " '", row.id(), "' is there twice"));
    }
    board.rows.push_back({row});
  }
  for (PaperFacts& facts : papers) {
    if (facts.claims.paper() != facts.id) {
      return absl::InvalidArgumentError(
          absl::StrCat("papers/", facts.id, "/claims.textproto: ", "paper: '", facts.claims.paper(),
                       "' (expected the folder's name)"));
    }
    auto row = std::find_if(board.rows.begin(), board.rows.end(),
                            [&](const ScoreRow& r) { return r.survey.id() == facts.id; });
    if (row == board.rows.end()) {
      row = board.rows.insert(row, ScoreRow());
      row->survey.set_id(facts.id);
    }
    row->built = true;
    row->facts = std::move(facts);
  }
  return board;
}

std::string ScoreboardText(const Scoreboard& board) {
  std::string text;
  const auto line = [&](absl::string_view number, const std::string& id, const std::string& title,
                        const std::string& year, const std::string& state,
                        const std::string& goldens, const std::string& claims) {
    std::string row =
        absl::StrFormat("%2s  %s %s %s  %s  %s  %s", number, Cut(id, 28), Cut(title, 36),
                        Cut(year, 4), Cut(state, 18), Cut(goldens, 9), claims);
    absl::StrAppend(&text, std::string(absl::StripTrailingAsciiWhitespace(row)), "\n");
  };
  line("#", "folder", "paper", "year", "state", "reference", "claims");
  bool beside = false;
  for (const ScoreRow& row : board.rows) {
    if (row.survey.number() == 0 && !beside) {
      text += "\nBeside the survey:\n";
      beside = true;
    }
    line(row.survey.number() > 0 ? absl::StrCat(row.survey.number()) : "", row.survey.id(),
         row.survey.title(), Year(row.survey), StateText(row), GoldensText(row.facts.goldens),
         ClaimsText(CountClaims(row.facts.claims)));
  }
  const Sums sums = Summed(board);
  absl::StrAppend(&text, "\n", SummaryText(sums), "\n");
  if (sums.rechecked.empty()) return text;
  text += "\n";
  for (const ScoreRow& row : board.rows) {
    for (const auto& [id, rechecked] : row.facts.rechecked) {
      if (rechecked.outcome == Rechecked::kNoWay) continue;
      absl::StrAppendFormat(&text, "%-11s  %s/%s: %s\n", OutcomeText(rechecked.outcome),
                            row.survey.id(), id, rechecked.what);
    }
  }
  absl::StrAppend(&text, RecheckSummary(sums), "\n");
  return text;
}

std::string ScoreboardHtml(const Scoreboard& board) {
  using report::Cell;
  using report::Html;
  const Sums sums = Summed(board);
  report::Table table;
  table.caption =
      "Every row of the survey. Reference: cases of the reference implementation that pass here.";
  table.columns = {{"#"}, {"folder"}, {"paper"}, {"state"}, {"reference"}, {"claims"}};
  table.columns[0].align = report::Align::kRight;
  table.columns[2].wrap = table.columns[5].wrap = true;
  std::string family;
  for (const ScoreRow& row : board.rows) {
    std::string name = row.survey.number() > 0 ? SurveyRow::Family_Name(row.survey.family()) : "";
    name = row.survey.number() == 0 ? "beside the survey" : absl::AsciiStrToLower(name);
    report::Row cells;
    if (name != family) cells.heading = name;
    family = name;
    const std::string claims = ClaimsText(CountClaims(row.facts.claims));
    cells.cells = {row.survey.number() > 0 ? Cell(absl::StrCat(row.survey.number())) : Cell(""),
                   Cell(claims.empty() ? Html(row.survey.id())
                                       : report::Link("#" + row.survey.id(), row.survey.id())),
                   Cell(Citation(row.survey)),
                   Cell(StateText(row)),
                   row.facts.goldens.passed + row.facts.goldens.failed > 0
                       ? Cell(GoldensText(row.facts.goldens))
                       : report::Missing(),
                   claims.empty() ? report::Missing() : Cell(claims)};
    table.rows.push_back(std::move(cells));
  }

  report::Page page;
  page.title = "Scoreboard";
  page.subtitle = "What of the survey stands, and what came of its claims";
  const auto hold = sums.claims.find(Claim::HOLDS);
  page.summary = report::KeyFigures(
      {{absl::StrCat(sums.built, " of ", sums.rows), "rows built"},
       {absl::StrCat(sums.equal), "equal to their reference"},
       {absl::StrCat(sums.cases), "reference cases passed"},
       {absl::StrCat(hold == sums.claims.end() ? 0 : hold->second), "claims hold"}});
  if (!sums.rechecked.empty()) page.summary += report::Paragraph(RecheckSummary(sums));
  page.sections.push_back({"Rows", report::Render(table)});
  report::Section claims{"Claims"};
  claims.body = report::Paragraph(
      "What each paper says, and what was measured here; where the scale is not the paper's, the "
      "measurement says so.");
  page.sections.push_back(std::move(claims));
  for (const ScoreRow& row : board.rows) {
    if (row.facts.claims.claim_size() == 0) continue;
    std::vector<std::pair<Html, Html>> lines;
    for (const Claim& claim : row.facts.claims.claim()) {
      Html left = report::Strong(claim.statement());
      left += report::Note(absl::StrCat(claim.source(), ". ", claim.protocol(),
                                        ". The paper: ", claim.paper_value(), "."));
      if (!claim.measured().empty()) left += report::Note("Here: " + claim.measured() + ".");
      if (!claim.command().empty()) left += report::Note(report::Code(claim.command()));
      const auto it = row.facts.rechecked.find(claim.id());
      if (it != row.facts.rechecked.end() && it->second.outcome != Rechecked::kNoWay) {
        left += report::Note(absl::StrCat("Measured anew: ", OutcomeText(it->second.outcome), ": ",
                                          it->second.what));
      }
      lines.emplace_back(left, report::Badge(VerdictOf(claim.status())));
    }
    page.sections.push_back({row.survey.id(), report::Ledger(lines), 2, row.survey.id()});
  }
  return report::Render(page);
}

bool HasFailed(const Scoreboard& board) {
  for (const ScoreRow& row : board.rows) {
    if (row.facts.goldens.failed > 0) return true;
    for (const auto& [id, rechecked] : row.facts.rechecked)
      if (rechecked.outcome == Rechecked::kMoved) return true;
  }
  return false;
}

}  // namespace longrange
