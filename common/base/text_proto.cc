#include "common/base/text_proto.h"

#include <google/protobuf/any.pb.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/descriptor_database.h>
#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/near_names.h"
#include "common/base/one_line.h"
#include "common/base/paths.h"

namespace longrange {
namespace {

using ::google::protobuf::Any;
using ::google::protobuf::Descriptor;
using ::google::protobuf::DescriptorPool;
using ::google::protobuf::EnumDescriptor;
using ::google::protobuf::FieldDescriptor;
using ::google::protobuf::Message;
using ::google::protobuf::MessageFactory;
using ::google::protobuf::Reflection;
using ::google::protobuf::TextFormat;

// Messages inside one another, the payloads of Any among them.
constexpr size_t kMaxDepth = 64;

// Protobuf's parser recurses, and its own limit does not count the payloads of Any, so the braces
// are counted before it sees them. Strings end with their line at the latest, as they do there.
absl::Status CheckDepth(absl::string_view text) {
  size_t depth = 0;
  char quote = 0;
  bool comment = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\n') {
      quote = 0;
      comment = false;
    } else if (comment) {
      continue;
    } else if (quote != 0) {
      if (c == '\\' && i + 1 < text.size() && text[i + 1] != '\n') {
        ++i;
      } else if (c == quote) {
        quote = 0;
      }
    } else if (c == '"' || c == '\'') {
      quote = c;
    } else if (c == '#') {
      comment = true;
    } else if (c == '{' || c == '<') {
      if (++depth > kMaxDepth)
        return absl::InvalidArgumentError(absl::StrCat("messages nested deeper than ", kMaxDepth));
    } else if ((c == '}' || c == '>') && depth > 0) {
      --depth;
    }
  }
  return absl::OkStatus();
}

bool IsMessage(const FieldDescriptor* field) {
  return field->cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE;
}

std::vector<std::string> FieldNames(const Descriptor* type) {
  std::vector<std::string> names;
  for (int i = 0; i < type->field_count(); ++i) names.push_back(type->field(i)->name());
  return names;
}

std::vector<std::string> ValueNames(const EnumDescriptor* type) {
  std::vector<std::string> names;
  for (int i = 0; i < type->value_count(); ++i) names.push_back(type->value(i)->name());
  return names;
}

// All message types of this project that are linked into the program.
std::vector<std::string> LinkedTypes() {
  std::vector<std::string> names;
  DescriptorPool::internal_generated_database()->FindAllMessageNames(&names);
  names.erase(
      std::remove_if(names.begin(), names.end(),
                     [](const std::string& name) { return !absl::StartsWith(name, "longrange."); }),
      names.end());
  return names;
}

// The message inside an Any; null where its type is not linked in or its bytes are broken.
std::unique_ptr<Message> Payload(const Any& any) {
  const std::string& url = any.type_url();
  const Descriptor* type =
      DescriptorPool::generated_pool()->FindMessageTypeByName(url.substr(url.rfind('/') + 1));
  if (type == nullptr) return nullptr;
  std::unique_ptr<Message> payload(MessageFactory::generated_factory()->GetPrototype(type)->New());
  return any.UnpackTo(payload.get()) ? std::move(payload) : nullptr;
}

// The values of all enumerations that fields of this name have, in any message.
std::vector<std::string> ValuesOfFields(absl::string_view name) {
  std::vector<std::string> values;
  for (const std::string& type_name : LinkedTypes()) {
    const Descriptor* type = DescriptorPool::generated_pool()->FindMessageTypeByName(type_name);
    const FieldDescriptor* field = type->FindFieldByName(std::string(name));
    if (field == nullptr || field->cpp_type() != FieldDescriptor::CPPTYPE_ENUM) continue;
    for (const std::string& value : ValueNames(field->enum_type())) {
      if (std::find(values.begin(), values.end(), value) == values.end()) values.push_back(value);
    }
  }
  return values;
}

// How a plugin is written.
constexpr char kSomePlugin[] = "[type.googleapis.com/longrange.SomeConfig] {}";

