// The lanes of a vector are neighbouring channels, so the recurrence runs without a sum over lanes;
// what depends on the token alone (B, C) is broadcast. A block of kLanes channels goes through the
// tokens in chunks: what a chunk needs of its tokens is prepared once, then kStates states at a
// time walk along it, with the states in registers.

#include <algorithm>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "common/base/thread_pool.h"
#include "common/base/trace.h"
#include "common/tensor/cost.h"
#include "kernels/scratch.h"
#include "kernels/selective_scan/reference.h"
#include "kernels/selective_scan/selective_scan.h"
#include "kernels/simd/lanes.h"

namespace longrange::kernels {
namespace {

using simd::FirstLanes;
using simd::Fma;
using simd::kLanes;
using simd::Load;
using simd::Sigmoid;
using simd::Splat;
using simd::Store;
using simd::VecF;
using simd::VecI;

constexpr int64_t kStates = 4;     // states that walk along a chunk together
constexpr int64_t kGrain = 65536;  // updates of a state in a task
constexpr float kLog2E = 1.44269504f, kLn2 = 0.69314718f;

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t RoundUp(int64_t a, int64_t b) { return CeilDiv(a, b) * b; }

// Sizes and cuts of one call; all by shape alone.
struct Problem {
  explicit Problem(const SelectiveScanInputs& in);

  int64_t b, t, d, n;
  int64_t b_groups, c_groups;   // 0: constants of the channel
  int64_t groups, group_width;  // channels of a block share their rows of B and C
  int64_t padded;               // n in whole steps of kStates
  int64_t chunk, chunks;        // tokens
  int64_t group_blocks, blocks;

