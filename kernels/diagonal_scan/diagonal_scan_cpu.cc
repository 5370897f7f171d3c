#include <algorithm>
#include <vector>

#include "common/base/thread_pool.h"
#include "common/base/trace.h"
#include "common/tensor/cost.h"
#include "kernels/diagonal_scan/diagonal_scan.h"
#include "kernels/diagonal_scan/reference.h"
#include "kernels/simd/lanes.h"

namespace longrange::kernels {
namespace {

using simd::kLanes;
using simd::VecF;
using simd::VecI;

// Vectors that a loop over the steps carries side by side: one multiply-add of complex numbers
// takes about nine cycles before the next step may start, so a single one would mostly wait.
constexpr int kTileVecs = 4;
// Steps before a loop moves on to the next vectors of the same rows: a block of them stays in the
// cache, and rows are read as a whole.
constexpr int64_t kBlockSteps = 64;
// Tasks to aim at where the channels allow it, and tasks that are too few to leave T in one piece.
constexpr int64_t kWantedTasks = 8, kFewTasks = 4;
// Shortest piece of T, and the most groups of kTileVecs pieces.
constexpr int64_t kMinChunk = 512, kMaxGroups = 8;

// Vectors hold pairs (re, im).
LR_SIMD_INLINE VecF Shuffled(VecF v, VecI index) { return __builtin_shuffle(v, index); }
LR_SIMD_INLINE VecF Swapped(VecF v) { return Shuffled(v, simd::Iota() ^ 1); }
LR_SIMD_INLINE VecF Real(VecF v) { return Shuffled(v, simd::Iota() & ~1); }
LR_SIMD_INLINE VecF Imag(VecF v) { return Shuffled(v, simd::Iota() | 1); }
// (-1, 1, -1, 1, ...): i (x + i y) = -y + i x.
LR_SIMD_INLINE VecF TimesI() { return simd::ToFloat(2 * (simd::Iota() & 1) - 1); }

// a x + c and conj(a) x + c.
LR_SIMD_INLINE VecF MulAdd(VecF a, VecF x, VecF c) {
  return simd::Fma(Real(a), x, simd::Fma(Imag(a) * TimesI(), Swapped(x), c));
}
LR_SIMD_INLINE VecF ConjMulAdd(VecF a, VecF x, VecF c) {
  return simd::Fma(Real(a), x, simd::Fma(Imag(a) * -TimesI(), Swapped(x), c));
}

// Where a loop over steps finds its vectors, in floats: from step to step, and from one vector of
// the tile to the next, which is either the neighbour in the row or the same channels of the next
// piece of T.
struct Walk {
  int64_t steps;
  int64_t step, apart;
  int64_t a_step, a_apart;  // step and apart, or 0 and that of the channels where a is fixed
  int64_t state_apart;      // of states, carries and sums, which are kept in padded rows
};

// h_t = a_t h_{t-1} + u_t from `state`, which is moved on.
template <int kVecs, typename Lanes>
void Scan(Lanes lanes, const Walk& w, const float* a, const float* u, float* h, float* state) {
  VecF s[kVecs];
  for (int v = 0; v < kVecs; ++v) s[v] = simd::Load(state + v * w.state_apart);
  for (int64_t i = 0; i < w.steps; ++i, a += w.a_step, u += w.step, h += w.step) {
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) {
      s[v] = MulAdd(lanes.Load(a + v * w.a_apart), s[v], lanes.Load(u + v * w.apart));
      lanes.Store(h + v * w.apart, s[v]);
    }
  }
  for (int v = 0; v < kVecs; ++v) simd::Store(state + v * w.state_apart, s[v]);
}

// What a piece of T does to a state that enters it: end = factor * entry + local.
template <int kVecs, bool kBackward, typename Lanes>
void Summarise(Lanes lanes, const Walk& w, const float* a, const float* x, float* factor,
               float* local) {
  VecF f[kVecs], s[kVecs];
  for (int v = 0; v < kVecs; ++v) {
    f[v] = simd::ToFloat(1 - (simd::Iota() & 1));  // 1 + 0i
    s[v] = simd::Zero();
  }
  for (int64_t i = 0; i < w.steps; ++i, a += w.a_step, x += w.step) {
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) {
      const VecF at = lanes.Load(a + v * w.a_apart), in = lanes.Load(x + v * w.apart);
      if (kBackward) {
        s[v] = ConjMulAdd(at, s[v] + in, simd::Zero());
        f[v] = ConjMulAdd(at, f[v], simd::Zero());
      } else {
        s[v] = MulAdd(at, s[v], in);
        f[v] = MulAdd(at, f[v], simd::Zero());
      }
    }
  }
  for (int v = 0; v < kVecs; ++v) {
    simd::Store(factor + v * w.state_apart, f[v]);
    simd::Store(local + v * w.state_apart, s[v]);
  }
}

