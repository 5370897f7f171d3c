#include "experiments/long_range_arena/arena.h"

#include <algorithm>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/near_names.h"
#include "common/base/paths.h"
#include "common/base/refuse.h"
#include "common/base/status_macros.h"
#include "common/base/text_proto.h"
#include "common/io/atomic_file.h"
#include "plugins/model/answer.h"
#include "plugins/study/context.h"
#include "plugins/study/control.h"
#include "plugins/study/training.h"

namespace longrange {
namespace {

constexpr char kOwnPreset[] = "quick";  // the protocols' own settings
constexpr char kPaper[] = "paper";

// Columns of the paper's Table 1; tasks beside them come behind.
constexpr const char* kOrder[] = {"listops", "text", "retrieval", "image", "pathfinder", "path_x"};

size_t Rank(const std::string& name) {
  return static_cast<size_t>(std::find(std::begin(kOrder), std::end(kOrder), name) -
                             std::begin(kOrder));
}

// Messages of FOLDER/*.textproto by name, in order of the names.
template <typename Message>
absl::StatusOr<std::vector<std::pair<std::string, Message>>> ReadMessages(
    const std::string& folder) {
  std::vector<std::pair<std::string, Message>> messages;
  LR_ASSIGN_OR_RETURN(const std::vector<std::string> files, ListDir(folder));
  for (const std::string& file : files) {
    if (!absl::EndsWith(file, ".textproto")) continue;
    LR_ASSIGN_OR_RETURN(Message message,
                        ParseTextProtoFile<Message>(absl::StrCat(folder, "/", file)));
    messages.emplace_back(absl::StripSuffix(file, ".textproto"), std::move(message));
  }
  return messages;
}

template <typename Named>
std::vector<std::string> NamesOf(const std::vector<Named>& all) {
  std::vector<std::string> names;
  for (const Named& one : all) names.push_back(one.name);
  return names;
}

// Those of `all` that are named, in their order there.
template <typename Named>
absl::StatusOr<std::vector<Named>> Chosen(const std::string& flag, const std::vector<Named>& all,
                                          const std::vector<std::string>& names) {
  const std::vector<std::string> known = NamesOf(all);
  for (const std::string& name : names) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      return absl::InvalidArgumentError(absl::StrCat("--", flag, ": '", name, "'",
                                                     DidYouMean(name, known), " (expected some of ",
                                                     absl::StrJoin(known, ", "), ")"));
    }
  }
  std::vector<Named> chosen;
  for (const Named& one : all) {
    if (std::find(names.begin(), names.end(), one.name) != names.end()) chosen.push_back(one);
  }
  return chosen;
}

StudyProtocol::Preset* FindPreset(const std::string& name, StudyProtocol* protocol) {
  for (StudyProtocol::Preset& preset : *protocol->mutable_preset()) {
    if (preset.name() == name) return &preset;
  }
  return nullptr;
}

// Where the task's examples come from, as assignments on its settings.
std::vector<std::string> DataAssignments(const NamedTask& task, const ArenaOptions& options,
                                         int64_t rows_with_data) {
  std::vector<std::string> set;
  const auto data = options.data.find(task.name);
  if (data != options.data.end()) {
    set.push_back(absl::StrCat("task.folder=", UserPath(data->second)));
    set.insert(set.end(), task.config.with_data().begin(), task.config.with_data().end());
    if (rows_with_data > 0) {
      set.push_back(absl::StrCat("tuning.length=", rows_with_data));
      set.push_back(absl::StrCat("evaluation.task_length=", rows_with_data));
    }
  } else if (options.preset != kPaper || options.stand_ins) {
    set.insert(set.end(), task.config.stand_in().begin(), task.config.stand_in().end());
  }
  return set;
}

// Does the task read files, which are neither named nor stood in for?
bool LacksData(const NamedTask& task, const ArenaOptions& options) {
  return !task.config.stand_in().empty() && options.data.count(task.name) == 0 &&
         options.preset == kPaper && !options.stand_ins;
}

