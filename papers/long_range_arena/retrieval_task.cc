// Retrieval: does one of two papers cite the other; of stand-ins, are two passages from one text?
// The documents are read apart, by a model of two towers.

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "papers/long_range_arena/byte_rows.h"
#include "papers/long_range_arena/class_task.h"
#include "papers/long_range_arena/documents.h"
#include "papers/long_range_arena/long_range_arena.pb.h"

namespace longrange::long_range_arena {
namespace {

constexpr int64_t kNo = 0, kYes = 1, kFirstByte = 2;  // among the special tokens

std::vector<std::string> Tokens() {
  std::vector<std::string> tokens = {"<no>", "<yes>"};
  AppendByteTokens(&tokens);
  return tokens;
}

class RetrievalTask : public ClassTask {
 public:
  static absl::StatusOr<std::unique_ptr<Task>> Create(const LongRangeArenaRetrievalConfig& config,
                                                      const TaskArgs& args) {
    const std::vector<std::string> sources(config.source().begin(), config.source().end());
    LR_RETURN_IF_ERROR(CheckOrigin(config.folder(), sources, config.shortest()));
    LR_RETURN_IF_ERROR(CheckMaxLength(config.max_length()));
    std::unique_ptr<RetrievalTask> task(new RetrievalTask(config));
    if (sources.empty()) {
      task->traits_.data = absl::StrCat("pairs of papers from ", config.folder());
    } else {
      task->traits_.data =
          absl::StrCat("a stand-in for the pairs of papers: passages of ", Listed(sources),
                       ", letters alone; the question is whether two are from one text");
    }
    LR_RETURN_IF_ERROR(task->Bind(args));
    if (args.tokenizer == nullptr) return task;
    if (sources.empty()) {
      LR_ASSIGN_OR_RETURN(task->pairs_, ReadPairs(UserPath(config.folder()), config.max_length()));
      task->traits_.data = task->pairs_.described;
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
    absl::string_view one, two;
    bool yes = false;
    if (passages_ == nullptr) {
      const Documents& pairs = pairs_.of(request.split);
      const int64_t i = Shuffled(index, pairs.size(), request.rng);
      one = pairs.text(i, 0).substr(0, most);
      two = pairs.text(i, 1).substr(0, most);
      yes = pairs.label(i) == 1;
    } else {
      RngStream draw(rng);
      yes = draw.UniformInt(2) == 1;
      const int64_t sources = passages_->sources(), first = draw.UniformInt(sources),
                    second = yes ? first : (first + 1 + draw.UniformInt(sources - 1)) % sources;
      const int64_t length_one = PassageLength(most, config_.shortest(), &draw),
                    length_two = PassageLength(most, config_.shortest(), &draw);
      LR_ASSIGN_OR_RETURN(one, passages_->Draw(first, request.split, length_one, &draw));
      LR_ASSIGN_OR_RETURN(two, passages_->Draw(second, request.split, length_two, &draw));
    }
    Example example;
    const auto id_of = [&](int64_t byte) { return id(kFirstByte + byte); };
    const int64_t rows = FillBytes(one, request.length, id_of, &example.ids);
    example.second_rows = FillBytes(two, request.length, id_of, &example.second);
    Ask(rows, yes ? kYes : kNo, &example);
    return example;
  }

 private:
  explicit RetrievalTask(const LongRangeArenaRetrievalConfig& config)
      : ClassTask("long_range_arena_retrieval", Tokens(), 2), config_(config) {
    traits_.two_documents = true;
  }

  LongRangeArenaRetrievalConfig config_;
  DocumentSplits pairs_;
  std::unique_ptr<Passages> passages_;  // null: pairs
};

LR_REGISTER_PLUGIN(Task, LongRangeArenaRetrievalConfig, RetrievalTask::Create);

}  // namespace
}  // namespace longrange::long_range_arena
