#include "plugins/study/control.h"

#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/near_names.h"
#include "common/base/refuse.h"
#include "common/base/status_macros.h"
#include "plugins/registry.h"

namespace longrange {
namespace {

using google::protobuf::Any;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

const Any* AsAny(const Message& message) {
  return message.GetDescriptor() == Any::descriptor() ? static_cast<const Any*>(&message) : nullptr;
}

bool IsAny(const FieldDescriptor* field) {
  return field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE &&
         field->message_type() == Any::descriptor();
}

// Scalars and plugins that `from` sets and `to`, a message of another type, has under the same name
// and leaves unset.
void Inherit(const Message& from, Message* to) {
  std::vector<const FieldDescriptor*> fields;
  from.GetReflection()->ListFields(from, &fields);
  for (const FieldDescriptor* field : fields) {
    const FieldDescriptor* mine = to->GetDescriptor()->FindFieldByName(field->name());
    if (mine == nullptr || mine->type() != field->type() || mine->is_repeated() ||
        field->is_repeated() || field->cpp_type() == FieldDescriptor::CPPTYPE_ENUM ||
        to->GetReflection()->HasField(*to, mine)) {
      continue;
    }
    if (IsAny(field) && IsAny(mine)) {
      to->GetReflection()->MutableMessage(to, mine)->CopyFrom(
          from.GetReflection()->GetMessage(from, field));
      continue;
    }
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) continue;
    std::string value;
    google::protobuf::TextFormat::PrintFieldValueToString(from, field, -1, &value);
    CHECK(google::protobuf::TextFormat::ParseFieldValueFromString(value, mine, to)) << value;
  }
}

// `place` is the field that holds the plugin.
absl::Status OverlayAny(const Any& overlay, const FieldDescriptor* place, Any* base) {
  if (overlay.type_url() != base->type_url()) {
    if (base->type_url().empty() || overlay.type_url().empty()) {
      *base = overlay;
      return absl::OkStatus();
    }
    LR_ASSIGN_OR_RETURN(const std::unique_ptr<Message> before, registry_internal::Unpack(*base));
    LR_ASSIGN_OR_RETURN(const std::unique_ptr<Message> after, registry_internal::Unpack(overlay));
    const FieldDescriptor* wrapped = after->GetDescriptor()->FindFieldByName(place->name());
    if (wrapped != nullptr && IsAny(wrapped) && !wrapped->is_repeated()) {
      auto* inner = static_cast<Any*>(after->GetReflection()->MutableMessage(after.get(), wrapped));
      Any laid = *base;
      if (!inner->type_url().empty()) LR_RETURN_IF_ERROR(OverlayAny(*inner, wrapped, &laid));
      *inner = laid;
    } else {
      Inherit(*before, after.get());
    }
    base->PackFrom(*after);
    return absl::OkStatus();
  }
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<Message> from, registry_internal::Unpack(overlay));
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<Message> to, registry_internal::Unpack(*base));
  LR_RETURN_IF_ERROR(Overlay(*from, to.get()));
  base->PackFrom(*to);
  return absl::OkStatus();
}

// One field as short text. An unset message field is "unset".
std::string Text(const Message& message, const FieldDescriptor* field) {
  const auto* reflection = message.GetReflection();
  if (field->is_repeated()) {
    std::vector<std::string> items;
    for (int i = 0; i < reflection->FieldSize(message, field); ++i) {
      std::string item;
      google::protobuf::TextFormat::Printer printer;
      printer.SetSingleLineMode(true);
      printer.PrintFieldValueToString(message, field, i, &item);
      items.push_back(item);
    }
    return absl::StrCat("[", absl::StrJoin(items, ", "), "]");
  }
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
    if (!reflection->HasField(message, field)) return "unset";
    const Message& value = reflection->GetMessage(message, field);
    if (const Any* any = AsAny(value)) return PluginId(any->type_url());
    google::protobuf::TextFormat::Printer printer;
    printer.SetSingleLineMode(true);
    std::string text;
    printer.PrintToString(value, &text);
    return absl::StrCat("{ ", text, "}");
  }
  std::string text;
  google::protobuf::TextFormat::PrintFieldValueToString(message, field, -1, &text);
  return text;
}

