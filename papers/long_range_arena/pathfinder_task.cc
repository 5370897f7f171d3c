#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/refuse.h"
#include "common/base/status_macros.h"
#include "papers/long_range_arena/class_task.h"
#include "papers/long_range_arena/long_range_arena.pb.h"
#include "papers/long_range_arena/pathfinder.h"

namespace longrange::long_range_arena {
namespace {

constexpr int64_t kNo = 0, kYes = 1, kFirstPixel = 2;  // among the special tokens
constexpr int kLevels = 256;
constexpr int64_t kLargest = 1024;  // of any size in pixels

std::vector<std::string> Tokens(bool symbols) {
  std::vector<std::string> tokens = {"<no>", "<yes>"};
  if (symbols) AppendLevels("p", &tokens);
  return tokens;
}

class PathfinderTask : public ClassTask {
 public:
  static absl::StatusOr<std::unique_ptr<Task>> Create(const LongRangeArenaPathfinderConfig& config,
                                                      const TaskArgs& args) {
    const auto whole = [](absl::string_view field, int64_t value, int64_t least) {
      if (value >= least && value <= kLargest) return absl::OkStatus();
      return Refuse(field, value, absl::StrCat(least, " to ", kLargest));
    };
    LR_RETURN_IF_ERROR(whole("size", config.size(), 4));
    LR_RETURN_IF_ERROR(whole("contour_length", config.contour_length(), 1));
    LR_RETURN_IF_ERROR(whole("distractor_length", config.distractor_length(), 0));
    LR_RETURN_IF_ERROR(whole("distractors", config.distractors(), -1));
    PathfinderShape shape = BenchmarkShape(config.size(), config.contour_length());
    if (config.distractor_length() > 0) {
      shape.distractors = shape.distractors * shape.distractor_length / config.distractor_length();
      shape.distractor_length = config.distractor_length();
    }
    if (config.distractors() >= 0) shape.distractors = config.distractors();
    // Takes the place of the benchmark's where it is not 0.
    const auto length = [](absl::string_view field, double value, double* kept) {
      if (!(value >= 0 && value <= kLargest))
        return Refuse(field, value, absl::StrCat("0, for the benchmark's, to ", kLargest));
      if (value > 0) *kept = value;
      return absl::OkStatus();
    };
    LR_RETURN_IF_ERROR(length("paddle_length", config.paddle_length(), &shape.paddle_length));
    LR_RETURN_IF_ERROR(
        length("paddle_thickness", config.paddle_thickness(), &shape.paddle_thickness));
    if (config.paddle_margin_size() > 0) shape.paddle_margins.clear();
    for (const double margin : config.paddle_margin()) {
      double kept = 0;
      LR_RETURN_IF_ERROR(length("paddle_margin", margin, &kept));
      if (kept == 0) return Refuse("paddle_margin", margin, "more than 0");
      shape.paddle_margins.push_back(kept);
    }
    LR_RETURN_IF_ERROR(length("clearance", config.clearance(), &shape.clearance));
    LR_RETURN_IF_ERROR(length("marker_radius", config.marker_radius(), &shape.marker_radius));
    LR_RETURN_IF_ERROR(length("seed_distance", config.seed_distance(), &shape.seed_distance));
    LR_RETURN_IF_ERROR(length("continuity", config.continuity(), &shape.continuity));
    if (!(config.contrast() >= 0 && config.contrast() <= 1))
      return Refuse("contrast", config.contrast(), "0, for the benchmark's, to 1");
    if (config.contrast() > 0) shape.contrast = config.contrast();
    std::unique_ptr<PathfinderTask> task(new PathfinderTask(shape, config.symbols()));
    LR_RETURN_IF_ERROR(task->Bind(args));
    return task;
  }

 protected:
  absl::StatusOr<Example> MakeOne(const ExampleRequest& request, int64_t /*index*/,
                                  const Rng& rng) const override {
    const int64_t rows = shape_.size * shape_.size;
    if (request.length < rows) {
      return Refuse("length", request.length,
                    absl::StrCat(rows, " or more, the pixels of an image"));
    }
    LR_ASSIGN_OR_RETURN(const PathfinderImage image, MakePathfinder(shape_, rng));
    Example example;
    example.ids.assign(request.length, id(kNo));
    if (symbols_) {
      for (int64_t i = 0; i < rows; ++i)
        example.ids[i] = id(kFirstPixel + std::lround(image.pixels[i] * (kLevels - 1)));
    } else {
      example.features.assign(request.length, 0.0f);
      for (int64_t i = 0; i < rows; ++i) example.features[i] = 2 * image.pixels[i] - 1;
    }
    Ask(rows, image.connected ? kYes : kNo, &example);
    return example;
  }

 private:
  PathfinderTask(PathfinderShape shape, bool symbols)
      : ClassTask("long_range_arena_pathfinder", Tokens(symbols), 2),
        shape_(std::move(shape)),
        symbols_(symbols) {
    traits_.features = symbols ? 0 : 1;
  }

  PathfinderShape shape_;
  bool symbols_;
};

LR_REGISTER_PLUGIN(Task, LongRangeArenaPathfinderConfig, PathfinderTask::Create);

}  // namespace
}  // namespace longrange::long_range_arena
