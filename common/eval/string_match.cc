#include "common/eval/string_match.h"

#include <glog/logging.h>

#include <functional>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace longrange::eval {
namespace {

absl::StatusOr<double> MeanPercent(const std::vector<std::string>& predictions,
                                   const std::vector<std::vector<std::string>>& references,
                                   const std::function<double(double share)>& score) {
  if (predictions.empty()) return absl::InvalidArgumentError("predictions: none");
  if (references.size() != predictions.size()) {
    return absl::InvalidArgumentError(absl::StrCat("references: ", references.size(),
                                                   " lists (expected one for each of ",
                                                   predictions.size(), " predictions)"));
  }
  double sum = 0;
  for (size_t p = 0; p < predictions.size(); ++p) {
    if (references[p].empty())
      return absl::InvalidArgumentError(absl::StrCat("references[", p, "]: an empty list"));
    sum += score(ShareContained(predictions[p], references[p]));
  }
  return RoundToDecimals(sum / static_cast<double>(predictions.size()) * 100, 2);
}

}  // namespace

bool ExactMatch(absl::string_view prediction, absl::string_view reference) {
  return absl::StripAsciiWhitespace(prediction) == absl::StripAsciiWhitespace(reference);
}

double ShareContained(absl::string_view prediction, const std::vector<std::string>& references) {
  if (references.empty()) return std::numeric_limits<double>::quiet_NaN();
  const std::string text = absl::AsciiStrToLower(prediction);
  double contained = 0;
  for (const std::string& reference : references) {
    if (absl::StrContains(text, absl::AsciiStrToLower(reference))) contained += 1;
  }
  return contained / static_cast<double>(references.size());
}

absl::StatusOr<double> StringMatchAll(const std::vector<std::string>& predictions,
                                      const std::vector<std::vector<std::string>>& references) {
  return MeanPercent(predictions, references, [](double share) { return share; });
}

absl::StatusOr<double> StringMatchPart(const std::vector<std::string>& predictions,
                                       const std::vector<std::vector<std::string>>& references) {
  return MeanPercent(predictions, references, [](double share) { return share > 0 ? 1.0 : 0.0; });
}

double RoundToDecimals(double value, int decimals) {
  double rounded = value;
  // The digits are those of the exact value, which multiplying and dividing would not keep.
  CHECK(absl::SimpleAtod(absl::StrFormat("%.*f", decimals, value), &rounded));
  return rounded;
}

}  // namespace longrange::eval