void Compare(const Message& before, const Message& after, const std::string& prefix,
             std::vector<Difference>* out) {
  const auto* reflection = before.GetReflection();
  const auto* descriptor = before.GetDescriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const FieldDescriptor* field = descriptor->field(i);
    const std::string path =
        prefix.empty() ? field->name() : absl::StrCat(prefix, ".", field->name());
    if (field->is_repeated() || field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) {
      const std::string a = Text(before, field), b = Text(after, field);
      if (a != b) out->push_back({path, a, b});
      continue;
    }
    const Message& a = reflection->GetMessage(before, field);
    const Message& b = reflection->GetMessage(after, field);
    const Any* any_a = AsAny(a);
    if (any_a == nullptr) {
      Compare(a, b, path, out);
      continue;
    }
    const Any* any_b = AsAny(b);
    if (any_a->type_url() == any_b->type_url()) {
      if (any_a->type_url().empty()) continue;
      const auto unpacked_a = registry_internal::Unpack(*any_a),
                 unpacked_b = registry_internal::Unpack(*any_b);
      if (unpacked_a.ok() && unpacked_b.ok()) {
        Compare(**unpacked_a, **unpacked_b, path, out);
        continue;
      }
    }
    if (any_a->SerializeAsString() != any_b->SerializeAsString()) {
      out->push_back({path, Text(before, field), Text(after, field)});
    }
  }
}

// Counts and sizes beyond this are mistakes; the product of two that are not fits 64 bits.
constexpr int64_t kMost = (int64_t{1} << 31) - 1;
// Widths too, whose squares are counted in bytes.
constexpr int64_t kWidest = int64_t{1} << 20;

absl::Status CheckCount(absl::string_view field, int64_t value, int64_t least,
                        int64_t most = kMost) {
  if (value < least) return Refuse(field, value, absl::StrCat(least, " or more"));
  if (value > most) return Refuse(field, value, absl::StrCat(most, " or less"));
  return absl::OkStatus();
}

// NaN fails.
absl::Status CheckRange(absl::string_view field, double value, int64_t least, int64_t most) {
  if (value >= static_cast<double>(least) && value <= static_cast<double>(most))
    return absl::OkStatus();
  return Refuse(field, value, absl::StrCat(least, " to ", most));
}

// Rows are told apart by these values.
template <typename T>
absl::Status CheckDistinct(absl::string_view field,
                           const google::protobuf::RepeatedField<T>& values) {
  std::set<T> seen;
  for (const T value : values) {
    if (!seen.insert(value).second)
      return Refuse(field, absl::StrCat(value, " twice"), "every value once");
  }
  return absl::OkStatus();
}

absl::Status CheckCounts(absl::string_view field,
                         const google::protobuf::RepeatedField<int64_t>& values, int64_t least) {
  for (const int64_t value : values) LR_RETURN_IF_ERROR(CheckCount(field, value, least));
  return CheckDistinct(field, values);
}

absl::Status CheckTraining(absl::string_view stage, const StudyTraining& training, bool has_text,
                           bool has_task, int64_t least_steps) {
  const auto at = [stage](absl::string_view field) { return absl::StrCat(stage, ".", field); };
  LR_RETURN_IF_ERROR(CheckCount(at("length"), training.length(), 1));
  LR_RETURN_IF_ERROR(CheckCount(at("batch"), training.batch(), 1));
  if (training.batch() * training.length() > kMost) {
    return Refuse(at("batch"), training.batch(),
                  absl::StrCat("at most ", kMost / training.length(), " sequences of ",
                               training.length(), " tokens"));
  }
  LR_RETURN_IF_ERROR(CheckCount(at("steps"), training.steps(), least_steps));
  LR_RETURN_IF_ERROR(CheckRange(at("task_share"), training.task_share(), 0, 1));
  if (!has_text && training.task_share() != 1)
    return Refuse(at("task_share"), training.task_share(), "1 where there is no text");
  LR_RETURN_IF_ERROR(CheckRange(at("short_share"), training.short_share(), 0, 1));
  if (training.short_share() > 0 && training.short_length().empty()) {
    return Refuse(at("short_share"), training.short_share(),
                  absl::StrCat("0 where ", at("short_length"), " is empty"));
  }
  if (training.carry_state()) {
    if (!has_text) return Refuse(at("carry_state"), "true", "false where there is no text");
    if (training.task_share() > 0) {
      return Refuse(at("task_share"), training.task_share(),
                    absl::StrCat("0 where ", at("carry_state"), " is true"));
    }
    if (training.short_share() > 0) {
      return Refuse(at("short_share"), training.short_share(),
                    absl::StrCat("0 where ", at("carry_state"), " is true"));
    }
  }
  for (const int64_t length : training.short_length()) {
    LR_RETURN_IF_ERROR(CheckCount(at("short_length"), length, 1));
    if (length > training.length()) {
      return Refuse(at("short_length"), length,
                    absl::StrCat("at most ", at("length"), ", ", training.length()));
    }
  }
  LR_RETURN_IF_ERROR(CheckRange(at("stop_at_score"), training.stop_at_score(), 0, 1));
  if (training.stop_at_score() > 0 && !has_task)
    return Refuse(at("stop_at_score"), training.stop_at_score(), "0 where there is no task");
  LR_RETURN_IF_ERROR(CheckCount(at("check_every"), training.check_every(), 1));
  LR_RETURN_IF_ERROR(CheckCount(at("check_examples"), training.check_examples(), 1));
  LR_RETURN_IF_ERROR(CheckCount(at("minimum_steps"), training.minimum_steps(), 0));
  const StudyCourse& course = training.course();
  LR_RETURN_IF_ERROR(CheckCount(at("course.every"), course.every(), 1));
  LR_RETURN_IF_ERROR(CheckCount(at("course.length"), course.length(), 0));
  LR_RETURN_IF_ERROR(CheckCount(at("course.sequences"), course.sequences(), 1));
  return CheckCount(at("checkpoint_every"), training.checkpoint_every(), 1);
}

