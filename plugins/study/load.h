// A study as its folder, preset and flags make it: protocol and arms, read and checked.

#ifndef LONGRANGE_PLUGINS_STUDY_LOAD_H_
#define LONGRANGE_PLUGINS_STUDY_LOAD_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "plugins/checkpoint/checkpoint.h"
#include "plugins/study/study.pb.h"

namespace longrange {

struct Study {
  StudyProtocol protocol;
  std::vector<StudyArm> arms;           // by name
  std::vector<StudySettings> settings;  // of each arm: the protocol's with the arm's laid over
  std::string left;  // what this run leaves to a larger preset, for the reader; "": nothing
  std::shared_ptr<const Checkpoint> checkpoint;  // the base model; null: it is trained
  // The arm that arm i goes on from, or -1.
  int After(size_t i) const;
};

struct StudyOptions {
  std::string preset;            // laid over the protocol; "": its own settings
  std::vector<std::string> set;  // "path=value" on the protocol's settings, after the preset
  // Run only these, and those that they go on from; empty: those that the protocol names, or all.
  std::vector<std::string> arms;
  // Folder of a trained model that is the base model; its config takes the place of the protocol's
  // `model`, before `set`. "": base models are trained.
  std::string checkpoint;
  std::string out;  // output folder
  bool quiet = false;
};

// Reads protocol.textproto and arms/*.textproto of a folder, applies preset and assignments, and
// refuses an arm that differs from the protocol in what the study does not compare. InvalidArgument
// and NotFound say what and where.
absl::StatusOr<Study> LoadStudy(const std::string& folder, const StudyOptions& options);

// The same of a protocol and arms that stand in no folder. Arms have a name; label and method are
// filled in.
absl::StatusOr<Study> MakeStudy(StudyProtocol protocol, std::vector<StudyArm> arms,
                                const StudyOptions& options);

// What --help says of the presets of the study in a folder, a line each, "--preset=smoke: ...";
// empty where it has none, or no protocol that can be read.
std::string PresetHelp(const std::string& folder);

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_STUDY_LOAD_H_
