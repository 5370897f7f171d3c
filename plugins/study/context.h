// What all runs of one study share: text, tokeniser, task.

#ifndef LONGRANGE_PLUGINS_STUDY_CONTEXT_H_
#define LONGRANGE_PLUGINS_STUDY_CONTEXT_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/data/corpus.h"
#include "common/data/tokenizer.h"
#include "plugins/model/model.h"
#include "plugins/study/study.pb.h"
#include "plugins/task.h"

namespace longrange {

// A task beside the study's own.
struct FurtherTask {
  StudyTask config;
  std::unique_ptr<Task> task;
};

struct StudyContext {
  std::unique_ptr<Corpus> corpus;        // null: none
  std::unique_ptr<Tokenizer> tokenizer;  // bytes, where there is text, and the tasks' symbols
  std::unique_ptr<Task> task;            // null: perplexity only
  std::string task_name;                 // its id
  std::vector<FurtherTask> further;
  std::vector<int32_t> train, test;  // tokens of the corpus's parts

  // Opens corpus and tasks. The model's vocabulary must hold the tokeniser's.
  static absl::StatusOr<std::unique_ptr<StudyContext>> Open(const StudySettings& settings);
};

// Is there text, or are tokens the tasks' symbols alone?
inline bool HasText(const StudySettings& settings) { return !settings.data().corpus().empty(); }

// The tokens of all tasks, after the bytes where there is text.
absl::StatusOr<std::unique_ptr<Tokenizer>> StudyTokenizer(const StudySettings& settings);

// A model as the settings want it, with initial values of a seed. It is made for the longest
// sequence that will be evaluated.
absl::StatusOr<std::unique_ptr<Model>> StudyModel(const StudySettings& settings, int64_t base_seed,
                                                  Device device);

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_STUDY_CONTEXT_H_