  // The first channel of block `i` and how many it has.
  std::pair<int64_t, int64_t> Channels(int64_t i) const {
    const int64_t in_group = i % group_blocks * kLanes;
    return {i / group_blocks * group_width + in_group,
            std::min(kLanes + 0L, group_width - in_group)};
  }
};

Problem::Problem(const SelectiveScanInputs& in) {
  const Tensor& x = in.x_btd;
  CHECK_EQ(x.rank(), 3) << "selective scan: x is [B, T, D], got " << x.shape();
  b = x.dim(0), t = x.dim(1), d = x.dim(2);
  CHECK(in.a_dn.rank() == 2 && in.a_dn.dim(0) == d)
      << "selective scan: A is [D, N] with D = " << d << ", got " << in.a_dn.shape();
  n = in.a_dn.dim(1);
  const auto map_groups = [&](const Tensor& map) -> int64_t {
    if (map.rank() == 2) {
      CHECK(map.shape() == Shape({d, n}))
          << "selective scan: " << map.shape() << " is not A's " << in.a_dn.shape();
      return 0;
    }
    CHECK(map.rank() == 4 && map.dim(0) == b && map.dim(1) == t && map.dim(3) == n &&
          map.dim(2) > 0 && d % map.dim(2) == 0)
        << "selective scan: B and C are [B, T, G, N] or [D, N], got " << map.shape() << " for x "
        << x.shape() << " and A " << in.a_dn.shape();
    return map.dim(2);
  };
  b_groups = map_groups(in.b), c_groups = map_groups(in.c);
  CHECK(b_groups == 0 || c_groups == 0 || b_groups == c_groups)
      << "selective scan: B has " << b_groups << " groups, C " << c_groups;
  const Shape of_x = x.shape(), of_channels = {d}, of_state = {b, d, n};
  for (const auto& [tensor, shape] :
       {std::make_pair(&in.delta_btd, &of_x), std::make_pair(&in.bias_d, &of_channels),
        std::make_pair(&in.skip_d, &of_channels), std::make_pair(&in.gate_btd, &of_x),
        std::make_pair(&in.state_bdn, &of_state)}) {
    if (!tensor->defined() && tensor != &in.delta_btd) continue;
    CHECK(tensor->shape() == *shape)
        << "selective scan: got " << tensor->shape() << ", expected " << *shape;
  }
  for (const Tensor* t : {&in.delta_btd, &in.a_dn, &in.b, &in.c, &in.bias_d, &in.skip_d,
                          &in.gate_btd, &in.state_bdn}) {
    if (!t->defined()) continue;
    CHECK(t->dtype() == x.dtype() && t->device() == x.device())
        << "selective scan: x is " << Name(x.dtype()) << " on " << Name(x.device()) << ", "
        << t->shape() << " is " << Name(t->dtype()) << " on " << Name(t->device());
  }
  groups = std::max<int64_t>(1, std::max(b_groups, c_groups));
  group_width = d / groups;
  padded = RoundUp(n, kStates);
  // The borders kept are N / chunk of an activation.
  chunk = std::max<int64_t>(64, 4 * padded);
  chunks = CeilDiv(t, chunk);
  group_blocks = CeilDiv(group_width, kLanes);
  blocks = groups * group_blocks;
}

// max(x, 0) + log(1 + e), e = exp(-|x|). With s = e / (2 + e) <= 1/3 the logarithm is
// 2 artanh(s) = 2 s (1 + s^2/3 + s^4/5 + ...); what is cut off is below 2e-8 of it.
LR_SIMD_INLINE VecF Softplus(VecF x) {
  const VecF e = simd::Exp(-simd::Abs(x)), s = e / (2.0f + e), z = s * s;
  VecF p = Splat(1.0f / 13);
  for (const float odd : {11.0f, 9.0f, 7.0f, 5.0f, 3.0f, 1.0f}) p = Fma(p, z, Splat(1 / odd));
  return Fma(s * 2.0f, p, simd::Max(simd::Zero(), x));
}

// Lane i holds the sum of lanes i and i ^ kDistance of a, or of b where that bit of i is set.
template <int kDistance>
LR_SIMD_INLINE VecF PairSum(VecF a, VecF b) {
  VecI own, other;
  for (int i = 0; i < kLanes; ++i) {
    own[i] = i + ((i & kDistance) != 0 ? kLanes : 0);
    other[i] = (i ^ kDistance) + ((i & kDistance) != 0 ? kLanes : 0);
  }
  return __builtin_shuffle(a, b, own) + __builtin_shuffle(a, b, other);
}

// Sums of four vectors over their lanes, as far as it goes without losing lanes: lane i holds a
// part of the sum of vector (i & kLanes/2 ? 1 : 0) + (i & kLanes/4 ? 2 : 0).
LR_SIMD_INLINE VecF FoldFour(const VecF (&p)[kStates]) {
  static_assert(kStates == 4, "two stages");
  return PairSum<kLanes / 4>(PairSum<kLanes / 2>(p[0], p[1]), PairSum<kLanes / 2>(p[2], p[3]));
}

// The rest of it: sums[t * stride + k] of the folded vectors of `length` tokens, k < count.
void SumFolded(const float* folded, int64_t length, int64_t count, float* sums, int64_t stride) {
  for (int64_t t = 0; t < length; ++t) {
    const VecF v = Load(folded + t * kLanes);
    VecF s = v;
    if constexpr (kLanes >= 8) s = s + simd::Exchange<1>(s);
    if constexpr (kLanes >= 16) s = s + simd::Exchange<2>(s);
    constexpr int kFirst[kStates] = {0, kLanes / 2, kLanes / 4, kLanes / 2 + kLanes / 4};
    for (int64_t k = 0; k < count; ++k) sums[t * stride + k] = s[kFirst[k]];
  }
}

// [channels of a block, N] of a row-major matrix, to and from one vector of channels a state; rows
// of `n` at `from`, padded to whole kStates by zeros.
void LoadStates(const Problem& p, const float* from, int64_t width, float* to) {
  for (int64_t n = 0; n < p.padded; n += kLanes) {
    VecF rows[kLanes];
    const FirstLanes lanes{std::clamp<int64_t>(p.n - n, 0, kLanes)};
    for (int64_t i = 0; i < kLanes; ++i)
      rows[i] = i < width ? lanes.Load(from + i * p.n + n) : simd::Zero();
    simd::Transpose(rows);
    for (int64_t i = 0; i < std::min<int64_t>(kLanes, p.padded - n); ++i)
      Store(to + (n + i) * kLanes, rows[i]);
  }
}
void StoreStates(const Problem& p, const float* from, int64_t width, float* to) {
  for (int64_t n = 0; n < p.n; n += kLanes) {
    VecF rows[kLanes];
    for (int64_t i = 0; i < kLanes; ++i)
      rows[i] = n + i < p.padded ? Load(from + (n + i) * kLanes) : simd::Zero();
    simd::Transpose(rows);
    const FirstLanes lanes{std::min<int64_t>(kLanes, p.n - n)};
    for (int64_t i = 0; i < width; ++i) lanes.Store(to + i * p.n + n, rows[i]);
  }
}

// B or C of a chunk: floats from one token to the next are `stride`, 0 for constants of the
// channel.
struct Map {
  const float* at;
  int64_t stride;
};

// State k of a row of a map: a number for all channels, or one for each.
template <bool kByToken>
LR_SIMD_INLINE VecF StateOf(const float* row, int64_t k) {
  return kByToken ? Splat(row[k]) : Load(row + k * kLanes);
}
// The rows of states from n on.
template <bool kByToken>
LR_SIMD_INLINE const float* FromState(const Map& map, int64_t n) {
  return map.at + (kByToken ? n : n * kLanes);
}

// What is prepared of a token, a vector each, side by side: one pointer leads through all of it.
enum Slot {
  kDelta,
  kInput,
  kY,
  kForwardSlots,
  kDy = kForwardSlots,
  kDinput,
  kDdecay,
  kBackwardSlots
};

template <int kSlots>
LR_SIMD_INLINE float* At(float* steps, int64_t t, int slot) {
  return steps + (t * kSlots + slot) * kLanes;
}

// What the rows of a chunk are of, for a block of channels.
class Rows {
 public:
  Rows(const Problem& p, int64_t sample, int64_t block) : p_(p), sample_(sample) {
    std::tie(first_, width_) = p.Channels(block);
    group_ = block / p.group_blocks;
  }