absl::StatusOr<StudyArm> ArmOf(const NamedMixer& mixer, const std::string& preset, int64_t rows) {
  StudyArm arm = mixer.config.arm();
  arm.set_name(mixer.name);
  for (const ArenaMixer::OfPreset& of_preset : mixer.config.of_preset()) {
    if (of_preset.preset() == preset)
      LR_RETURN_IF_ERROR(Overlay(of_preset.settings(), arm.mutable_settings()));
  }
  for (const std::string& path : mixer.config.rows_at()) {
    LR_RETURN_IF_ERROR(Annotate(SetField(arm.mutable_settings(), absl::StrCat(path, "=", rows)),
                                absl::StrCat("mixers/", mixer.name, ".textproto")));
  }
  return arm;
}

}  // namespace

absl::StatusOr<std::map<std::string, std::string>> ParseData(const std::string& text) {
  std::map<std::string, std::string> data;
  for (const absl::string_view part : absl::StrSplit(text, ',', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> pair = absl::StrSplit(part, absl::MaxSplits('=', 1));
    if (pair.first.empty() || pair.second.empty())
      return Refuse("--data", part, "TASK=FOLDER, with commas between several");
    if (!data.insert(pair).second) return Refuse("--data", part, "each task once");
  }
  return data;
}

absl::StatusOr<Arena> ReadArena(const std::string& folder, const ArenaOptions& options) {
  Arena arena;
  arena.preset = options.preset;
  LR_ASSIGN_OR_RETURN(auto tasks, ReadMessages<ArenaTask>(absl::StrCat(folder, "/tasks")));
  std::stable_sort(tasks.begin(), tasks.end(),
                   [](const auto& a, const auto& b) { return Rank(a.first) < Rank(b.first); });
  std::vector<NamedTask> all;
  for (auto& [name, config] : tasks) all.push_back({name, std::move(config)});
  LR_ASSIGN_OR_RETURN(auto mixers, ReadMessages<ArenaMixer>(absl::StrCat(folder, "/mixers")));
  // Attention first: the others are held against it.
  std::stable_sort(mixers.begin(), mixers.end(), [](const auto& a, const auto& b) {
    return (a.first == "transformer") > (b.first == "transformer");
  });
  for (auto& [name, config] : mixers) arena.mixers.push_back({name, std::move(config)});
  LR_ASSIGN_OR_RETURN(const ArenaSpeeds speeds,
                      ParseTextProtoFile<ArenaSpeeds>(absl::StrCat(folder, "/speed.textproto")));
  std::vector<std::string> presets;
  bool found = false;
  for (const ArenaSpeeds::Preset& preset : speeds.preset()) {
    presets.push_back(preset.name());
    if (preset.name() != options.preset) continue;
    found = true;
    arena.speed = preset.speed();
  }
  if (!found) {
    return absl::InvalidArgumentError(
        absl::StrCat("--preset: '", options.preset, "'", DidYouMean(options.preset, presets),
                     " (expected one of ", absl::StrJoin(presets, ", "), ")"));
  }
  const auto is_offered = [&](const NamedTask& task) {
    return !task.config.has_only_preset() || task.config.only_preset() == options.preset;
  };
  if (options.tasks.empty()) {
    for (const NamedTask& task : all) {
      if (is_offered(task)) {
        arena.tasks.push_back(task);
      } else {
        arena.left.push_back(task.config.title());
      }
    }
  } else {
    LR_ASSIGN_OR_RETURN(arena.tasks, Chosen("tasks", all, options.tasks));
    for (const NamedTask& task : arena.tasks) {
      if (is_offered(task)) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("--tasks: '", task.name, "' (expected --preset=", task.config.only_preset(),
                       " with it)"));
    }
  }
  if (!options.mixers.empty()) {
    LR_ASSIGN_OR_RETURN(arena.mixers, Chosen("mixers", arena.mixers, options.mixers));
  }
  for (const auto& [name, unused] : options.data) {
    LR_ASSIGN_OR_RETURN(const std::vector<NamedTask> named, Chosen("data", all, {name}));
    if (named[0].config.stand_in().empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--data: '", name, "' (expected a task that reads files)"));
    }
  }
  return arena;
}

