#include "plugins/model/answer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace longrange {
namespace {

nn::Call CallOfPieces(int64_t length) {
  nn::Call call;
  call.horizon = length;  // what depends on the length sees that of the whole
  return call;
}

// Rows [begin, end) of each example, with the targets of its answers alone.
Batch Piece(absl::Span<const Example> examples, int64_t begin, int64_t end) {
  const int64_t count = static_cast<int64_t>(examples.size()), rows = end - begin,
                features =
                    static_cast<int64_t>(examples[0].features.size() / examples[0].ids.size());
  Batch piece;
  piece.ids_bt = Tensor::Empty({count, rows}, DType::kInt32);
  piece.target_bt = Tensor::Full({count, rows}, -1, DType::kInt32);
  if (features > 0) piece.features_btf = Tensor::Empty({count, rows, features});
  for (int64_t b = 0; b < count; ++b) {
    const Example& e = examples[b];
    std::copy(e.ids.begin() + begin, e.ids.begin() + end,
              piece.ids_bt.mutable_data<int32_t>() + b * rows);
    for (const int64_t row : e.answer_rows) {
      if (row >= begin && row < end)
        piece.target_bt.mutable_data<int32_t>()[b * rows + row - begin] = e.target[row];
    }
    if (features > 0) {
      std::copy(e.features.begin() + begin * features, e.features.begin() + end * features,
                piece.features_btf.mutable_data<float>() + b * rows * features);
    }
  }
  return piece;
}

// Rows that are padding stand behind all that are asked for, so nobody need know of them.
std::vector<Reply> AnswerInPieces(const Model& model, absl::Span<const Example> examples,
                                  int64_t piece) {
  const int64_t length = static_cast<int64_t>(examples[0].ids.size());
  const nn::Call call = CallOfPieces(length);
  nn::State state = model.NewState(static_cast<int64_t>(examples.size()));
  std::vector<Reply> replies(examples.size());
  for (size_t b = 0; b < examples.size(); ++b) {
    CHECK_EQ(static_cast<int64_t>(examples[b].ids.size()), length)
        << "examples of different lengths in one batch";
    replies[b].logprob.resize(examples[b].answer_rows.size());
    replies[b].is_argmax.resize(examples[b].answer_rows.size());
  }
  for (int64_t begin = 0; begin < length; begin += piece) {
    const int64_t end = std::min(length, begin + piece);
    const Batch rows = Piece(examples, begin, end);
    const TokenScores scores =
        model.ExtendScores(InputOf(rows), rows.target_bt, nn::Rows(), call, &state);
    const std::vector<double> nll = scores.nll_bt.ToDoubles();
    const int32_t* argmax = scores.argmax_bt.data<int32_t>();
    for (size_t b = 0; b < examples.size(); ++b) {
      for (size_t i = 0; i < examples[b].answer_rows.size(); ++i) {
        const int64_t row = examples[b].answer_rows[i];
        if (row < begin || row >= end) continue;
        const int64_t at = static_cast<int64_t>(b) * (end - begin) + row - begin;
        replies[b].logprob[i] = -nll[at];
        replies[b].is_argmax[i] = argmax[at] == examples[b].target[row];
      }
    }
  }
  return replies;
}

bool HasRoles(const Example& example) { return !example.role.empty(); }

// Drops the targets of rows that nobody asks for.
void KeepAnswers(absl::Span<const Example> examples, Batch* batch) {
  const int64_t length = batch->target_bt.dim(1);
  int32_t* target = batch->target_bt.mutable_data<int32_t>();
  std::fill(target, target + batch->target_bt.numel(), -1);
  for (size_t b = 0; b < examples.size(); ++b) {
    for (const int64_t row : examples[b].answer_rows)
      target[static_cast<int64_t>(b) * length + row] = examples[b].target[row];
  }
}

}  // namespace

absl::Status CanAnswer(const Model& model, int64_t batch, int64_t length, int64_t piece) {
  if (piece == 0 || length <= piece) return model.Supports(batch, length, nn::Rows(), nn::Call());
  const std::string where = absl::StrCat(length, " rows in pieces of ", piece);
  if (model.pools()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": the model answers once for all rows, which it reads at once"));
  }
  const MixerTraits& traits = model.backbone().traits();
  if (!traits.streams) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, traits.direction == nn::Direction::kBidirectional
                                ? ": a bidirectional model does not stream"
                                : ": the model does not stream"));
  }
  if (traits.max_tokens > 0 && length > traits.max_tokens) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": the model takes ", traits.max_tokens, " at most"));
  }
  const nn::Call call = CallOfPieces(length);
  LR_RETURN_IF_ERROR(Annotate(model.Supports(batch, piece, nn::Rows(), call), where));
  if (length % piece == 0) return absl::OkStatus();
  return Annotate(model.Supports(batch, length % piece, nn::Rows(), call), where);
}