  int64_t first() const { return first_; }
  int64_t width() const { return width_; }
  // Of [B, T, D].
  int64_t Offset(int64_t token) const { return (sample_ * p_.t + token) * p_.d + first_; }
  // fn(lanes, offset in [B, T, D], token of the chunk).
  template <typename Fn>
  LR_SIMD_INLINE void ForTokens(int64_t begin, int64_t length, Fn&& fn) const {
    if (width_ == kLanes) {
      for (int64_t t = 0; t < length; ++t) fn(simd::AllLanes(), Offset(begin + t), t);
    } else {
      for (int64_t t = 0; t < length; ++t) fn(FirstLanes{width_}, Offset(begin + t), t);
    }
  }

  // The rows of B or C for a chunk; `copy` holds them where N is no multiple of kStates.
  Map MapRows(const float* map, int64_t groups, int64_t begin, int64_t length, float* copy) const {
    const int64_t stride = groups * p_.n;
    const float* rows = map + (sample_ * p_.t + begin) * stride + group_ * p_.n;
    if (p_.padded == p_.n) return {rows, stride};
    for (int64_t t = 0; t < length; ++t) {
      std::copy_n(rows + t * stride, p_.n, copy + t * p_.padded);
      std::fill(copy + t * p_.padded + p_.n, copy + (t + 1) * p_.padded, 0.f);
    }
    return {copy, p_.padded};
  }

 private:
  const Problem& p_;
  int64_t sample_, group_, first_, width_;
};

// The values that a channel has for all tokens; zeros where the tensor is absent.
VecF Channelwise(const Tensor& t, const Rows& rows) {
  return t.defined() ? FirstLanes{rows.width()}.Load(t.data<float>() + rows.first()) : simd::Zero();
}

// A in one vector a state, times log2(e): the decay is 2^(delta A log2 e).
void LoadDecays(const Problem& p, const Tensor& a_dn, const Rows& rows, float* decays) {
  LoadStates(p, a_dn.data<float>() + rows.first() * p.n, rows.width(), decays);
  for (int64_t i = 0; i < p.padded * kLanes; i += kLanes)
    Store(decays + i, Load(decays + i) * kLog2E);
}

// delta and delta x of a chunk.
template <int kSlots>
LR_SIMD_INLINE void Prepare(const SelectiveScanInputs& in, const Rows& rows, int64_t begin,
                            int64_t length, float* steps) {
  const float* raw = in.delta_btd.data<float>();
  const float* x = in.x_btd.data<float>();
  const VecF bias = Channelwise(in.bias_d, rows);
  const bool softplus = in.softplus;
  rows.ForTokens(begin, length, [&](auto lanes, int64_t at, int64_t t) {
    const VecF shifted = lanes.Load(raw + at) + bias;
    const VecF delta = softplus ? Softplus(shifted) : shifted;
    Store(At<kSlots>(steps, t, kDelta), delta);
    Store(At<kSlots>(steps, t, kInput), delta * lanes.Load(x + at));
  });
}

// kStates states along a chunk: y += <C, h>.
template <bool kByTokenB, bool kByTokenC>
void Advance(int64_t length, float* steps, Map b, Map c, int64_t n, const float* decays,
             float* states) {
  VecF a[kStates], h[kStates];
  for (int64_t k = 0; k < kStates; ++k) {
    a[k] = Load(decays + (n + k) * kLanes);
    h[k] = Load(states + (n + k) * kLanes);
  }
  const float* b_t = FromState<kByTokenB>(b, n);
  const float* c_t = FromState<kByTokenC>(c, n);
  for (int64_t t = 0; t < length; ++t, b_t += b.stride, c_t += c.stride) {
    float* step = At<kForwardSlots>(steps, t, 0);
    const VecF delta = Load(step + kDelta * kLanes), input = Load(step + kInput * kLanes);
    VecF sum = Load(step + kY * kLanes);
#pragma GCC unroll 4
    for (int64_t k = 0; k < kStates; ++k) {
      h[k] = Fma(input, StateOf<kByTokenB>(b_t, k), simd::Exp2(delta * a[k]) * h[k]);
      sum = Fma(h[k], StateOf<kByTokenC>(c_t, k), sum);
    }
    Store(step + kY * kLanes, sum);
  }
  for (int64_t k = 0; k < kStates; ++k) Store(states + (n + k) * kLanes, h[k]);
}

template <bool kByTokenB, bool kByTokenC>
void Forward(const Problem& p, const SelectiveScanInputs& in, const SelectiveScanOutputs& out) {
  const int64_t tile = p.chunk * kLanes, all = p.padded * kLanes, map = p.chunk * p.padded;
  const auto run = [&](int64_t task) {
    const int64_t sample = task / p.blocks, block = task % p.blocks;
    const Rows rows(p, sample, block);
    Scratch scratch(kForwardSlots * tile + 4 * all + 2 * map);
    float* steps = scratch.Take(kForwardSlots * tile);
    float* decays = scratch.Take(all);
    float* states = scratch.Take(all);
    float* b_copy = scratch.Take(kByTokenB ? map : all);
    float* c_copy = scratch.Take(kByTokenC ? map : all);
    LoadDecays(p, in.a_dn, rows, decays);
    const int64_t at_state = (sample * p.d + rows.first()) * p.n;
    if (in.state_bdn.defined()) {
      LoadStates(p, in.state_bdn.data<float>() + at_state, rows.width(), states);
    } else {
      std::fill_n(states, all, 0.f);
    }
    if (!kByTokenB) LoadStates(p, in.b.data<float>() + rows.first() * p.n, rows.width(), b_copy);
    if (!kByTokenC) LoadStates(p, in.c.data<float>() + rows.first() * p.n, rows.width(), c_copy);
    const VecF skip = Channelwise(in.skip_d, rows);
    const float* x = in.x_btd.data<float>();
    for (int64_t i = 0; i < p.chunks; ++i) {
      const int64_t begin = i * p.chunk, length = std::min(p.chunk, p.t - begin);
      if (out.borders.defined()) {
        std::copy_n(states, all, out.borders.mutable_data<float>() + (task * p.chunks + i) * all);
      }
      Prepare<kForwardSlots>(in, rows, begin, length, steps);
      rows.ForTokens(begin, length, [&](auto lanes, int64_t at, int64_t t) {
        Store(At<kForwardSlots>(steps, t, kY), skip * lanes.Load(x + at));
      });
      const Map b = kByTokenB ? rows.MapRows(in.b.data<float>(), p.b_groups, begin, length, b_copy)
                              : Map{b_copy, 0};
      const Map c = kByTokenC ? rows.MapRows(in.c.data<float>(), p.c_groups, begin, length, c_copy)
                              : Map{c_copy, 0};
      for (int64_t n = 0; n < p.padded; n += kStates)
        Advance<kByTokenB, kByTokenC>(length, steps, b, c, n, decays, states);
      float* to = out.y_btd.mutable_data<float>();
      if (in.gate_btd.defined()) {
        const float* gate = in.gate_btd.data<float>();
        rows.ForTokens(begin, length, [&](auto lanes, int64_t at, int64_t t) {
          const VecF z = lanes.Load(gate + at);
          lanes.Store(to + at, Load(At<kForwardSlots>(steps, t, kY)) * z * Sigmoid(z));
        });
      } else {
        rows.ForTokens(begin, length, [&](auto lanes, int64_t at, int64_t t) {
          lanes.Store(to + at, Load(At<kForwardSlots>(steps, t, kY)));
        });
      }
    }
    StoreStates(p, states, rows.width(), out.last_bdn.mutable_data<float>() + at_state);
  };
  // Short rows, such as one token of a stream, are not worth another thread.
  const int64_t grain =
      std::max<int64_t>(1, kGrain / std::max<int64_t>(1, p.t * p.padded * kLanes));
  ParallelForRange(p.b * p.blocks, grain, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) run(task);
  });
}

