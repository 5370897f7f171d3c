#include "papers/induction_heads/scores.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace longrange::induction_heads {
namespace {

Pattern Empty(int64_t n) { return {n, std::vector<uint8_t>(n * n, 0)}; }

// The pattern of (query, key + shift) for each earlier copy `key` of the query's token, from key
// `first` on.
Pattern BesideCopies(absl::Span<const int32_t> ids, int64_t shift, int64_t first) {
  Pattern pattern = Empty(static_cast<int64_t>(ids.size()));
  for (int64_t query = 0; query < pattern.n; ++query) {
    for (int64_t copy = 0; copy < query; ++copy) {
      if (ids[copy] == ids[query] && copy + shift >= first)
        pattern.at[query * pattern.n + copy + shift] = 1;
    }
  }
  return pattern;
}

}  // namespace

Pattern PreviousToken(int64_t n) {
  Pattern pattern = Empty(n);
  for (int64_t query = 1; query < n; ++query) pattern.at[query * n + query - 1] = 1;
  return pattern;
}

Pattern DuplicateToken(absl::Span<const int32_t> ids) { return BesideCopies(ids, 0, 0); }

Pattern Induction(absl::Span<const int32_t> ids) { return BesideCopies(ids, 1, 1); }

Pattern Preceding(absl::Span<const int32_t> ids) { return BesideCopies(ids, -1, 1); }

double MeanEntry(absl::Span<const double> attention, const Pattern& pattern) {
  double sum = 0, count = 0;
  for (size_t i = 0; i < pattern.at.size(); ++i) {
    if (pattern.at[i] != 0) sum += attention[i], ++count;
  }
  return count > 0 ? sum / count : 0;
}

double MeanRowMass(absl::Span<const double> attention, const Pattern& pattern) {
  double sum = 0, count = 0;
  for (int64_t query = 0; query < pattern.n; ++query) {
    double mass = 0;
    bool any = false;
    for (int64_t key = 0; key < pattern.n; ++key) {
      if (!pattern.Has(query, key)) continue;
      mass += attention[query * pattern.n + key];
      any = true;
    }
    if (any) sum += mass, ++count;
  }
  return count > 0 ? sum / count : 0;
}

double Detector::Share(absl::Span<const double> attention, const Pattern& pattern) const {
  double inside = 0, all = 0;
  for (int64_t query = 0; query < pattern.n; ++query) {
    for (int64_t key = 0; key < pattern.n; ++key) {
      if ((exclude_first && key == 0) || (exclude_self && key == query)) continue;
      const double value = attention[query * pattern.n + key];
      all += value;
      if (pattern.Has(query, key)) inside += value;
    }
  }
  return all > 0 ? inside / all : 0;
}

double Detector::Closeness(absl::Span<const double> attention, const Pattern& pattern) const {
  double distance = 0;
  for (int64_t query = 0; query < pattern.n; ++query) {
    for (int64_t key = 0; key < pattern.n; ++key) {
      if ((exclude_first && key == 0) || (exclude_self && key == query)) continue;
      distance += std::abs(attention[query * pattern.n + key] - (pattern.Has(query, key) ? 1 : 0));
    }
  }
  return 1 - std::round(1000 * distance / static_cast<double>(pattern.n)) / 1000;
}

std::vector<double> LossByLogIndex(absl::Span<const double> loss) {
  const auto n = static_cast<int64_t>(loss.size());
  const auto at = [](int64_t i) { return std::log(static_cast<double>(i + 1)); };
  const auto slope = [&](int64_t i) { return (loss[i + 1] - loss[i]) / (at(i + 1) - at(i)); };
  std::vector<double> derivative(n);
  derivative[0] = slope(0);
  derivative[n - 1] = slope(n - 2);
  for (int64_t i = 1; i + 1 < n; ++i) {
    const double before = at(i) - at(i - 1), behind = at(i + 1) - at(i);
    derivative[i] = (before * slope(i) + behind * slope(i - 1)) / (before + behind);
  }
  return derivative;
}

Copying CopyingOf(absl::Span<const double> attention, absl::Span<const int32_t> ids,
                  absl::Span<const double> written, int64_t vocabulary, int64_t first) {
  const auto n = static_cast<int64_t>(ids.size());
  const std::set<int32_t> sample(ids.begin() + first, ids.end());
  Copying copying;
  for (int64_t key = first; key < n; ++key) {
    double attended = 0;
    for (int64_t query = 0; query < n; ++query) attended += attention[query * n + key];
    const absl::Span<const double> logits = written.subspan(key * vocabulary, vocabulary);
    double mean = 0;
    for (const double logit : logits) mean += logit / static_cast<double>(vocabulary);
    const auto raised = [&](int32_t token) { return std::max(0.0, logits[token] - mean); };
    copying.own += attended * raised(ids[key]);
    for (const int32_t token : sample) copying.sample += attended * raised(token);
  }
  return copying;
}

}  // namespace longrange::induction_heads
