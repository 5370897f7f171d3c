// Configs: protocol buffers in text form, plugins' messages inside google.protobuf.Any among them.

#ifndef LONGRANGE_COMMON_BASE_TEXT_PROTO_H_
#define LONGRANGE_COMMON_BASE_TEXT_PROTO_H_

#include <google/protobuf/message.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/hash.h"
#include "common/base/status_macros.h"

namespace longrange {

// Larger texts are refused: a message takes up to a hundred times the bytes of its text.
inline constexpr int64_t kMaxTextProtoBytes = int64_t{512} << 10;

// Replaces `message` by what `text` says. An Any is written with its payload expanded:
//   mixer { [type.googleapis.com/longrange.TransformerConfig] { heads: 8 } }
// InvalidArgument, "NAME:LINE:COLUMN: ..." with the first mistake: syntax, an unknown field or enum
// value, a type that is not linked in, a field given twice, messages nested deeper than 64, more
// than kMaxTextProtoBytes. Near names are suggested. `message` is
// unspecified then.
absl::Status ParseTextProto(absl::string_view text, absl::string_view name,
                            google::protobuf::Message* message);

// The same of a file; also what ReadWholeFile returns.
absl::Status ParseTextProtoFile(const std::string& path, google::protobuf::Message* message);

template <typename T>
absl::StatusOr<T> ParseTextProtoFile(const std::string& path) {
  T message;
  LR_RETURN_IF_ERROR(ParseTextProtoFile(path, &message));
  return message;
}

// Every field written out, defaults included, in the order of field numbers; deterministic, and
// parses back to an equal config. A message field that is not set is written with its defaults, so
// a config must give no meaning to whether it is set; not written are what says nothing: empty
// lists, an Any without a payload, fields of a oneof that are not set, and a message inside one of
// its own type that is not set.
std::string Resolve(const google::protobuf::Message& message);

// One assignment of --set, "path.to.field=value". A step of the path is a field's name, or an index
// into the repeated field before it; the index that is one past the end appends. Steps go through
// the payload of an Any that is set. The value is an enum's name, a number, a bool or, unquoted, a
// string; for a message "{ a: 1 }" in text form. A list of scalars is replaced by
// "lengths=128,256", and "lengths=" empties it. InvalidArgument: in one line what is wrong with
// "--set path=value", with the near names. `message` is unchanged then.
absl::Status SetField(google::protobuf::Message* message, absl::string_view assignment);

// In order, up to the first mistake.
absl::Status SetFields(google::protobuf::Message* message,
                       absl::Span<const std::string> assignments);

}  // namespace longrange

#endif  // LONGRANGE_COMMON_BASE_TEXT_PROTO_H_
