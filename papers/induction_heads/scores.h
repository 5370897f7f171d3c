// The paper's measures as functions of attention, token losses and weights. n tokens of a sequence,
// V vocabulary; attention is [n, n], rows are queries. Goldens hold each of them.

#ifndef LONGRANGE_PAPERS_INDUCTION_HEADS_SCORES_H_
#define LONGRANGE_PAPERS_INDUCTION_HEADS_SCORES_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace longrange::induction_heads {

// Where a head of some kind would look: 1 at (query, key), 0 elsewhere.
struct Pattern {
  int64_t n = 0;
  std::vector<uint8_t> at;  // [n, n]

  bool Has(int64_t query, int64_t key) const { return at[query * n + key] != 0; }
};

// The token before.
Pattern PreviousToken(int64_t n);
// Earlier copies of the query's token.
Pattern DuplicateToken(absl::Span<const int32_t> ids);
// Prefix matching: what followed earlier copies of the query's token. Up to the query itself, which
// does so where its token comes twice in a row.
Pattern Induction(absl::Span<const int32_t> ids);
// What stood before earlier copies of the query's token, the first token left out: the text's
// reading of prefix matching, which its authors corrected.
Pattern Preceding(absl::Span<const int32_t> ids);

// Mean of the entries that the pattern names. With r earlier copies each of them counts, so that a
// head that shares its attention among all scores 1/r. 0 where it names none.
double MeanEntry(absl::Span<const double> attention, const Pattern& pattern);
// What a query gives to all its entries, mean over the queries that have one: 1 for a head that
// looks nowhere else. 0 where no query has one.
double MeanRowMass(absl::Span<const double> attention, const Pattern& pattern);

// TransformerLens, head_detector: the first key and the query's own may be left out.
struct Detector {
  bool exclude_first = false, exclude_self = false;

  // "mul": the share of all attention that the pattern gets; what is left out is in neither sum.
  double Share(absl::Span<const double> attention, const Pattern& pattern) const;
  // "abs": 1 less the mean distance |attention - pattern| of a row, rounded to three places as
  // there.
  double Closeness(absl::Span<const double> attention, const Pattern& pattern) const;
};

// loss[i]: on token i + 1, counted from 1.
inline double InContextScore(absl::Span<const double> loss, int64_t late, int64_t early) {
  return loss[late - 1] - loss[early - 1];
}

// d loss / d log(token number), by differences of second order on the uneven grid inside and of
// first order at its ends. Two tokens or more.
std::vector<double> LossByLogIndex(absl::Span<const double> loss);

// What a head raises: written[j] are the logits [V] that it adds where all attention is on key j;
// at query i they arrive times attention(i, j). The mean over the vocabulary is removed and what is
// then below zero does not count.
struct Copying {
  double own = 0;     // of the token attended to
  double sample = 0;  // of all tokens of the sequence

  double Ratio() const { return sample > 0 ? own / sample : 0; }
};
// Keys before `first` (a start token) count neither as tokens nor as attended to.
Copying CopyingOf(absl::Span<const double> attention, absl::Span<const int32_t> ids,
                  absl::Span<const double> written, int64_t vocabulary, int64_t first = 0);

// Sum of the eigenvalues of a real matrix [p, p] over the sum of their magnitudes: 1 where all are
// positive, -1 where all are negative, 0 for the zero matrix.
double PositiveEigenvalues(absl::Span<const double> matrix, int64_t p);

}  // namespace longrange::induction_heads

#endif  // LONGRANGE_PAPERS_INDUCTION_HEADS_SCORES_H_
