// Image: what is in a small picture, read pixel by pixel?

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/paths.h"
#include "common/base/refuse.h"
#include "common/base/status_macros.h"
#include "papers/long_range_arena/class_task.h"
#include "papers/long_range_arena/images.h"
#include "papers/long_range_arena/long_range_arena.pb.h"

namespace longrange::long_range_arena {
namespace {

// Mean and deviation of CIFAR-10's grey pixels, of 255, as in the code of S4.
constexpr double kMean = 122.6, kDeviation = 61;

std::vector<std::string> Tokens(bool symbols) {
  std::vector<std::string> tokens;
  for (int64_t i = 0; i < kImageClasses; ++i) tokens.push_back(absl::StrCat("<class", i, ">"));
  if (symbols) AppendLevels("p", &tokens);
  return tokens;
}

class ImageTask : public ClassTask {
 public:
  static absl::StatusOr<std::unique_ptr<Task>> Create(const LongRangeArenaImageConfig& config,
                                                      const TaskArgs& args) {
    constexpr int64_t kLeast = 8, kMost = 1024;
    if (config.size() < kLeast || config.size() > kMost)
      return Refuse("size", config.size(), absl::StrCat(kLeast, " to ", kMost));
    if (config.folder().empty() && !config.shapes()) {
      return Refuse("folder", "none",
                    absl::StrCat("that of ", Described(Cifar()),
                                 "; or shapes: true, which then stand in for its images"));
    }
    if (!config.folder().empty() && config.shapes())
      return Refuse("shapes", "true", "false where there is a folder");
    if (!config.folder().empty() && config.size() != kCifarSide)
      return Refuse("size", config.size(), "32, the side of CIFAR-10's images");
    std::unique_ptr<ImageTask> task(new ImageTask(config));
    LR_RETURN_IF_ERROR(task->Bind(args));
    if (args.tokenizer == nullptr || config.shapes()) return task;
    LR_ASSIGN_OR_RETURN(
        task->images_,
        ReadCifar(UserPath(config.folder()), config.symbols() ? Gray::kTensorflow : Gray::kPillow));
    return task;
  }

 protected:
  absl::StatusOr<Example> MakeOne(const ExampleRequest& request, int64_t index,
                                  const Rng& rng) const override {
    const int64_t rows = config_.size() * config_.size();
    if (request.length < rows) {
      return Refuse("length", request.length,
                    absl::StrCat(rows, " or more, the pixels of an image"));
    }
    std::vector<uint8_t> made;
    const uint8_t* pixels = nullptr;
    int64_t label = 0;
    if (config_.shapes()) {
      label = rng.UniformInt(0, kImageClasses);
      made = MakeShape(config_.size(), label, rng.Child("shape"));
      pixels = made.data();
    } else {
      const Images& images = images_.of(request.split);
      const int64_t i = Shuffled(index, images.size(), request.rng);
      label = images.labels[i];
      pixels = images.of(i);
    }
    Example example;
    example.ids.assign(request.length, id(0));
    if (config_.symbols()) {
      for (int64_t i = 0; i < rows; ++i) example.ids[i] = id(kImageClasses + pixels[i]);
    } else {
      example.features.assign(request.length, 0.0f);
      for (int64_t i = 0; i < rows; ++i)
        example.features[i] = static_cast<float>((pixels[i] - kMean) / kDeviation);
    }
    Ask(rows, label, &example);
    return example;
  }

 private:
  explicit ImageTask(const LongRangeArenaImageConfig& config)
      : ClassTask("long_range_arena_image", Tokens(config.symbols()), kImageClasses),
        config_(config) {
    traits_.features = config.symbols() ? 0 : 1;
    traits_.data = config.shapes()
                       ? "a stand-in for CIFAR-10: generated shapes; the question is which of ten"
                       : absl::StrCat(
                             "45000 images of CIFAR-10 to train on, 5000 to validate on "
                             "and 10000 to test on, from ",
                             config.folder());
  }

  LongRangeArenaImageConfig config_;
  ImageSplits images_;
};

LR_REGISTER_PLUGIN(Task, LongRangeArenaImageConfig, ImageTask::Create);

}  // namespace
}  // namespace longrange::long_range_arena
