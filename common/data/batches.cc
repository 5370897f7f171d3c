#include "common/data/batches.h"

#include <glog/logging.h>

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace longrange {
namespace {

Batch EmptyBatch(int64_t batch, int64_t length) {
  Batch windows;
  windows.ids_bt = Tensor::Empty({batch, length}, DType::kInt32);
  windows.target_bt = Tensor::Empty({batch, length}, DType::kInt32);
  return windows;
}

// Fills row b of the batch from the window whose first token is tokens[first].
void FillRow(absl::Span<const int32_t> tokens, int64_t first, int64_t b, const Batch& batch) {
  const int64_t length = batch.ids_bt.dim(1);
  const int32_t* window = tokens.data() + first;
  std::copy(window, window + length, batch.ids_bt.mutable_data<int32_t>() + b * length);
  std::copy(window + 1, window + length + 1, batch.target_bt.mutable_data<int32_t>() + b * length);
}

}  // namespace

absl::StatusOr<Batch> RandomBatch(absl::Span<const int32_t> tokens, int64_t batch, int64_t length,
                                  const Rng& rng, int64_t step) {
  if (batch < 1 || length < 1) {
    return absl::InvalidArgumentError(absl::StrCat("a batch of ", batch, " windows of ", length,
                                                   " tokens: expected 1 or more of each"));
  }
  const int64_t places = static_cast<int64_t>(tokens.size()) - length;
  if (places < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the text has ", tokens.size(), " tokens; a window of ", length, " needs ", length + 1));
  }
  const Rng at = rng.Child(step);
  const Batch windows = EmptyBatch(batch, length);
  for (int64_t b = 0; b < batch; ++b) FillRow(tokens, at.UniformInt(b, places), b, windows);
  return windows;
}

int64_t TrackSteps(int64_t tokens, int64_t batch, int64_t length) {
  return batch < 1 || length < 1 ? 0 : std::max<int64_t>(0, tokens - 1) / batch / length;
}

absl::StatusOr<Batch> TrackBatch(absl::Span<const int32_t> tokens, int64_t batch, int64_t length,
                                 const Rng& rng, int64_t step) {
  if (batch < 1 || length < 1) {
    return absl::InvalidArgumentError(absl::StrCat("a batch of ", batch, " tracks, ", length,
                                                   " tokens a step: expected 1 or more of each"));
  }
  const int64_t size = static_cast<int64_t>(tokens.size()), steps = TrackSteps(size, batch, length);
  if (steps < 1) {
    return absl::InvalidArgumentError(absl::StrCat("the text has ", size, " tokens; ", batch,
                                                   " tracks of one step of ", length, " need ",
                                                   batch * length + 1));
  }
  const int64_t track = (size - 1) / batch;
  const int64_t first = rng.UniformInt(step / steps, track - steps * length + 1);
  const Batch rows = EmptyBatch(batch, length);
  for (int64_t b = 0; b < batch; ++b)
    FillRow(tokens, b * track + first + step % steps * length, b, rows);
  return rows;
}

absl::StatusOr<std::vector<int64_t>> EvaluationEnds(absl::Span<const int32_t> tokens,
                                                    int64_t longest, int64_t count) {
  if (longest < 1 || count < 1) {
    return absl::InvalidArgumentError(absl::StrCat(count, " evaluation windows of ", longest,
                                                   " tokens: expected 1 or more of each"));
  }
  const int64_t size = static_cast<int64_t>(tokens.size());
  const int64_t room = size - (longest + 1);
  if (room < count - 1) {
    return absl::InvalidArgumentError(absl::StrCat("the text has ", size, " tokens; ", count,
                                                   " evaluation windows of ", longest,
                                                   " need at least ", longest + count));
  }
  std::vector<int64_t> ends(static_cast<size_t>(count), size);
  for (int64_t i = 0; i + 1 < count; ++i)
    ends[static_cast<size_t>(i)] = longest + 1 + i * room / (count - 1);
  return ends;
}

Batch WindowsEndingAt(absl::Span<const int32_t> tokens, absl::Span<const int64_t> ends,
                      int64_t length) {
  const Batch windows = EmptyBatch(static_cast<int64_t>(ends.size()), length);
  for (size_t b = 0; b < ends.size(); ++b) {
    CHECK(ends[b] > length && ends[b] <= static_cast<int64_t>(tokens.size()))
        << "a window of " << length << " that ends at token " << ends[b] << " of " << tokens.size();
    FillRow(tokens, ends[b] - length - 1, static_cast<int64_t>(b), windows);
  }
  return windows;
}

}  // namespace longrange
