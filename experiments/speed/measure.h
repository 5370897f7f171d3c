// What the speed report measures: workloads against the edges of the machine and against a peer,
// and where a layer overtakes another.

#ifndef LONGRANGE_EXPERIMENTS_SPEED_MEASURE_H_
#define LONGRANGE_EXPERIMENTS_SPEED_MEASURE_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "experiments/decode/measure.h"
#include "experiments/speed/machine.h"
#include "experiments/speed/peer.h"
#include "experiments/speed/speed.pb.h"

namespace longrange {

struct WorkRow {
  std::string name;          // "RmsNorm/forward/rows:8192/d:512"
  bool kernel = false;       // or a training step
  double flops = 0;          // of one run
  double bytes = 0;          // that must move at least
  std::vector<double> ours;  // seconds of a run, for each round
  std::vector<double> peer;  // the same of the peer; empty: it was not asked, or has no such work
};
double Seconds(const WorkRow& row);  // the median of the rounds
// Of the times, the peer's by ours: the median of the rounds, the least and the most. nullopt: no
// peer.
struct Ratio {
  double median = 0, least = 0, most = 0;
};
std::optional<Ratio> RatioOf(const WorkRow& row);

// Which edge of the roofline a workload is nearer to, and the share of it that it reaches. Above 1
// where the data stays in a cache.
struct Reach {
  double share = 0;
  bool of_memory = false;
};
Reach ReachOf(const WorkRow& row, const Peak& peak);

// One of the layers, or of the models that decode, at one length.
struct LengthRow {
  std::string arm, against;  // against: another arm; empty: none
  int64_t length = 0;
  double seconds = 0;
};

// From which length on an arm is faster than the other at all lengths measured, interpolated on
// logarithmic axes.
struct Crossover {
  std::string arm, against;
  bool overtakes = false;  // false: not up to the longest length of both
  bool always = false;     // from the shortest length on
  double length = 0;       // where it overtakes
  int64_t longest = 0;     // of both
};
std::vector<Crossover> Crossovers(const std::vector<LengthRow>& rows);

struct SpeedResults {
  SpeedSettings settings;
  int threads = 0;
  Peak peak;
  std::string peer;  // empty: none
  std::vector<WorkRow> work;
  std::vector<LengthRow> layers;  // forward and backward
  std::vector<LengthRow> decode;  // one token, behind `length` others
};

// InvalidArgument names the first field that has no meaning.
absl::Status CheckSettings(const SpeedSettings& settings);

// What a run will do, a line each.
absl::StatusOr<std::vector<std::string>> Plan(const SpeedSettings& settings);

// Called with what was measured; false stops.
using OnWork = std::function<bool(const std::string& what)>;

// `peer` may be null. Cancelled where on_work said so.
absl::StatusOr<SpeedResults> Measure(const SpeedSettings& settings, Peer* peer,
                                     const OnWork& on_work);

}  // namespace longrange

#endif  // LONGRANGE_EXPERIMENTS_SPEED_MEASURE_H_
