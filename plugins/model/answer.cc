#include "plugins/model/answer.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace longrange {
namespace {

// Columns [begin, end) of [B, T, ..] as new memory.
Tensor Columns(const Tensor& x, int64_t begin, int64_t end) {
  Shape shape = x.shape();
  shape.set(1, end - begin);
  Tensor part = Tensor::Empty(shape, x.dtype(), x.device());
  if (x.is_meta()) return part;
  const int64_t row = x.bytes() / std::max<int64_t>(1, x.dim(0) * x.dim(1));
  for (int64_t b = 0; b < x.dim(0); ++b) {
    const char* from = static_cast<const char*>(x.raw_data()) + (b * x.dim(1) + begin) * row;
    std::copy(from, from + (end - begin) * row,
              static_cast<char*>(part.mutable_raw_data()) + b * (end - begin) * row);
  }
  return part;
}

// Puts `part` in the place of columns [begin, ..) of x.
void PutColumns(const Tensor& part, int64_t begin, const Tensor& x) {
  if (x.is_meta()) return;
  const int64_t size = SizeOf(x.dtype()), count = part.dim(1);
  for (int64_t b = 0; b < x.dim(0); ++b) {
    const char* from = static_cast<const char*>(part.raw_data()) + b * count * size;
    std::copy(from, from + count * size,
              static_cast<char*>(x.mutable_raw_data()) + (b * x.dim(1) + begin) * size);
  }
}

nn::Call CallOfPieces(int64_t length) {
  nn::Call call;
  call.horizon = length;  // what depends on the length sees that of the whole
  return call;
}

absl::Status CanAnswerRows(const Model& model, int64_t batch, int64_t length, int64_t piece,
                           const nn::Rows& rows) {
  if (piece == 0 || length <= piece) return model.Supports(batch, length, rows, nn::Call());
  const std::string where = absl::StrCat(length, " rows in pieces of ", piece);
  if (model.pools()) {
    return absl::InvalidArgumentError(absl::StrCat(
        where, ": the model answers from the mean of all rows, which it reads at once"));
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

}  // namespace

absl::Status CanAnswer(const Model& model, int64_t batch, int64_t length, int64_t piece) {
  return CanAnswerRows(model, batch, length, piece, nn::Rows());
}

Batch Collate(const std::vector<Example>& examples) {
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
  if (numbers > 0) {
    CHECK_EQ(numbers % length, 0) << "features of " << length << " rows";
    batch.features_btf = Tensor::Empty({count, length, numbers / length});
  }
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
    if (is_padded(e)) batch.end_b.mutable_data<int64_t>()[b] = e.rows;
    CHECK_EQ(static_cast<int64_t>(e.features.size()), numbers)
        << "examples of features and others in one batch";
    if (numbers > 0) {
      std::copy(e.features.begin(), e.features.end(),
                batch.features_btf.mutable_data<float>() + b * numbers);
    }
  }
  return batch;
}

TokenScores ScoreInPieces(const Model& model, const Batch& batch, int64_t piece) {
  const Tensor& input = InputOf(batch);
  const Device device = input.device();
  const int64_t length = batch.target_bt.dim(1);
  TokenScores scores = {
      Tensor::Empty(batch.target_bt.shape(), model.parameters().all()[0].value.dtype(), device),
      Tensor::Empty(batch.target_bt.shape(), DType::kInt32, device)};
  const nn::Call call = CallOfPieces(length);
  nn::State state = model.NewState(batch.target_bt.dim(0));
  for (int64_t begin = 0; begin < length; begin += piece) {
    const int64_t end = std::min(length, begin + piece);
    // Rows that are padding stand behind all that are asked for, so nobody need know of them.
    const TokenScores part = model.ExtendScores(
        Columns(input, begin, end), Columns(batch.target_bt, begin, end), nn::Rows(), call, &state);
    PutColumns(part.nll_bt, begin, scores.nll_bt);
    PutColumns(part.argmax_bt, begin, scores.argmax_bt);
  }
  return scores;
}

absl::StatusOr<std::vector<Reply>> Answer(const Model& model, const std::vector<Example>& examples,
                                          int64_t batch, int64_t piece) {
  CHECK_GE(batch, 1);
  CHECK_GE(piece, 0);
  std::vector<Reply> replies;
  const int64_t count = static_cast<int64_t>(examples.size());
  for (int64_t begin = 0; begin < count; begin += batch) {
    const int64_t end = std::min(count, begin + batch);
    const std::vector<Example> part(examples.begin() + begin, examples.begin() + end);
    Batch collated = Collate(part);
    const int64_t length = collated.ids_bt.dim(1);
    LR_RETURN_IF_ERROR(CanAnswerRows(model, end - begin, length, piece, RowsOf(collated)));
    const bool in_pieces = piece > 0 && length > piece;
    if (in_pieces || model.pools()) {  // nobody asks for the other rows
      int32_t* target = collated.target_bt.mutable_data<int32_t>();
      std::fill(target, target + (end - begin) * length, -1);
      for (int64_t b = 0; b < end - begin; ++b) {
        for (const int64_t row : part[b].answer_rows)
          target[b * length + row] = part[b].target[row];
      }
    }
    const TokenScores scores = in_pieces ? ScoreInPieces(model, collated, piece)
                                         : model.Score(InputOf(collated), collated.target_bt,
                                                       RowsOf(collated), nn::Call());
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
