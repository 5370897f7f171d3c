#include "plugins/study/load.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/base/near_names.h"
#include "common/base/status_macros.h"
#include "common/base/text_proto.h"
#include "common/io/atomic_file.h"
#include "common/io/glob.h"
#include "common/train/trainer.h"
#include "plugins/model/answer.h"
#include "plugins/study/context.h"
#include "plugins/study/control.h"
#include "plugins/study/evaluation.h"
#include "plugins/study/findings.h"
#include "plugins/study/length_findings.h"
#include "plugins/study/training.h"

namespace longrange {
namespace {

// Are the rows of all tasks, and of text, of the kind that the model reads?
absl::Status CheckFeatures(const StudySettings& settings) {
  const int64_t features = settings.model().features();
  if (HasText(settings) && features > 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("model.features: ", features, " (expected 0, as text is read too)"));
  }
  if (HasText(settings) && settings.model().two_towers())
    return absl::InvalidArgumentError(
        "model.two_towers: true (expected false, as text is read too, which is one document)");
  std::vector<const google::protobuf::Any*> tasks;
  if (settings.has_task()) tasks.push_back(&settings.task());
  for (const StudyTask& further : settings.further_task()) tasks.push_back(&further.task());
  for (const google::protobuf::Any* config : tasks) {
    LR_ASSIGN_OR_RETURN(const std::unique_ptr<Task> task,
                        Registry<Task>::Get().Create(*config, TaskArgs()));
    const bool two = settings.model().two_towers();
    if (task->traits().two_documents != two) {
      return absl::InvalidArgumentError(
          absl::StrCat("model.two_towers: ", two ? "true" : "false", " (expected ",
                       two ? "false" : "true", ", as task '", PluginId(config->type_url()),
                       "' asks of ", two ? "one document" : "two", ")"));
    }
    if (task->traits().features == features) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("model.features: ", features, " (expected ", task->traits().features,
                     ", as task '", PluginId(config->type_url()), "' has in a row)"));
  }
  return absl::OkStatus();
}

// What goes without saying in a protocol: the size of the vocabulary, and that without text all
// sequences are examples.
absl::Status FillIn(StudySettings* settings) {
  if (!HasText(*settings)) {
    if (settings->has_base() && !settings->base().has_task_share())
      settings->mutable_base()->set_task_share(1);
    if (settings->has_tuning() && !settings->tuning().has_task_share())
      settings->mutable_tuning()->set_task_share(1);
  }
  if (settings->model().vocabulary() != 0) return absl::OkStatus();
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, StudyTokenizer(*settings));
  settings->mutable_model()->set_vocabulary(tokenizer->vocab_size());
  return absl::OkStatus();
}

// Can models and trainers be made of these settings? From scratch, nothing is trained by `base`.
absl::Status CheckArm(const StudySettings& settings, bool from_scratch) {
  LR_RETURN_IF_ERROR(CheckSettings(settings));
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, StudyModel(settings, 0, Device::kMeta));
  const StudyEvaluation& evaluation = settings.evaluation();
  for (const int64_t length : evaluation.length()) {
    LR_RETURN_IF_ERROR(Annotate(model->Supports(1, length, nn::Rows(), nn::Call()),
                                absl::StrCat("evaluation.length ", length)));
  }
  std::vector<std::pair<std::string, const google::protobuf::RepeatedField<int64_t>*>> lengths = {
      {"evaluation.task_length", &evaluation.task_length()}};
  for (const StudyTask& task : settings.further_task())
    lengths.emplace_back(absl::StrCat("further_task '", task.name(), "'.length"), &task.length());
  for (const auto& [name, values] : lengths) {
    for (const int64_t length : *values) {
      if (!MeasuredAt(*model, evaluation, length)) continue;
      LR_RETURN_IF_ERROR(Annotate(CanAnswer(*model, 1, length, evaluation.stream_rows()),
                                  absl::StrCat(name, " ", length)));
    }
  }
  LR_RETURN_IF_ERROR(CheckFeatures(settings));
  LR_RETURN_IF_ERROR(
      Annotate(StudyProbes(*model, evaluation.probe()).status(), "evaluation.probe"));
  if (settings.tuning().steps() > 0) {
    LR_RETURN_IF_ERROR(Annotate(StudyProbes(*model, settings.tuning().course().probe()).status(),
                                "tuning.course.probe"));
  }
  for (const auto& [name, training] :
       {std::pair<const char*, const StudyTraining*>("base", &settings.base()),
        {"tuning", &settings.tuning()}}) {
    if (from_scratch && training == &settings.base()) continue;
    const auto trainer = StudyTrainer(*model, *training, Rng());
    if (!trainer.ok()) {
      return absl::Status(trainer.status().code(),
                          absl::StrCat(name, ".", trainer.status().message()));
    }
  }
  return absl::OkStatus();
}

