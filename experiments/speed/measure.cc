#include "experiments/speed/measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/autograd/tape.h"
#include "common/base/refuse.h"
#include "common/base/status_macros.h"
#include "common/base/thread_pool.h"
#include "common/tensor/cost.h"
#include "common/testing/shapes.h"
#include "experiments/speed/kernel_times.h"
#include "experiments/speed/training_step.h"
#include "plugins/mixer.h"
#include "plugins/model/model.h"

namespace longrange {
namespace {

constexpr int64_t kMost = int64_t{1} << 24;  // of any size
constexpr int64_t kMostRounds = 1000;
constexpr double kPeakSeconds = 0.5;
constexpr int kLeastRuns = 3;  // of a layer at a length

const Rng kRng(1);

template <typename Fn>
double SecondsOf(Fn&& fn) {
  const auto start = std::chrono::steady_clock::now();
  fn();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

std::string NameOf(const SpeedStep& step) {
  return absl::StrCat("TrainingStep/", step.mixer(), "/b:", step.batch(), "/l:", step.length(),
                      "/d:", step.width(), "/layers:", step.layers(), "/heads:", step.heads(),
                      "/v:", step.vocabulary(),
                      step.precision() == OptimizerConfig::BFLOAT16 ? "/bfloat16" : "");
}

// Our time of one round of so many seconds.
using Turn = std::function<absl::StatusOr<WorkTime>(double seconds)>;

// In turn with the peer; in one go where it has no such work, as every round of a benchmark begins
// with a check of its results.
absl::StatusOr<WorkRow> TimeInTurns(const SpeedSettings& settings, const std::string& name,
                                    const Turn& turn, Peer* peer) {
  WorkRow row;
  row.name = name;
  for (int64_t round = 0; round < settings.rounds(); ++round) {
    if (peer != nullptr) {
      const absl::StatusOr<double> theirs = peer->Time(name, settings.seconds());
      if (absl::IsNotFound(theirs.status())) {
        peer = nullptr;
      } else {
        LR_RETURN_IF_ERROR(theirs.status());
        row.peer.push_back(*theirs);
      }
    }
    const int64_t at_once = peer == nullptr ? settings.rounds() : 1;
    LR_ASSIGN_OR_RETURN(const WorkTime time,
                        turn(static_cast<double>(at_once) * settings.seconds()));
    row.ours.push_back(time.seconds);
    row.flops = time.flops;
    row.bytes = time.bytes;
    if (peer == nullptr) break;
  }
  return row;
}

absl::StatusOr<WorkRow> TimeStep(const SpeedSettings& settings, const SpeedStep& step, Peer* peer) {
  LR_ASSIGN_OR_RETURN(const ModelConfig config, ConfigOf(step));
  ModelArgs args;
  args.max_tokens = step.length();
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, Model::Create(config, args));
  LR_ASSIGN_OR_RETURN(
      const std::unique_ptr<TrainingStep> training,
      TrainingStep::Create(model.get(), RandomIds(step.batch(), step.length(), step.vocabulary()),
                           step.precision()));
  WorkTime cost;
  {
    const CostScope scope;  // and the first step, which takes fresh memory
    LR_RETURN_IF_ERROR(training->Run().status());
    cost.flops = scope.cost().flops;
    cost.bytes = scope.cost().bytes;
  }
  const Turn turn = [&](double seconds) -> absl::StatusOr<WorkTime> {
    std::vector<double> times;
    double spent = 0;
    do {
      absl::Status status;
      times.push_back(SecondsOf([&] { status = training->Run().status(); }));
      LR_RETURN_IF_ERROR(status);
      spent += times.back();
    } while (spent < seconds);
    WorkTime time = cost;
    time.seconds = Median(times);
    return time;
  };
  return TimeInTurns(settings, NameOf(step), turn, peer);
}

absl::StatusOr<std::unique_ptr<Mixer>> CreateMixer(const SpeedSettings& settings,
                                                   const SpeedLayer& layer,
                                                   nn::ParameterStore* store, Device device) {
  BuildArgs args{nn::Scope(store, kRng.Child("layer"), DType::kFloat32, device)};
  args.width = settings.width();
  if (layer.bidirectional()) args.direction = nn::Direction::kBidirectional;
  absl::StatusOr<std::unique_ptr<Mixer>> mixer = Registry<Mixer>::Get().Create(layer.mixer(), args);
  return mixer.ok() ? std::move(mixer)
                    : Annotate(mixer.status(), absl::StrCat("layer ", layer.name()));
}

// The layer that this one is held against; empty: none.
std::string Against(const SpeedSettings& settings, const SpeedLayer& layer) {
  if (layer.has_against()) return layer.against() == "-" ? "" : layer.against();
  const std::string& first = settings.layer(0).name();
  return layer.name() == first ? "" : first;
}

// Lengths at which a layer is measured: its work is not quadratic, or they are not too long.
absl::StatusOr<std::vector<int64_t>> LengthsOf(const SpeedSettings& settings,
                                               const SpeedLayer& layer) {
  nn::ParameterStore store;
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<Mixer> mixer,
                      CreateMixer(settings, layer, &store, Device::kMeta));
  std::vector<int64_t> lengths;
  for (const int64_t length : settings.length()) {
    if (mixer->traits().flops == Growth::kQuadratic && length > settings.quadratic_most()) break;
    LR_RETURN_IF_ERROR(Annotate(mixer->Supports(1, length, nn::Rows(), nn::Call()),
                                absl::StrCat("layer ", layer.name(), ": length ", length)));
    lengths.push_back(length);
  }
  return lengths;
}

absl::Status TimeLayer(const SpeedSettings& settings, const SpeedLayer& layer,
                       const OnWork& on_work, std::vector<LengthRow>* rows) {
  LR_ASSIGN_OR_RETURN(const std::vector<int64_t> lengths, LengthsOf(settings, layer));
  nn::ParameterStore store;
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<Mixer> mixer,
                      CreateMixer(settings, layer, &store, Device::kCpu));
  for (const int64_t length : lengths) {
    const Tensor x = RandomNormal({1, length, settings.width()}, kRng.Child("x"));
    const Tensor dy = RandomNormal(x.shape(), kRng.Child("dy"));
    LengthRow row{layer.name(), Against(settings, layer), length,
                  std::numeric_limits<double>::infinity()};
    const auto run = [&] { Backward({mixer->Forward(Leaf(x), nn::Rows(), nn::Call())}, {dy}); };
    run();  // fresh memory
    double spent = 0;
    for (int runs = 0; runs < kLeastRuns || spent < settings.seconds(); ++runs) {
      const double seconds = SecondsOf(run);
      row.seconds = std::min(row.seconds, seconds);
      spent += seconds;
    }
    rows->push_back(row);
    if (!on_work(absl::StrCat(layer.name(), ": forward and backward, ", length, " rows")))
      return absl::CancelledError("stopped");
  }
  return absl::OkStatus();
}

