#include "common/train/trainer.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/autograd/ops.h"
#include "common/autograd/tape.h"
#include "common/base/status_macros.h"
#include "common/base/trace.h"
#include "common/io/glob.h"
#include "common/tensor/finite.h"
#include "kernels/adamw/adamw.h"
#include "kernels/gemm/precision.h"

namespace longrange::train {
namespace {

constexpr char kWeights[] = "weights/", kFirst[] = "adamw.m/", kSecond[] = "adamw.v/",
               kBuffers[] = "buffers/", kState[] = "state/";
// Each op was finite and their sum was not; or the machine is at fault.
constexpr char kFiniteAgain[] = "run again, every op by itself is finite";

const OptimizerConfig::Group* FindGroup(const OptimizerConfig& config, absl::string_view name) {
  for (const OptimizerConfig::Group& group : config.group()) {
    if (group.name() == name) return &group;
  }
  return nullptr;
}

// The further losses of a micro-batch's call, and what it would have the buffers become. Of a layer
// that is computed again on the way back it hears of buffers twice.
class StepSink : public nn::Sink {
 public:
  void Loss(absl::string_view, const Tensor& scalar, double weight) override {
    const Tensor part = Scale(scalar, weight);
    further_ = further_.defined() ? Add(further_, part) : part;
  }
  bool Wants(absl::string_view) const override { return false; }
  Tensor Tap(absl::string_view, const Tensor& value) override { return value; }
  void Buffer(const Tensor& buffer, const Tensor& next) override { next_[buffer.id()] = next; }

  const std::map<const void*, Tensor>& next() const { return next_; }
  // `loss` and the further ones.
  Tensor All(const Tensor& loss) const { return further_.defined() ? Add(loss, further_) : loss; }

 private:
  Tensor further_;  // undefined: none
  std::map<const void*, Tensor> next_;
};

absl::Status Refuse(absl::string_view field, double value, absl::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat("optimizer ", field, ": ", value, " (expected ", expected, ")"));
}

}  // namespace

double LearningRate(const ScheduleConfig& config, int64_t step) {
  const double warmup = static_cast<double>(config.warmup_steps()), at = static_cast<double>(step);
  if (step < config.warmup_steps()) return config.learning_rate() * (at + 1) / warmup;
  if (config.kind() == ScheduleConfig::CONSTANT) return config.learning_rate();
  if (config.kind() == ScheduleConfig::INVERSE_SQRT)
    return config.learning_rate() * std::sqrt(std::max(1.0, warmup) / (at + 1));
  const double span = std::max(1.0, static_cast<double>(config.total_steps()) - warmup);
  const double done = std::min(1.0, (at - warmup) / span);
  const double shape =
      config.kind() == ScheduleConfig::COSINE ? 0.5 * (1 + std::cos(M_PI * done)) : 1 - done;
  return config.learning_rate() * (config.final_ratio() + (1 - config.final_ratio()) * shape);
}

absl::StatusOr<std::unique_ptr<Trainer>> Trainer::Create(
    const Trainable* model, const OptimizerConfig& config, const Rng& rng,
    const std::vector<std::string>& trainable) {
  if (!(config.schedule().learning_rate() > 0)) {
    return Refuse("schedule.learning_rate", config.schedule().learning_rate(), "> 0");
  }
  for (const auto& [name, beta] :
       {std::pair<const char*, double>("beta1", config.beta1()), {"beta2", config.beta2()}}) {
    if (!(beta >= 0 && beta < 1)) return Refuse(name, beta, "in [0, 1)");
  }
  if (!(config.epsilon() > 0)) return Refuse("epsilon", config.epsilon(), "> 0");
  if (!(config.weight_decay() >= 0)) return Refuse("weight_decay", config.weight_decay(), ">= 0");
  if (!(config.clip_norm() >= 0)) return Refuse("clip_norm", config.clip_norm(), ">= 0");
  const ScheduleConfig::Kind kind = config.schedule().kind();
  if ((kind == ScheduleConfig::COSINE || kind == ScheduleConfig::LINEAR) &&
      config.schedule().total_steps() < 1) {
    return Refuse("schedule.total_steps", static_cast<double>(config.schedule().total_steps()),
                  "1 or more for a schedule that decays");
  }
  for (const nn::Parameter& p : model->parameters().all()) {
    if (p.tags.group != "default" && FindGroup(config, p.tags.group) == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("parameter ", p.name, " is in group '", p.tags.group,
                       "', which the optimizer config does not know"));
    }
  }
  for (const std::string& pattern : trainable) {
    const std::vector<nn::Parameter>& all = model->parameters().all();
    if (std::none_of(all.begin(), all.end(),
                     [&](const nn::Parameter& p) { return GlobMatch(pattern, p.name); })) {
      return absl::InvalidArgumentError(
          absl::StrCat("trainable: '", pattern, "' matches no parameter"));
    }
  }
  return std::unique_ptr<Trainer>(new Trainer(model, config, rng, trainable));
}