enum class FactorGradient { kNone, kPerStep, kSum };

// g = dh + carry, du = g, da = conj(before) g (or added to the row of sums `da`), carry = conj(a)
// g; the walk goes against the steps. `before` is h of the step before, `before_apart` from vector
// to vector.
template <int kVecs, FactorGradient kDa, typename Lanes>
void Back(Lanes lanes, const Walk& w, const float* a, const float* before, int64_t before_apart,
          const float* dh, float* du, float* da, float* carry) {
  VecF c[kVecs], sum[kVecs];
  for (int v = 0; v < kVecs; ++v) {
    c[v] = simd::Load(carry + v * w.state_apart);
    sum[v] = simd::Zero();
  }
  for (int64_t i = 0; i < w.steps;
       ++i, a += w.a_step, before += w.step, dh += w.step, du += w.step) {
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) {
      const VecF g = lanes.Load(dh + v * w.apart) + c[v];
      if (kDa != FactorGradient::kNone) {
        const VecF h = lanes.Load(before + v * before_apart);
        if (kDa == FactorGradient::kSum) {
          sum[v] = ConjMulAdd(h, g, sum[v]);
        } else {
          lanes.Store(da + i * w.step + v * w.apart, ConjMulAdd(h, g, simd::Zero()));
        }
      }
      c[v] = ConjMulAdd(lanes.Load(a + v * w.a_apart), g, simd::Zero());
      lanes.Store(du + v * w.apart, g);
    }
  }
  for (int v = 0; v < kVecs; ++v) {
    simd::Store(carry + v * w.state_apart, c[v]);
    if (kDa == FactorGradient::kSum) {
      float* to = da + v * w.state_apart;
      simd::Store(to, simd::Load(to) + sum[v]);
    }
  }
}

template <int kVecs>
using Vecs = std::integral_constant<int, kVecs>;

// Calls fn(Vecs, lanes, i) for the vectors of floats [begin, end) of a row of `width`, in tiles
// from float i on.
template <typename Fn>
void ForTiles(int64_t begin, int64_t end, int64_t width, Fn fn) {
  int64_t i = begin;
  const int64_t whole = std::min(end, width / kLanes * kLanes);
  for (; i + 4 * kLanes <= whole; i += 4 * kLanes) fn(Vecs<4>(), simd::AllLanes(), i);
  for (; i + 2 * kLanes <= whole; i += 2 * kLanes) fn(Vecs<2>(), simd::AllLanes(), i);
  for (; i + kLanes <= whole; i += kLanes) fn(Vecs<1>(), simd::AllLanes(), i);
  if (i < end) fn(Vecs<1>(), simd::FirstLanes{width - i}, i);
}

// The vector at float i of a row, in a tile of kTileVecs pieces of T.
template <typename Fn>
void ForPieces(int64_t i, int64_t width, Fn fn) {
  if (i + kLanes <= width) {
    fn(Vecs<kTileVecs>(), simd::AllLanes());
  } else {
    fn(Vecs<kTileVecs>(), simd::FirstLanes{width - i});
  }
}

