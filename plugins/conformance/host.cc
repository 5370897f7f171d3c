// The attention host as a mixer, for schemes, rules and probes under test.

#include "plugins/conformance/host.h"

#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "plugins/attention/attention_host.h"
#include "plugins/attention/rope.h"
#include "plugins/conformance/conformance.pb.h"
#include "plugins/mixer.h"

namespace longrange::conformance {
namespace {

// So low that all pairs of a head turn within the lengths of a check.
constexpr double kTheta = 50;

class Rope : public PositionScheme {
 public:
  explicit Rope(int64_t dims) : angles_{FrequencyTensor(RopeFrequencies(dims, kTheta))} {}
  uint32_t uses() const override { return kRotary; }
  RotaryAngles RotaryFor(int64_t, const nn::Call&) const override { return angles_; }

 private:
  RotaryAngles angles_;
};

class Host : public Mixer {
 public:
  Host(std::unique_ptr<AttentionHost> host, bool taps)
      : host_(std::move(host)), traits_(host_->traits()) {
    if (!taps) traits_.taps.clear();
  }

  const MixerTraits& traits() const override { return traits_; }
  Tensor Forward(const Tensor& x_btd, const nn::Rows& rows, const nn::Call& call) const override {
    return host_->Forward(x_btd, rows, Heard(call));
  }
  nn::State NewState(int64_t batch) const override { return host_->NewState(batch); }
  Tensor Extend(const Tensor& x_btd, const nn::Rows& rows, const nn::Call& call,
                nn::State* state) const override {
    return host_->Extend(x_btd, rows, Heard(call), state);
  }
  std::optional<HeadMaps> Heads() const override {
    return traits_.taps.empty() ? std::nullopt : std::optional(host_->Heads());
  }

 private:
  nn::Call Heard(nn::Call call) const {
    if (traits_.taps.empty()) call.sink = nullptr;
    return call;
  }

  std::unique_ptr<AttentionHost> host_;
  MixerTraits traits_;
};

absl::StatusOr<std::unique_ptr<Mixer>> CreateHost(const ConformanceHostConfig& config,
                                                  const BuildArgs& args) {
  AttentionHostOptions options;
  options.heads = config.heads();
  options.kv_heads = config.kv_heads();
  options.head_width = config.head_width();
  options.init_std = 0.3;
  LR_RETURN_IF_ERROR(CreateParts(config.has_position() ? &config.position() : nullptr,
                                 config.has_rule() ? &config.rule() : nullptr, args, &options));
  if (config.rotary() && !config.has_position())
    options.position = std::make_unique<Rope>(config.head_width());
  LR_ASSIGN_OR_RETURN(std::unique_ptr<AttentionHost> host,
                      AttentionHost::Create(std::move(options), args));
  return std::make_unique<Host>(std::move(host), config.taps());
}

absl::StatusOr<std::unique_ptr<PositionScheme>> CreateRope(const ConformanceRopeConfig&,
                                                           const BuildArgs& args) {
  LR_RETURN_IF_ERROR(RotaryWidth(args.width, 1).status());
  return std::make_unique<Rope>(args.width);
}

LR_REGISTER_PLUGIN(Mixer, ConformanceHostConfig, CreateHost);
LR_REGISTER_PLUGIN(PositionScheme, ConformanceRopeConfig, CreateRope);

}  // namespace

Tensor ReferenceHost(
    const ConformanceHostConfig& config,
    const std::function<std::optional<double>(int64_t, int64_t, int64_t, int64_t)>& distance,
    const TensorMap& parameters, const Tensor& x_btd) {
  CHECK(config.rotary() && !config.has_position());
  const int64_t rows = x_btd.dim(1), width = x_btd.dim(2), heads = config.heads(),
                kv_heads = config.kv_heads(), p = config.head_width();
  const std::vector<double> frequency = RopeFrequencies(p, kTheta);
  // Row t of x times row n of a weight.
  const auto project = [&](const double* x, const char* name, int64_t t, int64_t n) {
    const double* w = parameters.at(name).data<double>() + n * width;
    double sum = 0;
    for (int64_t d = 0; d < width; ++d) sum += x[t * width + d] * w[d];
    return sum;
  };
  Tensor y_btd = Tensor::Zeros(x_btd.shape(), DType::kFloat64);
  for (int64_t b = 0; b < x_btd.dim(0); ++b) {
    const double* x = x_btd.data<double>() + b * rows * width;
    double* y = y_btd.mutable_data<double>() + b * rows * width;
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t g = h / (heads / kv_heads);
      for (int64_t t = 0; t < rows; ++t) {
        std::vector<double> weight(rows, 0.0), mixed(p, 0.0);
        double sum = 0;
        for (int64_t s = 0; s <= t; ++s) {
          const std::optional<double> apart = distance(h, t, s, rows);
          if (!apart.has_value()) continue;
          double score = 0;
          for (int64_t j = 0; j < p / 2; ++j) {
            const double angle = *apart * frequency[j];
            const double a = project(x, "w_q", t, h * p + j),
                         c = project(x, "w_q", t, h * p + j + p / 2);
            score += (a * std::cos(angle) - c * std::sin(angle)) * project(x, "w_k", s, g * p + j) +
                     (a * std::sin(angle) + c * std::cos(angle)) *
                         project(x, "w_k", s, g * p + j + p / 2);
          }
          weight[s] = std::exp(score / std::sqrt(static_cast<double>(p)));
          sum += weight[s];
        }
        for (int64_t s = 0; s <= t; ++s) {
          if (weight[s] == 0) continue;
          for (int64_t i = 0; i < p; ++i)
            mixed[i] += weight[s] / sum * project(x, "w_v", s, g * p + i);
        }
        const double* w_o = parameters.at("w_o").data<double>();
        for (int64_t d = 0; d < width; ++d) {
          for (int64_t i = 0; i < p; ++i)
            y[t * width + d] += w_o[d * heads * p + h * p + i] * mixed[i];
        }
      }
    }
  }
  return y_btd;
}

}  // namespace longrange::conformance