absl::Status CheckDepths(absl::string_view field,
                         const google::protobuf::RepeatedField<double>& depths) {
  for (const double depth : depths) LR_RETURN_IF_ERROR(CheckRange(field, depth, 0, 100));
  return CheckDistinct(field, depths);
}

absl::Status CheckFurtherTask(const StudyTask& task) {
  if (task.name().empty())
    return Refuse("further_task.name", "nothing", "what rows and figures call it");
  const auto at = [&](absl::string_view field) {
    return absl::StrCat("further_task '", task.name(), "'.", field);
  };
  if (!task.has_task()) return Refuse(at("task"), "nothing", "a task");
  if (!(task.share() >= 0 && std::isfinite(task.share())))
    return Refuse(at("share"), task.share(), "0 or more");
  LR_RETURN_IF_ERROR(CheckCount(at("shortest"), task.shortest(), 1));
  LR_RETURN_IF_ERROR(CheckCounts(at("length"), task.length(), 1));
  LR_RETURN_IF_ERROR(CheckDepths(at("depth"), task.depth()));
  return CheckCount(at("examples"), task.examples(), 1);
}

absl::Status CheckEvaluation(const StudyEvaluation& evaluation, bool has_text) {
  if (!has_text && !evaluation.length().empty())
    return Refuse("evaluation.length", evaluation.length(0), "none where there is no text");
  LR_RETURN_IF_ERROR(CheckCounts("evaluation.length", evaluation.length(), 1));
  LR_RETURN_IF_ERROR(CheckCount("evaluation.windows", evaluation.windows(), 1));
  LR_RETURN_IF_ERROR(CheckCount("evaluation.position_bucket", evaluation.position_bucket(), 1));
  LR_RETURN_IF_ERROR(CheckCounts("evaluation.task_length", evaluation.task_length(), 1));
  LR_RETURN_IF_ERROR(CheckDepths("evaluation.task_depth", evaluation.task_depth()));
  if (evaluation.task_length().empty() && !evaluation.task_depth().empty()) {
    return Refuse("evaluation.task_length", "none",
                  "one or more, as the grid is of lengths and depths");
  }
  if (evaluation.length().empty() && evaluation.task_length().empty())
    return Refuse("evaluation.length", "none", "one or more, or a grid of the task");
  LR_RETURN_IF_ERROR(CheckCount("evaluation.task_examples", evaluation.task_examples(), 1));
  LR_RETURN_IF_ERROR(CheckCount("evaluation.probe_length", evaluation.probe_length(), 0));
  LR_RETURN_IF_ERROR(CheckCount("evaluation.probe_windows", evaluation.probe_windows(), 1));
  LR_RETURN_IF_ERROR(CheckCount("evaluation.stride", evaluation.stride(), 0));
  LR_RETURN_IF_ERROR(CheckCount("evaluation.stride_windows", evaluation.stride_windows(), 1));
  LR_RETURN_IF_ERROR(CheckCount("evaluation.stream_rows", evaluation.stream_rows(), 0));
  LR_RETURN_IF_ERROR(CheckCount("evaluation.longest_growing", evaluation.longest_growing(), 0));
  LR_RETURN_IF_ERROR(CheckCount("evaluation.cell_rows", evaluation.cell_rows(), 0));
  return CheckCount("evaluation.batch_rows", evaluation.batch_rows(), 1);
}

