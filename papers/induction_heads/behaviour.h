// What both probes read and how a model fares on it: repeated random tokens, and losses by row. B
// sequences, T rows.

#ifndef LONGRANGE_PAPERS_INDUCTION_HEADS_BEHAVIOUR_H_
#define LONGRANGE_PAPERS_INDUCTION_HEADS_BEHAVIOUR_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/rng.h"
#include "common/nn/call.h"
#include "papers/induction_heads/induction_heads.pb.h"
#include "plugins/model/model.h"
#include "plugins/probe.h"

namespace longrange::induction_heads {

// InvalidArgument names the field.
absl::Status CheckSequences(const InductionHeadsSequences& config);
absl::Status CheckTokens(int64_t late, int64_t early, int64_t window);

struct Sequences {
  Tensor ids_bt, target_bt;  // int32; -1: the token behind the last row
  Tensor answer_bt;   // uint8: 1 where the target follows from an earlier block; undefined: none
  int64_t first = 0;  // the first row of a block, behind the start token
};

// Repeated random tokens. InvalidArgument: the model's vocabulary has too few tokens, or it cannot
// take sequences of this size.
absl::StatusOr<Sequences> RandomRepeats(const InductionHeadsSequences& config, const Model& model,
                                        const Rng& rng);
// One block of each, not repeated.
Sequences FirstBlocks(const InductionHeadsSequences& config, const Sequences& repeats);
// Those that a probe is given; what they want is the next token where it is not told.
Sequences Given(const ProbeArgs& args);

// Sequences [begin, begin + count), the last of them fewer.
Sequences Some(const Sequences& all, int64_t begin, int64_t count);
// How many sequences of so many rows are read at once where their attention is kept.
inline int64_t AtOnce(int64_t rows) { return std::max<int64_t>(1, 4096 / rows); }

// Which tokens the in-context-learning score is of.
struct InContextTokens {
  int64_t late = 0, early = 0, window = 1;
};

// Mean losses of a model on sequences, in nats.
class Losses {
 public:
  // What the model says of some sequences.
  void Add(const Sequences& sequences, const Tensor& nll_bt);

  std::optional<double> all() const { return all_.Mean(); }          // of all targets
  std::optional<double> answers() const { return answers_.Mean(); }  // of those that can be told
  std::optional<double> others() const { return others_.Mean(); }    // of the rest, where some can

  // Mean loss on the `window` tokens up to number `late` less that on those up to number `early`,
  // counted from 1: the loss on a token is that of the row before it. InvalidArgument: the
  // sequences have no such tokens.
  absl::StatusOr<double> InContext(const InContextTokens& tokens) const;

 private:
  struct Sum {
    double sum = 0, count = 0;
    void Add(double value) { sum += value, ++count; }
    std::optional<double> Mean() const {
      return count > 0 ? std::optional(sum / count) : std::nullopt;
    }
  };
  Sum all_, answers_, others_;
  std::vector<Sum> by_row_;
};

}  // namespace longrange::induction_heads

#endif  // LONGRANGE_PAPERS_INDUCTION_HEADS_BEHAVIOUR_H_
