// Batches of a tokenised text. B sequences, T rows. A window of T rows takes T + 1 tokens: row t
// reads token t and wants token t + 1.

#ifndef LONGRANGE_COMMON_DATA_BATCHES_H_
#define LONGRANGE_COMMON_DATA_BATCHES_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/base/rng.h"
#include "common/tensor/tensor.h"

namespace longrange {

struct Batch {
  Tensor ids_bt;        // int32
  Tensor target_bt;     // int32; -1: not counted
  Tensor weight_bt;     // float32, of the loss of each row; undefined: 1 everywhere
  Tensor end_b;         // int64: rows from there on are padding; undefined: there is none
  Tensor features_btf;  // float32: F numbers a row in the place of ids; undefined: ids are read
  Tensor role_bt;       // int32, as of nn::Rows; undefined: rows have none
  // Second documents, as ids_bt and end_b; undefined: a sequence is one document.
  Tensor second_bt, second_end_b;
};

// Batch number `step`: windows at random places. A pure function of its arguments: there is no
// epoch and no other state, and the position to resume at is the step's number. Row b is the same
// for any batch size above b. InvalidArgument: batch or length below 1, or the text has fewer than
// length + 1 tokens.
absl::StatusOr<Batch> RandomBatch(absl::Span<const int32_t> tokens, int64_t batch, int64_t length,
                                  const Rng& rng, int64_t step);

// A text that is read on: `batch` tracks side by side, each the whole of its part of the text, of
// which every step takes the next `length` rows. A pass over the tracks has so many steps; 0: the
// text is too short for one.
int64_t TrackSteps(int64_t tokens, int64_t batch, int64_t length);

// Batch number `step`: row t of track b follows row t - 1, or the last one of the step before; the
// first step of a pass begins the tracks anew, by up to `length` tokens further on. A pure function
// of its arguments. InvalidArgument: batch or length below 1, or a text of less than one step.
absl::StatusOr<Batch> TrackBatch(absl::Span<const int32_t> tokens, int64_t batch, int64_t length,
                                 const Rng& rng, int64_t step);

// Where windows for evaluation end: `count` places, evenly spaced over the text, the first one so
// that a window of `longest` rows fits before it, the last one at the text's end (count 1: the
// end). Windows of every length up to `longest` END at the same places, so that lengths and arms
// are compared on the same text: differences are paired by place. They do not overlap where the
// text has count * longest + 1 tokens or more; with less they do, evenly.
// InvalidArgument: longest or count below 1, or too short a text for `count` different places.
absl::StatusOr<std::vector<int64_t>> EvaluationEnds(absl::Span<const int32_t> tokens,
                                                    int64_t longest, int64_t count);

// The windows of `length` rows as one batch; the last target of window b is the token before
// ends[b]. `ends` are from EvaluationEnds, or a part of them, for this text and a `longest` of at
// least `length`.
Batch WindowsEndingAt(absl::Span<const int32_t> tokens, absl::Span<const int64_t> ends,
                      int64_t length);

}  // namespace longrange

#endif  // LONGRANGE_COMMON_DATA_BATCHES_H_
