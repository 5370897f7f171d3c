#include "plugins/registry.h"

#include <cmath>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "common/base/near_names.h"

namespace longrange {

std::string PluginId(absl::string_view message_name) {
  const size_t dot = message_name.find_last_of("./");
  absl::string_view name =
      dot == absl::string_view::npos ? message_name : message_name.substr(dot + 1);
  name = absl::StripSuffix(name, "Config");
  std::string id;
  for (size_t i = 0; i < name.size(); ++i) {
    if (absl::ascii_isupper(name[i]) && i > 0) id += '_';
    id += absl::ascii_tolower(name[i]);
  }
  return id;
}

namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// No setting means anything where it is NaN or infinite: refused here, once for all plugins.
absl::Status CheckFinite(const Message& message) {
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  for (const FieldDescriptor* field : fields) {
    const int count = field->is_repeated() ? reflection.FieldSize(message, field) : 1;
    for (int i = 0; i < count; ++i) {
      double value = 0;
      if (field->cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE) {
        value = field->is_repeated() ? reflection.GetRepeatedDouble(message, field, i)
                                     : reflection.GetDouble(message, field);
      } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_FLOAT) {
        value = field->is_repeated() ? reflection.GetRepeatedFloat(message, field, i)
                                     : reflection.GetFloat(message, field);
      } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
        LR_RETURN_IF_ERROR(CheckFinite(field->is_repeated()
                                           ? reflection.GetRepeatedMessage(message, field, i)
                                           : reflection.GetMessage(message, field)));
      }
      if (!std::isfinite(value)) {
        return absl::InvalidArgumentError(
            absl::StrCat(field->name(), ": ", value, " (expected a finite number)"));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

namespace registry_internal {

absl::StatusOr<std::unique_ptr<google::protobuf::Message>> Unpack(
    const google::protobuf::Any& any) {
  const std::string name = any.type_url().substr(any.type_url().rfind('/') + 1);
  const google::protobuf::Descriptor* descriptor =
      google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(name);
  if (descriptor == nullptr)
    return absl::InvalidArgumentError(absl::StrCat("unknown config message '", name, "'"));
  std::unique_ptr<google::protobuf::Message> message(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(descriptor)->New());
  if (!any.UnpackTo(message.get())) {
    return absl::InvalidArgumentError(
        absl::StrCat("broken payload of config message '", name, "'"));
  }
  LR_RETURN_IF_ERROR(CheckFinite(*message));
  return message;
}

absl::Status UnknownPlugin(absl::string_view kind, absl::string_view id,
                           const std::vector<std::string>& known) {
  if (id.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("no ", kind, " is named; known: ", absl::StrJoin(known, ", ")));
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown ", kind, " '", id, "'",
                                                 DidYouMean(id, known),
                                                 " (known: ", absl::StrJoin(known, ", "), ")"));
}

}  // namespace registry_internal
}  // namespace longrange