// On the way back a step has, beside delta and delta x,
//   kY       <C, h> and the skip, made again for the gate's gradient
//   kDy      the gradient by that sum
//   kDinput  sum over states of g B, the gradient by delta x
//   kDdecay  sum over states of A log2(e) g decay h: by delta through the decay, over ln 2

// kStates states along a chunk again: keeps decay and decay h of each token. With C by token,
// folded_c gets what its gradient needs; else dc is added to.
template <bool kByTokenB, bool kByTokenC, bool kGated>
void Replay(int64_t length, float* steps, Map b, Map c, int64_t n, const float* decays,
            const float* border, float* kept, float* folded_c, float* dc) {
  VecF a[kStates], h[kStates], sums[kStates];
  for (int64_t k = 0; k < kStates; ++k) {
    a[k] = Load(decays + (n + k) * kLanes);
    h[k] = Load(border + (n + k) * kLanes);
    sums[k] = simd::Zero();
  }
  const float* b_t = FromState<kByTokenB>(b, n);
  const float* c_t = FromState<kByTokenC>(c, n);
  for (int64_t t = 0; t < length; ++t, b_t += b.stride, c_t += c.stride) {
    float* step = At<kBackwardSlots>(steps, t, 0);
    const VecF delta = Load(step + kDelta * kLanes), input = Load(step + kInput * kLanes);
    const VecF dy = Load(step + kDy * kLanes);
    VecF sum = kGated ? Load(step + kY * kLanes) : simd::Zero(), products[kStates];
#pragma GCC unroll 4
    for (int64_t k = 0; k < kStates; ++k) {
      const VecF decay = simd::Exp2(delta * a[k]), old = decay * h[k];
      Store(kept + (2 * k) * kLanes, decay);
      Store(kept + (2 * k + 1) * kLanes, old);
      h[k] = Fma(input, StateOf<kByTokenB>(b_t, k), old);
      if (kGated) sum = Fma(h[k], StateOf<kByTokenC>(c_t, k), sum);
      if (kByTokenC) {
        products[k] = h[k] * dy;
      } else {
        sums[k] = Fma(h[k], dy, sums[k]);
      }
    }
    kept += 2 * kStates * kLanes;
    if (kGated) Store(step + kY * kLanes, sum);
    if (kByTokenC) {
      Store(folded_c, Load(folded_c) + FoldFour(products));
      folded_c += kLanes;
    }
  }
  if (kByTokenC) return;
  for (int64_t k = 0; k < kStates; ++k) {
    float* at = dc + (n + k) * kLanes;
    Store(at, Load(at) + sums[k]);
  }
}