absl::Status CheckCourseComparison(const std::string& at,
                                   const StudyFinding::Comparison& comparison) {
  if (!comparison.length().empty())
    return Refuse(at + "length", comparison.length(0), "none beside a course");
  if (comparison.has_figure() || comparison.has_task())
    return Refuse(at + "course.figure", absl::StrCat("'", comparison.course().figure(), "'"),
                  "nothing beside a figure or a task");
  if (!comparison.has_at_least() && !comparison.has_at_most())
    return Refuse(at + "at_least", "nothing", "it, at_most, or both");
  for (const double bound : {comparison.at_least(), comparison.at_most()}) {
    if (!std::isfinite(bound)) return Refuse(at + "bound", bound, "a number");
  }
  if (comparison.has_less() && comparison.less().figure().empty())
    return Refuse(at + "less.figure", "nothing", "a figure of a probe");
  for (const StudyFinding::Course* course : {&comparison.course(), &comparison.less()}) {
    LR_RETURN_IF_ERROR(CheckCount(at + "course.within", course->within(), 1));
    LR_RETURN_IF_ERROR(CheckCount(at + "course.before", course->before(), 0));
    if (!std::isfinite(course->level()))
      return Refuse(at + "course.level", course->level(), "a number");
  }
  return absl::OkStatus();
}

absl::Status CheckFinding(const StudyFinding& finding) {
  if (finding.id().empty()) return Refuse("finding.id", "nothing", "what the report calls it");
  const std::string name = absl::StrCat("finding '", finding.id(), "'.");
  if (finding.statement().empty()) return Refuse(name + "statement", "nothing", "a sentence");
  if (finding.comparison().empty()) return Refuse(name + "comparison", "none", "one or more");
  for (const StudyFinding::Comparison& comparison : finding.comparison()) {
    const std::string at = name + "comparison.";
    if (!comparison.course().figure().empty()) {
      LR_RETURN_IF_ERROR(CheckCourseComparison(at, comparison));
      continue;
    }
    if (comparison.has_less())
      return Refuse(at + "less", absl::StrCat("'", comparison.less().figure(), "'"),
                    "nothing without a course that it is taken from");
    LR_RETURN_IF_ERROR(CheckCounts(at + "length", comparison.length(), 1));
    if (comparison.length().empty()) return Refuse(at + "length", "none", "one or more");
    if (!comparison.has_at_least() && !comparison.has_at_most())
      return Refuse(at + "at_least", "nothing", "it, at_most, or both");
    const bool perplexity = comparison.figure() == StudyFinding::Comparison::PERPLEXITY;
    for (const double bound : {comparison.has_at_least() ? comparison.at_least() : 1,
                               comparison.has_at_most() ? comparison.at_most() : 1}) {
      if (!std::isfinite(bound) || (perplexity && bound <= 0))
        return Refuse(at + "bound", bound, perplexity ? "more than 0" : "a number");
    }
    if (comparison.has_at_least() && comparison.has_at_most() &&
        comparison.at_least() > comparison.at_most()) {
      return Refuse(at + "at_least", comparison.at_least(),
                    absl::StrCat("no more than at_most, ", comparison.at_most()));
    }
    if (perplexity && comparison.has_task())
      return Refuse(at + "task", absl::StrCat("'", comparison.task(), "'"), "none for perplexity");
  }
  return absl::OkStatus();
}