Trainer::Trainer(const Trainable* model, const OptimizerConfig& config, const Rng& rng,
                 const std::vector<std::string>& trainable)
    : model_(model), config_(config), rng_(rng) {
  for (const nn::Parameter& p : model->parameters().all()) {
    const bool trained = trainable.empty() || std::any_of(trainable.begin(), trainable.end(),
                                                          [&](const std::string& pattern) {
                                                            return GlobMatch(pattern, p.name);
                                                          });
    SetFrozen(p.value, !trained);
    m_.push_back(trained ? Tensor::ZerosLike(p.value) : Tensor());
    v_.push_back(trained ? Tensor::ZerosLike(p.value) : Tensor());
  }
}

Trainer::~Trainer() {
  for (const nn::Parameter& p : model_->parameters().all()) SetFrozen(p.value, false);
}

nn::Call Trainer::StepCall(size_t micro_batch) const {
  nn::Call call;
  call.training = true;
  call.rng = rng_.Child("step").Child(step_).Child(static_cast<int64_t>(micro_batch));
  return call;
}

void Trainer::Carry(nn::State state) {
  state.Detach();
  carried_ = std::make_unique<nn::State>(std::move(state));
}

Tensor Trainer::LossOf(const Batch& batch, const nn::Call& call, nn::State* next) const {
  if (carried_ == nullptr) return model_->Loss(batch, call);
  *next = carried_->Clone();
  return model_->StreamLoss(batch, call, next);
}

std::string Trainer::BadBefore(const std::vector<Batch>& micro_batches) const {
  const std::vector<nn::Parameter>& parameters = model_->parameters().all();
  for (size_t i = 0; i < parameters.size(); ++i) {
    for (const auto& [kind, tensor] :
         {std::pair<const char*, const Tensor*>("parameter ", &parameters[i].value),
          {kFirst, &m_[i]},
          {kSecond, &v_[i]}}) {
      const std::string bad = tensor->defined() ? FirstNonFinite(*tensor) : "";
      if (!bad.empty()) return absl::StrCat(kind, parameters[i].name, " is ", bad);
    }
  }
  for (const nn::Buffer& b : model_->parameters().buffers()) {
    const std::string bad = FirstNonFinite(b.value);
    if (!bad.empty()) return absl::StrCat("buffer ", b.name, " is ", bad);
  }
  std::string finding;
  if (carried_ != nullptr) {
    carried_->Visit([&](const std::string& path, Tensor* value) {
      const std::string bad = finding.empty() ? FirstNonFinite(*value) : "";
      if (!bad.empty()) finding = absl::StrCat("state ", path, " is ", bad);
    });
  }
  if (!finding.empty()) return finding;
  for (size_t i = 0; i < micro_batches.size(); ++i) {
    if (!micro_batches[i].weight_bt.defined()) continue;
    const std::string bad = FirstNonFinite(micro_batches[i].weight_bt);
    if (!bad.empty()) return absl::StrCat("the weight of rows in batch ", i, " is ", bad);
  }
  return "";
}

absl::Status Trainer::Stop(const std::string& what, const std::string& otherwise,
                           const std::vector<Batch>& micro_batches) const {
  const nn::ParameterStore& store = model_->parameters();
  std::map<const TapeLink*, std::string> names;
  for (const nn::Parameter& p : store.all())
    names[p.value.link().get()] = absl::StrCat("parameter ", p.name);
  std::string finding;
  {
    store.ClearGradients();
    const FiniteCheck check(std::move(names));
    for (size_t i = 0; i < micro_batches.size() && check.finding().empty(); ++i) {
      StepSink sink;
      nn::Call call = StepCall(i);
      call.sink = &sink;
      nn::State next;
      const Tensor loss = LossOf(micro_batches[i], call, &next);
      Backward(sink.All(loss));
    }
    finding = check.finding();
    store.ClearGradients();
  }
  return absl::DataLossError(
      absl::StrCat("step ", step_, ": ", what, "; ", finding.empty() ? otherwise : finding));
}

