#include "kernels/depthwise_convolution/depthwise_convolution.h"

#include <string>
#include <vector>

#include "kernels/testing.h"

namespace longrange::kernels {
namespace {

const Rng kRng(29);

struct Case {
  int64_t b, t, d, k;
  bool bias = true, tail = true, silu = true;
};

// Lengths around a chunk (128 rows), channels off the vector, rows fewer than taps.
const Case kCases[] = {{1, 1, 1, 1},
                       {2, 5, 3, 4},
                       {2, 2, 17, 4},
                       {2, 1, 20, 3},
                       {3, 129, 40, 4},
                       {1, 300, 33, 2},
                       {2, 131, 16, 7},
                       {1, 3, 5, 9},
                       {2, 140, 48, 4, false, false, false},
                       {2, 40, 48, 4, true, false, true},
                       {2, 40, 48, 3, false, true, false},
                       {0, 3, 4, 4},
                       {2, 0, 20, 4},
                       {2, 3, 0, 4}};

struct Inputs {
  DepthwiseConvolutionInputs in;
  Tensor dy, dtail;
};

Inputs Make(const Case& s, DType dtype = DType::kFloat32) {
  const auto normal = [&](const Shape& shape, const char* name) {
    return RandomNormal(shape, kRng.Child(name), 1, dtype);
  };
  Inputs made;
  made.in.x_btd = normal({s.b, s.t, s.d}, "x");
  made.in.weight_dk = normal({s.d, s.k}, "weight");
  if (s.bias) made.in.bias_d = normal({s.d}, "bias");
  if (s.tail) made.in.tail_bkd = normal({s.b, s.k - 1, s.d}, "tail");
  made.in.silu = s.silu;
  made.dy = normal({s.b, s.t, s.d}, "dy");
  made.dtail = normal({s.b, s.k - 1, s.d}, "dtail");
  return made;
}

template <typename Fn>
Inputs Each(const Inputs& x, Fn&& fn) {
  return {{fn(x.in.x_btd), fn(x.in.weight_dk), fn(x.in.bias_d), fn(x.in.tail_bkd), x.in.silu},
          fn(x.dy),
          fn(x.dtail)};
}

// y, tail, dx, dweight, dbias, dtail; undefined where there is none.
std::vector<Tensor> Compute(const Inputs& x) {
  const DepthwiseConvolutionOutputs out = DepthwiseConvolutionForward(x.in);
  const DepthwiseConvolutionGradients g = DepthwiseConvolutionBackward(x.in, x.dy, x.dtail);
  return {out.y_btd, out.tail_bkd, g.dx_btd, g.dweight_dk, g.dbias_d, g.dtail_bkd};
}

std::vector<Tensor> Defined(const std::vector<Tensor>& tensors) {
  std::vector<Tensor> defined;
  for (const Tensor& t : tensors) {
    if (t.defined()) defined.push_back(t);
  }
  return defined;
}

TEST(DepthwiseConvolution, EqualsReference) {
  for (const Case& s : kCases) {
    SCOPED_TRACE(testing::Message() << s.b << " " << s.t << " " << s.d << " " << s.k);
    const Inputs x = Make(s);
    const std::vector<Tensor> got = Compute(x), expected = Compute(Each(x, Double));
    for (size_t i = 0; i < got.size(); ++i) {
      ASSERT_EQ(got[i].defined(), expected[i].defined()) << i;
      if (!got[i].defined()) continue;
      EXPECT_THAT(got[i], RmsClose(expected[i], i < 2 ? kFloat32ForwardRms : kFloat32GradientRms))
          << i;
    }
  }
}

TEST(DepthwiseConvolution, ByHand) {
  DepthwiseConvolutionInputs in;
  in.x_btd = Tensor::FromVector<float>({1, 2, 1}, {1, 2});
  in.weight_dk = Tensor::FromVector<float>({1, 3}, {100, 10, 1});
  in.bias_d = Tensor::FromVector<float>({1}, {0.5});
  in.tail_bkd = Tensor::FromVector<float>({1, 2, 1}, {3, 4});
  const DepthwiseConvolutionOutputs out = DepthwiseConvolutionForward(in);
  EXPECT_THAT(out.y_btd, BitEqual(Tensor::FromVector<float>({1, 2, 1}, {341.5, 412.5})));
  EXPECT_THAT(out.tail_bkd, BitEqual(Tensor::FromVector<float>({1, 2, 1}, {1, 2})));
}

TEST(DepthwiseConvolution, GradientsOfReference) {
  for (const Case& s : {Case{2, 5, 2, 4}, Case{1, 2, 2, 4}, Case{2, 3, 2, 2, true, true, false}}) {
    SCOPED_TRACE(testing::Message() << s.t << " " << s.k);
    const Inputs x = Make(s, DType::kFloat64);
    const std::vector<Tensor> out = Compute(x);
    const auto loss = [&] {
      const std::vector<Tensor> again = Compute(x);
      return Dot(again[0], x.dy) + Dot(again[1], x.dtail);
    };
    ExpectGradient(x.in.x_btd, out[2], loss);
    ExpectGradient(x.in.weight_dk, out[3], loss);
    ExpectGradient(x.in.bias_d, out[4], loss);
    ExpectGradient(x.in.tail_bkd, out[5], loss);
  }
}

// Rows in pieces, the tail handed on, are the rows at once, to the bit.
TEST(DepthwiseConvolution, PiecesAreTheWhole) {
  const Case s{1, 150, 20, 4};
  const Inputs x = Make(s);
  const std::vector<Tensor> whole = Compute(x);
  Tensor tail = x.in.tail_bkd;
  int64_t begin = 0;
  for (const int64_t end : {1, 3, 4, 130, 150}) {
    const auto rows = [&](const Tensor& t, int64_t from, int64_t to) {
      return t.View({s.t, s.d}).ViewRows(from, to).Clone().View({1, to - from, s.d});
    };
    DepthwiseConvolutionInputs piece = x.in;
    piece.x_btd = rows(x.in.x_btd, begin, end);
    piece.tail_bkd = tail;
    const DepthwiseConvolutionOutputs out = DepthwiseConvolutionForward(piece);
    EXPECT_THAT(out.y_btd, BitEqual(rows(whole[0], begin, end))) << end;
    tail = out.tail_bkd;
    begin = end;
  }
  EXPECT_THAT(tail, BitEqual(whole[1]));
}

TEST(DepthwiseConvolution, SameBitsForAnyThreadCount) {
  const Inputs x = Make({2, 400, 40, 4});
  ExpectSameBits([&] { return Defined(Compute(x)); });
}

TEST(DepthwiseConvolution, MetaCountsWhatTheCpuCounts) {
  const Inputs x = Make(kCases[4]);
  const Cost cpu = CostOf([&] { Compute(x); }), meta = CostOf([&] { Compute(Each(x, Meta)); });
  EXPECT_GT(cpu.flops, 0);
  EXPECT_EQ(meta.flops, cpu.flops);
  EXPECT_EQ(meta.bytes, cpu.bytes);
}

TEST(DepthwiseConvolutionDeathTest, NamesWhatDoesNotFit) {
  Inputs x = Make({1, 3, 4, 4});
  x.in.tail_bkd = Tensor::Zeros({1, 4, 4});
  EXPECT_DEATH(DepthwiseConvolutionForward(x.in),
               "tail \\[1, 4, 4\\] for x \\[1, 3, 4\\] and 4 taps");
}

}  // namespace
}  // namespace longrange::kernels
