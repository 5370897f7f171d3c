#include "papers/claim_figure.h"

#include <glog/logging.h>

#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/near_names.h"

namespace longrange {
namespace {

using Figures = std::map<std::string, std::map<std::string, std::function<double()>>>;

Figures& Registered() {
  static auto* figures = new Figures;
  return *figures;
}

}  // namespace

bool RegisterClaimFigure(absl::string_view paper, absl::string_view figure,
                         std::function<double()> measure) {
  CHECK(Registered()[std::string(paper)].emplace(std::string(figure), std::move(measure)).second)
      << "figure " << figure << " of " << paper << " is registered twice";
  return true;
}

absl::StatusOr<double> MeasureClaimFigure(absl::string_view paper, absl::string_view figure) {
  const auto& figures = Registered()[std::string(paper)];
  const auto it = figures.find(std::string(figure));
  if (it != figures.end()) return it->second();
  std::vector<std::string> known;
  for (const auto& [name, measure] : figures) known.push_back(name);
  return absl::NotFoundError(absl::StrCat(
      "papers/", paper, "/claims.cc has no figure '", figure, "'", DidYouMean(figure, known),
      known.empty() ? "" : absl::StrCat(" (known: ", absl::StrJoin(known, ", "), ")")));
}

}  // namespace longrange
