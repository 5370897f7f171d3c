#include "papers/s4/system.h"

#include <algorithm>
#include <cmath>

#include "common/autograd/dplr_kernel.h"
#include "common/autograd/ops.h"
#include "common/autograd/power_kernel.h"
#include "papers/s4/complex.h"

namespace longrange::s4 {
namespace {

// The parameters of every feature, in float64.
struct Features {
  Tensor dt_h, lambda_hm2, b_hm2, p_rhm2;  // p undefined: diagonal
};

Tensor Wide(const Tensor& x) { return Cast(x, DType::kFloat64); }

// [.., S, rest] -> [.., H, rest]: feature h has copy h % S. `dim` is that of S.
Tensor Spread(const Tensor& x, int dim, int64_t features) {
  const int64_t copies = x.dim(dim);
  if (copies == features) return x;
  Shape split, stretched, joined;
  for (int i = 0; i < x.rank(); ++i) {
    if (i == dim) {
      split.Append(1);
      stretched.Append(features / copies);
    }
    split.Append(x.dim(i));
    stretched.Append(x.dim(i));
    joined.Append(i == dim ? features : x.dim(i));
  }
  return Reshape(BroadcastTo(Reshape(x, split), stretched), joined);
}

Tensor Pair(const Tensor& re, const Tensor& im) {
  Shape one = re.shape();
  one.Append(1);
  return Concat({Reshape(re, one), Reshape(im, one)}, re.rank());
}

Tensor Identity(int64_t n, Device device) {
  const Tensor one = Tensor::Zeros({n, n}, DType::kFloat64);
  for (int64_t i = 0; i < n; ++i) one.mutable_data<double>()[i * (n + 1)] = 1;
  return one.To(device);
}

Features FeaturesOf(const System& s) {
  const int64_t h = s.features();
  Features f;
  f.dt_h = StepOf(s);
  f.lambda_hm2 = Spread(Pair(Neg(Exp(Wide(s.a_real_sm))), Neg(Wide(s.a_imag_sm))), 0, h);
  f.b_hm2 = Spread(Wide(s.b_sm2), 0, h);
  if (!s.diagonal()) f.p_rhm2 = Spread(Wide(s.p_rsm2), 1, h);
  return f;
}

// What the step is made of, features first: see Recurrence.
struct Step {
  Tensor delta_hm2, b_hm2;
  Tensor g_hrm2, w_hrm2;  // undefined: diagonal
};

Tensor PerFeature(const Tensor& x_h, int rank) {
  Shape shape = {x_h.dim(0)};
  while (shape.rank() < rank) shape.Append(1);
  return Reshape(x_h, shape);
}

Step StepFrom(const Features& f, bool bilinear) {
  const Tensor dt = PerFeature(f.dt_h, 3), z_hm2 = Mul(f.lambda_hm2, dt);
  if (!bilinear) {
    const Tensor delta = AddReal(ComplexExp(z_hm2), -1);
    return {delta, ComplexMul(ComplexMul(delta, ComplexReciprocal(f.lambda_hm2)), f.b_hm2)};
  }
  // With E = (1 - dt/2 Λ)^-1, the diagonal part of the matrix is (1 + dt/2 Λ) E = 1 + dt Λ E.
  const Tensor e_hm2 = ComplexReciprocal(AddReal(Scale(z_hm2, -0.5), 1));
  Step step{ComplexMul(z_hm2, e_hm2), Mul(ComplexMul(e_hm2, f.b_hm2), dt)};
  if (!f.p_rhm2.defined()) return step;
  // Woodbury: with p = sqrt(dt/2) P and w = conj(p) E, both over the modes and their conjugates,
  //   (1 - dt/2 A)^-1 x = E x - E p (1 + p* E p)^-1 p* E x,  p* E x = 2 Re(w · x),
  // and dA is twice that, less 1.
  const int64_t h = f.dt_h.dim(0), rank = f.p_rhm2.dim(0), modes = f.p_rhm2.dim(2);
  const Tensor p_hrm2 =
      Mul(Permute(f.p_rhm2, {1, 0, 2, 3}), Sqrt(Scale(PerFeature(f.dt_h, 4), 0.5)));
  const Tensor e_h1m2 = Reshape(e_hm2, {h, 1, modes, 2});
  const Tensor ep_hrm2 = ComplexMul(e_h1m2, p_hrm2);
  step.w_hrm2 = ComplexMul(e_h1m2, Conj(p_hrm2));
  const Shape rows = {h, rank, 2 * modes};
  const Tensor w_rows = Reshape(Conj(step.w_hrm2), rows);  // Re(w · x) of x as 2M real numbers
  const Tensor inner = Inverse(Add(Scale(MatMul(w_rows, Reshape(p_hrm2, rows), false, true), 2),
                                   Identity(rank, f.dt_h.device())));
  const Tensor g_rows = Scale(MatMul(inner, Reshape(ep_hrm2, rows), true, false), 4);
  step.g_hrm2 = Reshape(g_rows, p_hrm2.shape());
  const Tensor seen = MatMul(w_rows, Reshape(f.b_hm2, {h, 2 * modes, 1}));  // [H, R, 1]
  const Tensor less = Reshape(MatMul(g_rows, seen, true, false), f.b_hm2.shape());
  step.b_hm2 = Sub(step.b_hm2, Mul(less, Scale(dt, 0.5)));
  return step;
}

// The step's matrix [H, N, N] on states as N real numbers, re and im side by side.
Tensor Dense(const Step& step) {
  const int64_t h = step.delta_hm2.dim(0), modes = step.delta_hm2.dim(1);
  // A complex number as a 2 x 2 matrix, on the diagonal.
  const Shape blocks = {modes, 2, modes, 2};
  const Tensor re = Tensor::Zeros(blocks, DType::kFloat64), im = re.Clone();
  for (int64_t m = 0; m < modes; ++m) {
    double* const at_re = re.mutable_data<double>() + (m * 2 * modes + m) * 2;
    double* const at_im = im.mutable_data<double>() + (m * 2 * modes + m) * 2;
    at_re[0] = at_re[2 * modes + 1] = 1;
    at_im[1] = -1;
    at_im[2 * modes] = 1;
  }
  const auto part = [&](int64_t i) {
    return Reshape(Narrow(step.delta_hm2, 2, i, 1), {h, modes, 1, 1, 1});
  };
  const Device device = step.delta_hm2.device();
  const Tensor diagonal =
      Add(Mul(Affine(part(0), 1, 1), re.To(device)), Mul(part(1), im.To(device)));
  const Tensor matrix = Reshape(diagonal, {h, 2 * modes, 2 * modes});
  if (!step.g_hrm2.defined()) return matrix;
  const Shape rows = {h, step.g_hrm2.dim(1), 2 * modes};
  return Sub(matrix,
             MatMul(Reshape(step.g_hrm2, rows), Reshape(Conj(step.w_hrm2), rows), true, false));
}

// 2 Re(c · x) as rows on states of N real numbers, but for the factor: [C, H, M, 2] -> [H, C, N].
Tensor Rows(const Tensor& c_chm2) {
  return Reshape(Conj(Permute(c_chm2, {1, 0, 2, 3})),
                 {c_chm2.dim(1), c_chm2.dim(0), 2 * c_chm2.dim(2)});
}

Tensor FromRows(const Tensor& rows_hcn) {
  const Tensor c =
      Conj(Reshape(rows_hcn, {rows_hcn.dim(0), rows_hcn.dim(1), rows_hcn.dim(2) / 2, 2}));
  return Permute(c, {1, 0, 2, 3});
}

// Rows that C~ belongs to, at this rate.
int64_t RowsOf(const System& s) {
  return std::max<int64_t>(1, std::llround(static_cast<double>(s.length) / s.rate));
}

}  // namespace

Tensor StepOf(const System& s) {
  const Tensor raw = Wide(s.dt_raw_h);
  return Scale(s.softplus ? Softplus(raw) : Exp(raw), s.rate);
}

Tensor KernelOf(const System& s, int64_t rows) {
  const DType dtype = s.c_chm2.dtype();
  const auto narrow = [&](const Tensor& x) { return Cast(x, dtype); };
  const Features f = FeaturesOf(s);
  if (s.diagonal()) {
    const Step step = StepFrom(f, s.bilinear);
    const Tensor log_a = s.bilinear ? ComplexLog(AddReal(step.delta_hm2, 1))
                                    : Mul(f.lambda_hm2, PerFeature(f.dt_h, 3));
    return PowerKernel(narrow(ComplexMul(Wide(s.c_chm2), step.b_hm2)), narrow(log_a), rows);
  }
  int64_t length = RowsOf(s);
  Tensor c_chm2 = s.c_chm2;
  if (length < rows) {
    Tensor power = MatrixPower(Dense(StepFrom(f, true)), length), out = Rows(Wide(c_chm2));
    for (; length < rows; length *= 2) {
      out = Add(out, MatMul(out, power));
      if (2 * length < rows) power = MatMul(power, power);
    }
    c_chm2 = narrow(FromRows(out));
  }
  const Tensor b_1hm2 = Reshape(f.b_hm2, {1, f.b_hm2.dim(0), f.b_hm2.dim(1), 2});
  const Tensor kernel = DplrKernel(narrow(f.lambda_hm2), narrow(f.p_rhm2), narrow(b_1hm2), c_chm2,
                                   narrow(f.dt_h), length);
  return length == rows ? kernel : Narrow(kernel, 1, 0, rows);
}

Recurrence Discretise(const System& s) {
  const Step step = StepFrom(FeaturesOf(s), s.bilinear);
  Tensor c_chm2 = Wide(s.c_chm2);
  if (!s.diagonal()) {
    const Tensor power = MatrixPower(Dense(step), RowsOf(s));
    const Tensor one = Identity(power.dim(1), power.device());
    c_chm2 = FromRows(MatMul(Rows(c_chm2), Inverse(Sub(one, power))));
  }
  const auto lanes = [](const Tensor& x_hm2) { return Permute(x_hm2, {1, 2, 0}); };
  Recurrence r{lanes(step.delta_hm2), lanes(step.b_hm2), Scale(Permute(c_chm2, {0, 2, 3, 1}), 2)};
  if (step.g_hrm2.defined()) {
    r.g_rm2h = Permute(step.g_hrm2, {1, 2, 3, 0});
    r.w_rm2h = Permute(step.w_hrm2, {1, 2, 3, 0});
  }
  return r;
}

Recurrence CastTo(const Recurrence& r, DType dtype) {
  const auto cast = [&](const Tensor& t) { return t.defined() ? Cast(t, dtype) : t; };
  return {cast(r.delta_m2h), cast(r.b_m2h), cast(r.c_cm2h), cast(r.g_rm2h), cast(r.w_rm2h)};
}

Tensor Truncated(const System& s, const Tensor& c_chm2) {
  if (s.diagonal()) return c_chm2;
  const Tensor rows = Rows(c_chm2);
  const Tensor power = MatrixPower(Dense(StepFrom(FeaturesOf(s), true)), RowsOf(s));
  return FromRows(Sub(rows, MatMul(rows, power)));
}

}  // namespace longrange::s4
