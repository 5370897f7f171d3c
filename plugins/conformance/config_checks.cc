#include "plugins/conformance/config_checks.h"

#include <google/protobuf/dynamic_message.h>
#include <google/protobuf/message.h>

#include <algorithm>
#include <limits>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "common/base/text_proto.h"
#include "plugins/registry.h"

namespace longrange::conformance {
namespace {

using google::protobuf::Any;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

Any Pack(const Message& message) {
  Any any;
  any.PackFrom(message);
  return any;
}

// Tries one bad number in every field of `part`, which lies in `whole`.
Verdict TryFields(const Message& whole, Message* part, const Create& create) {
  const Reflection& reflection = *part->GetReflection();
  const auto refused = [&](const FieldDescriptor& field, absl::string_view value) {
    const absl::Status status = create(Pack(whole));
    if (status.ok()) return Failed(field.name(), ": ", value, " is accepted");
    return absl::StrContains(status.message(), field.name())
               ? Passed()
               : Failed(field.name(), ": ", value,
                        " is refused without naming the field: ", status.message());
  };
  for (int i = 0; i < part->GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor& field = *part->GetDescriptor()->field(i);
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      if (field.is_repeated() || field.message_type() == Any::descriptor()) continue;
      LR_CHECK_PART(TryFields(whole, reflection.MutableMessage(part, &field), create));
      continue;
    }
    const std::unique_ptr<Message> before(part->New());
    before->CopyFrom(*part);
    const auto attempt = [&](auto set, auto add, auto value) {
      if (field.is_repeated()) {
        (reflection.*add)(part, &field, value);
      } else {
        (reflection.*set)(part, &field, value);
      }
      const Verdict verdict = refused(field, absl::StrCat(value));
      part->CopyFrom(*before);
      return verdict;
    };
    for (const double bad :
         {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::infinity(),
          -std::numeric_limits<double>::infinity()}) {
      if (field.cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE)
        LR_CHECK_PART(attempt(&Reflection::SetDouble, &Reflection::AddDouble, bad));
      if (field.cpp_type() == FieldDescriptor::CPPTYPE_FLOAT)
        LR_CHECK_PART(
            attempt(&Reflection::SetFloat, &Reflection::AddFloat, static_cast<float>(bad)));
    }
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_INT64)
      LR_CHECK_PART(attempt(&Reflection::SetInt64, &Reflection::AddInt64,
                            std::numeric_limits<int64_t>::min()));
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_INT32)
      LR_CHECK_PART(attempt(&Reflection::SetInt32, &Reflection::AddInt32,
                            std::numeric_limits<int32_t>::min()));
  }
  return Passed();
}

}  // namespace

Verdict RegisteredUnderItsFolder(const std::string& folder,
                                 const std::vector<std::string>& registered,
                                 const std::vector<std::string>& instances) {
  if (registered.empty()) return Failed("the folder registers no plugin");
  for (const std::string& id : registered) {
    if (id != folder && !absl::StartsWith(id, absl::StrCat(folder, "_")))
      return Failed("'", id, "' is not named after its folder '", folder, "'");
    if (std::find(instances.begin(), instances.end(), id) == instances.end())
      return Failed("'", id, "' has no instance in conformance.textproto");
  }
  for (const std::string& id : instances) {
    if (std::find(registered.begin(), registered.end(), id) == registered.end())
      return Failed("conformance.textproto has an instance of '", id,
                    "', which this folder does not register");
  }
  return Passed();
}

Verdict ConfigRoundTrips(const Any& config, const Behaviour& behaviour) {
  LR_CHECK_ASSIGN(const std::unique_ptr<Message> message, registry_internal::Unpack(config));
  const std::string text = Resolve(*message);
  const std::unique_ptr<Message> again(message->New());
  const absl::Status status = ParseTextProto(text, "the resolved config", again.get());
  if (!status.ok()) return Failed(status.message());
  if (Resolve(*again) != text)
    return Failed("the config changes when it is written and read: ", text);
  LR_CHECK_ASSIGN(const std::string before, behaviour(config));
  LR_CHECK_ASSIGN(const std::string after, behaviour(Pack(*again)));
  if (before != after)
    return Failed("with its defaults written out the config builds another plugin: ", text);
  return Passed();
}

Verdict RefusesBadValues(const ConformanceInstance& instance, const Any& config,
                         const Create& create) {
  LR_CHECK_ASSIGN(const std::unique_ptr<Message> message, registry_internal::Unpack(config));
  if (const absl::Status status = create(config); !status.ok())
    return Failed("the instance itself is refused: ", status.message());
  LR_CHECK_PART(TryFields(*message, message.get(), create));
  for (const ConformanceInstance::Refused& refused : instance.refused()) {
    const absl::Status status = create(refused.config());
    if (status.ok())
      return Failed(refused.field(),
                    ": a bad value is accepted: ", refused.config().ShortDebugString());
    if (!absl::StrContains(status.message(), refused.field()))
      return Failed("refused without naming the field '", refused.field(), "': ", status.message());
  }
  return Passed();
}

}  // namespace longrange::conformance
