// Recall in one hop: what only the right row tells. T rows, F numbers a row.

#include <algorithm>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/refuse.h"
#include "common/base/status_macros.h"
#include "papers/linformer/linformer.pb.h"
#include "plugins/task.h"
#include "plugins/token_example.h"

namespace longrange {
namespace {

constexpr char kName[] = "linformer_recall";
constexpr int64_t kMostKeys = 1 << 16, kMostBits = 16;

class Recall : public Task {
 public:
  static absl::StatusOr<std::unique_ptr<Task>> Create(const LinformerRecallConfig& config,
                                                      const TaskArgs& args) {
    if (config.keys() < 1 || config.keys() > kMostKeys)
      return Refuse("keys", config.keys(), absl::StrCat("1 to ", kMostKeys));
    if (config.value_bits() < 1 || config.value_bits() > kMostBits)
      return Refuse("value_bits", config.value_bits(), absl::StrCat("1 to ", kMostBits));
    auto task = std::make_unique<Recall>();
    task->config_ = config;
    task->args_ = args;
    task->traits_.chance = 1 / static_cast<double>(task->values());
    task->traits_.features = config.keys() + config.value_bits() + 1;
    if (args.tokenizer == nullptr) return task;
    LR_ASSIGN_OR_RETURN(task->ids_, SpecialIds(*args.tokenizer, task->special_tokens(), kName));
    return task;
  }

  const TaskTraits& traits() const override { return traits_; }
  std::vector<std::string> special_tokens() const override {
    std::vector<std::string> names;
    for (int64_t i = 0; i < values(); ++i) names.push_back(absl::StrCat("<v", i, ">"));
    return names;
  }

  absl::StatusOr<Example> Make(const ExampleRequest& request, int64_t index) const override {
    LR_RETURN_IF_ERROR(CanMakeSymbols(args_, kName));
    const int64_t pairs = request.length - 1;
    if (pairs < 1 || pairs > config_.keys()) {
      return Refuse("length", request.length,
                    absl::StrCat("2 to ", config_.keys() + 1,
                                 ": a row for each of the keys, and "
                                 "the one that asks"));
    }
    if (request.depth >= 0) return Refuse("depth", request.depth, "none: any row may be asked for");
    const Rng rng = request.rng.Child(SplitName(request.split)).Child(index);
    // The first of a shuffle.
    std::vector<int64_t> keys(config_.keys());
    std::iota(keys.begin(), keys.end(), 0);
    const Rng key_rng = rng.Child("key"), value_rng = rng.Child("value");
    for (int64_t i = 0; i < pairs; ++i)
      std::swap(keys[i], keys[i + key_rng.UniformInt(i, config_.keys() - i)]);
    const int64_t asked = rng.Child("asked").UniformInt(0, pairs), numbers = traits_.features;
    Example example;
    example.ids.assign(request.length, ids_[0]);
    example.target.assign(request.length, -1);
    example.features.assign(request.length * numbers, 0.0f);
    for (int64_t t = 0; t < pairs; ++t) {
      const int64_t value = value_rng.UniformInt(t, values());
      float* row = example.features.data() + t * numbers;
      row[keys[t]] = 1;
      for (int64_t bit = 0; bit < config_.value_bits(); ++bit)
        row[config_.keys() + bit] = (value >> bit & 1) != 0 ? 1.0f : -1.0f;
      if (t == asked) example.target.back() = ids_[value];
    }
    float* last = example.features.data() + pairs * numbers;
    last[keys[asked]] = 1;
    last[numbers - 1] = 1;
    example.answer_rows = {pairs};
    example.axes["length"] = static_cast<double>(request.length);
    return example;
  }

  double Score(const Example& example, const Reply& reply) const override {
    return ShareFound(example, reply, 1);
  }
  Reply Oracle(const Example& example) const override { return OracleReply(example); }
  Reply Blind(const Example& example, const Rng& rng) const override {
    return BlindReply(example, ids_, rng);
  }

 private:
  int64_t values() const { return int64_t{1} << config_.value_bits(); }

  LinformerRecallConfig config_;
  TaskArgs args_;
  TaskTraits traits_;
  std::vector<int32_t> ids_;  // of the values
};

LR_REGISTER_PLUGIN(Task, LinformerRecallConfig, Recall::Create);

}  // namespace
}  // namespace longrange
