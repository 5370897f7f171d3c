// The tasks of tasks.proto. T rows of an example.

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "common/base/refuse.h"
#include "common/base/status_macros.h"
#include "papers/recurrent_memory_transformer/tasks.pb.h"
#include "plugins/task.h"
#include "plugins/token_example.h"

namespace longrange {
namespace {

constexpr int64_t kMost = 1 << 16;

absl::Status CheckCount(absl::string_view field, int64_t value, int64_t least) {
  if (value >= least && value <= kMost) return absl::OkStatus();
  return Refuse(field, value, absl::StrCat(least, " to ", kMost));
}

// `count` names "<PREFIX0>", "<PREFIX1>", ...
void Name(absl::string_view prefix, int64_t count, std::vector<std::string>* names) {
  for (int64_t i = 0; i < count; ++i) names->push_back(absl::StrCat("<", prefix, i, ">"));
}

// What the three have in common: tokens of their own, answers that are some of the first of them.
class SymbolTask : public Task {
 public:
  const TaskTraits& traits() const override { return traits_; }
  std::vector<std::string> special_tokens() const override { return tokens_; }

  absl::StatusOr<Example> Make(const ExampleRequest& request, int64_t index) const override {
    LR_RETURN_IF_ERROR(CanMakeSymbols(args_, name_));
    LR_RETURN_IF_ERROR(CheckLength(request.length));
    if (request.depth >= 0 && !depths_)
      return Refuse("depth", request.depth, "none: this task has no needle");
    if (!(request.depth <= 100)) return Refuse("depth", request.depth, "0 to 100 percent");
    Example example;
    example.ids.resize(request.length);
    example.target.assign(request.length, -1);
    example.axes["length"] = static_cast<double>(request.length);
    Fill(request, request.rng.Child(SplitName(request.split)).Child(index), &example);
    for (int64_t t = 0; t < request.length; ++t) {
      if (example.target[t] >= 0) example.answer_rows.push_back(t);
    }
    return example;
  }

  double Score(const Example& example, const Reply& reply) const override {
    return ShareFound(example, reply, 1);
  }
  Reply Oracle(const Example& example) const override { return OracleReply(example); }
  Reply Blind(const Example& example, const Rng& rng) const override {
    return BlindReply(example, absl::MakeConstSpan(ids_).first(answers_), rng);
  }

 protected:
  SymbolTask(const char* name, const TaskArgs& args, int64_t answers,
             std::vector<std::string> tokens)
      : name_(name), args_(args), answers_(answers), tokens_(std::move(tokens)) {
    traits_.chance = 1 / static_cast<double>(answers);
  }
  absl::Status Bind() {
    if (args_.tokenizer == nullptr) return absl::OkStatus();
    LR_ASSIGN_OR_RETURN(ids_, SpecialIds(*args_.tokenizer, tokens_, name_));
    return absl::OkStatus();
  }
  // InvalidArgument: no example has this many rows.
  virtual absl::Status CheckLength(int64_t rows) const = 0;
  // Writes ids, targets and what it adds to the axes, by random numbers of its own.
  virtual void Fill(const ExampleRequest& request, const Rng& rng, Example* example) const = 0;

  // Token number i of special_tokens().
  int32_t Id(int64_t i) const { return ids_[i]; }

  bool depths_ = false;  // does a request's depth mean something?
  TaskTraits traits_;

 private:
  const char* name_;
  TaskArgs args_;
  int64_t answers_;
  std::vector<std::string> tokens_;
  std::vector<int32_t> ids_;
};

class Copy : public SymbolTask {
 public:
  using Config = RecurrentMemoryTransformerCopyConfig;

  static absl::StatusOr<std::unique_ptr<Task>> Create(const Config& config, const TaskArgs& args) {
    LR_RETURN_IF_ERROR(CheckCount("symbols", config.symbols(), 2));
    LR_RETURN_IF_ERROR(CheckCount("times", config.times(), 1));
    std::unique_ptr<Copy> task(new Copy(config, args));
    LR_RETURN_IF_ERROR(task->Bind());
    return task;
  }

 protected:
  absl::Status CheckLength(int64_t rows) const override {
    const int64_t parts = 1 + config_.times();
    if (rows >= parts && rows % parts == 0) return absl::OkStatus();
    return Refuse("length", rows,
                  absl::StrCat("a multiple of ", parts, ": the source and ", config_.times(),
                               " times as many rows that ask for it"));
  }

  void Fill(const ExampleRequest& request, const Rng& rng, Example* example) const override {
    const int64_t source = request.length / (1 + config_.times()), start = config_.symbols();
    const Rng draw = rng.Child("symbols");
    // The tokens behind the source are the start token and all that is wanted but the last.
    for (int64_t t = 0; t < request.length; ++t) {
      if (t < source) {
        example->ids[t] = Id(draw.UniformInt(t, config_.symbols()));
        continue;
      }
      const int64_t i = (t - source) % source;
      example->target[t] = example->ids[config_.reverse() ? source - 1 - i : i];
      example->ids[t] = t == source ? Id(start) : example->target[t - 1];
    }
  }

 private:
  Copy(const Config& config, const TaskArgs& args)
      : SymbolTask("recurrent_memory_transformer_copy", args, config.symbols(),
                   [&] {
                     std::vector<std::string> tokens;
                     Name("", config.symbols(), &tokens);
                     tokens.push_back("<start>");
                     return tokens;
                   }()),
        config_(config) {}

