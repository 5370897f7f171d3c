#include "plugins/model/answer.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace longrange {

Batch Collate(const std::vector<Example>& examples) {
  CHECK(!examples.empty());
  const int64_t count = static_cast<int64_t>(examples.size()),
                length = static_cast<int64_t>(examples[0].ids.size());
  Batch batch;
  batch.ids_bt = Tensor::Empty({count, length}, DType::kInt32);
  batch.target_bt = Tensor::Empty({count, length}, DType::kInt32);
  batch.weight_bt = Tensor::Full({count, length}, 1);
  for (int64_t b = 0; b < count; ++b) {
    const Example& e = examples[b];
    CHECK_EQ(static_cast<int64_t>(e.ids.size()), length)
        << "examples of different lengths in one batch";
    CHECK_EQ(e.target.size(), e.ids.size());
    std::copy(e.ids.begin(), e.ids.end(), batch.ids_bt.mutable_data<int32_t>() + b * length);
    std::copy(e.target.begin(), e.target.end(),
              batch.target_bt.mutable_data<int32_t>() + b * length);
    if (!e.weight.empty()) {
      CHECK_EQ(e.weight.size(), e.ids.size());
      std::copy(e.weight.begin(), e.weight.end(),
                batch.weight_bt.mutable_data<float>() + b * length);
    }
  }
  return batch;
}

absl::StatusOr<std::vector<Reply>> Answer(const Model& model, const std::vector<Example>& examples,
                                          int64_t batch) {
  CHECK_GE(batch, 1);
  std::vector<Reply> replies;
  const int64_t count = static_cast<int64_t>(examples.size());
  for (int64_t begin = 0; begin < count; begin += batch) {
    const int64_t end = std::min(count, begin + batch);
    const std::vector<Example> part(examples.begin() + begin, examples.begin() + end);
    const Batch collated = Collate(part);
    const int64_t length = collated.ids_bt.dim(1);
    const nn::Call call;
    LR_RETURN_IF_ERROR(model.Supports(end - begin, length, nn::Rows(), call));
    const TokenScores scores = model.Score(collated.ids_bt, collated.target_bt, nn::Rows(), call);
    const std::vector<double> nll = scores.nll_bt.ToDoubles();
    const int32_t* argmax = scores.argmax_bt.data<int32_t>();
    for (int64_t b = 0; b < end - begin; ++b) {
      Reply reply;
      for (const int64_t row : part[b].answer_rows) {
        reply.logprob.push_back(-nll[b * length + row]);
        reply.is_argmax.push_back(argmax[b * length + row] == part[b].target[row]);
      }
      replies.push_back(std::move(reply));
    }
  }
  return replies;
}

}  // namespace longrange
