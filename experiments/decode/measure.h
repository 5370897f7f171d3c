// What the decode experiment measures of an arm: its forms on one layer, and decoding steps of a
// model behind contexts of growing length.

#ifndef LONGRANGE_EXPERIMENTS_DECODE_MEASURE_H_
#define LONGRANGE_EXPERIMENTS_DECODE_MEASURE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "experiments/decode/decode.pb.h"

namespace longrange {

// One form of one layer on a sequence.
struct FormRow {
  std::string arm, form;
  int64_t length = 0;
  double flops = 0;
  double difference = 0;   // RMS ratio to the layer's first form
  double seconds = 0;      // of the fastest run
  bool quadratic = false;  // does its work grow with the square of the length?
};

// One token behind a context.
struct DecodeRow {
  std::string arm;
  int64_t context = 0;  // tokens seen before
  int64_t state_bytes = 0;
  double flops = 0;            // of a token, all streams together
  double seconds = 0;          // of a token, the fastest of some rounds
  double prefill_seconds = 0;  // for all tokens of the context
};

struct ArmFacts {
  std::string name;
  int64_t parameters = 0;
  bool constant_state = false;  // as the layer declares it
};

struct DecodeResults {
  DecodeSettings settings;
  int threads = 0;
  std::vector<ArmFacts> arms;
  std::vector<FormRow> forms;
  std::vector<DecodeRow> steps;
};

// InvalidArgument names the first field that has no meaning.
absl::Status CheckSettings(const DecodeSettings& settings);

// InvalidArgument names the field, and the first value that is not above the one before, or beyond
// what any size may be.
absl::Status CheckAscending(absl::string_view field,
                            const google::protobuf::RepeatedField<int64_t>& values);

// What an arm needs at its longest context, counted without memory.
struct Forecast {
  int64_t parameters = 0;
  int64_t state_bytes = 0;   // of all streams
  int64_t memory_bytes = 0;  // parameters, the state and a copy to decode on, and one call
};
absl::StatusOr<Forecast> ForecastOf(const DecodeSettings& settings, const DecodeArm& arm);

// Called after each row with what was measured ("retnet: 2048 tokens"); false stops.
using OnRow = std::function<bool(const std::string& what)>;

// Rows of a whole run, and what progress counts.
int64_t PlannedRows(const DecodeSettings& settings);

// Cancelled where on_row said so.
absl::StatusOr<DecodeResults> Measure(const DecodeSettings& settings, const OnRow& on_row);

}  // namespace longrange

#endif  // LONGRANGE_EXPERIMENTS_DECODE_MEASURE_H_
