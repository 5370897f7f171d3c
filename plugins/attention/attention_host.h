// The shared host of attention: projections, heads, a position scheme, an attention rule and a
// cache. What attention papers have in common lives here once; their mixers are thin wrappers. B
// batch, T rows of a call, S keys, H query heads, K key-value heads, P head width, D width.

#ifndef LONGRANGE_PLUGINS_ATTENTION_ATTENTION_HOST_H_
#define LONGRANGE_PLUGINS_ATTENTION_ATTENTION_HOST_H_

#include <memory>
#include <vector>

#include "kernels/attention/attention.h"
#include "plugins/mixer.h"
#include "plugins/position.h"

namespace longrange {

// Makes keys of the keys projected from a row and from the rows before it, between projection and
// positions.
class KeyFilter : public nn::Module {
 public:
  // How many rows before a key's own it reads.
  virtual int64_t reach() const = 0;
  // k [B, reach + T, K, P], the rows of a call behind as many earlier ones -> [B, T, K, P]. Row t
  // of the result stands at first_b[b] + t of its text; what would stand before 0 is no row of it
  // and must not count.
  virtual Tensor Filter(const Tensor& k_bskp, const std::vector<int64_t>& first_b) const = 0;
};

struct AttentionHostOptions {
  int64_t heads = 1, kv_heads = 1, head_width = 0;
  double init_std =
      0.02;             // of the projections; the output's is divided by sqrt(2 num_layers) (GPT-2)
  bool biases = false;  // of the projections, parameters b_q, b_k, b_v and b_o (GPT-2, BLOOM)
  // A scheme that depends on the length makes one-shot and streaming evaluation agree by caching
  // unrotated keys. True: keys are rotated when they are written, for the length known then, and
  // never again (Hugging Face's habit).
  bool freeze_cached_keys = false;
  std::unique_ptr<PositionScheme> position;  // null: none
  std::unique_ptr<AttentionRule> rule;       // null: everybody in direction
  std::unique_ptr<KeyFilter> key_filter;     // null: none
};

// Creates the scheme and the rule that a config names (null: none) for heads of
// options->heads and options->head_width, their parameters below args.scope as "position" and
// "rule".
absl::Status CreateParts(const google::protobuf::Any* position, const google::protobuf::Any* rule,
                         const BuildArgs& args, AttentionHostOptions* options);

// Rows [position, position + count) of a stream, which lie in a cache from row `at` on.
struct KeyRun {
  int64_t position, at, count;
};

// Streaming state: "k" [B, S, K, P] and "v" [B, S, K, P] of the keys kept, "seen" [B] (int64) rows
// so far, "begin" [B] (int64) the first real one. Where a rule bounds its Keep() to F first and L
// last rows, S stays at F + L: of each sample the F first real rows, then the L last ones; while it
// has seen no more than F + L real rows, these stand at the end. Keys are cached unrotated where
// their positions are not known for good: under a scheme that depends on the length, and under a
// rule with branches. With a key filter, "before" [B, R, K, P]: the last keys as they were
// projected.
//
// Carries out a frontier (Rows::frontier_t) where it is causal and has no rule: a rule says whom a
// row sees by its position alone.
class AttentionHost {
 public:
  // What a host can carry out: PositionUse values.
  static constexpr uint32_t kHosts = kRotary | kBias | kAtQk;

  // InvalidArgument where the options do not fit each other or the width.
  static absl::StatusOr<std::unique_ptr<AttentionHost>> Create(AttentionHostOptions options,
                                                               const BuildArgs& args);

  const MixerTraits& traits() const { return traits_; }
  Tensor Forward(const Tensor& x_btd, const nn::Rows& rows, const nn::Call& call) const;
  nn::State NewState(int64_t batch) const;
  Tensor Extend(const Tensor& x_btd, const nn::Rows& rows, const nn::Call& call,
                nn::State* state) const;
  HeadMaps Heads() const;

 private:
  AttentionHost() = default;

  struct Projected {
    Tensor q_bthp, k_btkp, v_btkp;
  };
  // Row t of sample b stands at first_b[b] + t of its text.
  Projected Project(const Tensor& x_btd, const std::vector<int64_t>& first_b,
                    const nn::Call& call) const;
  bool Uses(PositionUse use) const;
  // What stands before a text, for the key filter.
  Tensor NoneBefore(int64_t batch) const;
  // Where the rows of one call stand, counted from the first real one; the same for all samples.
  struct Stand {
    int64_t query = 0;         // the first query's; those before 0 are padding
    std::vector<KeyRun> keys;  // the other keys are padding
    int64_t begin = 0;         // rows of padding before row 0
    bool keys_are_rotated = false;
  };
  Stand StandOf(int64_t queries, int64_t keys, int64_t total, int64_t begin, bool rotated) const;

  // Rotates rows that stand at `positions`, for a sequence of `length`.
  Tensor Rotate(const Tensor& x_bthp, const std::vector<double>& positions, int64_t length,
                const nn::Call& call) const;
  // Attends from the queries, not yet rotated, to the keys and projects the result; `begin_b` rows
  // of each sample are padding. `rows` is their padding too, counted in keys, and the frontier.
  struct Attended {
    Tensor q_bthp, k_bskp, v_bskp;
    int64_t total;  // rows of the stream, these queries included
    std::vector<int64_t> begin_b;
    nn::Rows rows;
    bool keys_are_rotated;
    int64_t length;
  };
  Tensor Attend(const Attended& all, const nn::Call& call) const;
  // The kernels' inputs, one a branch that holds keys, of samples that stand alike; `plans` gets
  // what they point into.
  std::vector<kernels::AttentionInputs> Branches(const Tensor& q_bthp, const Tensor& k_bskp,
                                                 const Tensor& v_bskp, const Stand& stand,
                                                 const nn::Rows& rows, int64_t length,
                                                 const nn::Call& call,
                                                 std::shared_ptr<const void>* plans) const;
  // Does a cache forget rows?
  bool Forgets() const;
  // What it keeps of [B, S, K, P] when the samples have seen `total` rows with `begin_b` of
  // padding.
  Tensor Kept(const Tensor& cached_bskp, int64_t total, const std::vector<int64_t>& begin_b) const;

  AttentionHostOptions options_;
  MixerTraits traits_;
  int64_t width_ = 0;
  nn::Weight w_q_, w_k_, w_v_, w_o_;
  Tensor b_q_, b_k_, b_v_, b_o_;  // undefined without biases
};

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_ATTENTION_ATTENTION_HOST_H_
