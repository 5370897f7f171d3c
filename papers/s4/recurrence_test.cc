#include "papers/s4/recurrence.h"

#include <gtest/gtest.h>

#include <complex>
#include <vector>

#include "common/autograd/gradcheck.h"
#include "common/autograd/ops.h"
#include "common/autograd/tape.h"
#include "common/base/thread_pool.h"
#include "common/testing/matchers.h"
#include "common/testing/shapes.h"

namespace longrange::s4 {
namespace {

struct Sizes {
  int64_t b, t, h, m, r, c;
};

// A stable system and an input of 2 + 5 tensors, in the order of Recur's arguments.
std::vector<Tensor> Inputs(const Sizes& s) {
  const Rng rng(3);
  const auto normal = [&](const Shape& shape, const char* name, double scale) {
    return RandomNormal(shape, rng.Child(name), scale, DType::kFloat64);
  };
  std::vector<Tensor> in = {normal({s.b, s.t, s.h}, "u", 1), normal({s.b, s.m, 2, s.h}, "state", 1),
                            normal({s.m, 2, s.h}, "delta", 0.3), normal({s.m, 2, s.h}, "b", 1),
                            normal({s.c, s.m, 2, s.h}, "c", 1)};
  for (int64_t i = 0; i < in[2].numel(); i += 2 * s.h) {  // real parts around -1/2
    for (int64_t h = 0; h < s.h; ++h) in[2].mutable_data<double>()[i + h] -= 0.5;
  }
  if (s.r > 0) {
    in.push_back(normal({s.r, s.m, 2, s.h}, "g", 0.3));
    in.push_back(normal({s.r, s.m, 2, s.h}, "w", 0.3));
  }
  return in;
}

std::vector<Tensor> Apply(const std::vector<Tensor>& in) {
  Recurrence system{in[2], in[3], in[4], Tensor(), Tensor()};
  if (in.size() > 5) {
    system.g_rm2h = in[5];
    system.w_rm2h = in[6];
  }
  const RecurResult result = Recur(system, in[0], in[1]);
  return {result.y_btch, result.state_bm2h};
}

// The same in complex numbers, feature by feature.
std::vector<Tensor> Reference(const Sizes& s, const std::vector<Tensor>& in) {
  using Complex = std::complex<double>;
  const auto at = [&](const Tensor& t, int64_t row, int64_t h) {
    const double* p = t.data<double>() + row * 2 * s.h + h;
    return Complex(p[0], p[s.h]);
  };
  const Tensor y = Tensor::Empty({s.b, s.t, s.c, s.h}, DType::kFloat64), state = in[1].Clone();
  for (int64_t b = 0; b < s.b; ++b) {
    for (int64_t h = 0; h < s.h; ++h) {
      std::vector<Complex> x(s.m);
      for (int64_t m = 0; m < s.m; ++m) x[m] = at(in[1], b * s.m + m, h);
      for (int64_t t = 0; t < s.t; ++t) {
        const double u = in[0].data<double>()[(b * s.t + t) * s.h + h];
        std::vector<Complex> next = x;
        for (int64_t m = 0; m < s.m; ++m) next[m] += at(in[2], m, h) * x[m] + at(in[3], m, h) * u;
        for (int64_t r = 0; r < s.r; ++r) {
          Complex seen = 0;
          for (int64_t m = 0; m < s.m; ++m) seen += at(in[6], r * s.m + m, h) * x[m];
          for (int64_t m = 0; m < s.m; ++m) next[m] -= at(in[5], r * s.m + m, h) * seen.real();
        }
        x = next;
        for (int64_t c = 0; c < s.c; ++c) {
          Complex sum = 0;
          for (int64_t m = 0; m < s.m; ++m) sum += at(in[4], c * s.m + m, h) * x[m];
          y.mutable_data<double>()[((b * s.t + t) * s.c + c) * s.h + h] = sum.real();
        }
      }
      for (int64_t m = 0; m < s.m; ++m) {
        double* p = state.mutable_data<double>() + (b * s.m + m) * 2 * s.h + h;
        p[0] = x[m].real();
        p[s.h] = x[m].imag();
      }
    }
  }
  return {y, state};
}

const Sizes kCases[] = {{1, 1, 1, 1, 0, 1},
                        {2, 70, 19, 3, 1, 1},  // two tiles and a part, odd lanes
                        {3, 33, 16, 4, 2, 2},
                        {2, 5, 33, 2, 0, 3},
                        {2, 0, 4, 2, 1, 1}};

TEST(Recur, EqualsItsEquation) {
  for (const Sizes& s : kCases) {
    const std::vector<Tensor> in = Inputs(s), expected = Reference(s, in), wide = Apply(in);
    std::vector<Tensor> rounded;
    for (const Tensor& t : in) rounded.push_back(t.To(DType::kFloat32));
    const std::vector<Tensor> narrow = Apply(rounded);
    for (int i = 0; i < 2; ++i) {
      EXPECT_THAT(wide[i], RmsClose(expected[i], kFloat64Rms));
      EXPECT_THAT(narrow[i], RmsClose(expected[i], kFloat32ForwardRms));
    }
  }
}

TEST(Recur, Gradients) {
  for (const Sizes& s : {Sizes{2, 37, 3, 2, 2, 2}, Sizes{2, 34, 2, 3, 0, 1}})
    EXPECT_EQ(GradCheck(Apply, Inputs(s)), "");
}

TEST(Recur, Float32GradientsEqualFloat64AndNeedNoCotangentOfBoth) {
  const Sizes s = {2, 70, 19, 3, 1, 2};
  for (const bool of_state : {false, true}) {
    std::vector<std::vector<Tensor>> gradients;
    for (const DType dtype : {DType::kFloat64, DType::kFloat32}) {
      std::vector<Tensor> leaves;
      for (const Tensor& t : Inputs(s)) leaves.push_back(Leaf(t.To(dtype)));
      const Tensor out = Apply(leaves)[of_state ? 1 : 0];
      Backward({out}, {RandomNormal(out.shape(), Rng(4), 1, dtype)});
      gradients.emplace_back();
      for (const Tensor& leaf : leaves) gradients.back().push_back(Gradient(leaf));
    }
    for (size_t i = 0; i < gradients[0].size(); ++i)
      EXPECT_THAT(gradients[1][i], RmsClose(gradients[0][i], kFloat32GradientRms)) << i;
  }
}

TEST(Recur, SameBitsForAnyNumberOfThreads) {
  const Sizes s = {3, 40, 50, 4, 1, 1};
  const int before = NumThreads();
  std::vector<std::vector<Tensor>> results;
  for (const int threads : {1, 3}) {
    SetNumThreads(threads);
    std::vector<Tensor> leaves;
    for (const Tensor& t : Inputs(s)) leaves.push_back(Leaf(t.To(DType::kFloat32)));
    results.push_back(Apply(leaves));
    const Tensor ones = Tensor::Full(results.back()[0].shape(), 1);
    Backward({results.back()[0]}, {ones});
    for (const Tensor& leaf : leaves) results.back().push_back(Gradient(leaf));
  }
  SetNumThreads(before);
  for (size_t i = 0; i < results[0].size(); ++i)
    EXPECT_THAT(results[1][i], BitEqual(results[0][i])) << i;
}

}  // namespace
}  // namespace longrange::s4