// Puts the model of --checkpoint in the place of the protocol's.
absl::Status UseCheckpoint(const StudyOptions& options, Study* study) {
  StudyProtocol& protocol = study->protocol;
  const std::string where = absl::StrCat("--checkpoint=", options.checkpoint);
  if (protocol.from_scratch()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": the arms of this study are trained from scratch"));
  }
  LR_ASSIGN_OR_RETURN(Checkpoint checkpoint, Checkpoint::Open(options.checkpoint));
  const CheckpointConfig& config = checkpoint.config();
  if (config.trained_length() != protocol.trained_length()) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": trained at ", config.trained_length(),
                                                   " tokens (expected trained_length of the "
                                                   "protocol, ",
                                                   protocol.trained_length(), ")"));
  }
  for (const std::string& assignment : options.set) {
    if (absl::StartsWith(assignment, "base.")) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--set ", assignment, ": no base model is trained where --checkpoint is given"));
    }
  }
  *protocol.mutable_settings()->mutable_model() = config.model();
  protocol.clear_base_seed();
  protocol.add_base_seed(std::max<int64_t>(0, config.origin().base_seed()));
  study->checkpoint = std::make_shared<const Checkpoint>(std::move(checkpoint));
  return absl::OkStatus();
}

// The arms of a study's folder, by name.
absl::StatusOr<std::vector<StudyArm>> ReadArms(const std::string& folder) {
  const std::string arms_folder = absl::StrCat(folder, "/arms");
  std::vector<std::string> files;
  if (IsDirectory(arms_folder)) {
    LR_ASSIGN_OR_RETURN(files, ListDir(arms_folder));
  }
  std::vector<StudyArm> arms;
  for (const std::string& file : files) {
    if (!absl::EndsWith(file, ".textproto")) continue;
    StudyArm arm;
    LR_RETURN_IF_ERROR(ParseTextProtoFile(absl::StrCat(arms_folder, "/", file), &arm));
    const std::string name(absl::StripSuffix(file, ".textproto"));
    if (arm.has_name() && arm.name() != name) {
      return absl::InvalidArgumentError(
          absl::StrCat(arms_folder, "/", file, ": name: '", arm.name(),
                       "' (an arm is named as its file: '", name, "')"));
    }
    arm.set_name(name);
    arms.push_back(std::move(arm));
  }
  if (arms.empty())
    return absl::InvalidArgumentError(
        absl::StrCat("no arms in ", arms_folder, " (expected one NAME.textproto or more)"));
  return arms;
}

std::vector<std::string> NamesOf(const std::vector<StudyArm>& arms) {
  std::vector<std::string> names;
  for (const StudyArm& arm : arms) names.push_back(arm.name());
  return names;
}

absl::Status UnknownArm(absl::string_view where, const std::string& name,
                        const std::vector<std::string>& known) {
  return absl::InvalidArgumentError(absl::StrCat(where, "unknown arm '", name, "'",
                                                 DidYouMean(name, known),
                                                 " (known: ", absl::StrJoin(known, ", "), ")"));
}

// Index of the arm of this name, or -1.
int IndexOf(const std::vector<StudyArm>& arms, absl::string_view name) {
  for (size_t i = 0; i < arms.size(); ++i) {
    if (arms[i].name() == name) return static_cast<int>(i);
  }
  return -1;
}

