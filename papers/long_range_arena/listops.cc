#include "papers/long_range_arena/listops.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace longrange::long_range_arena {
namespace {

constexpr std::array<absl::string_view, kNumListopsTokens> kNames = {
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "[MIN", "[MAX", "[MED", "[SM", "X"};

bool IsOperator(int32_t token) { return token >= kMin && token < kClose; }

int32_t Apply(int32_t op, std::vector<int32_t> args) {
  switch (op) {
    case kMin:
      return *std::min_element(args.begin(), args.end());
    case kMax:
      return *std::max_element(args.begin(), args.end());
    case kSum:
      return std::accumulate(args.begin(), args.end(), 0) % 10;
    default: {
      std::sort(args.begin(), args.end());
      const size_t n = args.size();
      return (args[(n - 1) / 2] + args[n / 2]) / 2;
    }
  }
}

// Writes an expression and returns its value; cut short, with any value, once it is longer than
// `most` tokens.
int32_t Grow(const ListopsGrammar& grammar, int64_t depth, size_t most, RngStream* draw,
             std::vector<int32_t>* tokens) {
  constexpr double kOperatorShare = 0.25;
  if (depth >= grammar.max_depth || draw->Uniform() > kOperatorShare) {
    const auto digit = static_cast<int32_t>(draw->UniformInt(10));
    tokens->push_back(digit);
    return digit;
  }
  const auto op = static_cast<int32_t>(kMin + draw->UniformInt(kClose - kMin));
  const int64_t count = 2 + draw->UniformInt(grammar.max_args - 1);
  tokens->push_back(op);
  std::vector<int32_t> args;
  for (int64_t i = 0; i < count && tokens->size() <= most; ++i)
    args.push_back(Grow(grammar, depth + 1, most, draw, tokens));
  tokens->push_back(kClose);
  return args.empty() ? 0 : Apply(op, std::move(args));
}

}  // namespace

absl::string_view ListopsName(int32_t token) { return kNames.at(static_cast<size_t>(token)); }

absl::StatusOr<std::vector<int32_t>> ParseListops(absl::string_view text) {
  std::vector<int32_t> tokens;
  for (const absl::string_view word : absl::StrSplit(text, ' ', absl::SkipEmpty())) {
    if (word == "(" || word == ")") continue;
    const absl::string_view name = word == "]" ? "X" : word;
    const auto at = std::find(kNames.begin(), kNames.end(), name);
    if (at == kNames.end())
      return absl::InvalidArgumentError(
          absl::StrCat("'", word,
                       "' is no token of ListOps (expected a digit, [MIN, [MAX, [MED, "
                       "[SM, ] or X)"));
    tokens.push_back(static_cast<int32_t>(at - kNames.begin()));
  }
  return tokens;
}

absl::StatusOr<int32_t> EvaluateListops(absl::Span<const int32_t> tokens) {
  struct Open {
    int32_t op;
    std::vector<int32_t> args;
  };
  std::vector<Open> open;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const bool last = i + 1 == tokens.size();
    int32_t value = tokens[i];
    if (IsOperator(value)) {
      open.push_back({value, {}});
      continue;
    }
    if (value == kClose) {
      if (open.empty() || open.back().args.empty())
        return absl::InvalidArgumentError(absl::StrCat("token ", i, ": X closes nothing"));
      value = Apply(open.back().op, std::move(open.back().args));
      open.pop_back();
    } else if (value < 0 || value > 9) {
      return absl::InvalidArgumentError(absl::StrCat("token ", i, ": ", value, " is none"));
    }
    if (open.empty()) {
      if (last) return value;
      return absl::InvalidArgumentError(
          absl::StrCat("token ", i + 1, ": the expression has ended"));
    }
    open.back().args.push_back(value);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("after the last token ", open.size(), " operators are open"));
}

absl::StatusOr<ListopsExpression> MakeListops(const ListopsGrammar& grammar, const Rng& rng) {
  constexpr int64_t kMostTries = 1000000;
  RngStream draw(rng);
  ListopsExpression expression;
  for (int64_t i = 0; i < kMostTries; ++i) {
    expression.tokens.clear();
    expression.value =
        Grow(grammar, 1, static_cast<size_t>(grammar.max_length), &draw, &expression.tokens);
    const auto length = static_cast<int64_t>(expression.tokens.size());
    if (length >= grammar.min_length && length <= grammar.max_length) return expression;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("min_length: no expression of ", grammar.min_length, " to ", grammar.max_length,
                   " tokens in ", kMostTries, " tries, with max_depth ", grammar.max_depth,
                   " and max_args ", grammar.max_args));
}

}  // namespace longrange::long_range_arena