// What protobuf's parser says, with names that were probably meant. The parser has no other way to
// tell than its text.
std::string Explain(const std::string& message) {
  const std::vector<absl::string_view> parts = absl::StrSplit(message, '"');
  if (parts.size() == 5 && parts[2] == " has no field named ") {
    if (parts[1] == Any::descriptor()->full_name()) {
      return absl::StrCat("expected a plugin, ", kSomePlugin, ", got a field '", parts[3], "'");
    }
    const Descriptor* type =
        DescriptorPool::generated_pool()->FindMessageTypeByName(std::string(parts[1]));
    if (type != nullptr) {
      const std::vector<std::string> names = FieldNames(type);
      return absl::StrCat(parts[1], " has no field '", OneLine(parts[3]), "'",
                          DidYouMean(parts[3], names), " (fields: ", absl::StrJoin(names, ", "),
                          ")");
    }
  }
  if (parts.size() == 3 && parts[0] == "Could not find type ") {
    const absl::string_view name = parts[1].substr(parts[1].rfind('/') + 1);
    return absl::StrCat("no message '", OneLine(name), "' in this program",
                        DidYouMean(name, LinkedTypes()));
  }
  if (parts.size() == 5 && parts[0] == "Unknown enumeration value of ") {
    // The parser does not say whose field it is.
    const std::vector<std::string> values = ValuesOfFields(parts[3]);
    return absl::StrCat("'", OneLine(parts[1]), "' is no value of ", parts[3],
                        DidYouMean(parts[1], values), " (expected ", absl::StrJoin(values, " or "),
                        ")");
  }
  if (absl::EndsWith(message, "got: "))
    return absl::StrCat(message, "the end of the text (is a } missing?)");
  if (absl::StartsWith(message, "String literals cannot cross line"))
    return "a text without its closing quote";
  return OneLine(absl::StripSuffix(message, "."), 400);
}

// Keeps the first error.
class FirstError : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, int column, const std::string& message) override {
    if (found_) return;
    found_ = true;
    line_ = line;
    column_ = column;
    message_ = message;
  }
  void AddWarning(int, int, const std::string&) override {}

  // "3:7: ", or nothing for errors that have no place.
  std::string place() const {
    return line_ < 0 ? "" : absl::StrCat(line_ + 1, ":", column_ + 1, ":");
  }
  std::string text() const { return found_ ? Explain(message_) : "not a message in text form"; }

 private:
  bool found_ = false;
  int line_ = -1, column_ = -1;
  std::string message_;
};

// Writes messages as Resolve describes.
class Writer {
 public:
  void Fields(const Message& message) {
    if (message.GetDescriptor()->full_name() == "google.protobuf.Any" &&
        AnyFields(static_cast<const Any&>(message)))
      return;
    enclosing_.push_back(message.GetDescriptor());
    std::vector<const FieldDescriptor*> fields;
    for (int i = 0; i < message.GetDescriptor()->field_count(); ++i)
      fields.push_back(message.GetDescriptor()->field(i));
    std::sort(fields.begin(), fields.end(), [](const FieldDescriptor* a, const FieldDescriptor* b) {
      return a->number() < b->number();
    });
    for (const FieldDescriptor* field : fields) Field(message, field);
    enclosing_.pop_back();
  }

  std::string text() && { return std::move(text_); }

 private:
  void Field(const Message& message, const FieldDescriptor* field) {
    const Reflection* reflection = message.GetReflection();
    if (field->is_repeated()) {
      for (int i = 0; i < reflection->FieldSize(message, field); ++i) {
        if (IsMessage(field)) {
          Block(field->name(), reflection->GetRepeatedMessage(message, field, i));
        } else {
          Scalar(message, field, i);
        }
      }
      return;
    }
    const bool is_set = reflection->HasField(message, field);
    if (!is_set && IsMessage(field) && depth_ >= kMaxDepth) return;  // it could not be read
    if (!is_set && field->real_containing_oneof() != nullptr) return;
    if (!IsMessage(field)) return Scalar(message, field, -1);
    if (!is_set &&
        std::find(enclosing_.begin(), enclosing_.end(), field->message_type()) != enclosing_.end())
      return;
    const Message& part = reflection->GetMessage(message, field);
    if (field->message_type()->full_name() == "google.protobuf.Any" &&
        static_cast<const Any&>(part).type_url().empty()) {
      return;
    }
    Block(field->name(), part);
  }

  bool AnyFields(const Any& any) {
    if (depth_ >= kMaxDepth) return false;
    // Where this is false, type_url and value are written as they are.
    const std::unique_ptr<Message> payload = Payload(any);
    if (payload == nullptr) return false;
    const std::string& name = payload->GetDescriptor()->full_name();
    // No other URL is read in brackets.
    if (any.type_url() != absl::StrCat("type.googleapis.com/", name) &&
        any.type_url() != absl::StrCat("type.googleprod.com/", name))
      return false;
    Block(absl::StrCat("[", any.type_url(), "]"), *payload);
    return true;
  }

