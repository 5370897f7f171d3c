// Majority: what a mean tells. T rows.

#include <algorithm>
#include <memory>
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

constexpr char kName[] = "linformer_majority";

class Majority : public Task {
 public:
  static absl::StatusOr<std::unique_ptr<Task>> Create(const LinformerMajorityConfig&,
                                                      const TaskArgs& args) {
    auto task = std::make_unique<Majority>();
    task->args_ = args;
    task->traits_.chance = 0.5;
    if (args.tokenizer == nullptr) return task;
    LR_ASSIGN_OR_RETURN(task->ids_, SpecialIds(*args.tokenizer, task->special_tokens(), kName));
    return task;
  }

  const TaskTraits& traits() const override { return traits_; }
  std::vector<std::string> special_tokens() const override { return {"<0>", "<1>"}; }

  absl::StatusOr<Example> Make(const ExampleRequest& request, int64_t index) const override {
    LR_RETURN_IF_ERROR(CanMakeSymbols(args_, kName));
    if (request.length < 1) return Refuse("length", request.length, "1 or more");
    if (request.depth >= 0) return Refuse("depth", request.depth, "none: all rows count alike");
    const Rng rng = request.rng.Child(SplitName(request.split)).Child(index);
    Example example;
    example.ids.resize(request.length);
    int64_t ones = 0;
    for (int64_t draw = 0; draw == 0 || 2 * ones == request.length; ++draw) {
      const Rng bits = rng.Child(draw);
      ones = 0;
      for (int64_t t = 0; t < request.length; ++t) {
        const int64_t bit = bits.UniformInt(t, 2);
        example.ids[t] = ids_[bit];
        ones += bit;
      }
    }
    example.target.assign(request.length, -1);
    example.target.back() = ids_[2 * ones > request.length ? 1 : 0];
    example.answer_rows = {request.length - 1};
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
  TaskArgs args_;
  TaskTraits traits_;
  std::vector<int32_t> ids_;  // of the bits
};

LR_REGISTER_PLUGIN(Task, LinformerMajorityConfig, Majority::Create);

}  // namespace
}  // namespace longrange
