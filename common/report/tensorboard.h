// Event files as TensorBoard reads them: a first record, then records of scalars. A reader may look
// while they grow.
//
// Framing (TFRecord) and message (tensorflow/core/util/event.proto) are written by hand: a length,
// its checksum, an Event, its checksum.

#ifndef LONGRANGE_COMMON_REPORT_TENSORBOARD_H_
#define LONGRANGE_COMMON_REPORT_TENSORBOARD_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace longrange {
namespace report {

// CRC-32C (Castagnoli): 0xE3069283 of "123456789".
uint32_t Crc32c(absl::string_view bytes);

// The name of event file number `index` (from 1) of a folder. TensorBoard reads a folder's files in
// the order of their names, as one run that is named as the folder.
std::string EventFileName(int64_t index);

// What an event file opens with. `time` is in seconds since 1970, here and below.
std::string FirstEventRecord(double time);

// For a run that goes on from a checkpoint: of what was told before, all from `step` on no longer
// counts.
std::string RestartRecord(double time, int64_t step);

// Values at one step, each a point on the curve of its tag.
std::string ScalarsRecord(double time, int64_t step,
                          const std::vector<std::pair<std::string, double>>& values);

}  // namespace report
}  // namespace longrange

#endif  // LONGRANGE_COMMON_REPORT_TENSORBOARD_H_