// Do the findings speak of arms and tasks that there are?
absl::Status CheckFindings(const StudyProtocol& protocol, const std::vector<StudyArm>& arms) {
  std::vector<std::string> tasks;
  for (const StudyTask& further : protocol.settings().further_task())
    tasks.push_back(further.name());
  for (const StudyFinding& finding : protocol.finding()) {
    const std::string where = absl::StrCat("finding '", finding.id(), "': ");
    for (const StudyFinding::Comparison& comparison : finding.comparison()) {
      if (IndexOf(arms, comparison.arm()) < 0)
        return UnknownArm(where, comparison.arm(), NamesOf(arms));
      if (comparison.has_against() && IndexOf(arms, comparison.against()) < 0)
        return UnknownArm(where, comparison.against(), NamesOf(arms));
      if (comparison.has_task() &&
          std::find(tasks.begin(), tasks.end(), comparison.task()) == tasks.end()) {
        return absl::InvalidArgumentError(absl::StrCat(where, "unknown task '", comparison.task(),
                                                       "'", DidYouMean(comparison.task(), tasks),
                                                       " (expected a further task)"));
      }
    }
  }
  return absl::OkStatus();
}

// Do the parameters of an arm's model come from the base model, but for those that may be new?
absl::Status CheckParameters(const StudySettings& base, const StudySettings& settings) {
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<Model> before, StudyModel(base, 0, Device::kMeta));
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, StudyModel(settings, 0, Device::kMeta));
  return model->parameters().LoadBase(before->parameters().Values());
}

// The settings of each arm. Arms are checked also where they are not run: a study with a broken arm
// is no controlled one.
absl::StatusOr<std::vector<StudySettings>> CheckedSettings(const StudyProtocol& protocol,
                                                           const std::vector<StudyArm>& arms) {
  std::vector<StudySettings> settings;
  for (const StudyArm& arm : arms) {
    const std::string where = absl::StrCat("arm '", arm.name(), "'");
    StudySettings of_after;
    if (arm.has_after()) {
      const int after = IndexOf(arms, arm.after());
      if (after < 0) return UnknownArm(where + ": after: ", arm.after(), NamesOf(arms));
      LR_ASSIGN_OR_RETURN(of_after, ArmSettings(protocol, arms[after]));
      if (arms[after].has_after() || of_after.tuning().steps() == 0) {
        return absl::InvalidArgumentError(absl::StrCat(
            where, ": after: '", arm.after(), "' (expected an arm that tunes the base model)"));
      }
    }
    LR_ASSIGN_OR_RETURN(StudySettings mine,
                        ArmSettings(protocol, arm, arm.has_after() ? &of_after : nullptr));
    LR_RETURN_IF_ERROR(Annotate(CheckArm(mine, protocol.from_scratch()), where));
    if (!protocol.from_scratch()) {
      LR_RETURN_IF_ERROR(
          Annotate(CheckParameters(arm.has_after() ? of_after : protocol.settings(), mine), where));
    } else if (mine.tuning().steps() == 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          where, ": tuning.steps: 0 (expected 1 or more, as arms start from scratch)"));
    }
    settings.push_back(std::move(mine));
  }
  return settings;
}

// Is the arm among those that the patterns name? None: all are.
bool Named(const google::protobuf::RepeatedPtrField<std::string>& patterns,
           const std::string& arm) {
  return patterns.empty() || std::any_of(patterns.begin(), patterns.end(),
                                         [&](const auto& p) { return GlobMatch(p, arm); });
}

// The arms to run: those asked for, or those of the protocol, or all; and the ones that they go on
// from.
absl::StatusOr<std::set<std::string>> WantedArms(const StudyProtocol& protocol,
                                                 const std::vector<std::string>& asked,
                                                 const std::vector<StudyArm>& arms) {
  std::set<std::string> wanted;
  for (const std::string& name : asked) {
    if (!wanted.insert(name).second)
      return absl::InvalidArgumentError(absl::StrCat("arm '", name, "' is asked for twice"));
    if (IndexOf(arms, name) < 0) return UnknownArm("", name, NamesOf(arms));
  }
  for (const StudyArm& arm : arms) {
    if (asked.empty() && Named(protocol.arm(), arm.name())) wanted.insert(arm.name());
  }
  if (wanted.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("arm: none of ",
                                                   absl::StrJoin(NamesOf(arms), ", "), " matches ",
                                                   absl::StrJoin(protocol.arm(), ", ")));
  }
  for (const StudyArm& arm : arms) {
    if (wanted.count(arm.name()) > 0 && arm.has_after()) wanted.insert(arm.after());
  }
  return wanted;
}

