#include "experiments/decode/measure.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/autograd/tape.h"
#include "common/base/refuse.h"
#include "common/base/status_macros.h"
#include "common/base/thread_pool.h"
#include "common/tensor/allocator.h"
#include "common/tensor/cost.h"
#include "plugins/mixer.h"
#include "plugins/model/model.h"
#include "plugins/stack/stack.pb.h"

namespace longrange {
namespace {

constexpr int64_t kMost = int64_t{1} << 24;  // of any size
constexpr int64_t kMostSteps = int64_t{1} << 16;
constexpr int64_t kUntimed = 4;  // steps before the clock counts
constexpr int kLeastRuns = 3;    // of a form

const Rng kRng(1);

template <typename Fn>
double SecondsOf(Fn&& fn) {
  const auto start = std::chrono::steady_clock::now();
  fn();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

ModelConfig ConfigOf(const DecodeSettings& settings, const DecodeArm& arm) {
  StackConfig stack;
  stack.set_layers(arm.layers() > 0 ? arm.layers() : settings.layers());
  *stack.mutable_mixer() = arm.mixer();
  stack.mutable_feed_forward()->set_width(settings.feed_forward_width());
  if (!arm.feed_forward()) stack.mutable_feed_forward()->set_kind(FeedForwardConfig::NONE);
  ModelConfig config;
  config.set_vocabulary(settings.vocabulary());
  config.set_width(settings.width());
  config.mutable_backbone()->PackFrom(stack);
  return config;
}

absl::StatusOr<std::unique_ptr<Model>> CreateModel(const DecodeSettings& settings,
                                                   const DecodeArm& arm, Device device) {
  ModelArgs args;
  args.init = kRng.Child("init");
  args.device = device;
  LR_ASSIGN_OR_RETURN(std::unique_ptr<Model> model, Model::Create(ConfigOf(settings, arm), args));
  if (!model->backbone().traits().streams) {
    return absl::InvalidArgumentError("mixer: the layer does not stream, so it cannot decode");
  }
  return model;
}

Tensor Ids(const DecodeSettings& settings, int64_t tokens, Device device) {
  const Shape shape = {settings.batch(), tokens};
  if (device == Device::kMeta) return Tensor::Empty(shape, DType::kInt32, device);
  const Tensor ids = Tensor::Empty(shape, DType::kInt32);
  for (int64_t i = 0; i < ids.numel(); ++i) {
    ids.mutable_data<int32_t>()[i] =
        static_cast<int32_t>(kRng.Child("ids").UniformInt(i, settings.vocabulary()));
  }
  return ids;
}

// Feeds a stream until it has seen `context` tokens.
void Fill(const Model& model, const DecodeSettings& settings, Device device, int64_t context,
          int64_t* seen, nn::State* state) {
  while (*seen < context) {
    const int64_t tokens = std::min(settings.prefill(), context - *seen);
    model.Extend(Ids(settings, tokens, device), nn::Rows(), nn::Call(), state);
    *seen += tokens;
  }
}

// Decodes a few tokens on a copy of the stream; returns the least time of a token, and its flops.
double FastestStep(const Model& model, const DecodeSettings& settings, Device device,
                   const nn::State& state, double* flops) {
  nn::State copy = state.Clone();
  const Tensor token = Ids(settings, 1, device);
  double least = std::numeric_limits<double>::infinity();
  for (int64_t step = 0; step < kUntimed + settings.steps(); ++step) {
    const CostScope scope;
    const double taken = SecondsOf([&] { model.Extend(token, nn::Rows(), nn::Call(), &copy); });
    if (step >= kUntimed) least = std::min(least, taken);
    *flops = scope.cost().flops;
  }
  return least;
}

// Does the work of a form grow with the square of the length? Counted without memory, at lengths
// where nothing else matters.
bool IsQuadratic(const Mixer& meta_mixer, int64_t width, nn::Form form) {
  constexpr int64_t kLong = 1 << 15;
  nn::Call call;
  call.form = form;
  if (!meta_mixer.Supports(1, kLong, nn::Rows(), call).ok())
    return meta_mixer.traits().flops == Growth::kQuadratic;
  double flops[2];
  for (int i = 0; i < 2; ++i) {
    const CostScope scope;
    meta_mixer.Forward(Tensor::Empty({1, kLong >> i, width}, DType::kFloat32, Device::kMeta),
                       nn::Rows(), call);
    flops[i] = scope.cost().flops;
  }
  return flops[0] > 3 * flops[1];
}

absl::Status MeasureForms(const DecodeSettings& settings, const DecodeArm& arm, const OnRow& on_row,
                          std::vector<FormRow>* rows) {
  const NoGradScope no_grad;
  nn::ParameterStore store;
  BuildArgs args{nn::Scope(&store, kRng.Child("layer"))};
  args.width = settings.width();
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<Mixer> mixer,
                      Registry<Mixer>::Get().Create(arm.mixer(), args));
  nn::ParameterStore meta_store;
  BuildArgs meta_args{nn::Scope(&meta_store, Rng(), DType::kFloat32, Device::kMeta)};
  meta_args.width = settings.width();
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<Mixer> meta_mixer,
                      Registry<Mixer>::Get().Create(arm.mixer(), meta_args));
  const MixerTraits& traits = mixer->traits();
  std::map<nn::Form, bool> is_quadratic;
  for (const nn::Form form : traits.forms)
    is_quadratic[form] = IsQuadratic(*meta_mixer, settings.width(), form);
  for (const int64_t length : settings.length()) {
    Tensor x_btd = Tensor::Empty({1, length, settings.width()});
    for (int64_t i = 0; i < x_btd.numel(); ++i)
      x_btd.mutable_data<float>()[i] = static_cast<float>(kRng.Child("x").Normal(i));
    Tensor first;
    for (const nn::Form form : traits.forms) {
      const bool quadratic = is_quadratic[form];
      if (quadratic && length > settings.quadratic_most()) continue;
      nn::Call call;
      call.form = form;
      LR_RETURN_IF_ERROR(
          Annotate(mixer->Supports(1, length, nn::Rows(), call), absl::StrCat("length ", length)));
      FormRow row{arm.name(), nn::Name(form), length};
      row.quadratic = quadratic;
      Tensor y;
      {
        const CostScope scope;
        y = mixer->Forward(x_btd, nn::Rows(), call);
        row.flops = scope.cost().flops;
      }
      if (!first.defined()) first = y;
      double error = 0, norm = 0;
      for (int64_t i = 0; i < y.numel(); ++i) {
        const double expected = first.data<float>()[i], off = y.data<float>()[i] - expected;
        error += off * off;
        norm += expected * expected;
      }
      row.difference = std::sqrt(error / norm);
      row.seconds = std::numeric_limits<double>::infinity();
      double spent = 0;
      int runs = 0;
      do {
        const double seconds = SecondsOf([&] { mixer->Forward(x_btd, nn::Rows(), call); });
        row.seconds = std::min(row.seconds, seconds);
        spent += seconds;
      } while (++runs < kLeastRuns || spent < settings.seconds());
      rows->push_back(row);
    }
    if (!on_row(absl::StrCat(arm.name(), ": forms at ", length, " rows")))
      return absl::CancelledError("stopped");
  }
  return absl::OkStatus();
}

absl::Status MeasureSteps(const DecodeSettings& settings, const DecodeArm& arm, const OnRow& on_row,
                          DecodeResults* results) {
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, CreateModel(settings, arm, Device::kCpu));
  results->arms.push_back({arm.name(), model->parameters().NumElements(),
                           model->backbone().traits().state == Growth::kConstant});
  nn::State state = model->NewState(settings.batch());
  int64_t seen = 0;
  double prefill = 0;
  for (const int64_t context : settings.context()) {
    prefill += SecondsOf([&] { Fill(*model, settings, Device::kCpu, context, &seen, &state); });
    DecodeRow row{arm.name(), context, state.bytes()};
    row.prefill_seconds = prefill;
    row.seconds = std::numeric_limits<double>::infinity();
    double spent = 0;
    do {
      spent += SecondsOf([&] {
        row.seconds =
            std::min(row.seconds, FastestStep(*model, settings, Device::kCpu, state, &row.flops));
      });
    } while (spent < settings.seconds());
    results->steps.push_back(row);
    if (!on_row(absl::StrCat(arm.name(), ": steps behind ", context, " tokens")))
      return absl::CancelledError("stopped");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckAscending(absl::string_view field,
                            const google::protobuf::RepeatedField<int64_t>& values) {
  int64_t before = 0;
  for (const int64_t value : values) {
    if (value <= before || value > kMost)
      return Refuse(field, value, absl::StrCat(before + 1, " to ", kMost, ", ascending"));
    before = value;
  }
  return absl::OkStatus();
}

absl::Status CheckSettings(const DecodeSettings& s) {
  for (const auto& [field, value] : {std::pair("width", s.width()),
                                     {"layers", s.layers()},
                                     {"vocabulary", s.vocabulary()},
                                     {"batch", s.batch()},
                                     {"prefill", s.prefill()}}) {
    if (value < 1 || value > kMost) return Refuse(field, value, absl::StrCat("1 to ", kMost));
  }
  if (s.steps() < 1 || s.steps() > kMostSteps)
    return Refuse("steps", s.steps(), absl::StrCat("1 to ", kMostSteps));
  if (!(s.seconds() >= 0 && s.seconds() <= 3600))
    return Refuse("seconds", s.seconds(), "0 to 3600");
  LR_RETURN_IF_ERROR(CheckAscending("context", s.context()));
  LR_RETURN_IF_ERROR(CheckAscending("length", s.length()));
  if (s.arm_size() == 0) return absl::InvalidArgumentError("arm: none (expected at least one)");
  for (int i = 0; i < s.arm_size(); ++i) {
    if (s.arm(i).name().empty())
      return absl::InvalidArgumentError(absl::StrCat("arm.", i, ".name: none (expected one)"));
    for (int j = 0; j < i; ++j) {
      if (s.arm(i).name() == s.arm(j).name())
        return Refuse(absl::StrCat("arm.", i, ".name"), s.arm(i).name(), "a name of its own");
    }
    if (s.arm(i).layers() < 0 || s.arm(i).layers() > kMost)
      return Refuse(absl::StrCat("arm.", i, ".layers"), s.arm(i).layers(), "0 or more");
  }
  return absl::OkStatus();
}

absl::StatusOr<Forecast> ForecastOf(const DecodeSettings& settings, const DecodeArm& arm) {
  const int64_t before = GetMemoryStats(Device::kMeta).live_bytes;
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                      CreateModel(settings, arm, Device::kMeta));
  ResetPeak(Device::kMeta);
  nn::State state = model->NewState(settings.batch());
  int64_t seen = 0;
  if (settings.context_size() > 0) {
    Fill(*model, settings, Device::kMeta, settings.context(settings.context_size() - 1), &seen,
         &state);
    double flops = 0;
    FastestStep(*model, settings, Device::kMeta, state, &flops);
  }
  return Forecast{model->parameters().NumElements(), state.bytes(),
                  GetMemoryStats(Device::kMeta).peak_bytes - before};
}

int64_t PlannedRows(const DecodeSettings& settings) {
  return static_cast<int64_t>(settings.arm_size()) *
         (settings.context_size() + settings.length_size());
}

absl::StatusOr<DecodeResults> Measure(const DecodeSettings& settings, const OnRow& on_row) {
  DecodeResults results;
  results.settings = settings;
  results.threads = NumThreads();
  for (const DecodeArm& arm : settings.arm()) {
    const std::string where = absl::StrCat("arm ", arm.name());
    LR_RETURN_IF_ERROR(Annotate(MeasureForms(settings, arm, on_row, &results.forms), where));
    LR_RETURN_IF_ERROR(Annotate(MeasureSteps(settings, arm, on_row, &results), where));
  }
  return results;
}

}  // namespace longrange