reference::DiagonalScanShape CheckShapes(const Tensor& a, const Tensor& x_btp2,
                                         const Tensor& initial_bp2, bool reverse) {
  CHECK(x_btp2.rank() == 4 && x_btp2.dim(3) == 2)
      << "expected [B, T, P, 2], got " << x_btp2.shape();
  const reference::DiagonalScanShape s{x_btp2.dim(0), x_btp2.dim(1), x_btp2.dim(2), a.rank() == 4,
                                       reverse};
  CHECK(a.shape() == (s.per_step ? x_btp2.shape() : Shape({s.p, 2})))
      << "factors " << a.shape() << " for " << x_btp2.shape();
  CHECK(a.dtype() == x_btp2.dtype()) << Name(a.dtype()) << " and " << Name(x_btp2.dtype());
  if (initial_bp2.defined()) {
    CHECK(initial_bp2.shape() == Shape({s.b, s.p, 2}) && initial_bp2.dtype() == x_btp2.dtype())
        << "initial state " << Name(initial_bp2.dtype()) << " " << initial_bp2.shape() << " for "
        << Name(x_btp2.dtype()) << " " << x_btp2.shape();
  }
  return s;
}

template <typename T>
T* DataOrNull(const Tensor& t) {
  return t.defined() ? t.mutable_data<T>() : nullptr;
}

// [.., P, 2] of float64 as complex numbers; null where undefined.
reference::Complex* ComplexOrNull(const Tensor& t) {
  return reinterpret_cast<reference::Complex*>(DataOrNull<double>(t));
}

// How the work is cut: by shape alone, so that bits do not depend on the threads.
struct Plan {
  explicit Plan(const reference::DiagonalScanShape& shape)
      : s(shape), width(2 * shape.p), padded((width + kLanes - 1) / kLanes * kLanes) {
    const int64_t pairs = std::max<int64_t>(1, (padded / kLanes + 1) / 2);  // of vectors
    const int64_t wanted = s.b == 0 ? 1 : (kWantedTasks + s.b - 1) / s.b;
    slice = (pairs + std::min(wanted, pairs) - 1) / std::min(wanted, pairs) * 2 * kLanes;
    slices = std::max<int64_t>(1, (padded + slice - 1) / slice);
    if (s.b * slices < kFewTasks) {
      chunks = std::min(kMaxGroups, s.t / (kTileVecs * kMinChunk)) * kTileVecs;
    }
    if (chunks > 0) chunk = s.t / chunks;
    step = s.reverse ? -width : width;
    a_step = s.per_step ? step : 0;
  }

  // Of tensors [B, T, P, 2]: where the first step of sample b is; of a, too.
  int64_t First(int64_t b) const { return (b * s.t + (s.reverse ? s.t - 1 : 0)) * width; }
  int64_t FirstFactor(int64_t b) const { return s.per_step ? First(b) : 0; }

  Walk AcrossChannels(int64_t steps) const { return {steps, step, kLanes, a_step, kLanes, kLanes}; }
  Walk AcrossChunks(int64_t steps) const {
    return {steps, step, chunk * step, a_step, chunk * a_step, padded};
  }
  static Walk Backwards(Walk walk) {
    walk.step = -walk.step;
    walk.a_step = -walk.a_step;
    return walk;
  }

  // Runs fn(b, begin, end) for the slices [begin, end) of a row's floats, in parallel.
  template <typename Fn>
  void ForSlices(Fn fn) const {
    ParallelFor(s.b * slices, [&](int64_t task) {
      const int64_t begin = task % slices * slice;
      fn(task / slices, begin, std::min(padded, begin + slice));
    });
  }
  // Runs fn(b, group, i) for the vectors at float i of groups of kTileVecs chunks, in parallel.
  template <typename Fn>
  void ForGroups(Fn fn) const {
    const int64_t vecs = padded / kLanes, groups = chunks / kTileVecs;
    ParallelFor(s.b * groups * vecs, [&](int64_t task) {
      fn(task / (groups * vecs), task / vecs % groups, task % vecs * kLanes);
    });
  }

  reference::DiagonalScanShape s;
  int64_t width, padded;          // floats of a row; the same up to whole vectors
  int64_t slice = 0, slices = 0;  // floats of a task, and how many make a row
  int64_t chunks = 0, chunk = 0;  // pieces of T of `chunk` steps; the rest follows them
  int64_t step = 0, a_step = 0;
};

// Rows of `padded` floats, a state each.
class StateRows {
 public:
  StateRows(const Plan& plan, int64_t rows) : padded_(plan.padded), data_(rows * plan.padded) {}
  float* operator[](int64_t row) { return data_.data() + row * padded_; }

