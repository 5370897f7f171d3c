#include "papers/induction_heads/behaviour.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/refuse.h"
#include "common/base/status_macros.h"
#include "papers/induction_heads/scores.h"

namespace longrange::induction_heads {
namespace {

constexpr int64_t kMost = 1 << 24;  // tokens, sequences

// The next token of each row; -1 behind the last.
Tensor NextTokens(const Tensor& ids_bt) {
  const int64_t batch = ids_bt.dim(0), rows = ids_bt.dim(1);
  Tensor next = Tensor::Empty(ids_bt.shape(), DType::kInt32);
  for (int64_t i = 0; i < batch * rows; ++i)
    next.mutable_data<int32_t>()[i] = i % rows + 1 < rows ? ids_bt.data<int32_t>()[i + 1] : -1;
  return next;
}

}  // namespace

absl::Status CheckSequences(const InductionHeadsSequences& config) {
  const auto count = [](absl::string_view field, int64_t value, int64_t least) {
    return value < least || value > kMost
               ? Refuse(absl::StrCat("random.", field), value, absl::StrCat(least, " to ", kMost))
               : absl::OkStatus();
  };
  LR_RETURN_IF_ERROR(count("sequences", config.sequences(), 1));
  LR_RETURN_IF_ERROR(count("block", config.block(), 1));
  LR_RETURN_IF_ERROR(count("repeats", config.repeats(), 2));
  LR_RETURN_IF_ERROR(count("rows", config.rows(), 0));
  LR_RETURN_IF_ERROR(count("start_token", config.start_token(), -1));
  LR_RETURN_IF_ERROR(count("first_token", config.first_token(), 0));
  LR_RETURN_IF_ERROR(count("last_token", config.last_token(), -1));
  const int64_t once = config.block() + (config.start_token() >= 0 ? 1 : 0);
  if (config.rows() > 0 && config.rows() < once + 2) {
    return Refuse("random.rows", config.rows(),
                  absl::StrCat("0, for all, or ", once + 2,
                               " or more: two tokens of the block's "
                               "second time"));
  }
  return absl::OkStatus();
}

absl::Status CheckTokens(int64_t late, int64_t early, int64_t window) {
  if (late < 0 || late > kMost)
    return Refuse("late", late, absl::StrCat("0, for no score, to ", kMost));
  if (late > 0 && late <= early)
    return Refuse("late", late, absl::StrCat("0, for no score, or more than early, ", early));
  if (window < 1 || window > kMost) return Refuse("window", window, absl::StrCat("1 to ", kMost));
  if (early < window + 1) {
    return Refuse("early", early,
                  absl::StrCat(window + 1, " or more: of ", window,
                               window == 1 ? " token" : " tokens", ", and nothing tells token 1"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Sequences> RandomRepeats(const InductionHeadsSequences& config, const Model& model,
                                        const Rng& rng) {
  const int64_t vocabulary = model.vocabulary(), block = config.block(),
                last = config.last_token() < 0 ? vocabulary - 1 : config.last_token();
  if (model.config().features() > 0 || model.pools()) {
    return absl::InvalidArgumentError(
        "this probe reads tokens and looks at the loss of every row (expected a model of tokens "
        "that answers at each row)");
  }
  if (last >= vocabulary || config.start_token() >= vocabulary) {
    return Refuse(last >= vocabulary ? "random.last_token" : "random.start_token",
                  last >= vocabulary ? last : config.start_token(),
                  absl::StrCat("less than the model's vocabulary of ", vocabulary));
  }
  std::vector<int32_t> tokens;
  for (int64_t token = config.first_token(); token <= last; ++token) {
    if (token != config.start_token()) tokens.push_back(static_cast<int32_t>(token));
  }
  if (static_cast<int64_t>(tokens.size()) < block) {
    return Refuse("random.block", block,
                  absl::StrCat("at most the ", tokens.size(), " tokens there are to draw from"));
  }
  Sequences made;
  made.first = config.start_token() >= 0 ? 1 : 0;
  const int64_t whole = made.first + block * config.repeats(),
                rows = config.rows() > 0 ? std::min(config.rows(), whole) : whole;
  LR_RETURN_IF_ERROR(
      Annotate(model.Supports(config.sequences(), rows, nn::Rows(), nn::Call()), "random"));
  made.ids_bt = Tensor::Empty({config.sequences(), rows}, DType::kInt32);
  made.answer_bt = Tensor::Empty(made.ids_bt.shape(), DType::kUInt8);
  for (int64_t b = 0; b < config.sequences(); ++b) {
    const Rng draw = rng.Child("random").Child(b);
    for (int64_t i = 0; i < block; ++i) {
      std::swap(tokens[i], tokens[i + draw.UniformInt(i, static_cast<int64_t>(tokens.size()) - i)]);
    }
    for (int64_t t = 0; t < rows; ++t) {
      made.ids_bt.mutable_data<int32_t>()[b * rows + t] =
          t < made.first ? static_cast<int32_t>(config.start_token())
                         : tokens[(t - made.first) % block];
      // A token that came before tells what follows; the first one to do so is the block's second
      // first one.
      made.answer_bt.mutable_data<uint8_t>()[b * rows + t] = t >= made.first + block ? 1 : 0;
    }
  }
  made.target_bt = NextTokens(made.ids_bt);
  return made;
}

Sequences FirstBlocks(const InductionHeadsSequences& config, const Sequences& repeats) {
  Sequences made;
  made.first = repeats.first;
  const int64_t batch = repeats.ids_bt.dim(0), all = repeats.ids_bt.dim(1),
                rows = std::min(all, repeats.first + config.block());
  made.ids_bt = Tensor::Empty({batch, rows}, DType::kInt32);
  for (int64_t i = 0; i < batch * rows; ++i)
    made.ids_bt.mutable_data<int32_t>()[i] =
        repeats.ids_bt.data<int32_t>()[i / rows * all + i % rows];
  made.target_bt = NextTokens(made.ids_bt);
  return made;
}

Sequences Given(const ProbeArgs& args) {
  Sequences given;
  given.ids_bt = args.ids_bt;
  given.target_bt = args.target_bt.defined() ? args.target_bt : NextTokens(args.ids_bt);
  given.answer_bt = args.answer_bt;
  return given;
}

Sequences Some(const Sequences& all, int64_t begin, int64_t count) {
  const int64_t end = std::min(begin + count, all.ids_bt.dim(0));
  Sequences some = {all.ids_bt.ViewRows(begin, end), all.target_bt.ViewRows(begin, end), Tensor(),
                    all.first};
  if (all.answer_bt.defined()) some.answer_bt = all.answer_bt.ViewRows(begin, end);
  return some;
}

void Losses::Add(const Sequences& sequences, const Tensor& nll_bt) {
  const std::vector<double> nll = nll_bt.ToDoubles();
  const int64_t rows = sequences.ids_bt.dim(1);
  by_row_.resize(rows);
  for (int64_t i = 0; i < sequences.ids_bt.numel(); ++i) {
    if (sequences.target_bt.data<int32_t>()[i] < 0) continue;
    all_.Add(nll[i]);
    by_row_[i % rows].Add(nll[i]);
    if (!sequences.answer_bt.defined()) continue;
    (sequences.answer_bt.data<uint8_t>()[i] != 0 ? answers_ : others_).Add(nll[i]);
  }
}

absl::StatusOr<double> Losses::InContext(const InContextTokens& tokens) const {
  // Token 1 is predicted by no row, token n by row n - 2.
  std::vector<double> loss = {0};
  for (const Sum& sum : by_row_) {
    if (sum.count == 0) break;
    loss.push_back(*sum.Mean());
  }
  const auto known = static_cast<int64_t>(loss.size());
  if (tokens.late > known) {
    return Refuse("late", tokens.late,
                  absl::StrCat("0, for no score, or at most the ", known,
                               " tokens of a sequence whose loss is known"));
  }
  double score = 0;
  for (int64_t back = 0; back < tokens.window; ++back)
    score += InContextScore(loss, tokens.late - back, tokens.early - back);
  return score / static_cast<double>(tokens.window);
}

}  // namespace longrange::induction_heads
