#include "papers/s4/recurrence.h"

#include <algorithm>
#include <vector>

#include "common/autograd/tape.h"
#include "common/base/thread_pool.h"
#include "common/base/trace.h"
#include "common/tensor/cost.h"
#include "kernels/simd/simd.h"

namespace longrange::s4 {
namespace {

using kernels::simd::VecF;

// The way back keeps the state before each tile of rows and makes those within anew.
constexpr int64_t kTile = 32;
constexpr int64_t kMostRank = 2;

struct Sizes {
  int64_t b, t, h, m, r, c;

  int64_t tiles() const { return (t + kTile - 1) / kTile; }
};

// Up to a vector of features side by side.
struct FloatLanes {
  using T = float;
  using V = VecF;
  static constexpr int64_t kWidth = kernels::simd::kLanes;

  V Load(const T* p) const {
    return n == kWidth ? kernels::simd::Load(p) : kernels::simd::LoadPartial(p, n);
  }
  void Store(T* p, V v) const {
    n == kWidth ? kernels::simd::Store(p, v) : kernels::simd::StorePartial(p, n, v);
  }

  int64_t n;
};

struct OneDouble {
  using T = double;
  using V = double;
  static constexpr int64_t kWidth = 1;

  V Load(const T* p) const { return *p; }
  void Store(T* p, V v) const { *p = v; }

  int64_t n;
};

// Rows of H features each, of which some lanes are in hand.
template <typename Lanes>
using Vectors = std::vector<typename Lanes::V>;

template <typename Lanes>
Vectors<Lanes> Gather(const Lanes& lanes, const typename Lanes::T* p, int64_t rows, int64_t h) {
  Vectors<Lanes> v(rows);
  for (int64_t i = 0; i < rows; ++i) v[i] = lanes.Load(p + i * h);
  return v;
}

template <typename Lanes>
void Scatter(const Lanes& lanes, const typename Lanes::V* v, int64_t rows, int64_t h,
             typename Lanes::T* p) {
  for (int64_t i = 0; i < rows; ++i) lanes.Store(p + i * h, v[i]);
}

// The coefficients of some features.
template <typename Lanes>
struct Block {
  using V = typename Lanes::V;

  Block(const Sizes& s, const Lanes& lanes, const Recurrence& system, int64_t first)
      : s(s),
        delta(Of(lanes, system.delta_m2h, 2 * s.m, first)),
        b(Of(lanes, system.b_m2h, 2 * s.m, first)),
        c(Of(lanes, system.c_cm2h, 2 * s.m * s.c, first)),
        g(Of(lanes, system.g_rm2h, 2 * s.m * s.r, first)),
        w(Of(lanes, system.w_rm2h, 2 * s.m * s.r, first)) {}

  Vectors<Lanes> Of(const Lanes& lanes, const Tensor& t, int64_t rows, int64_t first) {
    return rows == 0 ? Vectors<Lanes>()
                     : Gather(lanes, t.data<typename Lanes::T>() + first, rows, s.h);
  }

  // Re(row · x).
  V Dot(const V* row, const V* x) const {
    V re{}, im{};
    for (int64_t m = 0; m < s.m; ++m) {
      re += row[2 * m] * x[2 * m];
      im += row[2 * m + 1] * x[2 * m + 1];
    }
    return re - im;
  }

  // `after` may be `before`.
  void Step(V u, const V* before, V* after) const {
    V sigma[kMostRank];
    for (int64_t r = 0; r < s.r; ++r) sigma[r] = Dot(&w[2 * s.m * r], before);
    for (int64_t m = 0; m < s.m; ++m) {
      const V re = before[2 * m], im = before[2 * m + 1];
      V next_re = delta[2 * m] * re - delta[2 * m + 1] * im + b[2 * m] * u;
      V next_im = delta[2 * m] * im + delta[2 * m + 1] * re + b[2 * m + 1] * u;
      for (int64_t r = 0; r < s.r; ++r) {
        next_re -= g[2 * (s.m * r + m)] * sigma[r];
        next_im -= g[2 * (s.m * r + m) + 1] * sigma[r];
      }
      after[2 * m] = re + next_re;
      after[2 * m + 1] = im + next_im;
    }
  }