  void Block(const std::string& name, const Message& part) {
    Line(absl::StrCat(name, " {"));
    ++depth_;
    Fields(part);
    --depth_;
    Line("}");
  }

  void Scalar(const Message& message, const FieldDescriptor* field, int index) {
    std::string value;
    TextFormat::PrintFieldValueToString(message, field, index, &value);
    Line(absl::StrCat(field->name(), ": ", value));
  }

  void Line(const std::string& line) {
    absl::StrAppend(&text_, std::string(2 * depth_, ' '), line, "\n");
  }

  std::string text_;
  size_t depth_ = 0;
  std::vector<const Descriptor*> enclosing_;
};

std::string Expected(const FieldDescriptor* field) {
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
    case FieldDescriptor::CPPTYPE_INT64:
      return "an integer";
    case FieldDescriptor::CPPTYPE_UINT32:
    case FieldDescriptor::CPPTYPE_UINT64:
      return "an integer of 0 or more";
    case FieldDescriptor::CPPTYPE_DOUBLE:
    case FieldDescriptor::CPPTYPE_FLOAT:
      return "a number";
    case FieldDescriptor::CPPTYPE_BOOL:
      return "true or false";
    case FieldDescriptor::CPPTYPE_ENUM:
      return absl::StrJoin(ValueNames(field->enum_type()), " or ");
    case FieldDescriptor::CPPTYPE_STRING:
      return "a text";
    case FieldDescriptor::CPPTYPE_MESSAGE:
      if (field->message_type() == Any::descriptor()) return absl::StrCat("{ ", kSomePlugin, " }");
      return absl::StrCat("{ ... } with a ", field->message_type()->full_name(),
                          ", or a field of it");
  }
  return "";
}

// One --set at work: walks down the path, sets the value, and packs the payloads it walked through
// again.
class Assignment {
 public:
  Assignment(absl::string_view path, absl::string_view value)
      : value_(value), steps_(absl::StrSplit(path, '.')) {}

  absl::Status Apply(Message* message) {
    if (++depth_ > kMaxDepth)
      return Error(absl::StrCat("'", Here(), "' is nested deeper than ", kMaxDepth));
    if (message->GetDescriptor()->full_name() == "google.protobuf.Any")
      return ApplyToAny(static_cast<Any*>(message));
    const Descriptor* type = message->GetDescriptor();
    const std::string& name = steps_[at_];
    const FieldDescriptor* field = type->FindFieldByName(name);
    if (field == nullptr) {
      const std::vector<std::string> names = FieldNames(type);
      return Error(absl::StrCat(type->full_name(), " has no field '", name, "'",
                                DidYouMean(name, names), " (fields: ", absl::StrJoin(names, ", "),
                                ")"));
    }
    ++at_;
    return field->is_repeated() ? ApplyToList(message, field) : ApplyToField(message, field);
  }

 private:
  absl::Status Error(absl::string_view what) const { return absl::InvalidArgumentError(what); }
  bool AtEnd() const { return at_ == steps_.size(); }
  // The path up to here.
  std::string Here() const {
    return absl::StrJoin(steps_.begin(), steps_.begin() + static_cast<int64_t>(at_), ".");
  }

  absl::Status ApplyToAny(Any* any) {
    if (any->type_url().empty()) {
      return Error(absl::StrCat("'", Here(), "' is not set; name its type first, as in ", Here(),
                                "={ ", kSomePlugin, " }"));
    }
    const std::unique_ptr<Message> payload = Payload(*any);
    if (payload == nullptr)
      return Error(absl::StrCat("no message '", any->type_url(), "' in this program"));
    LR_RETURN_IF_ERROR(Apply(payload.get()));
    any->PackFrom(*payload);
    return absl::OkStatus();
  }

  absl::Status ApplyToField(Message* message, const FieldDescriptor* field) {
    const Reflection* reflection = message->GetReflection();
    if (!AtEnd()) {
      if (!IsMessage(field)) return NoFields(field);
      return Apply(reflection->MutableMessage(message, field));
    }
    reflection->ClearField(message, field);
    return Add(message, field, value_);
  }

