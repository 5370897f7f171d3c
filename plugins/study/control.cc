#include "plugins/study/control.h"

#include <google/protobuf/text_format.h>

#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
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

absl::Status OverlayAny(const Any& overlay, Any* base) {
  if (overlay.type_url() != base->type_url()) {
    *base = overlay;
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
    if (const Any* any = AsAny(value))
      return PluginId(any->type_url().substr(any->type_url().rfind('/') + 1));
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
        LR_RETURN_IF_ERROR(OverlayAny(*any, static_cast<Any*>(to)));
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

absl::StatusOr<StudySettings> ArmSettings(const StudyProtocol& protocol, const StudyArm& arm) {
  StudySettings settings = protocol.settings();
  LR_RETURN_IF_ERROR(Overlay(arm.settings(), &settings));
  for (const Difference& difference : Differences(protocol.settings(), settings)) {
    bool compared = false;
    for (const std::string& path : protocol.compares()) {
      compared =
          compared || difference.path == path || absl::StartsWith(difference.path, path + ".");
    }
    if (!compared) {
      return absl::InvalidArgumentError(absl::StrCat(
          "arm '", arm.name(), "' breaks the control: it sets ", difference.path, " to ",
          difference.after, " where the protocol has ", difference.before, "; this study compares ",
          absl::StrJoin(protocol.compares(), ", "), " and nothing else"));
    }
  }
  return settings;
}

}  // namespace longrange
