#include "papers/transformer_xl/relative_effective_context/measure.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/refuse.h"
#include "common/base/status_macros.h"
#include "common/data/batches.h"
#include "common/io/rows.h"
#include "plugins/checkpoint/checkpoint.h"
#include "plugins/study/context.h"

namespace longrange {
namespace {

constexpr int64_t kMost = int64_t{1} << 20;

// Where an arm stands in the study; -1: it is not there.
int IndexOf(const Study& study, const std::string& name) {
  for (size_t i = 0; i < study.arms.size(); ++i) {
    if (study.arms[i].name() == name) return static_cast<int>(i);
  }
  return -1;
}

// The folders of the models, by arm and seed, as rows.jsonl names them.
absl::StatusOr<std::map<std::pair<std::string, int64_t>, std::string>> KeptModels(
    const std::string& out) {
  LR_ASSIGN_OR_RETURN(const std::vector<Row> rows, ReadRows(absl::StrCat(out, "/rows.jsonl")));
  std::map<std::pair<std::string, int64_t>, std::string> folders;
  for (const Row& row : rows) {
    LR_ASSIGN_OR_RETURN(const std::string kind, row.String("kind"));
    if (kind != "run") continue;
    LR_ASSIGN_OR_RETURN(const std::string arm, row.String("arm"));
    LR_ASSIGN_OR_RETURN(const int64_t seed, row.Integer("tuning_seed"));
    LR_ASSIGN_OR_RETURN(const std::string model, row.String("model"));
    folders[{arm, seed}] = absl::StrCat(out, "/", model);
  }
  return folders;
}

}  // namespace

absl::Status CheckSettings(const RelativeEffectiveContextSettings& settings, const Study& study) {
  for (const auto& [field, value] : {std::pair("step", settings.step()),
                                     {"positions", settings.positions()},
                                     {"batch_rows", settings.batch_rows()}}) {
    if (value < 1 || value > kMost) return Refuse(field, value, absl::StrCat("1 to ", kMost));
  }
  if (settings.longest() < 2 * settings.step() || settings.longest() % settings.step() != 0 ||
      settings.longest() > kMost) {
    return Refuse("longest", settings.longest(),
                  absl::StrCat("two or more times step, ", settings.step()));
  }
  for (const double share : settings.hardest()) {
    if (!(share > 0 && share <= 1)) return Refuse("hardest", share, "above 0, at most 1");
  }
  if (settings.hardest().empty()) return Refuse("hardest", "none", "one share or more");
  if (!(settings.threshold() > 0 && settings.threshold() < 1))
    return Refuse("threshold", settings.threshold(), "above 0, below 1");
  if (settings.arm().empty()) return Refuse("arm", "none", "one or more");
  for (const RelativeEffectiveContextSettings::Arm& arm : settings.arm()) {
    if (IndexOf(study, arm.name()) < 0)
      return Refuse("arm.name", arm.name(), "an arm that the study runs");
    if (arm.most_context() < 0) return Refuse("arm.most_context", arm.most_context(), "0 or more");
  }
  return absl::OkStatus();
}

int64_t PlannedContexts(const RelativeEffectiveContextSettings& settings, int64_t seeds) {
  return seeds * settings.arm_size() * (settings.longest() / settings.step());
}

absl::StatusOr<std::vector<std::vector<double>>> ContextLosses(
    const RelativeEffectiveContextSettings& settings, const Model& model,
    absl::Span<const int32_t> text, int64_t most_context, const OnContext& on_context) {
  LR_ASSIGN_OR_RETURN(const std::vector<int64_t> ends,
                      EvaluationEnds(text, settings.longest(), settings.positions()));
  std::vector<std::vector<double>> losses;
  for (int64_t context = settings.step(); context <= settings.longest();
       context += settings.step()) {
    const int64_t given = most_context > 0 ? std::min(context, most_context) : context;
    const int64_t at_once = std::max<int64_t>(1, settings.batch_rows() / given);
    if (given < context && losses.size() > 0 && context - settings.step() >= most_context) {
      losses.push_back(losses.back());  // the same tokens again
    } else {
      std::vector<double> mine;
      LR_RETURN_IF_ERROR(model.Supports(at_once, given, nn::Rows(), nn::Call()));
      for (int64_t begin = 0; begin < settings.positions(); begin += at_once) {
        const int64_t end = std::min(settings.positions(), begin + at_once);
        const Batch windows =
            WindowsEndingAt(text, absl::MakeConstSpan(ends).subspan(begin, end - begin), given);
        int32_t* target = windows.target_bt.mutable_data<int32_t>();
        for (int64_t i = 0; i < (end - begin) * given; ++i) {
          if (i % given != given - 1) target[i] = -1;
        }
        const std::vector<double> nll =
            model.Score(windows.ids_bt, windows.target_bt, nn::Rows(), nn::Call())
                .nll_bt.ToDoubles();
        for (int64_t b = 0; b < end - begin; ++b) mine.push_back(nll[(b + 1) * given - 1]);
      }
      losses.push_back(std::move(mine));
    }
    if (!on_context(absl::StrCat(context, " tokens"))) return absl::CancelledError("stopped");
  }
  return losses;
}

absl::StatusOr<RelativeEffectiveContextResults> MeasureRelativeEffectiveContext(
    const RelativeEffectiveContextSettings& settings, const Study& study, const std::string& out,
    const OnContext& on_context) {
  LR_RETURN_IF_ERROR(CheckSettings(settings, study));
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<StudyContext> context,
                      StudyContext::Open(study.protocol.settings()));
  LR_ASSIGN_OR_RETURN(const auto folders, KeptModels(out));
  RelativeEffectiveContextResults results;
  results.settings = settings;
  for (const RelativeEffectiveContextSettings::Arm& arm : settings.arm())
    results.labels.push_back(study.arms[IndexOf(study, arm.name())].label());
  for (const int64_t seed : study.protocol.tuning_seed()) {
    SeedLosses of_seed;
    of_seed.seed = seed;
    for (const RelativeEffectiveContextSettings::Arm& arm : settings.arm()) {
      const auto folder = folders.find({arm.name(), seed});
      if (folder == folders.end()) {
        return absl::DataLossError(
            absl::StrCat(out, "/rows.jsonl: no run of arm '", arm.name(), "' with seed ", seed));
      }
      LR_ASSIGN_OR_RETURN(
          const std::unique_ptr<Model> model,
          StudyModel(study.settings[IndexOf(study, arm.name())], seed, Device::kCpu));
      LR_ASSIGN_OR_RETURN(const Checkpoint checkpoint, Checkpoint::Open(folder->second));
      LR_ASSIGN_OR_RETURN(const TensorMap weights,
                          checkpoint.ReadWeights(model->parameters().Wanted()));
      LR_RETURN_IF_ERROR(Annotate(model->parameters().Load(weights), folder->second));
      LR_ASSIGN_OR_RETURN(std::vector<std::vector<double>> losses,
                          ContextLosses(settings, *model, context->test, arm.most_context(),
                                        [&](const std::string& what) {
                                          return on_context(absl::StrCat(arm.name(), ", ", what));
                                        }));
      of_seed.losses.push_back(std::move(losses));
    }
    results.seeds.push_back(std::move(of_seed));
  }
  return results;
}

}  // namespace longrange