DecodeSettings DecodeOnly(const SpeedSettings& settings) {
  DecodeSettings decode = settings.decode();
  decode.clear_length();
  return decode;
}

}  // namespace

double Seconds(const WorkRow& row) { return Median(row.ours); }

std::optional<Ratio> RatioOf(const WorkRow& row) {
  if (row.peer.empty()) return std::nullopt;
  std::vector<double> ratios;
  for (size_t i = 0; i < row.peer.size(); ++i) ratios.push_back(row.peer[i] / row.ours[i]);
  const auto [least, most] = std::minmax_element(ratios.begin(), ratios.end());
  return Ratio{Median(ratios), *least, *most};
}

Reach ReachOf(const WorkRow& row, const Peak& peak) {
  const double arithmetic = row.flops / peak.flops, memory = row.bytes / peak.bytes;
  return {std::max(arithmetic, memory) / Seconds(row), memory > arithmetic};
}

std::vector<Crossover> Crossovers(const std::vector<LengthRow>& rows) {
  const auto time_of = [&](const std::string& arm, int64_t length) -> const LengthRow* {
    for (const LengthRow& row : rows)
      if (row.arm == arm && row.length == length) return &row;
    return nullptr;
  };
  // The logarithm of the other arm's time by this one's, at the lengths of both.
  struct Lead {
    int64_t length;
    double value;
  };
  std::vector<Crossover> crossovers;
  for (size_t begin = 0, end; begin < rows.size(); begin = end) {
    std::vector<Lead> leads;
    for (end = begin; end < rows.size() && rows[end].arm == rows[begin].arm; ++end) {
      const LengthRow* other = time_of(rows[end].against, rows[end].length);
      if (other != nullptr)
        leads.push_back({rows[end].length, std::log(other->seconds / rows[end].seconds)});
    }
    if (leads.empty()) continue;
    Crossover crossover{rows[begin].arm, rows[begin].against};
    crossover.longest = leads.back().length;
    size_t from = leads.size();  // ahead from here on
    while (from > 0 && leads[from - 1].value > 0) --from;
    crossover.overtakes = from < leads.size();
    crossover.always = from == 0;
    if (crossover.overtakes) crossover.length = static_cast<double>(leads[from].length);
    if (crossover.overtakes && from > 0) {
      const Lead &before = leads[from - 1], &after = leads[from];
      const double share = -before.value / (after.value - before.value);
      crossover.length =
          static_cast<double>(before.length) *
          std::pow(static_cast<double>(after.length) / static_cast<double>(before.length), share);
    }
    crossovers.push_back(crossover);
  }
  return crossovers;
}

