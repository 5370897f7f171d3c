// The schemes around frequencies.h, registered by their config messages. What a config must not be
// is refused here, by the name of the field.

#include <algorithm>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/refuse.h"
#include "papers/rope_extension/frequencies.h"
#include "papers/rope_extension/rope_extension.pb.h"
#include "plugins/attention/rope.h"
#include "plugins/position.h"

namespace longrange {
namespace {

using rope_extension::ByPartsFrequencies;
using rope_extension::DynamicNtkScale;
using rope_extension::Llama3Frequencies;
using rope_extension::LongRopeFrequencies;
using rope_extension::LongRopeMagnitude;
using rope_extension::NtkFrequencies;
using rope_extension::YarnFrequencies;
using rope_extension::YarnMagnitude;

struct Angles {
  std::vector<double> inv_freq;
  double magnitude = 1;
};

// Rotary positions whose frequencies are a function of the length.
class Extended : public PositionScheme {
 public:
  Extended(bool interleaved, bool depends_on_length, std::function<Angles(int64_t length)> angles)
      : interleaved_(interleaved),
        depends_on_length_(depends_on_length),
        angles_(std::move(angles)) {}

  uint32_t uses() const override { return kRotary; }
  bool depends_on_length() const override { return depends_on_length_; }
  RotaryAngles RotaryFor(int64_t length, const nn::Call&) const override {
    const Angles angles = angles_(length);
    return {FrequencyTensor(angles.inv_freq), angles.magnitude, interleaved_};
  }

