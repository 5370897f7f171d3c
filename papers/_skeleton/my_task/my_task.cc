// Copying a marked token: random values, "<mark> v" among them, "<query>" at the end, answer v.

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "papers/_skeleton/my_task/my_task.pb.h"
#include "plugins/task.h"

namespace longrange {
namespace {

class MyTask : public Task {
 public:
  static absl::StatusOr<std::unique_ptr<Task>> Create(const MyTaskConfig& config,
                                                      const TaskArgs& args) {
    if (config.values() < 2 || config.values() > 65536) {
      return absl::InvalidArgumentError(
          absl::StrCat("values: ", config.values(), " (expected 2 to 65536)"));
    }
    auto task = std::make_unique<MyTask>();
    task->config_ = config;
    task->traits_.chance = 1 / static_cast<double>(config.values());
    if (args.tokenizer == nullptr) return task;
    for (const std::string& name : task->special_tokens()) {
      const absl::StatusOr<int32_t> id = args.tokenizer->SpecialId(name);
      if (!id.ok()) {
        return absl::InvalidArgumentError(
            absl::StrCat("the tokenizer lacks a token of my_task: ", id.status().message()));
      }
      task->ids_.push_back(*id);
    }
    return task;
  }

  const TaskTraits& traits() const override { return traits_; }

  std::vector<std::string> special_tokens() const override {
    std::vector<std::string> names = {"<mark>", "<query>"};
    for (int64_t i = 0; i < config_.values(); ++i) names.push_back(absl::StrCat("<v", i, ">"));
    return names;
  }

  absl::StatusOr<Example> Make(const ExampleRequest& request, int64_t index) const override {
    if (ids_.empty()) {
      return absl::FailedPreconditionError("my_task makes examples of a tokenizer's tokens");
    }
    if (request.length < 3) {
      return absl::InvalidArgumentError(absl::StrCat(
          "length: ", request.length, " (expected 3 or more: <mark>, its value and <query>)"));
    }
    if (!(request.depth <= 100)) {
      return absl::InvalidArgumentError(
          absl::StrCat("depth: ", request.depth, " (expected 0 to 100 percent)"));
    }
    const Rng rng = request.rng.Child(static_cast<int64_t>(request.split)).Child(index);
    const int64_t others = request.length - 3;
    // 0 %: the mark comes first; 100 %: right before the question.
    const int64_t place = request.depth < 0
                              ? rng.Child("depth").UniformInt(0, others + 1)
                              : std::llround(request.depth / 100 * static_cast<double>(others));
    Example example;
    for (int64_t t = 0; t + 1 < request.length; ++t) {
      example.ids.push_back(
          t == place ? mark() : value(rng.Child("values").UniformInt(t, config_.values())));
    }
    example.ids.push_back(query());
    example.target.assign(request.length, -1);
    example.target.back() = example.ids[place + 1];
    example.answer_rows = {request.length - 1};
    example.axes["length"] = static_cast<double>(request.length);
    example.axes["depth"] =
        others == 0 ? 0 : 100 * static_cast<double>(place) / static_cast<double>(others);
    if (request.depth >= 0) example.axes["depth"] = request.depth;
    return example;
  }

  double Score(const Example&, const Reply& reply) const override { return reply.is_argmax[0]; }

  Reply Oracle(const Example&) const override { return {{0}, {1}}; }

  Reply Blind(const Example& example, const Rng& rng) const override {
    const int32_t guess = value(rng.UniformInt(0, config_.values()));
    return {{-std::log(static_cast<double>(config_.values()))},
            {static_cast<uint8_t>(guess == example.target.back())}};
  }

 private:
  int32_t mark() const { return ids_[0]; }
  int32_t query() const { return ids_[1]; }
  int32_t value(int64_t i) const { return ids_[2 + i]; }

  MyTaskConfig config_;
  TaskTraits traits_;
  std::vector<int32_t> ids_;  // of special_tokens(), in order
};

LR_REGISTER_PLUGIN(Task, MyTaskConfig, MyTask::Create);

}  // namespace
}  // namespace longrange