// What the preset "full" would measure beyond the protocol's own settings, as a sentence; "":
// nothing, or there is no such preset.
std::string LeftToFull(const StudyProtocol& protocol, const std::set<std::string>& run,
                       const std::vector<std::string>& all) {
  const StudyProtocol::Preset* full = nullptr;
  for (const StudyProtocol::Preset& preset : protocol.preset()) {
    if (preset.name() == "full") full = &preset;
  }
  if (full == nullptr) return "";
  StudySettings settings = protocol.settings();
  if (!Overlay(full->settings(), &settings).ok()) return "";
  std::vector<std::string> left;
  std::vector<std::string> arms;
  for (const std::string& name : all) {
    if (Named(full->arm(), name) && run.count(name) == 0) arms.push_back(name);
  }
  if (!arms.empty()) left.push_back(absl::StrCat("arms ", absl::StrJoin(arms, ", ")));
  const auto added = [](const auto& more, const auto& less) {
    std::vector<int64_t> lengths;
    for (const int64_t length : more) {
      if (std::find(less.begin(), less.end(), length) == less.end()) lengths.push_back(length);
    }
    return lengths;
  };
  const StudyEvaluation &more = settings.evaluation(), &less = protocol.settings().evaluation();
  if (const auto lengths = added(more.length(), less.length()); !lengths.empty())
    left.push_back(absl::StrCat("perplexity at ", absl::StrJoin(lengths, ", "), " tokens"));
  if (const auto lengths = added(more.task_length(), less.task_length()); !lengths.empty())
    left.push_back(absl::StrCat("the task at ", absl::StrJoin(lengths, ", "), " tokens"));
  if (more.stride() > 0 && less.stride() == 0)
    left.push_back(absl::StrCat("perplexity by windows ", more.stride(), " tokens apart"));
  std::vector<std::string> tasks;
  for (const StudyTask& task : settings.further_task()) {
    const auto& mine = protocol.settings().further_task();
    const bool here = std::any_of(mine.begin(), mine.end(), [&](const StudyTask& other) {
      return other.name() == task.name() && !other.length().empty();
    });
    if (!here && !task.length().empty()) tasks.push_back(task.name());
  }
  if (!tasks.empty()) left.push_back(absl::StrCat("tasks ", absl::StrJoin(tasks, ", ")));
  if (full->base_seed_size() > protocol.base_seed_size())
    left.push_back(absl::StrCat(full->base_seed_size(), " base models"));
  return absl::StrJoin(left, "; ");
}

}  // namespace

int Study::After(size_t i) const {
  return arms[i].has_after() ? IndexOf(arms, arms[i].after()) : -1;
}

absl::StatusOr<Study> LoadStudy(const std::string& folder, const StudyOptions& options) {
  const std::string protocol_path = absl::StrCat(folder, "/protocol.textproto");
  if (!PathExists(protocol_path)) {
    return absl::NotFoundError(absl::StrCat(
        "there is no ", protocol_path, " (a study is a folder with protocol.textproto and arms/)"));
  }
  LR_ASSIGN_OR_RETURN(StudyProtocol protocol, ParseTextProtoFile<StudyProtocol>(protocol_path));
  LR_ASSIGN_OR_RETURN(std::vector<StudyArm> arms, ReadArms(folder));
  return MakeStudy(std::move(protocol), std::move(arms), options);
}

std::string PresetHelp(const std::string& folder) {
  const auto protocol =
      ParseTextProtoFile<StudyProtocol>(absl::StrCat(folder, "/protocol.textproto"));
  if (!protocol.ok()) return "";
  std::vector<std::string> lines;
  for (const StudyProtocol::Preset& preset : protocol->preset())
    lines.push_back(absl::StrCat("--preset=", preset.name(), ": ", preset.description()));
  return absl::StrJoin(lines, "\n");
}