  absl::Status ApplyToList(Message* message, const FieldDescriptor* field) {
    const Reflection* reflection = message->GetReflection();
    const int size = reflection->FieldSize(*message, field);
    if (AtEnd()) {
      if (IsMessage(field))
        return Error(absl::StrCat("'", Here(), "' is a list; give an index: ", Here(), ".0"));
      reflection->ClearField(message, field);
      if (value_.empty()) return absl::OkStatus();
      for (const absl::string_view part : absl::StrSplit(value_, ','))
        LR_RETURN_IF_ERROR(Add(message, field, part));
      return absl::OkStatus();
    }
    int index = -1;
    if (!absl::SimpleAtoi(steps_[at_], &index) || index < 0 || index > size) {
      return Error(absl::StrCat("'", Here(), "' is a list; expected an index from 0 to ", size,
                                " (which appends), got '", steps_[at_], "'"));
    }
    ++at_;
    if (!AtEnd()) {
      if (!IsMessage(field)) return NoFields(field);
      return Apply(index == size ? reflection->AddMessage(message, field)
                                 : reflection->MutableRepeatedMessage(message, field, index));
    }
    LR_RETURN_IF_ERROR(Add(message, field, value_));
    if (index < size) {
      reflection->SwapElements(message, field, index, size);
      reflection->RemoveLast(message, field);
    }
    return absl::OkStatus();
  }

  absl::Status NoFields(const FieldDescriptor* field) const {
    return Error(absl::StrCat("'", Here(), "' is ", Expected(field), " and has no field '",
                              steps_[at_], "'"));
  }

  // Sets the field, or adds to the list.
  absl::Status Add(Message* message, const FieldDescriptor* field, absl::string_view value) const {
    if (field->cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
      const Reflection* reflection = message->GetReflection();
      if (field->is_repeated()) {
        reflection->AddString(message, field, std::string(value));
      } else {
        reflection->SetString(message, field, std::string(value));
      }
      return absl::OkStatus();
    }
    LR_RETURN_IF_ERROR(CheckDepth(value));
    TextFormat::Parser parser;
    FirstError error;
    parser.RecordErrorsTo(&error);
    if (parser.ParseFieldValueFromString(std::string(value), field, message))
      return absl::OkStatus();
    std::string text = absl::StrCat("expected ", Expected(field));
    if (IsMessage(field)) {
      absl::StrAppend(&text, ": ", error.text());
    } else {
      absl::StrAppend(&text, ", got '", value, "'");
      if (field->cpp_type() == FieldDescriptor::CPPTYPE_ENUM) {
        absl::StrAppend(&text, DidYouMean(value, ValueNames(field->enum_type())));
      }
    }
    return Error(text);
  }

  const absl::string_view value_;
  const std::vector<std::string> steps_;
  size_t depth_ = 0;
  size_t at_ = 0;  // the next step
};

}  // namespace

absl::Status ParseTextProto(absl::string_view text, absl::string_view name, Message* message) {
  if (static_cast<int64_t>(text.size()) > kMaxTextProtoBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        name, ": ", text.size(), " bytes (expected at most ", kMaxTextProtoBytes, ")"));
  }
  const absl::Status depth = CheckDepth(text);
  if (!depth.ok()) return absl::InvalidArgumentError(absl::StrCat(name, ": ", depth.message()));
  TextFormat::Parser parser;
  FirstError error;
  parser.RecordErrorsTo(&error);
  google::protobuf::io::ArrayInputStream input(text.data(), static_cast<int>(text.size()));
  if (parser.Parse(&input, message)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, ":", error.place(), " ", error.text()));
}

absl::Status ParseTextProtoFile(const std::string& path, Message* message) {
  LR_ASSIGN_OR_RETURN(const std::string text, ReadWholeFile(path, kMaxTextProtoBytes));
  return ParseTextProto(text, path, message);
}

std::string Resolve(const Message& message) {
  Writer writer;
  writer.Fields(message);
  return std::move(writer).text();
}

absl::Status SetField(Message* message, absl::string_view assignment) {
  const size_t equals = assignment.find('=');
  if (equals == absl::string_view::npos || equals == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--set ", OneLine(assignment), ": expected path.to.field=value"));
  }
  const std::unique_ptr<Message> changed(message->New());
  changed->CopyFrom(*message);
  const absl::Status status =
      Assignment(assignment.substr(0, equals), assignment.substr(equals + 1)).Apply(changed.get());
  if (!status.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--set ", OneLine(assignment), ": ", OneLine(status.message(), 2000)));
  }
  message->GetReflection()->Swap(message, changed.get());
  return absl::OkStatus();
}

absl::Status SetFields(Message* message, absl::Span<const std::string> assignments) {
  for (const std::string& assignment : assignments)
    LR_RETURN_IF_ERROR(SetField(message, assignment));
  return absl::OkStatus();
}

}  // namespace longrange