 private:
  int64_t padded_;
  std::vector<float> data_;
};

// end = factor * entry + local by channel. A zero entry adds nothing, whatever the factor.
void PassThrough(const Plan& plan, const float* factor, const float* local, const float* entry,
                 float* end) {
  for (int64_t i = 0; i < plan.width; i += 2) {
    const float re = entry[i], im = entry[i + 1];
    const bool zero = re == 0 && im == 0;
    end[i] = local[i] + (zero ? 0 : factor[i] * re - factor[i + 1] * im);
    end[i + 1] = local[i + 1] + (zero ? 0 : factor[i] * im + factor[i + 1] * re);
  }
}

void ForwardFloat(const Plan& plan, const float* a, const float* u, const float* initial, float* h,
                  float* final) {
  const int64_t width = plan.width;
  StateRows state(plan, plan.s.b);
  for (int64_t b = 0; b < plan.s.b && initial != nullptr; ++b) {
    std::copy_n(initial + b * width, width, state[b]);
  }
  if (plan.chunks > 0) {
    const int64_t chunks = plan.chunks;
    StateRows factor(plan, plan.s.b * chunks), local(plan, plan.s.b * chunks);
    const Walk walk = plan.AcrossChunks(plan.chunk);
    plan.ForGroups([&](int64_t b, int64_t group, int64_t i) {
      const int64_t first = group * kTileVecs, row = b * chunks + first;
      const int64_t at = first * plan.chunk * plan.step + i;
      const int64_t at_a = first * plan.chunk * plan.a_step + i;
      ForPieces(i, width, [&](auto vecs, auto lanes) {
        Summarise<vecs.value, false>(lanes, walk, a + plan.FirstFactor(b) + at_a,
                                     u + plan.First(b) + at, factor[row] + i, local[row] + i);
      });
    });
    StateRows entry(plan, plan.s.b * chunks);
    for (int64_t b = 0; b < plan.s.b; ++b) {
      for (int64_t c = b * chunks; c < (b + 1) * chunks; ++c) {
        std::copy_n(state[b], width, entry[c]);
        PassThrough(plan, factor[c], local[c], entry[c], state[b]);
      }
    }
    plan.ForGroups([&](int64_t b, int64_t group, int64_t i) {
      const int64_t first = group * kTileVecs;
      const int64_t at = plan.First(b) + first * plan.chunk * plan.step + i;
      const int64_t at_a = plan.FirstFactor(b) + first * plan.chunk * plan.a_step + i;
      ForPieces(i, width, [&](auto vecs, auto lanes) {
        Scan<vecs.value>(lanes, walk, a + at_a, u + at, h + at, entry[b * chunks + first] + i);
      });
    });
  }
  plan.ForSlices([&](int64_t b, int64_t begin, int64_t end) {
    for (int64_t t = plan.chunks * plan.chunk; t < plan.s.t; t += kBlockSteps) {
      const Walk walk = plan.AcrossChannels(std::min(kBlockSteps, plan.s.t - t));
      ForTiles(begin, end, width, [&](auto vecs, auto lanes, int64_t i) {
        const int64_t at = plan.First(b) + t * plan.step + i;
        Scan<vecs.value>(lanes, walk, a + plan.FirstFactor(b) + t * plan.a_step + i, u + at, h + at,
                         state[b] + i);
      });
    }
  });
  for (int64_t b = 0; b < plan.s.b && final != nullptr; ++b) {
    std::copy_n(state[b], width, final + b * width);
  }
}

struct BackwardData {
  const float *a, *initial, *h, *dh, *dfinal;
  float *du, *da, *dinitial;
};