// Does the path lead to a field? Plugins are those of `settings`; what lies below a plugin that is
// not set cannot be told.
absl::Status CheckPath(const StudySettings& settings, const std::string& path) {
  std::unique_ptr<Message> at(settings.New());
  at->CopyFrom(settings);
  const std::vector<std::string> steps = absl::StrSplit(path, '.');
  for (size_t i = 0; i < steps.size(); ++i) {
    const auto* descriptor = at->GetDescriptor();
    const FieldDescriptor* field = descriptor->FindFieldByName(steps[i]);
    if (field == nullptr) {
      std::vector<std::string> known;
      for (int f = 0; f < descriptor->field_count(); ++f)
        known.push_back(descriptor->field(f)->name());
      return absl::InvalidArgumentError(absl::StrCat(
          "compares: '", path, "': ", descriptor->full_name(), " has no field '", steps[i], "'",
          DidYouMean(steps[i], known), " (fields: ", absl::StrJoin(known, ", "), ")"));
    }
    if (i + 1 == steps.size()) break;
    if (field->is_repeated() || field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE)
      return Refuse("compares", absl::StrCat("'", path, "'"),
                    absl::StrCat("nothing below ", steps[i]));
    const Message& part = at->GetReflection()->GetMessage(*at, field);
    std::unique_ptr<Message> next;
    if (const Any* any = AsAny(part)) {
      if (any->type_url().empty()) break;
      LR_ASSIGN_OR_RETURN(next, registry_internal::Unpack(*any));
    } else {
      next.reset(part.New());
      next->CopyFrom(part);
    }
    at = std::move(next);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Overlay(const Message& overlay, Message* base) {
  CHECK(overlay.GetDescriptor() == base->GetDescriptor());
  const auto* reflection = overlay.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection->ListFields(overlay, &fields);
  for (const FieldDescriptor* field : fields) {
    if (!field->is_repeated() && field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      const Message& from = reflection->GetMessage(overlay, field);
      Message* to = reflection->MutableMessage(base, field);
      if (const Any* any = AsAny(from)) {
        LR_RETURN_IF_ERROR(OverlayAny(*any, field, static_cast<Any*>(to)));
      } else {
        LR_RETURN_IF_ERROR(Overlay(from, to));
      }
      continue;
    }
    // Copy this one field: a message that holds nothing else, merged in.
    std::unique_ptr<Message> only(overlay.New());
    only->CopyFrom(overlay);
    for (const FieldDescriptor* other : fields) {
      if (other != field) reflection->ClearField(only.get(), other);
    }
    reflection->ClearField(base, field);
    base->MergeFrom(*only);
  }
  return absl::OkStatus();
}

std::vector<Difference> Differences(const Message& before, const Message& after) {
  CHECK(before.GetDescriptor() == after.GetDescriptor());
  std::vector<Difference> differences;
  Compare(before, after, "", &differences);
  return differences;
}

absl::StatusOr<StudySettings> ArmSettings(const StudyProtocol& protocol, const StudyArm& arm,
                                          const StudySettings* after) {
  StudySettings settings = after != nullptr ? *after : protocol.settings();
  LR_RETURN_IF_ERROR(Overlay(arm.settings(), &settings));
  if (settings.tuning().has_steps_times()) {
    StudyTraining* tuning = settings.mutable_tuning();
    LR_RETURN_IF_ERROR(CheckCount(absl::StrCat("arm '", arm.name(), "': tuning.steps_times"),
                                  tuning->steps_times(), 1, 1000));
    tuning->set_steps(tuning->steps() * tuning->steps_times());
    tuning->clear_steps_times();
  }
  std::vector<std::string> compares(protocol.compares().begin(), protocol.compares().end());
  for (const StudyProtocol::Further& further : protocol.compares_further()) {
    const auto& names = further.arm();
    const bool mine = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
      return name == arm.name() || (after != nullptr && name == arm.after());
    });
    if (mine) compares.push_back(further.path());
  }
  for (const Difference& difference : Differences(protocol.settings(), settings)) {
    // Any arm may leave the base model as it is.
    bool compared = difference.path == "tuning.steps" && settings.tuning().steps() == 0;
    for (const std::string& path : compares) {
      compared =
          compared || difference.path == path || absl::StartsWith(difference.path, path + ".");
    }
    if (!compared) {
      return absl::InvalidArgumentError(absl::StrCat(
          "arm '", arm.name(), "' breaks the control: it sets ", difference.path, " to ",
          difference.after, " where the protocol has ", difference.before, "; this study compares ",
          absl::StrJoin(compares, ", "), " and nothing else"));
    }
  }
  return settings;
}