  Config config_;
};

class AssociativeRetrieval : public SymbolTask {
 public:
  using Config = RecurrentMemoryTransformerAssociativeRetrievalConfig;

  static absl::StatusOr<std::unique_ptr<Task>> Create(const Config& config, const TaskArgs& args) {
    LR_RETURN_IF_ERROR(CheckCount("values", config.values(), 2));
    LR_RETURN_IF_ERROR(CheckCount("pairs", config.pairs(), 1));
    LR_RETURN_IF_ERROR(CheckCount("keys", config.keys(), config.pairs()));
    std::unique_ptr<AssociativeRetrieval> task(new AssociativeRetrieval(config, args));
    LR_RETURN_IF_ERROR(task->Bind());
    return task;
  }

 protected:
  absl::Status CheckLength(int64_t rows) const override {
    if (rows >= 2 * config_.pairs() + 2) return absl::OkStatus();
    return Refuse("length", rows,
                  absl::StrCat(2 * config_.pairs() + 2, " or more: ", config_.pairs(),
                               " pairs, a key and the token that asks"));
  }

  void Fill(const ExampleRequest& request, const Rng& rng, Example* example) const override {
    const int64_t pairs = config_.pairs(), part = (request.length - 2) / pairs;
    const int64_t noise = config_.values() + config_.keys(), ask = noise + 1;
    std::fill(example->ids.begin(), example->ids.end(), Id(noise));
    // The first `pairs` of the keys, shuffled (Fisher and Yates).
    std::vector<int64_t> key(config_.keys());
    std::iota(key.begin(), key.end(), 0);
    const Rng shuffle = rng.Child("keys"), values = rng.Child("values"),
              places = rng.Child("places");
    for (int64_t i = 0; i < pairs; ++i)
      std::swap(key[i], key[i + shuffle.UniformInt(i, config_.keys() - i)]);
    std::vector<int32_t> value(pairs);
    for (int64_t i = 0; i < pairs; ++i) {
      const int64_t at = i * part + places.UniformInt(i, part - 1);
      value[i] = Id(values.UniformInt(i, config_.values()));
      example->ids[at] = Id(config_.values() + key[i]);
      example->ids[at + 1] = value[i];
    }
    const int64_t asked = request.depth < 0
                              ? rng.Child("asked").UniformInt(0, pairs)
                              : std::llround(request.depth / 100 * static_cast<double>(pairs - 1));
    example->ids[request.length - 2] = Id(config_.values() + key[asked]);
    example->ids[request.length - 1] = Id(ask);
    example->target[request.length - 1] = value[asked];
    example->axes["depth"] =
        request.depth >= 0 ? request.depth
        : pairs == 1       ? 0
                           : 100 * static_cast<double>(asked) / static_cast<double>(pairs - 1);
  }

 private:
  AssociativeRetrieval(const Config& config, const TaskArgs& args)
      : SymbolTask("recurrent_memory_transformer_associative_retrieval", args, config.values(),
                   [&] {
                     std::vector<std::string> tokens;
                     Name("value", config.values(), &tokens);
                     Name("key", config.keys(), &tokens);
                     tokens.push_back("<noise>");
                     tokens.push_back("<ask>");
                     return tokens;
                   }()),
        config_(config) {
    depths_ = true;
  }

  Config config_;
};

class Carry : public SymbolTask {
 public:
  using Config = RecurrentMemoryTransformerCarryConfig;

  static absl::StatusOr<std::unique_ptr<Task>> Create(const Config& config, const TaskArgs& args) {
    LR_RETURN_IF_ERROR(CheckCount("symbols", config.symbols(), 2));
    LR_RETURN_IF_ERROR(CheckCount("distractors", config.distractors(), 1));
    LR_RETURN_IF_ERROR(CheckCount("window", config.window(), 1));
    std::unique_ptr<Carry> task(new Carry(config, args));
    LR_RETURN_IF_ERROR(task->Bind());
    return task;
  }

 protected:
  absl::Status CheckLength(int64_t rows) const override {
    if (rows >= config_.window()) return absl::OkStatus();
    return Refuse("length", rows, absl::StrCat(config_.window(), " or more, the window's rows"));
  }

  void Fill(const ExampleRequest& request, const Rng& rng, Example* example) const override {
    const Rng others = rng.Child("distractors");
    for (int64_t t = 0; t < request.length; ++t)
      example->ids[t] = Id(config_.symbols() + others.UniformInt(t, config_.distractors()));
    const int32_t symbol = Id(rng.Child("symbol").UniformInt(0, config_.symbols()));
    example->ids[rng.Child("place").UniformInt(0, config_.window())] = symbol;
    example->target.back() = symbol;
  }

 private:
  Carry(const Config& config, const TaskArgs& args)
      : SymbolTask("recurrent_memory_transformer_carry", args, config.symbols(),
                   [&] {
                     std::vector<std::string> tokens;
                     Name("", config.symbols(), &tokens);
                     Name("other", config.distractors(), &tokens);
                     return tokens;
                   }()),
        config_(config) {}

  Config config_;
};

LR_REGISTER_PLUGIN(Task, RecurrentMemoryTransformerCopyConfig, Copy::Create);
LR_REGISTER_PLUGIN(Task, RecurrentMemoryTransformerAssociativeRetrievalConfig,
                   AssociativeRetrieval::Create);
LR_REGISTER_PLUGIN(Task, RecurrentMemoryTransformerCarryConfig, Carry::Create);

}  // namespace
}  // namespace longrange