absl::Status CheckSettings(const SpeedSettings& s) {
  if (s.rounds() < 1 || s.rounds() > kMostRounds)
    return Refuse("rounds", s.rounds(), absl::StrCat("1 to ", kMostRounds));
  if (!(s.seconds() >= 0 && s.seconds() <= 3600))
    return Refuse("seconds", s.seconds(), "0 to 3600");
  if (s.width() < 1 || s.width() > kMost)
    return Refuse("width", s.width(), absl::StrCat("1 to ", kMost));
  LR_RETURN_IF_ERROR(CheckAscending("length", s.length()));
  for (int i = 0; i < s.step_size(); ++i)
    LR_RETURN_IF_ERROR(Annotate(CheckStep(s.step(i)), absl::StrCat("step.", i)));
  for (int i = 0; i < s.layer_size(); ++i) {
    const std::string field = absl::StrCat("layer.", i, ".name");
    if (s.layer(i).name().empty()) return Refuse(field, "none", "one");
    for (int j = 0; j < i; ++j) {
      if (s.layer(i).name() == s.layer(j).name())
        return Refuse(field, s.layer(i).name(), "a name of its own");
    }
    const std::string& against = s.layer(i).against();
    const bool known =
        !s.layer(i).has_against() || against == "-" ||
        std::any_of(s.layer().begin(), s.layer().begin() + i,
                    [&](const SpeedLayer& layer) { return layer.name() == against; });
    if (!known) {
      return Refuse(absl::StrCat("layer.", i, ".against"), against,
                    "a layer before it, or '-' for none");
    }
  }
  if (!s.has_decode()) return absl::OkStatus();
  return Annotate(CheckSettings(s.decode()), "decode");
}

absl::StatusOr<std::vector<std::string>> Plan(const SpeedSettings& settings) {
  std::vector<std::string> plan;
  if (settings.kernels() != "-") {
    LR_ASSIGN_OR_RETURN(plan, KernelNames(settings.kernels()));
    if (plan.empty()) {
      return absl::NotFoundError(
          absl::StrCat("kernels: '", settings.kernels(), "' finds none (expected '-' for none)"));
    }
  }
  for (const SpeedStep& step : settings.step()) {
    LR_ASSIGN_OR_RETURN(const ModelConfig config, ConfigOf(step));
    LR_RETURN_IF_ERROR(Annotate(CheckMemory(config, step.batch(), step.length()), NameOf(step)));
    plan.push_back(NameOf(step));
  }
  for (const SpeedLayer& layer : settings.layer()) {
    LR_ASSIGN_OR_RETURN(const std::vector<int64_t> lengths, LengthsOf(settings, layer));
    for (const int64_t length : lengths)
      plan.push_back(absl::StrCat(layer.name(), ": forward and backward, ", length, " rows"));
  }
  if (!settings.has_decode()) return plan;
  const DecodeSettings decode = DecodeOnly(settings);
  for (const DecodeArm& arm : decode.arm()) {
    LR_RETURN_IF_ERROR(
        Annotate(ForecastOf(decode, arm).status(), absl::StrCat("decode: arm ", arm.name())));
    for (const int64_t context : decode.context())
      plan.push_back(absl::StrCat(arm.name(), ": steps behind ", context, " tokens"));
  }
  return plan;
}

absl::StatusOr<SpeedResults> Measure(const SpeedSettings& settings, Peer* peer,
                                     const OnWork& on_work) {
  SpeedResults results;
  results.settings = settings;
  results.threads = NumThreads();
  if (peer != nullptr) results.peer = peer->name();
  results.peak = MeasurePeak(kPeakSeconds);
  if (settings.kernels() != "-") {
    LR_ASSIGN_OR_RETURN(const std::vector<std::string> names, KernelNames(settings.kernels()));
    for (const std::string& name : names) {
      LR_ASSIGN_OR_RETURN(
          WorkRow row,
          TimeInTurns(
              settings, name, [&](double seconds) { return TimeKernel(name, seconds); }, peer));
      row.kernel = true;
      results.work.push_back(row);
      if (!on_work(name)) return absl::CancelledError("stopped");
    }
  }
  for (const SpeedStep& step : settings.step()) {
    LR_ASSIGN_OR_RETURN(const WorkRow row, TimeStep(settings, step, peer));
    results.work.push_back(row);
    if (!on_work(row.name)) return absl::CancelledError("stopped");
  }
  for (const SpeedLayer& layer : settings.layer())
    LR_RETURN_IF_ERROR(TimeLayer(settings, layer, on_work, &results.layers));
  if (!settings.has_decode()) return results;
  LR_ASSIGN_OR_RETURN(const DecodeResults decode, Measure(DecodeOnly(settings), on_work));
  for (const DecodeRow& row : decode.steps) {
    const std::string& first = decode.steps.front().arm;
    results.decode.push_back({row.arm, row.arm == first ? "" : first, row.context, row.seconds});
  }
  return results;
}

}  // namespace longrange