  const Sizes s;
  const Vectors<Lanes> delta, b, c, g, w;
};

// Calls body(lanes, first) for the features from `first` on.
template <typename Lanes, typename Body>
void ForBlock(const Sizes& s, int64_t block, Body body) {
  const int64_t first = block * Lanes::kWidth;
  body(Lanes{std::min(Lanes::kWidth, s.h - first)}, first);
}

template <typename Lanes>
void Forward(const Sizes& s, const Recurrence& system, const Tensor& u_bth, const Tensor& x_bm2h,
             const RecurResult& out, const Tensor& saved_bnm2h) {
  using T = typename Lanes::T;
  const int64_t blocks = (s.h + Lanes::kWidth - 1) / Lanes::kWidth, state = 2 * s.m * s.h;
  ParallelFor(s.b * blocks, [&](int64_t task) {
    ForBlock<Lanes>(s, task % blocks, [&](const Lanes& lanes, int64_t first) {
      const int64_t b = task / blocks;
      const Block<Lanes> k(s, lanes, system, first);
      const T* const u = u_bth.data<T>() + b * s.t * s.h + first;
      T* const y = out.y_btch.mutable_data<T>() + b * s.t * s.c * s.h + first;
      Vectors<Lanes> x = Gather(lanes, x_bm2h.data<T>() + b * state + first, 2 * s.m, s.h);
      for (int64_t t = 0; t < s.t; ++t) {
        if (saved_bnm2h.defined() && t % kTile == 0) {
          Scatter(lanes, x.data(), 2 * s.m, s.h,
                  saved_bnm2h.mutable_data<T>() + (b * s.tiles() + t / kTile) * state + first);
        }
        k.Step(lanes.Load(u + t * s.h), x.data(), x.data());
        for (int64_t c = 0; c < s.c; ++c)
          lanes.Store(y + (t * s.c + c) * s.h, k.Dot(&k.c[2 * s.m * c], x.data()));
      }
      Scatter(lanes, x.data(), 2 * s.m, s.h, out.state_bm2h.mutable_data<T>() + b * state + first);
    });
  });
}

struct Gradients {
  Recurrence system;
  Tensor u_bth, state_bm2h;
};

// With l the gradient by x_t: it gathers conj(c) dy_t, hands out those of b, delta, g and w, and
// goes on as that of x_{t-1} through the transpose of the matrix.
template <typename Lanes>
void Backward(const Sizes& s, const Recurrence& system, const Tensor& u_bth,
              const Tensor& saved_bnm2h, const Tensor& dy_btch, const Tensor& dstate_bm2h,
              const Gradients& out) {
  using T = typename Lanes::T;
  using V = typename Lanes::V;
  const int64_t blocks = (s.h + Lanes::kWidth - 1) / Lanes::kWidth, state = 2 * s.m * s.h,
                row = 2 * s.m;
  ParallelFor(blocks, [&](int64_t block) {
    ForBlock<Lanes>(s, block, [&](const Lanes& lanes, int64_t first) {
      const Block<Lanes> k(s, lanes, system, first);
      Vectors<Lanes> ddelta(row), db(row), dc(row * s.c), dg(row * s.r), dw(row * s.r);
      Vectors<Lanes> x((kTile + 1) * row);  // before the rows of a tile, and after the last
      for (int64_t b = 0; b < s.b; ++b) {
        const T* const u = u_bth.data<T>() + b * s.t * s.h + first;
        T* const du = out.u_bth.mutable_data<T>() + b * s.t * s.h + first;
        Vectors<Lanes> l(row);
        if (dstate_bm2h.defined())
          l = Gather(lanes, dstate_bm2h.data<T>() + b * state + first, row, s.h);
        for (int64_t tile = s.tiles() - 1; tile >= 0; --tile) {
          const int64_t begin = tile * kTile, rows = std::min(kTile, s.t - begin);
          for (int64_t i = 0; i < row; ++i) {
            x[i] = lanes.Load(saved_bnm2h.data<T>() + (b * s.tiles() + tile) * state + i * s.h +
                              first);
          }
          for (int64_t i = 0; i < rows; ++i)
            k.Step(lanes.Load(u + (begin + i) * s.h), &x[i * row], &x[(i + 1) * row]);
          for (int64_t i = rows - 1; i >= 0; --i) {
            const int64_t t = begin + i;
            const V* const before = &x[i * row];
            const V* const after = &x[(i + 1) * row];
            for (int64_t c = 0; dy_btch.defined() && c < s.c; ++c) {
              const V dy = lanes.Load(dy_btch.data<T>() + ((b * s.t + t) * s.c + c) * s.h + first);
              for (int64_t m = 0; m < row; m += 2) {
                l[m] += dy * k.c[c * row + m];
                l[m + 1] -= dy * k.c[c * row + m + 1];
                dc[c * row + m] += dy * after[m];
                dc[c * row + m + 1] -= dy * after[m + 1];
              }
            }
            V sigma[kMostRank], tau[kMostRank];
            for (int64_t r = 0; r < s.r; ++r) {
              sigma[r] = k.Dot(&k.w[r * row], before);
              tau[r] = V{};
              for (int64_t m = 0; m < row; ++m) tau[r] += k.g[r * row + m] * l[m];
            }
            const V input = lanes.Load(u + t * s.h);
            V dinput{};
            for (int64_t m = 0; m < row; m += 2) {
              const V re = l[m], im = l[m + 1], x_re = before[m], x_im = before[m + 1];
              dinput += k.b[m] * re + k.b[m + 1] * im;
              db[m] += re * input;
              db[m + 1] += im * input;
              ddelta[m] += re * x_re + im * x_im;
              ddelta[m + 1] += im * x_re - re * x_im;
              V before_re = k.delta[m] * re + k.delta[m + 1] * im;
              V before_im = k.delta[m] * im - k.delta[m + 1] * re;
              for (int64_t r = 0; r < s.r; ++r) {
                const int64_t at = r * row + m;
                dg[at] -= sigma[r] * re;
                dg[at + 1] -= sigma[r] * im;
                dw[at] -= tau[r] * x_re;
                dw[at + 1] += tau[r] * x_im;
                before_re -= tau[r] * k.w[at];
                before_im += tau[r] * k.w[at + 1];
              }
              l[m] = re + before_re;
              l[m + 1] = im + before_im;
            }
            lanes.Store(du + t * s.h, dinput);
          }
        }
        Scatter(lanes, l.data(), row, s.h, out.state_bm2h.mutable_data<T>() + b * state + first);
      }
      const auto give = [&](const Vectors<Lanes>& sum, const Tensor& to) {
        if (sum.empty()) return;
        Scatter(lanes, sum.data(), static_cast<int64_t>(sum.size()), s.h,
                to.mutable_data<T>() + first);
      };
      give(ddelta, out.system.delta_m2h);
      give(db, out.system.b_m2h);
      give(dc, out.system.c_cm2h);
      give(dg, out.system.g_rm2h);
      give(dw, out.system.w_rm2h);
    });
  });
}

Tensor Like(const Tensor& t) { return t.defined() ? Tensor::EmptyLike(t) : Tensor(); }

Gradients RunBackward(const Sizes& s, const Recurrence& system, const Tensor& u_bth,
                      const Tensor& saved_bnm2h, const Tensor& dy_btch, const Tensor& dstate_bm2h) {
  const Gradients out = {{Like(system.delta_m2h), Like(system.b_m2h), Like(system.c_cm2h),
                          Like(system.g_rm2h), Like(system.w_rm2h)},
                         Tensor::EmptyLike(u_bth),
                         Tensor::Empty({s.b, s.m, 2, s.h}, u_bth.dtype(), u_bth.device())};
  const TraceSpan span("RecurBackward");
  RecordCost(static_cast<double>(s.b * s.t * s.h * s.m) * (36 + 24 * s.r + 8 * s.c),
             2.0 * u_bth.bytes() + (dy_btch.defined() ? dy_btch.bytes() : 0) + saved_bnm2h.bytes());
  if (u_bth.is_meta()) return out;
  if (u_bth.dtype() == DType::kFloat64) {
    Backward<OneDouble>(s, system, u_bth, saved_bnm2h, dy_btch, dstate_bm2h, out);
  } else {
    Backward<FloatLanes>(s, system, u_bth, saved_bnm2h, dy_btch, dstate_bm2h, out);
  }
  return out;
}

}  // namespace

RecurResult Recur(const Recurrence& system, const Tensor& u_bth, const Tensor& state_bm2h) {
  const bool diagonal = !system.g_rm2h.defined();
  const Sizes s{u_bth.dim(0),
                u_bth.dim(1),
                u_bth.dim(2),
                system.delta_m2h.dim(0),
                diagonal ? 0 : system.g_rm2h.dim(0),
                system.c_cm2h.dim(0)};
  const Shape modes = {s.m, 2, s.h};
  CHECK(system.delta_m2h.shape() == modes && system.b_m2h.shape() == modes)
      << system.delta_m2h.shape() << " and " << system.b_m2h.shape() << " for " << modes;
  CHECK(system.c_cm2h.shape() == Shape({s.c, s.m, 2, s.h})) << system.c_cm2h.shape();
  CHECK(state_bm2h.shape() == Shape({s.b, s.m, 2, s.h})) << state_bm2h.shape();
  CHECK_LE(s.r, kMostRank);
  CHECK(diagonal || system.w_rm2h.shape() == Shape({s.r, s.m, 2, s.h}));
  const std::vector<Tensor> inputs = {u_bth,         state_bm2h,    system.delta_m2h, system.b_m2h,
                                      system.c_cm2h, system.g_rm2h, system.w_rm2h};
  for (const Tensor& t : inputs) {
    CHECK(!t.defined() || t.dtype() == u_bth.dtype())
        << Name(t.dtype()) << " and " << Name(u_bth.dtype());
  }

  const RecurResult out = {Tensor::Empty({s.b, s.t, s.c, s.h}, u_bth.dtype(), u_bth.device()),
                           Tensor::Empty({s.b, s.m, 2, s.h}, u_bth.dtype(), u_bth.device())};
  const bool record = WillRecord(inputs);
  const Tensor saved =
      record ? Tensor::Empty({s.b, s.tiles(), s.m, 2, s.h}, u_bth.dtype(), u_bth.device())
             : Tensor();
  {
    const TraceSpan span("Recur");
    RecordCost(static_cast<double>(s.b * s.t * s.h * s.m) * (12 + 8 * s.r + 4 * s.c),
               1.0 * u_bth.bytes() + out.y_btch.bytes() + 2 * state_bm2h.bytes());
    if (!u_bth.is_meta()) {
      if (u_bth.dtype() == DType::kFloat64) {
        Forward<OneDouble>(s, system, u_bth, state_bm2h, out, saved);
      } else {
        Forward<FloatLanes>(s, system, u_bth, state_bm2h, out, saved);
      }
    }
  }
  if (record) {
    const auto kept = [](const Tensor& t) { return t.defined() ? t.Detach() : t; };
    const Recurrence k = {kept(system.delta_m2h), kept(system.b_m2h), kept(system.c_cm2h),
                          kept(system.g_rm2h), kept(system.w_rm2h)};
    Record("Recur", inputs, {out.y_btch, out.state_bm2h},
           [s, k, u = u_bth.Detach(), saved](const std::vector<Tensor>& d) {
             const Gradients g = RunBackward(s, k, u, saved, d[0], d[1]);
             return std::vector<Tensor>{g.u_bth,        g.state_bm2h,    g.system.delta_m2h,
                                        g.system.b_m2h, g.system.c_cm2h, g.system.g_rm2h,
                                        g.system.w_rm2h};
           });
  }
  return out;
}

}  // namespace longrange::s4