absl::StatusOr<ArenaStudy> MakeArenaStudy(const Arena& arena, const NamedTask& task,
                                          const ArenaOptions& options) {
  const std::string where = absl::StrCat("task ", task.name);
  StudyProtocol protocol = task.config.protocol();
  StudyOptions study_options;
  StudyProtocol::Preset* preset = nullptr;
  if (options.preset != kOwnPreset) {
    preset = FindPreset(options.preset, &protocol);
    if (preset == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": has no preset '", options.preset, "'"));
    }
    study_options.preset = options.preset;
  }
  int64_t rows_with_data = 0;
  if (options.data.count(task.name) > 0 && options.preset != kPaper)
    rows_with_data = task.config.rows_with_data();
  if (rows_with_data > 0) {
    protocol.set_trained_length(rows_with_data);
    protocol.set_extended_length(rows_with_data);
    if (preset != nullptr) {
      preset->clear_trained_length();
      preset->clear_extended_length();
    }
  }
  const int64_t rows = preset != nullptr && preset->has_trained_length()
                           ? preset->trained_length()
                           : protocol.trained_length();
  study_options.set = DataAssignments(task, options, rows_with_data);
  study_options.set.insert(study_options.set.end(), options.set.begin(), options.set.end());

  // What CLS puts in front of a sequence is a row, too.
  const ModelConfig& model = preset != nullptr && preset->settings().model().has_pooling()
                                 ? preset->settings().model()
                                 : protocol.settings().model();
  const int64_t in_front = model.pooling() == ModelConfig::CLS ? 1 : 0;

  ArenaStudy made;
  std::vector<StudyArm> arms;
  absl::Status first;  // refusal
  for (const NamedMixer& mixer : arena.mixers) {
    LR_ASSIGN_OR_RETURN(StudyArm arm, ArmOf(mixer, options.preset, rows + in_front));
    const absl::StatusOr<Study> alone = MakeStudy(protocol, {arm}, study_options);
    absl::Status status = alone.status();
    if (status.ok()) {
      status = CanTrain(alone->settings[0], task.config.padded());
    }
    if (status.ok()) {
      arms.push_back(std::move(arm));
      continue;
    }
    if (first.ok()) first = status;
    const std::string prefix = absl::StrCat("arm '", mixer.name, "': ");
    made.unserved.push_back({mixer.name, std::string(absl::StripPrefix(status.message(), prefix))});
  }
  if (arms.empty()) {
    return Annotate(first, LacksData(task, options)
                               ? absl::StrCat(where, ": its files are not named (expected --data=",
                                              task.name, "=FOLDER, or --stand_ins)")
                               : where);
  }
  LR_ASSIGN_OR_RETURN(made.study, MakeStudy(std::move(protocol), std::move(arms), study_options));
  return made;
}

absl::Status CanTrain(const StudySettings& settings, bool padded) {
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, StudyModel(settings, 0, Device::kMeta));
  const int64_t length = settings.tuning().length();
  nn::Rows rows;
  const int64_t sequences = settings.model().two_towers() ? 2 : 1;
  if (padded)
    rows.end_b = Tensor::Full({sequences}, static_cast<double>((length + 1) / 2), DType::kInt64);
  nn::Call call;
  call.training = true;
  return model->Supports(sequences, length, rows, call);
}

absl::StatusOr<StudySettings> SpeedSettings(const NamedTask& text, const NamedMixer& mixer,
                                            const ArenaOptions& options, int64_t rows) {
  StudyProtocol protocol = text.config.protocol();
  StudyOptions study_options;
  if (options.preset != kOwnPreset) study_options.preset = options.preset;
  if (StudyProtocol::Preset* preset = FindPreset(options.preset, &protocol); preset != nullptr) {
    preset->clear_trained_length();
    preset->clear_extended_length();
  }
  protocol.set_trained_length(rows);
  protocol.set_extended_length(rows);
  // The bytes are random: what they are read from is of no matter.
  study_options.set.assign(text.config.stand_in().begin(), text.config.stand_in().end());
  study_options.set.push_back("model.pooling=MEAN");
  study_options.set.insert(study_options.set.end(), options.set.begin(), options.set.end());
  study_options.set.push_back(absl::StrCat("tuning.length=", rows));
  study_options.set.push_back(absl::StrCat("evaluation.task_length=", rows));
  LR_ASSIGN_OR_RETURN(StudyArm arm, ArmOf(mixer, options.preset, rows));
  LR_ASSIGN_OR_RETURN(const Study study, MakeStudy(std::move(protocol), {arm}, study_options));
  return study.settings[0];
}

}  // namespace longrange