absl::StatusOr<Study> MakeStudy(StudyProtocol given, std::vector<StudyArm> arms,
                                const StudyOptions& options) {
  Study study;
  study.protocol = std::move(given);
  StudyProtocol& protocol = study.protocol;
  for (StudyArm& arm : arms) {
    if (!arm.has_label()) arm.set_label(arm.name());
    if (!arm.has_method()) arm.set_method(arm.label());
  }
  StudyProtocol::Preset chosen;
  if (!options.preset.empty()) {
    std::vector<std::string> known;
    const StudyProtocol::Preset* preset = nullptr;
    for (const StudyProtocol::Preset& candidate : protocol.preset()) {
      known.push_back(candidate.name());
      if (candidate.name() == options.preset) preset = &candidate;
    }
    if (preset == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("unknown preset '", options.preset, "'", DidYouMean(options.preset, known),
                       known.empty() ? " (the protocol has none)"
                                     : absl::StrCat(" (known: ", absl::StrJoin(known, ", "), ")")));
    }
    LR_RETURN_IF_ERROR(Overlay(preset->settings(), protocol.mutable_settings()));
    if (preset->base_seed_size() > 0) *protocol.mutable_base_seed() = preset->base_seed();
    if (preset->tuning_seed_size() > 0) *protocol.mutable_tuning_seed() = preset->tuning_seed();
    if (preset->arm_size() > 0) *protocol.mutable_arm() = preset->arm();
    if (preset->has_trained_length()) protocol.set_trained_length(preset->trained_length());
    if (preset->has_extended_length()) protocol.set_extended_length(preset->extended_length());
    chosen = *preset;
  }
  if (!options.checkpoint.empty()) LR_RETURN_IF_ERROR(UseCheckpoint(options, &study));
  const bool has_text = HasText(protocol.settings());
  LR_RETURN_IF_ERROR(SetFields(protocol.mutable_settings(), options.set));
  if (!has_text && HasText(protocol.settings())) {
    return absl::InvalidArgumentError(absl::StrCat("data.corpus: '",
                                                   protocol.settings().data().corpus(),
                                                   "' (expected none: this study has no text)"));
  }
  LR_RETURN_IF_ERROR(FillIn(protocol.mutable_settings()));
  if (protocol.from_scratch()) {
    if (protocol.settings().has_base() || protocol.base_seed_size() > 0)
      return absl::InvalidArgumentError(
          "base, base_seed: set (expected neither, as arms start from scratch)");
    // A base model of initial values stands in for the one that there is not.
    *protocol.mutable_settings()->mutable_base() = protocol.settings().tuning();
    protocol.add_base_seed(0);
  }
  LR_RETURN_IF_ERROR(CheckProtocol(protocol));
  if (!protocol.findings().empty() && protocol.findings() != kFindings &&
      protocol.findings() != kLengthFindings) {
    return absl::InvalidArgumentError(absl::StrCat("findings: '", protocol.findings(),
                                                   "' (expected '", kFindings, "', '",
                                                   kLengthFindings, "', or none)"));
  }

  for (const StudyProtocol::Preset::OfArm& of_arm : chosen.of_arm()) {
    const std::string where = absl::StrCat("preset '", chosen.name(), "': of_arm: ");
    const int arm = IndexOf(arms, of_arm.arm());
    if (arm < 0) return UnknownArm(where, of_arm.arm(), NamesOf(arms));
    LR_RETURN_IF_ERROR(
        Annotate(Overlay(of_arm.settings(), arms[arm].mutable_settings()), where + of_arm.arm()));
  }
  LR_RETURN_IF_ERROR(CheckFindings(protocol, arms));
  LR_ASSIGN_OR_RETURN(std::vector<StudySettings> settings, CheckedSettings(protocol, arms));
  LR_ASSIGN_OR_RETURN(const std::set<std::string> wanted, WantedArms(protocol, options.arms, arms));
  if (options.preset.empty() && options.arms.empty())
    study.left = LeftToFull(protocol, wanted, NamesOf(arms));
  for (size_t i = 0; i < arms.size(); ++i) {
    if (wanted.count(arms[i].name()) == 0) continue;
    study.arms.push_back(std::move(arms[i]));
    study.settings.push_back(std::move(settings[i]));
  }
  if (study.checkpoint != nullptr || protocol.from_scratch()) {
    // Nothing is trained before the arms: said in the rows, and left out of the forecast.
    protocol.mutable_settings()->mutable_base()->set_steps(0);
    for (StudySettings& mine : study.settings) mine.mutable_base()->set_steps(0);
  }
  return study;
}

}  // namespace longrange