// And back: g is the gradient by h, dstates that by what the chunk before hands on.
template <bool kByTokenB, bool kByTokenC>
void Return(int64_t length, float* steps, Map b, Map c, int64_t n, const float* decays,
            const float* kept, float* dstates, float* da, float* folded_b, float* db) {
  VecF a[kStates], carried[kStates], da_sums[kStates], db_sums[kStates];
  for (int64_t k = 0; k < kStates; ++k) {
    a[k] = Load(decays + (n + k) * kLanes);
    carried[k] = Load(dstates + (n + k) * kLanes);
    da_sums[k] = db_sums[k] = simd::Zero();
  }
  const float* b_t = FromState<kByTokenB>(b, n) + (length - 1) * b.stride;
  const float* c_t = FromState<kByTokenC>(c, n) + (length - 1) * c.stride;
  kept += (length - 1) * 2 * kStates * kLanes;
  if (kByTokenB) folded_b += (length - 1) * kLanes;
  for (int64_t t = length - 1; t >= 0; --t, b_t -= b.stride, c_t -= c.stride) {
    float* step = At<kBackwardSlots>(steps, t, 0);
    const VecF delta = Load(step + kDelta * kLanes), input = Load(step + kInput * kLanes);
    const VecF dy = Load(step + kDy * kLanes);
    VecF dinput = Load(step + kDinput * kLanes), ddecay = Load(step + kDdecay * kLanes);
    VecF products[kStates];
#pragma GCC unroll 4
    for (int64_t k = 0; k < kStates; ++k) {
      const VecF g = Fma(StateOf<kByTokenC>(c_t, k), dy, carried[k]);
      carried[k] = g * Load(kept + (2 * k) * kLanes);
      const VecF by_decay = g * Load(kept + (2 * k + 1) * kLanes);
      ddecay = Fma(a[k], by_decay, ddecay);
      da_sums[k] = Fma(delta, by_decay, da_sums[k]);
      dinput = Fma(g, StateOf<kByTokenB>(b_t, k), dinput);
      if (kByTokenB) {
        products[k] = g * input;
      } else {
        db_sums[k] = Fma(g, input, db_sums[k]);
      }
    }
    kept -= 2 * kStates * kLanes;
    Store(step + kDinput * kLanes, dinput);
    Store(step + kDdecay * kLanes, ddecay);
    if (kByTokenB) {
      Store(folded_b, Load(folded_b) + FoldFour(products));
      folded_b -= kLanes;
    }
  }
  for (int64_t k = 0; k < kStates; ++k) {
    const int64_t at = (n + k) * kLanes;
    Store(dstates + at, carried[k]);
    Store(da + at, Load(da + at) + da_sums[k]);
    if (!kByTokenB) Store(db + at, Load(db + at) + db_sums[k]);
  }
}

// to = part 0 + part 1 + ..., in order.
void SumParts(const Tensor& parts, const Tensor& to) {
  const int64_t size = to.numel(), count = size == 0 ? 0 : parts.numel() / size;
  const float* from = parts.data<float>();
  float* sum = to.mutable_data<float>();
  ParallelForRange(size, 4096, [&](int64_t begin, int64_t end) {
    simd::ForLanes(end - begin, [&](auto lanes, int64_t i) {
      VecF total = simd::Zero();
      for (int64_t part = 0; part < count; ++part)
        total += lanes.Load(from + part * size + begin + i);
      lanes.Store(sum + begin + i, total);
    });
  });
}