Batch Collate(absl::Span<const Example> examples) {
  CHECK(!examples.empty());
  const int64_t count = static_cast<int64_t>(examples.size()),
                length = static_cast<int64_t>(examples[0].ids.size()),
                numbers = static_cast<int64_t>(examples[0].features.size());
  Batch batch;
  batch.ids_bt = Tensor::Empty({count, length}, DType::kInt32);
  batch.target_bt = Tensor::Empty({count, length}, DType::kInt32);
  batch.weight_bt = Tensor::Full({count, length}, 1);
  const auto is_padded = [length](const Example& e) { return e.rows > 0 && e.rows < length; };
  if (std::any_of(examples.begin(), examples.end(), is_padded))
    batch.end_b = Tensor::Full({count}, static_cast<double>(length), DType::kInt64);
  if (std::any_of(examples.begin(), examples.end(), HasRoles))
    batch.role_bt = Tensor::Zeros({count, length}, DType::kInt32);
  if (numbers > 0) {
    CHECK_EQ(numbers % length, 0) << "features of " << length << " rows";
    batch.features_btf = Tensor::Empty({count, length, numbers / length});
  }
  const bool two = !examples[0].second.empty();
  if (two) batch.second_bt = Tensor::Empty({count, length}, DType::kInt32);
  const auto is_padded_second = [length](const Example& e) {
    return e.second_rows > 0 && e.second_rows < length;
  };
  if (std::any_of(examples.begin(), examples.end(), is_padded_second))
    batch.second_end_b = Tensor::Full({count}, static_cast<double>(length), DType::kInt64);
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
    if (!e.role.empty()) {
      CHECK_EQ(e.role.size(), e.ids.size());
      std::copy(e.role.begin(), e.role.end(), batch.role_bt.mutable_data<int32_t>() + b * length);
    }
    if (is_padded(e)) batch.end_b.mutable_data<int64_t>()[b] = e.rows;
    CHECK_EQ(static_cast<int64_t>(e.second.size()), two ? length : 0)
        << "second documents in some examples, or of another length";
    if (two)
      std::copy(e.second.begin(), e.second.end(),
                batch.second_bt.mutable_data<int32_t>() + b * length);
    if (is_padded_second(e)) batch.second_end_b.mutable_data<int64_t>()[b] = e.second_rows;
    CHECK_EQ(static_cast<int64_t>(e.features.size()), numbers)
        << "examples of features and others in one batch";
    if (numbers > 0) {
      std::copy(e.features.begin(), e.features.end(),
                batch.features_btf.mutable_data<float>() + b * numbers);
    }
  }
  return batch;
}

absl::StatusOr<std::vector<Reply>> Answer(const Model& model, absl::Span<const Example> examples,
                                          int64_t batch, int64_t piece) {
  CHECK_GE(batch, 1);
  CHECK_GE(piece, 0);
  std::vector<Reply> replies;
  const int64_t count = static_cast<int64_t>(examples.size());
  for (int64_t begin = 0; begin < count; begin += batch) {
    const absl::Span<const Example> part = examples.subspan(begin, std::min(batch, count - begin));
    const int64_t length = static_cast<int64_t>(part[0].ids.size());
    if (piece > 0 && length > piece) {
      LR_RETURN_IF_ERROR(CanAnswer(model, static_cast<int64_t>(part.size()), length, piece));
      if (std::any_of(part.begin(), part.end(), HasRoles)) {
        return absl::InvalidArgumentError(absl::StrCat(
            length, " rows in pieces of ", piece,
            ": rows have roles, and one that all rows see cannot come in a later piece"));
      }
      for (Reply& reply : AnswerInPieces(model, part, piece)) replies.push_back(std::move(reply));
      continue;
    }
    Batch collated = Collate(part);
    const Tensor input = InputOf(collated);
    LR_RETURN_IF_ERROR(model.Supports(input.dim(0), length, RowsOf(collated), nn::Call()));
    if (model.pools()) KeepAnswers(part, &collated);
    const TokenScores scores = model.Score(input, collated.target_bt, RowsOf(collated), nn::Call());
    const std::vector<double> nll = scores.nll_bt.ToDoubles();
    const int32_t* argmax = scores.argmax_bt.data<int32_t>();
    for (size_t b = 0; b < part.size(); ++b) {
      Reply reply;
      for (const int64_t row : part[b].answer_rows) {
        const size_t at = b * static_cast<size_t>(length) + static_cast<size_t>(row);
        reply.logprob.push_back(-nll[at]);
        reply.is_argmax.push_back(argmax[at] == part[b].target[row]);
      }
      replies.push_back(std::move(reply));
    }
  }
  return replies;
}

}  // namespace longrange