absl::Status CheckSettings(const StudySettings& settings) {
  const ModelConfig& model = settings.model();
  LR_RETURN_IF_ERROR(CheckCount("model.vocabulary", model.vocabulary(), 1));
  LR_RETURN_IF_ERROR(CheckCount("model.width", model.width(), 1, kWidest));
  if (!(model.init_std() >= 0 && std::isfinite(model.init_std())))
    return Refuse("model.init_std", model.init_std(), "0 or more");
  std::set<std::string> names;
  for (const StudyTask& task : settings.further_task()) {
    LR_RETURN_IF_ERROR(CheckFurtherTask(task));
    if (!names.insert(task.name()).second)
      return Refuse("further_task.name", absl::StrCat("'", task.name(), "' twice"),
                    "every name once");
    if (!settings.has_task())
      return Refuse("further_task", absl::StrCat("'", task.name(), "'"),
                    "a task of the study before it");
  }
  const bool has_text = !settings.data().corpus().empty();
  if (!has_text && !settings.has_task())
    return Refuse("data.corpus", "''", "a text where there is no task");
  // First the one that arms from scratch are trained by; `base` is its copy there.
  if (settings.tuning().steps() != 0) {  // 0: frozen, and the rest of it says nothing
    LR_RETURN_IF_ERROR(
        CheckTraining("tuning", settings.tuning(), has_text, settings.has_task(), 0));
  }
  LR_RETURN_IF_ERROR(CheckTraining("base", settings.base(), has_text, settings.has_task(), 1));
  return CheckEvaluation(settings.evaluation(), has_text);
}

absl::Status CheckProtocol(const StudyProtocol& protocol) {
  const StudySettings& settings = protocol.settings();
  if (protocol.name().empty() || absl::StrContains(protocol.name(), '/'))
    return Refuse("name", absl::StrCat("'", protocol.name(), "'"), "the name of a folder");
  LR_RETURN_IF_ERROR(CheckSettings(settings));
  const bool tunes = settings.tuning().steps() > 0;
  LR_RETURN_IF_ERROR(CheckCount("trained_length", protocol.trained_length(), 1));
  LR_RETURN_IF_ERROR(CheckCount("extended_length", protocol.extended_length(), 1));
  if (protocol.from_scratch()) {
    if (!tunes)
      return Refuse("tuning.steps", settings.tuning().steps(),
                    "1 or more, as arms start from scratch");
    if (protocol.trained_length() != settings.tuning().length()) {
      return Refuse("tuning.length", settings.tuning().length(),
                    absl::StrCat("trained_length of the protocol, ", protocol.trained_length()));
    }
  }
  // The report speaks of the protocol's two lengths, the models are made at those of the settings.
  if (protocol.trained_length() != settings.base().length()) {
    return Refuse("base.length", settings.base().length(),
                  absl::StrCat("trained_length of the protocol, ", protocol.trained_length()));
  }
  if (tunes && !protocol.from_scratch() &&
      protocol.extended_length() != settings.tuning().length()) {
    return Refuse("tuning.length", settings.tuning().length(),
                  absl::StrCat("extended_length of the protocol, ", protocol.extended_length()));
  }
  if (!protocol.from_scratch() && !settings.base().course().probe().empty())
    return Refuse("base.course.probe", settings.base().course().probe_size(),
                  "none: tuning.course is what is measured");
  // The seed -1 is that of a run that is not tuned.
  LR_RETURN_IF_ERROR(CheckCounts("base_seed", protocol.base_seed(), 0));
  LR_RETURN_IF_ERROR(CheckCounts("tuning_seed", protocol.tuning_seed(), 0));
  if (protocol.base_seed().empty()) return Refuse("base_seed", "none", "one or more");
  if (tunes && protocol.tuning_seed().empty()) return Refuse("tuning_seed", "none", "one or more");
  std::set<std::string> findings;
  for (const StudyFinding& finding : protocol.finding()) {
    LR_RETURN_IF_ERROR(CheckFinding(finding));
    if (!findings.insert(finding.id()).second)
      return Refuse("finding.id", absl::StrCat("'", finding.id(), "' twice"), "every id once");
  }
  // Text, task and base model are made once, by the protocol.
  std::vector<std::string> paths(protocol.compares().begin(), protocol.compares().end());
  for (const StudyProtocol::Further& further : protocol.compares_further())
    paths.push_back(further.path());
  for (const std::string& path : paths) {
    if (path != "model" && path != "tuning" && !absl::StartsWith(path, "model.") &&
        !absl::StartsWith(path, "tuning.")) {
      return Refuse("compares", absl::StrCat("'", path, "'"),
                    "model, tuning or a path under one of them");
    }
    LR_RETURN_IF_ERROR(CheckPath(settings, path));
  }
  return absl::OkStatus();
}

}  // namespace longrange