template <bool kByTokenB, bool kByTokenC, bool kGated>
void Backward(const Problem& p, const SelectiveScanInputs& in, const Tensor& borders,
              const Tensor& dy_btd, const Tensor& dlast_bdn, const SelectiveScanGradients& out) {
  // A task has some blocks of one group, and its own sums over their channels. Their memory is
  // bounded by that of an activation.
  const int64_t most_parts =
      std::min({CeilDiv(32, std::max<int64_t>(1, p.b * p.groups)), p.group_blocks / 4,
                p.group_width / std::max<int64_t>(1, 2 * p.padded), int64_t{16}});
  const int64_t part_blocks =
      std::max<int64_t>(1, CeilDiv(p.group_blocks, std::max<int64_t>(1, most_parts)));
  const int64_t parts = CeilDiv(p.group_blocks, part_blocks);
  const int64_t tile = p.chunk * kLanes, all = p.padded * kLanes, map = p.chunk * p.padded;
  const auto part_of = [&](const Tensor& whole, int64_t count) {
    if (count == 1 || !whole.defined()) return whole;
    Shape shape = {count};
    for (const int64_t size : whole.shape().dims()) shape.Append(size);
    return Tensor::Empty(shape);
  };
  const Tensor part_b = part_of(out.db, kByTokenB ? parts : p.b);
  const Tensor part_c = part_of(out.dc, kByTokenC ? parts : p.b);
  const Tensor part_a = part_of(out.da_dn, p.b);
  const Tensor part_skip = part_of(out.dskip_d, p.b), part_bias = part_of(out.dbias_d, p.b);
  const float* x = in.x_btd.data<float>();
  const float* raw = in.delta_btd.data<float>();
  const float* dy_all = dy_btd.data<float>();
  float* dx = out.dx_btd.mutable_data<float>();
  float* ddelta = out.ddelta_btd.mutable_data<float>();

  ParallelFor(p.b * p.groups * parts, [&](int64_t task) {
    const int64_t sample = task / (p.groups * parts), group = task / parts % p.groups;
    const int64_t part = task % parts;
    const int64_t in_group = part * part_blocks, first_block = group * p.group_blocks + in_group;
    const int64_t num_blocks = std::min(part_blocks, p.group_blocks - in_group);
    const int64_t per_block = kBackwardSlots * tile + 7 * all;
    Scratch scratch(2 * kStates * tile + 2 * tile + 2 * map + num_blocks * per_block);
    float* kept = scratch.Take(2 * kStates * tile);
    float* folded_b = scratch.Take(tile);
    float* folded_c = scratch.Take(tile);
    float* b_copy = scratch.Take(kByTokenB ? map : 0);
    float* c_copy = scratch.Take(kByTokenC ? map : 0);
    struct Block {
      Rows rows;
      float* steps;
      float *decays, *dstates, *da;
      float *b, *c, *db, *dc;  // where these are constants
      VecF skip, bias, dskip, dbias;
    };
    std::vector<Block> blocks;
    for (int64_t i = 0; i < num_blocks; ++i) {
      const Rows rows(p, sample, first_block + i);
      Block block{rows, scratch.Take(kBackwardSlots * tile)};
      block.decays = scratch.Take(all);
      block.dstates = scratch.Take(all);
      block.da = scratch.Take(all);
      std::fill_n(block.da, all, 0.f);
      LoadDecays(p, in.a_dn, rows, block.decays);
      if (dlast_bdn.defined()) {
        LoadStates(p, dlast_bdn.data<float>() + (sample * p.d + rows.first()) * p.n, rows.width(),
                   block.dstates);
      } else {
        std::fill_n(block.dstates, all, 0.f);
      }
      const auto constant = [&](const Tensor& t, float** value, float** gradient) {
        *value = scratch.Take(all);
        *gradient = scratch.Take(all);
        LoadStates(p, t.data<float>() + rows.first() * p.n, rows.width(), *value);
        std::fill_n(*gradient, all, 0.f);
      };
      if (!kByTokenB) constant(in.b, &block.b, &block.db);
      if (!kByTokenC) constant(in.c, &block.c, &block.dc);
      block.skip = Channelwise(in.skip_d, rows);
      block.bias = Channelwise(in.bias_d, rows);
      block.dskip = block.dbias = simd::Zero();
      blocks.push_back(block);
    }
    for (int64_t i = p.chunks - 1; i >= 0; --i) {
      const int64_t begin = i * p.chunk, length = std::min(p.chunk, p.t - begin);
      for (Block& block : blocks) {
        Prepare<kBackwardSlots>(in, block.rows, begin, length, block.steps);
        const float* gate = kGated ? in.gate_btd.data<float>() : nullptr;
        block.rows.ForTokens(begin, length, [&](auto lanes, int64_t at, int64_t t) {
          VecF dy = lanes.Load(dy_all + at);
          if (kGated) {
            const VecF z = lanes.Load(gate + at);
            dy *= z * Sigmoid(z);
            Store(At<kBackwardSlots>(block.steps, t, kY), block.skip * lanes.Load(x + at));
          }
          Store(At<kBackwardSlots>(block.steps, t, kDy), dy);
          Store(At<kBackwardSlots>(block.steps, t, kDinput), simd::Zero());
          Store(At<kBackwardSlots>(block.steps, t, kDdecay), simd::Zero());
        });
      }
      Map b_rows, c_rows;
      if (kByTokenB)
        b_rows = blocks[0].rows.MapRows(in.b.data<float>(), p.b_groups, begin, length, b_copy);
      if (kByTokenC)
        c_rows = blocks[0].rows.MapRows(in.c.data<float>(), p.c_groups, begin, length, c_copy);
      for (int64_t n = 0; n < p.padded; n += kStates) {
        if (kByTokenB) std::fill_n(folded_b, length * kLanes, 0.f);
        if (kByTokenC) std::fill_n(folded_c, length * kLanes, 0.f);
        for (int64_t j = 0; j < num_blocks; ++j) {
          Block& block = blocks[j];
          const Map b = kByTokenB ? b_rows : Map{block.b, 0},
                    c = kByTokenC ? c_rows : Map{block.c, 0};
          const float* border =
              borders.data<float>() + ((sample * p.blocks + first_block + j) * p.chunks + i) * all;
          Replay<kByTokenB, kByTokenC, kGated>(length, block.steps, b, c, n, block.decays, border,
                                               kept, folded_c, block.dc);
          Return<kByTokenB, kByTokenC>(length, block.steps, b, c, n, block.decays, kept,
                                       block.dstates, block.da, folded_b, block.db);
        }
        const int64_t count = std::min(kStates, p.n - n);
        const auto at = [&](const Tensor& parts_of, int64_t groups) {
          return parts_of.mutable_data<float>() +
                 (((part * p.b + sample) * p.t + begin) * groups + group) * p.n + n;
        };
        if (kByTokenB) SumFolded(folded_b, length, count, at(part_b, p.b_groups), p.b_groups * p.n);
        if (kByTokenC) SumFolded(folded_c, length, count, at(part_c, p.c_groups), p.c_groups * p.n);
      }
      for (Block& block : blocks) {
        // Sums over the tokens of the chunk before those over chunks: shorter sums round less.
        VecF dskip = simd::Zero(), dbias = simd::Zero();
        block.rows.ForTokens(begin, length, [&](auto lanes, int64_t at, int64_t t) {
          const auto of_step = [&](int slot) {
            return Load(At<kBackwardSlots>(block.steps, t, slot));
          };
          const VecF x_t = lanes.Load(x + at), dinput = of_step(kDinput), dy = of_step(kDy);
          lanes.Store(dx + at, Fma(of_step(kDelta), dinput, block.skip * dy));
          VecF by_delta = Fma(of_step(kDdecay), Splat(kLn2), x_t * dinput);
          if (in.softplus) by_delta *= Sigmoid(lanes.Load(raw + at) + block.bias);
          lanes.Store(ddelta + at, by_delta);
          dbias += by_delta;
          dskip = Fma(dy, x_t, dskip);
          if (kGated) {
            const VecF z = lanes.Load(in.gate_btd.data<float>() + at), sigmoid = Sigmoid(z);
            lanes.Store(
                out.dgate_btd.mutable_data<float>() + at,
                lanes.Load(dy_all + at) * of_step(kY) * sigmoid * (1.0f + z * (1.0f - sigmoid)));
          }
        });
        block.dskip += dskip;
        block.dbias += dbias;
      }
    }
    for (const Block& block : blocks) {
      const FirstLanes lanes{block.rows.width()};
      const int64_t at = sample * p.d + block.rows.first();
      const auto store = [&](const Tensor& to, const float* states) {
        StoreStates(p, states, block.rows.width(), to.mutable_data<float>() + at * p.n);
      };
      store(part_a, block.da);
      if (!kByTokenB) store(part_b, block.db);
      if (!kByTokenC) store(part_c, block.dc);
      if (out.dstate_bdn.defined()) store(out.dstate_bdn, block.dstates);
      if (part_skip.defined()) lanes.Store(part_skip.mutable_data<float>() + at, block.dskip);
      if (part_bias.defined()) lanes.Store(part_bias.mutable_data<float>() + at, block.dbias);
    }
  });
  for (const auto& [from, to] :
       {std::make_pair(&part_a, &out.da_dn), std::make_pair(&part_b, &out.db),
        std::make_pair(&part_c, &out.dc), std::make_pair(&part_skip, &out.dskip_d),
        std::make_pair(&part_bias, &out.dbias_d)}) {
    if (to->defined() && !from->Is(*to)) SumParts(*from, *to);
  }
}

