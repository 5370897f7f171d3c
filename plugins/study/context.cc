#include "plugins/study/context.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace longrange {

absl::StatusOr<std::unique_ptr<Tokenizer>> StudyTokenizer(const StudySettings& settings) {
  std::vector<const google::protobuf::Any*> tasks;
  if (settings.has_task()) tasks.push_back(&settings.task());
  for (const StudyTask& further : settings.further_task()) tasks.push_back(&further.task());
  // Tasks may share tokens.
  std::vector<std::string> specials;
  for (const google::protobuf::Any* task : tasks) {
    LR_ASSIGN_OR_RETURN(const std::unique_ptr<Task> unbound,
                        Registry<Task>::Get().Create(*task, TaskArgs()));
    for (std::string& name : unbound->special_tokens()) {
      if (std::find(specials.begin(), specials.end(), name) == specials.end())
        specials.push_back(std::move(name));
    }
  }
  if (HasText(settings)) return std::make_unique<ByteTokenizer>(std::move(specials));
  return std::make_unique<SymbolTokenizer>(std::move(specials));
}

absl::StatusOr<std::unique_ptr<StudyContext>> StudyContext::Open(const StudySettings& settings) {
  auto context = std::make_unique<StudyContext>();
  if (HasText(settings)) {
    LR_ASSIGN_OR_RETURN(Corpus corpus, OpenCorpus(settings.data().corpus()));
    context->corpus = std::make_unique<Corpus>(std::move(corpus));
  }
  LR_ASSIGN_OR_RETURN(context->tokenizer, StudyTokenizer(settings));
  TaskArgs args;
  args.tokenizer = context->tokenizer.get();
  args.corpus = context->corpus.get();
  if (settings.has_task()) {
    context->task_name = PluginId(settings.task().type_url());
    LR_ASSIGN_OR_RETURN(context->task, Registry<Task>::Get().Create(settings.task(), args));
  }
  for (const StudyTask& config : settings.further_task()) {
    FurtherTask further;
    further.config = config;
    LR_ASSIGN_OR_RETURN(further.task, Registry<Task>::Get().Create(config.task(), args));
    context->further.push_back(std::move(further));
  }
  if (settings.model().vocabulary() < context->tokenizer->vocab_size()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "model.vocabulary: ", settings.model().vocabulary(), " does not hold the tokeniser's ",
        context->tokenizer->vocab_size(), " tokens (", HasText(settings) ? "256 bytes and " : "",
        context->tokenizer->special_tokens().size(), " of tasks)"));
  }
  if (context->corpus != nullptr) {
    context->train = context->tokenizer->Encode(context->corpus->train());
    context->test = context->tokenizer->Encode(context->corpus->test());
  }
  return context;
}

absl::StatusOr<std::unique_ptr<Model>> StudyModel(const StudySettings& settings, int64_t base_seed,
                                                  Device device) {
  ModelArgs args;
  args.init = Rng(static_cast<uint64_t>(base_seed)).Child("model");
  args.device = device;
  for (const int64_t length : settings.evaluation().length())
    args.max_tokens = std::max(args.max_tokens, length);
  for (const int64_t length : settings.evaluation().task_length())
    args.max_tokens = std::max(args.max_tokens, length);
  for (const StudyTask& further : settings.further_task()) {
    for (const int64_t length : further.length())
      args.max_tokens = std::max(args.max_tokens, length);
  }
  args.max_tokens = std::max(args.max_tokens, settings.tuning().course().length());
  return Model::Create(settings.model(), args);
}

}  // namespace longrange
