#include "common/nn/recompute.h"

#include <memory>
#include <string>
#include <utility>

#include "common/autograd/tape.h"

namespace longrange::nn {
namespace {

struct PartLoss {
  std::string path;
  double weight = 0;
  Tensor loss;
};

// Keeps losses, and hands everything else on.
class PartSink : public Sink {
 public:
  explicit PartSink(Sink* listener) : listener_(listener) {}

  void Loss(absl::string_view path, const Tensor& scalar, double weight) override {
    losses_.push_back({std::string(path), weight, scalar});
  }
  void Buffer(const Tensor& buffer, const Tensor& next) override {
    listener_->Buffer(buffer, next);
  }
  bool Wants(absl::string_view path) const override { return listener_->Wants(path); }
  Tensor Tap(absl::string_view path, const Tensor& value) override {
    return listener_->Tap(path, value);
  }

  const std::vector<PartLoss>& losses() const { return losses_; }

 private:
  Sink* listener_;
  std::vector<PartLoss> losses_;
};

}  // namespace

Tensor RecomputePart(const std::function<Tensor(const std::vector<Tensor>&, const Call&)>& fn,
                     const std::vector<Tensor>& inputs, const Call& call) {
  // Results like the first one, so that cotangents find their way back in.
  auto given = std::make_shared<std::vector<PartLoss>>();
  const auto run = [fn, call, given](const std::vector<Tensor>& values) {
    Call again = call;
    again.memo = nullptr;
    PartSink sink(call.sink);
    if (call.sink != nullptr) again.sink = &sink;
    std::vector<Tensor> results = {fn(values, again)};
    given->clear();
    for (const PartLoss& part : sink.losses()) {
      results.push_back(part.loss);
      given->push_back({part.path, part.weight, Tensor()});
    }
    return results;
  };
  const std::vector<Tensor> results = Recompute(run, inputs);
  const std::vector<PartLoss> losses = *given;
  for (size_t i = 0; i < losses.size(); ++i)
    call.sink->Loss(losses[i].path, results[i + 1], losses[i].weight);
  return results[0];
}

}  // namespace longrange::nn
