#include "plugins/study/context.h"

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace longrange {

absl::StatusOr<std::unique_ptr<StudyContext>> StudyContext::Open(const StudySettings& settings) {
  auto context = std::make_unique<StudyContext>();
  LR_ASSIGN_OR_RETURN(Corpus corpus, OpenCorpus(settings.data().corpus()));
  context->corpus = std::make_unique<Corpus>(std::move(corpus));
  std::vector<std::string> specials;
  if (settings.has_task()) {
    LR_ASSIGN_OR_RETURN(const std::unique_ptr<Task> unbound,
                        Registry<Task>::Get().Create(settings.task(), TaskArgs()));
    specials = unbound->special_tokens();
  }
  context->tokenizer = std::make_unique<ByteTokenizer>(specials);
  if (settings.has_task()) {
    TaskArgs args;
    args.tokenizer = context->tokenizer.get();
    args.corpus = context->corpus.get();
    LR_ASSIGN_OR_RETURN(context->task, Registry<Task>::Get().Create(settings.task(), args));
  }
  if (settings.model().vocabulary() < context->tokenizer->vocab_size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("model.vocabulary: ", settings.model().vocabulary(),
                     " does not hold the tokeniser's ", context->tokenizer->vocab_size(),
                     " tokens (256 bytes and ", specials.size(), " of the task)"));
  }
  context->train = context->tokenizer->Encode(context->corpus->train());
  context->test = context->tokenizer->Encode(context->corpus->test());
  return context;
}

absl::StatusOr<std::unique_ptr<Model>> StudyModel(const StudySettings& settings, int64_t base_seed,
                                                  Device device) {
  ModelArgs args;
  args.init = Rng(static_cast<uint64_t>(base_seed)).Child("model");
  args.device = device;
  for (const int64_t length : settings.evaluation().length())
    args.max_tokens = std::max(args.max_tokens, length);
  return Model::Create(settings.model(), args);
}

}  // namespace longrange
