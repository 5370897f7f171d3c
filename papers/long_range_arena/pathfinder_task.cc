#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "papers/long_range_arena/long_range_arena.pb.h"
#include "papers/long_range_arena/pathfinder.h"
#include "plugins/task.h"
#include "plugins/token_example.h"

namespace longrange::long_range_arena {
namespace {

constexpr char kName[] = "long_range_arena_pathfinder";
constexpr int32_t kNo = 0, kYes = 1, kFirstPixel = 2;  // among the special tokens
constexpr int kLevels = 256;
constexpr int64_t kLargest = 1024;  // of any size in pixels

class PathfinderTask : public Task {
 public:
  static absl::StatusOr<std::unique_ptr<Task>> Create(const LongRangeArenaPathfinderConfig& config,
                                                      const TaskArgs& args) {
    const auto whole = [](absl::string_view field, int64_t value, int64_t least) {
      if (value >= least && value <= kLargest) return absl::OkStatus();
      return absl::InvalidArgumentError(
          absl::StrCat(field, ": ", value, " (expected ", least, " to ", kLargest, ")"));
    };
    const auto positive = [](absl::string_view field, double value) {
      if (value > 0 && value <= kLargest) return absl::OkStatus();
      return absl::InvalidArgumentError(
          absl::StrCat(field, ": ", value, " (expected more than 0, to ", kLargest, ")"));
    };
    LR_RETURN_IF_ERROR(whole("size", config.size(), 4));
    LR_RETURN_IF_ERROR(whole("contour_length", config.contour_length(), 1));
    LR_RETURN_IF_ERROR(whole("distractor_length", config.distractor_length(), 0));
    LR_RETURN_IF_ERROR(whole("distractors", config.distractors(), -1));
    LR_RETURN_IF_ERROR(positive("paddle_length", config.paddle_length()));
    LR_RETURN_IF_ERROR(positive("paddle_thickness", config.paddle_thickness()));
    LR_RETURN_IF_ERROR(positive("paddle_margin", config.paddle_margin()));
    LR_RETURN_IF_ERROR(positive("clearance", config.clearance()));
    LR_RETURN_IF_ERROR(positive("marker_radius", config.marker_radius()));
    LR_RETURN_IF_ERROR(positive("seed_distance", config.seed_distance()));
    LR_RETURN_IF_ERROR(positive("continuity", config.continuity()));
    if (!(config.contrast() > 0 && config.contrast() <= 1)) {
      return absl::InvalidArgumentError(
          absl::StrCat("contrast: ", config.contrast(), " (expected more than 0, to 1)"));
    }
    auto task = std::make_unique<PathfinderTask>();
    PathfinderShape& shape = task->shape_;
    shape.size = config.size();
    shape.contour_length = config.contour_length();
    shape.distractor_length = config.distractor_length() != 0
                                  ? config.distractor_length()
                                  : std::max<int64_t>(1, config.contour_length() / 3);
    shape.distractors =
        config.distractors() >= 0 ? config.distractors() : 20 / shape.distractor_length;
    shape.paddle_length = config.paddle_length();
    shape.paddle_thickness = config.paddle_thickness();
    shape.paddle_margin = config.paddle_margin();
    shape.clearance = config.clearance();
    shape.marker_radius = config.marker_radius();
    shape.seed_distance = config.seed_distance();
    shape.continuity = config.continuity();
    shape.contrast = config.contrast();
    task->symbols_ = config.symbols();
    task->has_tokenizer_ = args.tokenizer != nullptr;
    task->traits_.chance = 0.5;
    task->traits_.features = config.symbols() ? 0 : 1;
    if (args.tokenizer != nullptr) {
      LR_ASSIGN_OR_RETURN(task->ids_, SpecialIds(*args.tokenizer, task->special_tokens(), kName));
    }
    return task;
  }

  const TaskTraits& traits() const override { return traits_; }

  std::vector<std::string> special_tokens() const override {
    std::vector<std::string> names = {"<no>", "<yes>"};
    for (int i = 0; symbols_ && i < kLevels; ++i) names.push_back(absl::StrCat("<p", i, ">"));
    return names;
  }

  absl::StatusOr<Example> Make(const ExampleRequest& request, int64_t index) const override {
    if (!has_tokenizer_)
      return absl::FailedPreconditionError(absl::StrCat(kName, ": created without a tokenizer"));
    const int64_t rows = shape_.size * shape_.size;
    if (request.length < rows) {
      return absl::InvalidArgumentError(absl::StrCat("length: ", request.length, " (expected ",
                                                     rows, " or more, the pixels of an image)"));
    }
    LR_ASSIGN_OR_RETURN(
        const PathfinderImage image,
        MakePathfinder(shape_, request.rng.Child(SplitName(request.split)).Child(index)));
    Example example;
    example.rows = rows;
    example.ids.assign(request.length, ids_[kNo]);
    if (symbols_) {
      for (int64_t i = 0; i < rows; ++i)
        example.ids[i] = ids_[kFirstPixel + std::lround(image.pixels[i] * (kLevels - 1))];
    } else {
      example.features.assign(request.length, 0.0f);
      for (int64_t i = 0; i < rows; ++i) example.features[i] = 2 * image.pixels[i] - 1;
    }
    example.target.assign(request.length, -1);
    example.target[rows - 1] = ids_[image.connected ? kYes : kNo];
    example.answer_rows = {rows - 1};
    example.axes["length"] = static_cast<double>(request.length);
    return example;
  }

  double Score(const Example& example, const Reply& reply) const override {
    return ShareFound(example, reply, 1);
  }
  Reply Oracle(const Example& example) const override { return OracleReply(example); }
  Reply Blind(const Example& example, const Rng& rng) const override {
    return BlindReply(example, absl::MakeConstSpan(ids_).first(2), rng);
  }

 private:
  PathfinderShape shape_;
  bool symbols_ = false, has_tokenizer_ = false;
  TaskTraits traits_;
  std::vector<int32_t> ids_;  // of special_tokens()
};

LR_REGISTER_PLUGIN(Task, LongRangeArenaPathfinderConfig, PathfinderTask::Create);

}  // namespace
}  // namespace longrange::long_range_arena