template <FactorGradient kDa>
void BackwardFloat(const Plan& plan, const BackwardData& x) {
  const int64_t width = plan.width, pieces = plan.chunks + 1;
  constexpr bool kSum = kDa == FactorGradient::kSum;
  StateRows carry(plan, plan.s.b), initial(plan, plan.s.b);
  // Sums of da: of each sample, of each piece of T and, last, of what follows the pieces.
  StateRows sums(plan, kSum ? plan.s.b * pieces : 0);
  for (int64_t b = 0; b < plan.s.b; ++b) {
    if (x.dfinal != nullptr) std::copy_n(x.dfinal + b * width, width, carry[b]);
    if (x.initial != nullptr) std::copy_n(x.initial + b * width, width, initial[b]);
  }
  // The steps [begin, end) of one tile, against their order; `before` as in Back.
  const auto run = [&](auto vecs, auto lanes, Walk walk, int64_t b, int64_t last, int64_t i,
                       const float* before, int64_t before_apart, int64_t piece, float* c) {
    walk = Plan::Backwards(walk);
    const int64_t at = plan.First(b) + last * plan.step + i;
    Back<vecs.value, kDa>(lanes, walk, x.a + plan.FirstFactor(b) + last * plan.a_step + i, before,
                          before_apart, x.dh + at, x.du + at,
                          kSum                              ? sums[b * pieces + piece] + i
                          : kDa == FactorGradient::kPerStep ? x.da + at
                                                            : nullptr,
                          c);
  };
  plan.ForSlices([&](int64_t b, int64_t begin, int64_t end) {
    const int64_t first = plan.chunks * plan.chunk;
    for (int64_t stop = plan.s.t; stop > first;) {
      // The step at 0 stands alone: what is before it is the initial state.
      const int64_t start = stop == 1 ? 0 : std::max({stop - kBlockSteps, first, int64_t{1}});
      ForTiles(begin, end, width, [&](auto vecs, auto lanes, int64_t i) {
        const float* before =
            start == 0 ? initial[b] + i : x.h + plan.First(b) + (stop - 2) * plan.step + i;
        run(vecs, lanes, plan.AcrossChannels(stop - start), b, stop - 1, i, before, kLanes,
            plan.chunks, carry[b] + i);
      });
      stop = start;
    }
  });
  if (plan.chunks > 0) {
    const int64_t chunks = plan.chunks;
    StateRows factor(plan, plan.s.b * chunks), local(plan, plan.s.b * chunks);
    plan.ForGroups([&](int64_t b, int64_t group, int64_t i) {
      const int64_t last = (group * kTileVecs + 1) * plan.chunk - 1;
      const int64_t row = b * chunks + group * kTileVecs;
      ForPieces(i, width, [&](auto vecs, auto lanes) {
        Summarise<vecs.value, true>(lanes, Plan::Backwards(plan.AcrossChunks(plan.chunk)),
                                    x.a + plan.FirstFactor(b) + last * plan.a_step + i,
                                    x.dh + plan.First(b) + last * plan.step + i, factor[row] + i,
                                    local[row] + i);
      });
    });
    // What enters each piece from behind, and the state before its first step.
    StateRows entry(plan, plan.s.b * chunks), before(plan, plan.s.b * chunks);
    for (int64_t b = 0; b < plan.s.b; ++b) {
      for (int64_t c = chunks - 1; c >= 0; --c) {
        const int64_t row = b * chunks + c;
        std::copy_n(carry[b], width, entry[row]);
        PassThrough(plan, factor[row], local[row], entry[row], carry[b]);
        const float* h =
            c == 0 ? initial[b] : x.h + plan.First(b) + (c * plan.chunk - 1) * plan.step;
        std::copy_n(h, width, before[row]);
      }
    }
    plan.ForGroups([&](int64_t b, int64_t group, int64_t i) {
      const int64_t piece = group * kTileVecs, row = b * chunks + piece;
      const int64_t start = piece * plan.chunk;
      ForPieces(i, width, [&](auto vecs, auto lanes) {
        for (int64_t stop = plan.chunk; stop > 1;) {
          const int64_t from = std::max<int64_t>(1, stop - kBlockSteps);
          run(vecs, lanes, plan.AcrossChunks(stop - from), b, start + stop - 1, i,
              x.h + plan.First(b) + (start + stop - 2) * plan.step + i, plan.chunk * plan.step,
              piece, entry[row] + i);
          stop = from;
        }
        run(vecs, lanes, plan.AcrossChunks(1), b, start, i, before[row] + i, plan.padded, piece,
            entry[row] + i);
      });
    });
  }
  for (int64_t b = 0; b < plan.s.b && x.dinitial != nullptr; ++b) {
    std::copy_n(carry[b], width, x.dinitial + b * width);
  }
  for (int64_t i = 0; i < width && kSum; ++i) {
    double total = 0;
    for (int64_t row = 0; row < plan.s.b * pieces; ++row) total += sums[row][i];
    x.da[i] = static_cast<float>(total);
  }
}

}  // namespace