// Calls fn with std::bool_constants.
template <typename Fn>
void WithConstants(bool first, bool second, Fn&& fn) {
  const auto with_second = [&](auto a) {
    second ? fn(a, std::true_type()) : fn(a, std::false_type());
  };
  first ? with_second(std::true_type()) : with_second(std::false_type());
}

const double* DoublesOf(const Tensor& t) { return t.defined() ? t.data<double>() : nullptr; }
double* MutableDoublesOf(const Tensor& t) {
  return t.defined() ? t.mutable_data<double>() : nullptr;
}

reference::SelectiveScanShape ShapeOf(const Problem& p, const SelectiveScanInputs& in) {
  return {p.b, p.t, p.d, p.n, p.b_groups, p.c_groups, in.softplus};
}
reference::SelectiveScanArrays ArraysOf(const SelectiveScanInputs& in) {
  return {DoublesOf(in.x_btd),  DoublesOf(in.delta_btd), DoublesOf(in.a_dn),
          DoublesOf(in.b),      DoublesOf(in.c),         DoublesOf(in.bias_d),
          DoublesOf(in.skip_d), DoublesOf(in.gate_btd),  DoublesOf(in.state_bdn)};
}

// Of all inputs.
double InputBytes(const SelectiveScanInputs& in) {
  double bytes = 0;
  for (const Tensor* t : {&in.x_btd, &in.delta_btd, &in.a_dn, &in.b, &in.c, &in.bias_d, &in.skip_d,
                          &in.gate_btd, &in.state_bdn}) {
    if (t->defined()) bytes += static_cast<double>(t->bytes());
  }
  return bytes;
}

