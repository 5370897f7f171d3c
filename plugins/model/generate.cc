#include "plugins/model/generate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "common/autograd/tape.h"

namespace longrange {
namespace {

// The next token of logits [V]. Ties go to the smaller id.
int32_t Pick(const std::vector<double>& logits, const GenerateOptions& options, int64_t step) {
  const int64_t vocabulary = static_cast<int64_t>(logits.size());
  if (options.temperature == 0) {
    return static_cast<int32_t>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  }
  std::vector<int32_t> order(vocabulary);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int32_t a, int32_t b) { return logits[a] > logits[b]; });
  if (options.top_k > 0 && options.top_k < vocabulary) order.resize(options.top_k);
  std::vector<double> cumulative;
  double sum = 0;
  for (const int32_t id : order) {
    sum += std::exp((logits[id] - logits[order[0]]) / options.temperature);
    cumulative.push_back(sum);
  }
  const double u = options.rng.Uniform(step) * sum;
  const auto at = std::upper_bound(cumulative.begin(), cumulative.end(), u);
  return order[std::min<size_t>(at - cumulative.begin(), order.size() - 1)];
}

Tensor Ids(const int32_t* begin, int64_t count) {
  return Tensor::FromVector<int32_t>({1, count}, std::vector<int32_t>(begin, begin + count));
}

}  // namespace

absl::StatusOr<std::vector<int32_t>> Generate(const Model& model,
                                              const std::vector<int32_t>& prompt,
                                              const GenerateOptions& options) {
  if (model.pools()) {
    return absl::InvalidArgumentError(
        "a model that answers once for all rows has no next token to generate");
  }
  if (model.config().features() > 0) {
    return absl::InvalidArgumentError(
        "a model whose rows are features cannot read the tokens that it would generate");
  }
  if (prompt.empty())
    return absl::InvalidArgumentError("an empty prompt: generation needs at least one token");
  for (const int32_t id : prompt) {
    if (id < 0 || id >= model.vocabulary()) {
      return absl::InvalidArgumentError(
          absl::StrCat("token ", id, " is outside the vocabulary of ", model.vocabulary()));
    }
  }
  if (options.temperature < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("temperature: ", options.temperature, " (expected >= 0)"));
  }
  const bool recompute = options.horizon == GenerateOptions::kRecompute;
  if (!recompute && !model.backbone().traits().streams) {
    return absl::InvalidArgumentError(
        "this model does not stream; generate with horizon kRecompute");
  }
  nn::Call call;
  const int64_t prompt_size = static_cast<int64_t>(prompt.size());
  if (options.horizon == GenerateOptions::kFixed)
    call.horizon = prompt_size + options.max_new_tokens;
  LR_RETURN_IF_ERROR(model.Supports(1, prompt_size + options.max_new_tokens, nn::Rows(), call));

  std::vector<int32_t> ids = prompt;
  nn::State state;
  if (!recompute) state = model.NewState(1);
  int64_t fed = 0;
  for (int64_t step = 0; step < options.max_new_tokens; ++step) {
    Tensor logits;
    const int64_t size = static_cast<int64_t>(ids.size());
    if (recompute) {
      NoGradScope no_grad;
      const Tensor all = model.Logits(Ids(ids.data(), size), nn::Rows(), call);
      logits = all.View({size, model.vocabulary()}).ViewRows(size - 1, size);
    } else {
      logits = model.Extend(Ids(ids.data() + fed, size - fed), nn::Rows(), call, &state);
      fed = size;
    }
    ids.push_back(Pick(logits.ToDoubles(), options, step));
    if (ids.back() == options.stop_token) break;
  }
  return ids;
}

}  // namespace longrange