absl::StatusOr<StepReport> Trainer::Step(const std::vector<Batch>& micro_batches) {
  CHECK(!micro_batches.empty());
  CHECK(carried_ == nullptr || micro_batches.size() == 1)
      << micro_batches.size() << " micro-batches of one state";
  const kernels::PrecisionScope precision(config_.precision() == OptimizerConfig::BFLOAT16
                                              ? kernels::Precision::kBfloat16
                                              : kernels::Precision::kFloat32);
  const nn::ParameterStore& store = model_->parameters();
  StepReport report;
  nn::State next;
  if (const std::string bad = BadBefore(micro_batches); !bad.empty())
    return Stop(bad, "no op of this step gives one from it", micro_batches);
  store.ClearGradients();
  const double share = 1 / static_cast<double>(micro_batches.size());
  std::map<const void*, Tensor> next_buffers;  // the mean over the micro-batches, by Tensor::id
  for (size_t i = 0; i < micro_batches.size(); ++i) {
    StepSink sink;
    nn::Call call = StepCall(i);
    call.sink = &sink;
    const Tensor loss = [&] {
      const TraceSpan span("forward", TraceSpan::kPhase);
      return LossOf(micro_batches[i], call, &next);
    }();
    if (!loss.is_meta()) report.loss += share * loss.item();
    const Tensor all = sink.All(loss);
    if (!std::isfinite(report.loss))
      return Stop(absl::StrCat("the loss is ", report.loss), kFiniteAgain, micro_batches);
    if (!all.is_meta() && !std::isfinite(all.item()))
      return Stop(absl::StrCat("the loss with what layers add to it is ", all.item()), kFiniteAgain,
                  micro_batches);
    const TraceSpan span("backward", TraceSpan::kPhase);
    Backward(Scale(all, share));
    for (const auto& [id, next] : sink.next()) {
      Tensor& mean = next_buffers[id];
      const Tensor part = Scale(next, share);
      mean = mean.defined() ? Add(mean, part) : part;
    }
  }
  const TraceSpan span("optimizer", TraceSpan::kPhase);
  double sum_of_squares = 0;
  for (const nn::Parameter& p : store.all()) {
    const Tensor gradient = Gradient(p.value);
    if (!gradient.defined()) continue;
    const double part = kernels::SumOfSquares(gradient);
    if (!std::isfinite(part)) {
      const std::string bad = FirstNonFinite(gradient);
      return Stop(absl::StrCat("the gradient of ", p.name, " is ",
                               bad.empty() ? "too large to square" : bad),
                  kFiniteAgain, micro_batches);
    }
    sum_of_squares += part;
  }
  report.gradient_norm = std::sqrt(sum_of_squares);
  report.learning_rate = LearningRate(config_.schedule(), step_);

  kernels::AdamWOptions options;
  options.beta1 = config_.beta1();
  options.beta2 = config_.beta2();
  options.epsilon = config_.epsilon();
  options.step = step_ + 1;
  if (config_.clip_norm() > 0) {
    options.gradient_scale = std::min(1.0, config_.clip_norm() / (report.gradient_norm + 1e-6));
  }
  for (size_t i = 0; i < store.all().size(); ++i) {
    const nn::Parameter& p = store.all()[i];
    const Tensor gradient = Gradient(p.value);
    if (!gradient.defined()) continue;
    const OptimizerConfig::Group* group = FindGroup(config_, p.tags.group);
    options.learning_rate =
        report.learning_rate * (group != nullptr ? group->learning_rate_factor() : 1);
    options.weight_decay =
        p.tags.decay || config_.decay_all()
            ? config_.weight_decay() * (group != nullptr ? group->weight_decay_factor() : 1)
            : 0;
    kernels::AdamWStep(options, gradient, p.value, m_[i], v_[i]);
  }
  for (const nn::Buffer& b : store.buffers()) {
    const auto next = next_buffers.find(b.value.id());
    if (next != next_buffers.end()) b.value.CopyFrom(next->second);
  }
  store.ClearGradients();
  if (carried_ != nullptr) Carry(std::move(next));
  ++step_;
  return report;
}

TensorMap Trainer::Tensors() const {
  TensorMap tensors;
  const std::vector<nn::Parameter>& parameters = model_->parameters().all();
  for (size_t i = 0; i < parameters.size(); ++i) {
    tensors[absl::StrCat(kWeights, parameters[i].name)] = parameters[i].value.Detach();
    if (!m_[i].defined()) continue;
    tensors[absl::StrCat(kFirst, parameters[i].name)] = m_[i];
    tensors[absl::StrCat(kSecond, parameters[i].name)] = v_[i];
  }
  for (const nn::Buffer& b : model_->parameters().buffers())
    tensors[absl::StrCat(kBuffers, b.name)] = b.value;
  if (carried_ != nullptr) {
    carried_->Visit([&](const std::string& path, Tensor* value) {
      tensors[absl::StrCat(kState, path)] = *value;
    });
  }
  return tensors;
}

absl::Status Trainer::Restore(int64_t step, const TensorMap& tensors) {
  const TensorMap mine = Tensors();
  // Everything is checked before anything is changed.
  for (const auto& [name, value] : mine) {
    const auto it = tensors.find(name);
    if (it == tensors.end()) return absl::InvalidArgumentError(absl::StrCat("no tensor ", name));
    Shape expected = value.shape();
    if (absl::StartsWith(name, kState) && expected.rank() > 1 &&
        it->second.rank() == expected.rank())
      expected.set(1, it->second.dim(1));
    if (it->second.shape() != expected || it->second.dtype() != value.dtype()) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": expected ", Name(value.dtype()), " ", value.shape().ToString(),
                       ", got ", Name(it->second.dtype()), " ", it->second.shape().ToString()));
    }
  }
  if (tensors.size() != mine.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(tensors.size(), " tensors where the trainer has ", mine.size()));
  }
  for (const auto& [name, value] : mine) {
    if (!absl::StartsWith(name, kState)) value.CopyFrom(tensors.at(name));
  }
  if (carried_ != nullptr) {
    carried_->Visit([&](const std::string& path, Tensor* value) {
      *value = tensors.at(absl::StrCat(kState, path)).Clone();
    });
    carried_->DropDerived();
  }
  step_ = step;
  return absl::OkStatus();
}

}  // namespace longrange::train