void DiagonalScanForward(const Tensor& a, const Tensor& u_btp2, const Tensor& initial_bp2,
                         bool reverse, const Tensor& h_btp2, const Tensor& final_bp2) {
  const reference::DiagonalScanShape s = CheckShapes(a, u_btp2, initial_bp2, reverse);
  CheckShapes(a, h_btp2, final_bp2, reverse);
  CHECK(h_btp2.shape() == u_btp2.shape()) << h_btp2.shape() << " and " << u_btp2.shape();
  const TraceSpan span("DiagonalScanForward");
  RecordCost(4.0 * u_btp2.numel(), 2.0 * u_btp2.bytes() + a.bytes());
  if (u_btp2.is_meta()) return;
  if (u_btp2.dtype() == DType::kFloat64) {
    reference::DiagonalScanForward(s, ComplexOrNull(a), ComplexOrNull(u_btp2),
                                   ComplexOrNull(initial_bp2), ComplexOrNull(h_btp2),
                                   ComplexOrNull(final_bp2));
    return;
  }
  ForwardFloat(Plan(s), a.data<float>(), u_btp2.data<float>(), DataOrNull<float>(initial_bp2),
               h_btp2.mutable_data<float>(), DataOrNull<float>(final_bp2));
}

void DiagonalScanBackward(const Tensor& a, const Tensor& initial_bp2, bool reverse,
                          const Tensor& h_btp2, const Tensor& dh_btp2, const Tensor& dfinal_bp2,
                          const Tensor& du_btp2, const Tensor& da, const Tensor& dinitial_bp2) {
  const reference::DiagonalScanShape s = CheckShapes(a, h_btp2, initial_bp2, reverse);
  CheckShapes(a, dh_btp2, dfinal_bp2, reverse);
  CHECK(!da.defined() || (da.shape() == a.shape() && da.dtype() == a.dtype()))
      << "diagonal scan: da " << da.shape() << " for a " << a.shape();
  CheckShapes(a, du_btp2, dinitial_bp2, reverse);
  CHECK(dh_btp2.shape() == h_btp2.shape()) << dh_btp2.shape() << " and " << h_btp2.shape();
  CHECK(du_btp2.shape() == h_btp2.shape()) << du_btp2.shape() << " and " << h_btp2.shape();
  const TraceSpan span("DiagonalScanBackward");
  RecordCost((da.defined() ? 8.0 : 4.0) * h_btp2.numel(),
             3.0 * h_btp2.bytes() + a.bytes() + (da.defined() ? da.bytes() : 0));
  if (h_btp2.is_meta()) return;
  if (h_btp2.dtype() == DType::kFloat64) {
    reference::DiagonalScanBackward(s, ComplexOrNull(a), ComplexOrNull(initial_bp2),
                                    ComplexOrNull(h_btp2), ComplexOrNull(dh_btp2),
                                    ComplexOrNull(dfinal_bp2), ComplexOrNull(du_btp2),
                                    ComplexOrNull(da), ComplexOrNull(dinitial_bp2));
    return;
  }
  const BackwardData data{
      a.data<float>(),       DataOrNull<float>(initial_bp2), h_btp2.data<float>(),
      dh_btp2.data<float>(), DataOrNull<float>(dfinal_bp2),  du_btp2.mutable_data<float>(),
      DataOrNull<float>(da), DataOrNull<float>(dinitial_bp2)};
  const Plan plan(s);
  if (!da.defined()) {
    BackwardFloat<FactorGradient::kNone>(plan, data);
  } else if (s.per_step) {
    BackwardFloat<FactorGradient::kPerStep>(plan, data);
  } else {
    BackwardFloat<FactorGradient::kSum>(plan, data);
  }
}

}  // namespace longrange::kernels
