// Where rows are (PositionScheme) and who sees whom (AttentionRule). Both are hosted by
// plugins/attention: a score is scale <rot(q), rot(k)> + bias(distance) over the keys that the
// rule, the direction and the padding leave.

#ifndef LONGRANGE_PLUGINS_POSITION_H_
#define LONGRANGE_PLUGINS_POSITION_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "common/nn/call.h"
#include "common/nn/module.h"
#include "plugins/growth.h"
#include "plugins/registry.h"

namespace longrange {

// How a scheme reaches the scores; a host declares which it can carry out and refuses the others by
// name.
enum PositionUse : uint32_t {
  kAtInput = 1,  // added to the rows at the stack's entry
  kRotary = 2,   // rotates q and k
  kBias = 4,     // added to the scores
  // Added, in each layer, to the rows that queries and keys are made of; values know of none.
  kAtQk = 8,
};

// "rotary positions and score biases"
std::string UseNames(uint32_t uses);

// Angles: row at position p turns pair j of the first 2 * numel(inv_freq) channels by p *
// inv_freq[j]; cos and sin are multiplied by `magnitude`, so scores get its square (YaRN's
// attention factor).
struct RotaryAngles {
  Tensor inv_freq;  // float64 [R/2], radians per position; may be on the tape (learned frequencies)
  double magnitude = 1;
  bool interleaved = false;  // pairs (2j, 2j+1), else half-split (j, j + R/2)
  // Where row t of the sequence is put instead of at t, for all `length` rows of it (random
  // positions in training); empty: nowhere else.
  std::vector<double> positions;
};

// What scores get, per head, by distance = |query position - key position|: one of the two.
struct ScoreBias {
  Tensor slope_h;  // -slope distance (ALiBi)
  // table[h, min(distance, R - 1)], of the parameters' type; may be on the tape (learned biases)
  Tensor table_hr;
};

class PositionScheme : public nn::Module {
 public:
  using Args = BuildArgs;
  static constexpr char kKindName[] = "position scheme";

  virtual uint32_t uses() const = 0;
  // Does RotaryFor's result change with the length? Then caches hold keys that are not yet rotated,
  // and one-shot and streaming evaluation agree at an equal Call.horizon.
  virtual bool depends_on_length() const { return false; }
  // Of how many rows of a sequence it knows the place; 0: of any number.
  virtual int64_t max_positions() const { return 0; }

  // Of kAtInput and kAtQk. Row t of sample b stands at first_b[b] + t; before 0 it is padding.
  virtual Tensor AddTo(const Tensor& x_btd, const std::vector<int64_t>& first_b,
                       const nn::Call& call) const;
  virtual RotaryAngles RotaryFor(int64_t length, const nn::Call& call) const;
  virtual ScoreBias BiasFor(int64_t heads, const nn::Call& call) const;
};

struct Span {
  int64_t begin, end;  // keys of one query, in stream positions
  int32_t branch = 0;  // at which positions the query and these keys meet
};

// Which keys a query sees, intersected with direction and padding, and at which distance.
//
// Rows are counted from the first real one: padding on the left has no position, and row 0 is
// where a text begins. Keys fall into branches. In branch b the query at stream position i and the
// key at j meet at QueryAt(b, i) and KeyAt(b, j), which may be fractions: scores see only the
// difference of the two. Branch 0 is the usual one, where rows meet at their own positions. All
// branches of a query share one softmax. A rule sees no sample data: samples of one call that stand
// alike get the same answers.
class AttentionRule : public nn::Module {
 public:
  using Args = BuildArgs;
  static constexpr char kKindName[] = "attention rule";

  virtual int32_t branches() const { return 1; }
  virtual double QueryAt(int32_t /*branch*/, int64_t query) const {
    return static_cast<double>(query);
  }
  virtual double KeyAt(int32_t /*branch*/, int64_t key) const { return static_cast<double>(key); }

  // First and last rows that a cache must keep, both or neither; -1: all.
  virtual std::pair<int64_t, int64_t> Keep() const { return {-1, -1}; }
  // How many keys a query sees, in their number; says how the host's work grows.
  virtual Growth keys_seen() const { return Growth::kLinear; }
  // May heads differ? If not, Spans is asked for head 0 only.
  virtual bool by_head() const { return false; }
  // Appends the spans of `query` (stream position) among `keys` keys, ascending and disjoint: a key
  // is in one branch of a query.
  virtual void Spans(int64_t head, int64_t query, int64_t keys, const nn::Call& call,
                     std::vector<Span>* out) const = 0;
};

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_POSITION_H_