// An exponential counts one; forward: it, its argument, and three multiply-adds.
constexpr double kForwardFlops = 8, kBackwardFlops = 22;

}  // namespace

SelectiveScanOutputs SelectiveScanForward(const SelectiveScanInputs& in, bool keep_borders) {
  const Problem p(in);
  const TraceSpan span("SelectiveScanForward");
  const DType dtype = in.x_btd.dtype();
  const Device device = in.x_btd.device();
  SelectiveScanOutputs out{Tensor::EmptyLike(in.x_btd),
                           Tensor::Empty({p.b, p.d, p.n}, dtype, device)};
  if (keep_borders && dtype == DType::kFloat32) {
    out.borders = Tensor::Empty({p.b, p.blocks, p.chunks, p.padded, kLanes}, dtype, device);
  }
  RecordCost(kForwardFlops * static_cast<double>(p.b * p.t * p.d * p.n),
             InputBytes(in) + static_cast<double>(out.y_btd.bytes() + out.last_bdn.bytes()));
  if (in.x_btd.is_meta()) return out;
  if (dtype == DType::kFloat64) {
    reference::SelectiveScan(ShapeOf(p, in), ArraysOf(in), out.y_btd.mutable_data<double>(),
                             out.last_bdn.mutable_data<double>());
    return out;
  }
  WithConstants(p.b_groups > 0, p.c_groups > 0, [&](auto by_token_b, auto by_token_c) {
    Forward<by_token_b(), by_token_c()>(p, in, out);
  });
  return out;
}

SelectiveScanGradients SelectiveScanBackward(const SelectiveScanInputs& in, const Tensor& borders,
                                             const Tensor& dy_btd, const Tensor& dlast_bdn) {
  const Problem p(in);
  const DType dtype = in.x_btd.dtype();
  CHECK(dy_btd.shape() == in.x_btd.shape() && dy_btd.dtype() == dtype)
      << "selective scan: dy is " << Name(dy_btd.dtype()) << " " << dy_btd.shape() << " for y "
      << in.x_btd.shape();
  CHECK(!dlast_bdn.defined() ||
        (dlast_bdn.shape() == Shape({p.b, p.d, p.n}) && dlast_bdn.dtype() == dtype))
      << "selective scan: dlast " << dlast_bdn.shape();
  const TraceSpan span("SelectiveScanBackward");
  const auto like = [&](const Tensor& t) {
    if (!t.defined()) return t;
    return dtype == DType::kFloat64 ? Tensor::ZerosLike(t) : Tensor::EmptyLike(t);
  };
  const SelectiveScanGradients out{like(in.x_btd),  like(in.delta_btd), like(in.a_dn),
                                   like(in.b),      like(in.c),         like(in.bias_d),
                                   like(in.skip_d), like(in.gate_btd),  like(in.state_bdn)};
  RecordCost(kBackwardFlops * static_cast<double>(p.b * p.t * p.d * p.n),
             2 * InputBytes(in) + static_cast<double>(dy_btd.bytes()));
  if (in.x_btd.is_meta()) return out;
  if (dtype == DType::kFloat64) {
    reference::SelectiveScanBackward(
        ShapeOf(p, in), ArraysOf(in), dy_btd.data<double>(), DoublesOf(dlast_bdn),
        {MutableDoublesOf(out.dx_btd), MutableDoublesOf(out.ddelta_btd),
         MutableDoublesOf(out.da_dn), MutableDoublesOf(out.db), MutableDoublesOf(out.dc),
         MutableDoublesOf(out.dbias_d), MutableDoublesOf(out.dskip_d),
         MutableDoublesOf(out.dgate_btd), MutableDoublesOf(out.dstate_bdn)});
    return out;
  }
  CHECK(borders.defined() &&
        borders.shape() == Shape({p.b, p.blocks, p.chunks, p.padded, int64_t{kLanes}}))
      << "selective scan: the forward call kept no borders";
  WithConstants(p.b_groups > 0, p.c_groups > 0, [&](auto by_token_b, auto by_token_c) {
    if (in.gate_btd.defined()) {
      Backward<by_token_b(), by_token_c(), true>(p, in, borders, dy_btd, dlast_bdn, out);
    } else {
      Backward<by_token_b(), by_token_c(), false>(p, in, borders, dy_btd, dlast_bdn, out);
    }
  });
  return out;
}

}  // namespace longrange::kernels
