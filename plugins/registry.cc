#include "plugins/registry.h"

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
