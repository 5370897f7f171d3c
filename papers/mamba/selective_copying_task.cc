// Selective copying (Gu and Dao 2023, section 4.1.1). The paper's generator was not published; this
// one makes what the authors' code for S4 makes: noise is token 0, the marker the last one. L rows
// of data and noise, M markers, T = L + M.

#include <algorithm>
#include <cmath>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "papers/mamba/tasks.pb.h"
#include "plugins/task.h"
#include "plugins/token_example.h"

namespace longrange {
namespace {

constexpr char kName[] = "mamba_selective_copying";
constexpr int64_t kMost = 1 << 16;

// `count` of the places 0 .. places - 1, every choice as likely, ascending (Floyd's sampling:
// Bentley and Floyd 1987).
std::vector<int64_t> Choose(int64_t places, int64_t count, const Rng& rng) {
  std::set<int64_t> chosen;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t last = places - count + i, place = rng.UniformInt(i, last + 1);
    if (!chosen.insert(place).second) chosen.insert(last);
  }
  return {chosen.begin(), chosen.end()};
}

class SelectiveCopying : public Task {
 public:
  static absl::StatusOr<std::unique_ptr<Task>> Create(const MambaSelectiveCopyingConfig& config,
                                                      const TaskArgs& args) {
    if (config.vocabulary() < 4 || config.vocabulary() > kMost) {
      return absl::InvalidArgumentError(
          absl::StrCat("vocabulary: ", config.vocabulary(), " (expected 4 to ", kMost,
                       ": noise, two data tokens or more, the marker)"));
    }
    if (config.data_tokens() < 1 || config.data_tokens() > kMost) {
      return absl::InvalidArgumentError(
          absl::StrCat("data_tokens: ", config.data_tokens(), " (expected 1 to ", kMost, ")"));
    }
    auto task = std::make_unique<SelectiveCopying>();
    task->config_ = config;
    task->args_ = args;
    task->traits_.chance =
        std::pow(static_cast<double>(config.vocabulary() - 2),
                 config.exact() ? -static_cast<double>(config.data_tokens()) : -1.0);
    if (args.tokenizer == nullptr) return task;
    LR_ASSIGN_OR_RETURN(task->ids_, SpecialIds(*args.tokenizer, task->special_tokens(), kName));
    return task;
  }

  const TaskTraits& traits() const override { return traits_; }

  // In the order of the ids of a study without text: 0 is noise.
  std::vector<std::string> special_tokens() const override {
    std::vector<std::string> names = {"<noise>"};
    for (int64_t i = 1; i + 1 < config_.vocabulary(); ++i)
      names.push_back(absl::StrCat("<d", i, ">"));
    names.push_back("<copy>");
    return names;
  }

  absl::StatusOr<Example> Make(const ExampleRequest& request, int64_t index) const override {
    LR_RETURN_IF_ERROR(CanMakeSymbols(args_, kName));
    const int64_t markers = config_.data_tokens(), places = request.length - markers;
    if (places < markers) {
      return absl::InvalidArgumentError(absl::StrCat("length: ", request.length, " (expected ",
                                                     2 * markers, " or more: ", markers,
                                                     " data tokens, and as many markers)"));
    }
    if (request.depth >= 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("depth: ", request.depth, " (expected none: data is anywhere)"));
    }
    const Rng rng = request.rng.Child(SplitName(request.split)).Child(index);
    const Rng data_rng = rng.Child("data");
    std::vector<int64_t> at;
    if (config_.selective()) {
      at = Choose(places, markers, rng.Child("places"));
    } else {
      for (int64_t i = 0; i < markers; ++i) at.push_back(i);
    }
    Example example;
    example.ids.assign(places, ids_.front());
    example.ids.resize(request.length, ids_.back());
    example.target.assign(request.length, -1);
    for (int64_t i = 0; i < markers; ++i) {
      const int32_t datum = ids_[1 + data_rng.UniformInt(i, config_.vocabulary() - 2)];
      example.ids[at[i]] = datum;
      example.target[places + i] = datum;
      example.answer_rows.push_back(places + i);
    }
    example.axes["length"] = static_cast<double>(request.length);
    return example;
  }

  double Score(const Example& example, const Reply& reply) const override {
    return ShareFound(example, reply, config_.exact() ? config_.data_tokens() : 1);
  }

  Reply Oracle(const Example& example) const override { return OracleReply(example); }

  Reply Blind(const Example& example, const Rng& rng) const override {
    return BlindReply(example, absl::MakeConstSpan(ids_).subspan(1, ids_.size() - 2), rng);
  }

 private:
  MambaSelectiveCopyingConfig config_;
  TaskArgs args_;
  TaskTraits traits_;
  std::vector<int32_t> ids_;  // of special_tokens(), in order
};

LR_REGISTER_PLUGIN(Task, MambaSelectiveCopyingConfig, SelectiveCopying::Create);

}  // namespace
}  // namespace longrange
