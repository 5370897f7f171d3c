// Words and figures of a study's report, and its settings as the rows tell them.

#ifndef LONGRANGE_PLUGINS_STUDY_REPORT_WORDS_H_
#define LONGRANGE_PLUGINS_STUDY_REPORT_WORDS_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "plugins/study/results.h"

namespace longrange::study_report {

// "1 arm", "1,200 arms".
std::string Plural(int64_t count, absl::string_view one, absl::string_view many);
// "a, b and c".
std::string Joined(const std::vector<std::string>& parts);
std::string JoinedNumbers(const std::vector<int64_t>& numbers);
std::string JoinNonEmpty(const std::vector<std::string>& parts, absl::string_view separator);
// "0.50 ± 0.02".
std::string PlusMinus(const StudyEstimate& estimate, int digits);
std::string Seconds(double seconds);
std::string Bytes(double bytes);
// "multi_key" -> "multi key".
std::string TaskTitle(absl::string_view task);

// "over tuning seeds"; over `sample` where there is one run.
std::string SpreadText(StudySpread spread, absl::string_view sample);
// What the spreads of these arms are over: "over windows for frozen arms, over tuning seeds for
// tuned ones".
std::string SpreadsText(const std::vector<StudyArmResults>& arms, absl::string_view sample);
std::vector<int64_t> TuningSeeds(const StudyResults& study);

// The text of Resolve() as "path: value", steps as in StudyProtocol.compares, lists joined by
// commas.
class Config {
 public:
  explicit Config(absl::string_view text);

  // "" where there is none.
  std::string Text(const std::string& path) const;
  double Number(const std::string& path) const;
  // Value with a word before and after it, or "" where there is none or it is 0.
  std::string Phrase(absl::string_view before, const std::string& path,
                     absl::string_view after) const;

 private:
  std::map<std::string, std::string> values_;
};

}  // namespace longrange::study_report

#endif  // LONGRANGE_PLUGINS_STUDY_REPORT_WORDS_H_
