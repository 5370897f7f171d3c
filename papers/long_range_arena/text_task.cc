// Byte text: is a review good or bad; of stand-ins, which text is a passage from?

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/paths.h"
#include "common/base/refuse.h"
#include "common/base/status_macros.h"
#include "papers/long_range_arena/byte_rows.h"
#include "papers/long_range_arena/class_task.h"
#include "papers/long_range_arena/documents.h"
#include "papers/long_range_arena/long_range_arena.pb.h"

namespace longrange::long_range_arena {
namespace {

std::vector<std::string> Tokens(int64_t classes) {
  std::vector<std::string> tokens;
  for (int64_t i = 0; i < classes; ++i) tokens.push_back(absl::StrCat("<class", i, ">"));
  AppendByteTokens(&tokens);
  return tokens;
}

class TextTask : public ClassTask {
 public:
  static absl::StatusOr<std::unique_ptr<Task>> Create(const LongRangeArenaTextConfig& config,
                                                      const TaskArgs& args) {
    const std::vector<std::string> sources(config.source().begin(), config.source().end());
    LR_RETURN_IF_ERROR(CheckOrigin(config.folder(), sources, config.shortest()));
    LR_RETURN_IF_ERROR(CheckMaxLength(config.max_length()));
    const int64_t classes = sources.empty() ? 2 : static_cast<int64_t>(sources.size());
    std::unique_ptr<TextTask> task(new TextTask(config, classes));
    if (sources.empty()) {
      task->traits_.data = absl::StrCat("reviews from ", config.folder());
    } else {
      task->traits_.data =
          absl::StrCat("a stand-in for the reviews: passages of ", Listed(sources),
                       ", letters alone; the question is which of them one is from");
    }
    LR_RETURN_IF_ERROR(task->Bind(args));
    if (args.tokenizer == nullptr) return task;
    if (sources.empty()) {
      LR_ASSIGN_OR_RETURN(task->reviews_,
                          ReadReviews(UserPath(config.folder()), config.max_length()));
      task->traits_.data = task->reviews_.described;
    } else {
      LR_ASSIGN_OR_RETURN(Passages passages, Passages::Open(sources));
      task->passages_ = std::make_unique<Passages>(std::move(passages));
    }
    return task;
  }

 protected:
  absl::StatusOr<Example> MakeOne(const ExampleRequest& request, int64_t index,
                                  const Rng& rng) const override {
    const int64_t most = std::min(request.length, config_.max_length());
    absl::string_view text;
    int64_t label = 0;
    if (passages_ == nullptr) {
      const Documents& reviews = reviews_.of(request.split);
      const int64_t i = Shuffled(index, reviews.size(), request.rng);
      text = reviews.text(i).substr(0, most);
      label = reviews.label(i);
    } else {
      RngStream draw(rng);
      label = draw.UniformInt(passages_->sources());
      LR_ASSIGN_OR_RETURN(text,
                          passages_->Draw(label, request.split,
                                          PassageLength(most, config_.shortest(), &draw), &draw));
    }
    Example example;
    const int64_t rows = FillBytes(
        text, request.length, [&](int64_t byte) { return id(classes_ + byte); }, &example.ids);
    Ask(rows, label, &example);
    return example;
  }

 private:
  TextTask(const LongRangeArenaTextConfig& config, int64_t classes)
      : ClassTask("long_range_arena_text", Tokens(classes), classes),
        config_(config),
        classes_(classes) {}

  LongRangeArenaTextConfig config_;
  int64_t classes_;
  DocumentSplits reviews_;
  std::unique_ptr<Passages> passages_;  // null: reviews
};

LR_REGISTER_PLUGIN(Task, LongRangeArenaTextConfig, TextTask::Create);

}  // namespace
}  // namespace longrange::long_range_arena
