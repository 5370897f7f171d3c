// What the tasks of Long Range Arena have in common: a sequence, padded behind its end, and one
// question about it, whose answer is one of a few classes. It is asked at the last real row; a
// model that pools answers for the whole sequence.

#ifndef LONGRANGE_PAPERS_LONG_RANGE_ARENA_CLASS_TASK_H_
#define LONGRANGE_PAPERS_LONG_RANGE_ARENA_CLASS_TASK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "plugins/task.h"

namespace longrange::long_range_arena {

class ClassTask : public Task {
 public:
  const TaskTraits& traits() const override { return traits_; }
  std::vector<std::string> special_tokens() const override { return tokens_; }
  absl::StatusOr<Example> Make(const ExampleRequest& request, int64_t index) const final;
  double Score(const Example& example, const Reply& reply) const override;
  Reply Oracle(const Example& example) const override;
  Reply Blind(const Example& example, const Rng& rng) const override;

 protected:
  // Special tokens, of which the first `classes` are the answers.
  ClassTask(std::string name, std::vector<std::string> tokens, int64_t classes);

  // Looks the tokens up. Where there is no tokenizer, examples cannot be made.
  absl::Status Bind(const TaskArgs& args);

  // One example, of a task that is bound and for a length of 1 or more. `rng` is that of the split
  // and the index.
  virtual absl::StatusOr<Example> MakeOne(const ExampleRequest& request, int64_t index,
                                          const Rng& rng) const = 0;

  int32_t id(int64_t token) const { return ids_[token]; }  // of tokens[token]
  // What is left to say of an example of so many real rows, whose ids (and features) are there.
  void Ask(int64_t rows, int64_t answer, Example* example) const;

  TaskTraits traits_;

 private:
  std::string name_;
  std::vector<std::string> tokens_;
  int64_t classes_;
  std::vector<int32_t> ids_;  // empty: not bound
};

// The 256 values of a byte or of a pixel as names of tokens: "<prefix0>" to "<prefix255>".
void AppendLevels(absl::string_view prefix, std::vector<std::string>* tokens);

// Example `index` of `count` in an order that `rng` decides: every one comes once before any comes
// again.
int64_t Shuffled(int64_t index, int64_t count, const Rng& rng);

}  // namespace longrange::long_range_arena

#endif  // LONGRANGE_PAPERS_LONG_RANGE_ARENA_CLASS_TASK_H_