 private:
  bool interleaved_, depends_on_length_;
  std::function<Angles(int64_t)> angles_;
};

// Written so that NaN is refused too.
absl::Status CheckAtLeastOne(absl::string_view field, double value) {
  return value >= 1 ? absl::OkStatus() : Refuse(field, value, "1 or more");
}
absl::Status CheckPositive(absl::string_view field, double value) {
  return value > 0 ? absl::OkStatus() : Refuse(field, value, "> 0");
}
absl::Status CheckNotNegative(absl::string_view field, double value) {
  return value >= 0 ? absl::OkStatus() : Refuse(field, value, "0 or more");
}
// Pairs above `fast` turns are left alone, so it is the larger one.
absl::Status CheckTurns(absl::string_view fast_field, double fast, absl::string_view slow_field,
                        double slow) {
  LR_RETURN_IF_ERROR(CheckPositive(slow_field, slow));
  if (fast > slow) return absl::OkStatus();
  return Refuse(fast_field, fast, absl::StrCat("more than ", slow_field, ", which is ", slow));
}
absl::Status CheckLength(int64_t original_length) {
  if (original_length > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("original_length: ", original_length,
                   " (expected the length that the model was trained at, in tokens)"));
}

// The rotating channels of a head; at least `min_dims`, as one pair alone has no slower one to
// stretch towards.
template <typename Config>
absl::StatusOr<int64_t> RotaryChannels(const Config& config, const BuildArgs& args,
                                       int64_t min_dims) {
  LR_ASSIGN_OR_RETURN(const int64_t dims, RotaryWidth(args.width, config.partial()));
  if (dims < min_dims) {
    return absl::InvalidArgumentError(absl::StrCat("partial: ", dims, " of ", args.width,
                                                   " channels rotate (expected ", min_dims,
                                                   " or more)"));
  }
  if (!(config.theta() > 1)) return Refuse("theta", config.theta(), "> 1");
  return dims;
}

// A scheme that is the same at every length.
template <typename Config>
std::unique_ptr<PositionScheme> Fixed(const Config& config, Angles angles) {
  return std::make_unique<Extended>(config.interleaved(), false,
                                    [angles = std::move(angles)](int64_t) { return angles; });
}

absl::StatusOr<std::unique_ptr<PositionScheme>> CreateNtk(const RopeExtensionNtkConfig& config,
                                                          const BuildArgs& args) {
  LR_RETURN_IF_ERROR(CheckAtLeastOne("alpha", config.alpha()));
  LR_ASSIGN_OR_RETURN(const int64_t dims, RotaryChannels(config, args, 4));
  return Fixed(config, {NtkFrequencies(config.theta(), dims, config.alpha())});
}

absl::StatusOr<std::unique_ptr<PositionScheme>> CreateDynamicNtk(
    const RopeExtensionDynamicNtkConfig& config, const BuildArgs& args) {
  LR_RETURN_IF_ERROR(CheckAtLeastOne("factor", config.factor()));
  LR_RETURN_IF_ERROR(CheckLength(config.original_length()));
  if (config.minimum_length() != 0 && config.minimum_length() < config.original_length()) {
    return Refuse("minimum_length", static_cast<double>(config.minimum_length()),
                  absl::StrCat("0, or original_length ", config.original_length(), " or more"));
  }
  LR_ASSIGN_OR_RETURN(const int64_t dims, RotaryChannels(config, args, 4));
  return std::make_unique<Extended>(
      config.interleaved(), true, [config, dims](int64_t length) -> Angles {
        const double u = DynamicNtkScale(config.factor(), config.original_length(),
                                         std::max<int64_t>(length, config.minimum_length()));
        return {NtkFrequencies(config.theta(), dims, u)};
      });
}

absl::StatusOr<std::unique_ptr<PositionScheme>> CreateByParts(
    const RopeExtensionByPartsConfig& config, const BuildArgs& args) {
  LR_RETURN_IF_ERROR(CheckAtLeastOne("factor", config.factor()));
  LR_RETURN_IF_ERROR(CheckLength(config.original_length()));
  LR_RETURN_IF_ERROR(CheckTurns("beta_0", config.beta_0(), "beta_1", config.beta_1()));
  LR_RETURN_IF_ERROR(CheckTurns("gamma_0", config.gamma_0(), "gamma_1", config.gamma_1()));
  LR_ASSIGN_OR_RETURN(const int64_t dims, RotaryChannels(config, args, 4));
  return Fixed(config, {ByPartsFrequencies(config.theta(), dims, config.factor(),
                                           config.original_length(), config.beta_0(),
                                           config.beta_1(), config.gamma_0(), config.gamma_1())});
}

absl::StatusOr<std::unique_ptr<PositionScheme>> CreateYarn(const RopeExtensionYarnConfig& config,
                                                           const BuildArgs& args) {
  LR_RETURN_IF_ERROR(CheckAtLeastOne("factor", config.factor()));
  LR_RETURN_IF_ERROR(CheckLength(config.original_length()));
  LR_RETURN_IF_ERROR(CheckTurns("beta_fast", config.beta_fast(), "beta_slow", config.beta_slow()));
  LR_RETURN_IF_ERROR(CheckNotNegative("attention_factor", config.attention_factor()));
  if (config.dynamic() && config.factor() != RopeExtensionYarnConfig::default_instance().factor()) {
    return Refuse("factor", config.factor(), "unset, as a dynamic factor follows the length");
  }
  LR_ASSIGN_OR_RETURN(const int64_t dims, RotaryChannels(config, args, 2));
  const auto angles = [config, dims](double factor) -> Angles {
    return {YarnFrequencies(config.theta(), dims, factor, config.original_length(),
                            config.beta_fast(), config.beta_slow()),
            config.attention_factor() > 0 ? config.attention_factor() : YarnMagnitude(factor)};
  };
  if (!config.dynamic()) return Fixed(config, angles(config.factor()));
  const double original_length = static_cast<double>(config.original_length());
  return std::make_unique<Extended>(
      config.interleaved(), true, [angles, original_length](int64_t length) {
        return angles(std::max(1.0, static_cast<double>(length) / original_length));
      });
}

absl::Status CheckDivisors(absl::string_view field,
                           const google::protobuf::RepeatedField<double>& divisors, int64_t pairs) {
  if (divisors.size() != pairs) {
    return absl::InvalidArgumentError(absl::StrCat(
        field, ": ", divisors.size(), " values (expected ", pairs, ", one a pair of channels)"));
  }
  for (const double divisor : divisors) LR_RETURN_IF_ERROR(CheckPositive(field, divisor));
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<PositionScheme>> CreateLongRope(
    const RopeExtensionLongRopeConfig& config, const BuildArgs& args) {
  LR_RETURN_IF_ERROR(CheckLength(config.original_length()));
  LR_RETURN_IF_ERROR(CheckNotNegative("attention_factor", config.attention_factor()));
  if (config.attention_factor() == 0) {
    LR_RETURN_IF_ERROR(CheckPositive("factor", config.factor()));
    if (config.original_length() == 1)
      return Refuse("original_length", 1, "2 or more for the default attention_factor");
  }
  LR_ASSIGN_OR_RETURN(const int64_t dims, RotaryChannels(config, args, 2));
  LR_RETURN_IF_ERROR(CheckDivisors("short_factor", config.short_factor(), dims / 2));
  LR_RETURN_IF_ERROR(CheckDivisors("long_factor", config.long_factor(), dims / 2));
  const double magnitude = config.attention_factor() > 0
                               ? config.attention_factor()
                               : LongRopeMagnitude(config.factor(), config.original_length());
  const auto angles = [&](const google::protobuf::RepeatedField<double>& divisors) -> Angles {
    return {LongRopeFrequencies(config.theta(), dims, {divisors.begin(), divisors.end()}),
            magnitude};
  };
  if (config.always_long()) return Fixed(config, angles(config.long_factor()));
  return std::make_unique<Extended>(
      config.interleaved(), true,
      [near = angles(config.short_factor()), far = angles(config.long_factor()),
       original_length = config.original_length()](int64_t length) {
        return length > original_length ? far : near;
      });
}

absl::StatusOr<std::unique_ptr<PositionScheme>> CreateLlama3(
    const RopeExtensionLlama3Config& config, const BuildArgs& args) {
  LR_RETURN_IF_ERROR(CheckAtLeastOne("factor", config.factor()));
  LR_RETURN_IF_ERROR(CheckLength(config.original_length()));
  LR_RETURN_IF_ERROR(CheckTurns("high_freq_factor", config.high_freq_factor(), "low_freq_factor",
                                config.low_freq_factor()));
  LR_ASSIGN_OR_RETURN(const int64_t dims, RotaryChannels(config, args, 2));
  return Fixed(config,
               {Llama3Frequencies(config.theta(), dims, config.factor(), config.low_freq_factor(),
                                  config.high_freq_factor(), config.original_length())});
}

LR_REGISTER_PLUGIN(PositionScheme, RopeExtensionNtkConfig, CreateNtk);
LR_REGISTER_PLUGIN(PositionScheme, RopeExtensionDynamicNtkConfig, CreateDynamicNtk);
LR_REGISTER_PLUGIN(PositionScheme, RopeExtensionByPartsConfig, CreateByParts);
LR_REGISTER_PLUGIN(PositionScheme, RopeExtensionYarnConfig, CreateYarn);
LR_REGISTER_PLUGIN(PositionScheme, RopeExtensionLongRopeConfig, CreateLongRope);
LR_REGISTER_PLUGIN(PositionScheme, RopeExtensionLlama3Config, CreateLlama3);

}  // namespace
}  // namespace longrange
