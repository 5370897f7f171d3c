// What //papers/transformer_xl:evaluation_speed measures: the time of a token with the memory kept,
// and with the window of tokens that it sees read anew.

#ifndef LONGRANGE_PAPERS_TRANSFORMER_XL_EVALUATION_SPEED_MEASURE_H_
#define LONGRANGE_PAPERS_TRANSFORMER_XL_EVALUATION_SPEED_MEASURE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "papers/transformer_xl/evaluation_speed/evaluation_speed.pb.h"

namespace longrange {

// How a text is read.
enum class ReadingWay {
  kMemory,    // token by token, the memory kept
  kSegments,  // so many tokens at once, the memory kept
  kWindow,    // token by token, the window of each read anew
};
inline constexpr ReadingWay kReadingWays[] = {ReadingWay::kMemory, ReadingWay::kSegments,
                                              ReadingWay::kWindow};
const char* NameOf(ReadingWay way);

// One way at one attention length; of a token, all texts together.
struct EvaluationSpeedRow {
  ReadingWay way = ReadingWay::kMemory;
  int64_t attention = 0;
  int64_t state_bytes = 0;
  double flops = 0;
  double seconds = 0;  // the median of the rounds
  double least = 0, most = 0;
};

struct EvaluationSpeedResults {
  EvaluationSpeedSettings settings;
  int threads = 0;
  std::vector<EvaluationSpeedRow> rows;
  // Scores of a token by a model of one layer, with the memory and with the window: RMS ratio of
  // the difference, the largest of all attention lengths. (More layers reach further through the
  // memory than through a window.)
  double difference = 0;

  const EvaluationSpeedRow& At(ReadingWay way, int64_t attention) const;
};

// InvalidArgument names the first field that has no meaning.
absl::Status CheckSettings(const EvaluationSpeedSettings& settings);

// Called after each round; false stops, which is Cancelled.
using OnRound = std::function<bool(const std::string& what)>;
absl::StatusOr<EvaluationSpeedResults> MeasureEvaluationSpeed(
    const EvaluationSpeedSettings& settings, const OnRound& on_round);

}  // namespace longrange

#endif  // LONGRANGE_PAPERS_TRANSFORMER_XL_EVALUATION_SPEED_MEASURE_H_
