// What makes a comparison controlled: arms are laid over the protocol's settings, and every field
// that differs must be one that the study compares.

#ifndef LONGRANGE_PLUGINS_STUDY_CONTROL_H_
#define LONGRANGE_PLUGINS_STUDY_CONTROL_H_

#include <google/protobuf/message.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "plugins/study/study.pb.h"

namespace longrange {

// Lays the fields that `overlay` sets over `base`: messages field by field (also inside an Any of
// the same type), scalars and repeated fields as a whole.
absl::Status Overlay(const google::protobuf::Message& overlay, google::protobuf::Message* base);

struct Difference {
  std::string path;           // "model.backbone.mixer.heads"
  std::string before, after;  // short text of both values
};
// Fields in which two messages of one type differ, defaults counting as values. An Any of another
// type differs as a whole.
std::vector<Difference> Differences(const google::protobuf::Message& before,
                                    const google::protobuf::Message& after);

// The settings of an arm. InvalidArgument, in one line, where the arm differs from the protocol in
// anything that the study does not compare.
absl::StatusOr<StudySettings> ArmSettings(const StudyProtocol& protocol, const StudyArm& arm);

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_STUDY_CONTROL_H_
